"""Why gradient descent will not learn these data, and a fix that is proven: findings, prescriptions, proof."""

from idjax.diagnose.diagnosis import DiagnosisSettings, diagnose
from idjax.diagnose.findings import EXPLANATIONS

__all__ = ["EXPLANATIONS", "DiagnosisSettings", "diagnose"]
