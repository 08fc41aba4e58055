"""Data as moments: mean, covariance and spectrum, and the normalisers that they give."""
