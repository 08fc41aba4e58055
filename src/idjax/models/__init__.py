"""Any Flax model → which layer slows its training, why, and what would cure it. See docs/models.md."""

from idjax.models.examine import diagnose_model
from idjax.models.findings import EXPLANATIONS

__all__ = ["EXPLANATIONS", "diagnose_model"]
