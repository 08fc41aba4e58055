"""Training: data and settings in, a measured curve out."""
