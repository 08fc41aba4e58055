"""Numbers in messages."""

import math


def count(value: float) -> str:
    """A number of epochs, steps or times: three digits, separators, words where it is not finite."""
    if math.isnan(value):
        return "an unknown number of"
    if math.isinf(value):
        return "infinitely many"
    if value >= 1e15:
        return f"{value:.2g}"
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def listed(names: list[str], most: int = 4) -> str:
    """Names with commas, the first few of many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
