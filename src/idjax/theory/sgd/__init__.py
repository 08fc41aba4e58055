"""Descent on batches, in expectation over their draws."""
