"""Diagnosis of training programs: why a loss will not be learned, or slowly, and what to change. See docs/models.md."""
