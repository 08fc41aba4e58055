"""Prediction of training runs: data and settings in, a predicted curve out."""
