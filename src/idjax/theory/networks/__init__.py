"""Layers behind each other, linear or linearised."""
