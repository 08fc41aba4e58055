"""Why gradient descent will not learn these data, and a fix that is proven: findings, prescriptions, proof."""

from idjax.diagnose.diagnosis import diagnose
from idjax.diagnose.findings import EXPLANATIONS
from idjax.settings import DiagnosisSettings

__all__ = ["EXPLANATIONS", "DiagnosisSettings", "diagnose"]
