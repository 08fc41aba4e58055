"""The published question: its experiments, replayed and predicted, and the page that tells of them."""
