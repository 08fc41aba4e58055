"""Linear probes on frozen features: which learning rate, how many epochs, and what a normaliser buys."""

from idjax.prediction.probe.predict import NORMALIZERS, predict_probe

__all__ = ["NORMALIZERS", "predict_probe"]
