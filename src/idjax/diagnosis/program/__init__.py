"""Diagnosis of Flax models: which layer slows training, why, and what would cure it. See docs/models.md."""

from idjax.diagnosis.program.diagnose import diagnose_model
from idjax.diagnosis.program.findings import EXPLANATIONS

__all__ = ["EXPLANATIONS", "diagnose_model"]
