"""Counterfactual epochs: what training would take on better-conditioned inputs, each at a well-chosen rate."""

import math

from idjax.diagnosis.data.context import Context

ORDER = ("none", "center", "feature", "pca")
"""Each normaliser cures what the one before it does, and more."""
CLEARLY, MUCH = 2.0, 10.0
"""How many times faster it has to be to count as a cure, where it is then learned in time and where not."""


def epochs_with(context: Context, normalize: str) -> float:
    """Predicted epochs to learn with plain SGD, this normaliser and a well-chosen rate; loss in normalised units."""
    space = context.settings.loss_space if normalize == context.settings.normalize else "normalized"
    return context.epochs(**context.tuned(normalize=normalize, loss_space=space))


def times_slower(context: Context, slow: float, fast: float) -> float:
    """How many times as long it takes, where the faster takes an update at least."""
    return slow / max(fast, 1 / context.rows)


def before_and_after(context: Context, cure: str) -> tuple[float, float] | None:
    """Epochs with the best of all that comes before this cure, and with it; None where the settings have it already,
    where something simpler is fast enough, and where it is no cure.
    """
    given = context.settings.normalize
    if given == "sample":
        simpler = [given] if cure == "pca" else []
    else:
        simpler = list(ORDER[ORDER.index(given) : ORDER.index(cure)]) if given in ORDER else []
    if (
        not simpler
        or context.tails_diverge
        or (slow := min(epochs_with(context, each) for each in simpler)) <= context.budget
    ):
        return None
    fast = epochs_with(context, cure)
    enough = CLEARLY if fast <= context.budget else MUCH
    return (slow, fast) if math.isfinite(fast) and fast * enough <= slow else None
