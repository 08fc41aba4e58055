"""Diagnosis of data for one dense layer: findings, prescriptions and their proof."""

from idjax.diagnosis.data.diagnose import diagnose
from idjax.diagnosis.data.findings import EXPLANATIONS
from idjax.settings import DiagnosisSettings

__all__ = ["EXPLANATIONS", "DiagnosisSettings", "diagnose"]
