"""Why gradient descent will not learn these data, and a fix that is proven: findings, prescriptions, proof."""

from idjax.diagnosis.data.diagnose import diagnose
from idjax.diagnosis.data.findings import EXPLANATIONS
from idjax.settings import DiagnosisSettings

__all__ = ["EXPLANATIONS", "DiagnosisSettings", "diagnose"]
