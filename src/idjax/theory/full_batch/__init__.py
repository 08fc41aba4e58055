"""Descent on all rows at once, where every mode shrinks by itself."""
