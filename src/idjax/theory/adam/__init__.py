"""Adam on batches, in expectation over their draws."""
