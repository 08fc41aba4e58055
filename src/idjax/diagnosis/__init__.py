"""Diagnoses: why training will not learn, with cause and cure, of data and of models that train."""
