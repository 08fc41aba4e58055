"""Counterfactual runs: settings that are not those given, each at a rate of its own, and the epochs they would take."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from idjax.diagnosis.data.context import BOUNCES, Context
from idjax.diagnosis.explanation import Explanation, Fix
from idjax.prediction.learning_rates import two_digits
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding
from idjax.results.plain import plain_value
from idjax.settings import Schedule, Settings
from idjax.types import Value

TUNED = 0.2
"""Share of the largest stable learning rate that a well-chosen one has: below 0.3, where rare runs carry the mean."""
TUNED_FULL = 0.5
"""The same of the full batch, which draws nothing: every mode falls without turning about."""
USUAL: dict[str, Any] = {
    "beta_1": None, "beta_2": None, "epsilon": None, "weight_decay": None, "momentum": 0.0, "nesterov": False,
}  # fmt: skip
"""The numbers of an optimizer that is not the one given."""
LINEAR: dict[str, Any] = {
    "activation": "linear", "loss": "mse", "activity_l1": 0.0, "activity_l2": 0.0, "schedule": Schedule(),
    "solver": "auto",
}  # fmt: skip
"""A linear layer under the squared error, at a rate that does not change."""
PLAIN: dict[str, Any] = {"optimizer": "sgd", **USUAL, **LINEAR}
"""The same by plain SGD: what theory knows best."""
BATCHES = (8, 32, 256, 2048)
"""Batch sizes that are tried beside the one given."""
ORDER = ("none", "center", "feature", "pca")
"""Each normaliser cures what the one before it does, and more."""
SLOWER = (1.0, 0.25, 0.0625)
"""Shares of a well-chosen rate that are tried in turn, until the noise of the batches leaves room to learn."""
FULL: dict[str, Any] = {"dtype": "float32", "rounding": "nearest", "loss_scale": 1.0}
"""Weights of 32 bits."""
UNEQUAL = 3.0
"""Largest over smallest standard deviation from which scales count as unequal."""
CLEARLY, MUCH = 2.0, 10.0
"""How many times faster it has to be to count as a cure, where it is then learned in time and where not."""


class Candidate(NamedTuple):
    """Settings that might learn the data, and the epochs they are predicted to take; inf where they do not.

    runs:   drawn on rows of the data, that epochs are the mean of; 0 if they are those of the expected loss.
    enough: epochs after which unlucky runs are there too; 0 where that was not asked.
    """

    settings: Settings
    epochs: float
    runs: int = 0
    enough: float = 0.0

    @property
    def needed(self) -> float:
        """Epochs to train for."""
        return max(self.epochs, self.enough)

    def steps(self, rows: int) -> float:
        """The updates of so many rows that these epochs are."""
        return self.epochs * -(-rows // self.settings.batch_size)


def at_every_batch(context: Context, normalize: str, space: str, **changes: object) -> Iterator[Candidate]:
    """Plain SGD with this normaliser at every batch size, each at its own rate."""
    for batch in sorted({min(batch, context.rows) for batch in (*BATCHES, context.settings.batch_size)}):
        yield tuned(context, normalize=normalize, loss_space=space, batch_size=batch, **changes)


def tuned(context: Context, **changes: object) -> Candidate:
    """Plain SGD with these changes at a well-chosen rate, or a slower one where noise keeps that from learning."""
    found, given = Candidate(context.settings, math.inf), well_chosen(context, **changes)
    for share in SLOWER:
        settings = dataclasses.replace(given, learning_rate=two_digits(share * given.step_size))
        found = Candidate(settings, context.epochs_of(settings))
        if not math.isinf(found.epochs):
            break
    return found


def well_chosen(context: Context, **changes: object) -> Settings:
    """Plain SGD with these changes and a well-chosen learning rate, of two digits, that training can have."""
    settings, held = context.changed(PLAIN | changes), np.finfo(context.settings.data_dtype)
    share = TUNED_FULL if settings.batch_size >= context.rows else TUNED
    rate = min(max(share * context.max_rate(settings), float(held.tiny)), float(held.max))
    return dataclasses.replace(settings, learning_rate=two_digits(rate))


def with_momentum_kept(context: Context) -> Candidate:
    """SGD as given, momentum and all, at a well-chosen learning rate, and the epochs that it then takes."""
    settings = well_chosen(context, momentum=context.settings.momentum, nesterov=context.settings.nesterov)
    return Candidate(settings, context.epochs_of(settings))


def best(context: Context, normalize: str, **changes: object) -> Candidate:
    """The batch size, with its own rate, that takes the fewest epochs under this normaliser; loss in its units."""
    space = context.settings.loss_space if normalize == context.settings.normalize else "normalized"
    candidates = at_every_batch(context, normalize, space, **changes)
    return min(candidates, key=lambda candidate: math.inf if math.isnan(candidate.epochs) else candidate.epochs)


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
    if not simpler or context.tails_diverge:
        return None
    # What float16 makes of the gradients is no fault of the inputs.
    full = FULL if context.settings.dtype == "float16" else {}
    slow = min(best(context, each, **full).epochs for each in simpler)
    fastest = context.fastest if context.adaptive else None
    if fastest is not None:
        slow = min(slow, fastest.steps / context.steps_per_epoch)
    # Where it hangs on the start, what spreads the starts is asked for: better inputs bring them together.
    if slow <= context.budget and not context.hangs_on_start:
        return None
    fast = best(context, cure, **full).epochs
    enough = CLEARLY if fast <= context.budget < slow else MUCH
    return (slow, fast) if math.isfinite(fast) and times_slower(context, slow, fast) >= enough else None


def fix(context: Context, options: Iterable[dict[str, object]]) -> Fix | None:
    """The first of these changes that learns within the budget, else the one that comes closest, if any is a gain."""
    closest = None
    for changes in options:
        settings = context.changed(changes)
        epochs = predicted(context, settings)
        if epochs < context.takes and (closest is None or epochs < closest.epochs):
            closest = _fix(context, settings, epochs)
            if epochs <= context.budget:
                return closest
    return closest


def predicted(context: Context, settings: Settings) -> float:
    """Predicted epochs with these settings; inf where rows with the sample's tails diverge, too."""
    limited = settings.optimizer == "sgd" and settings.activation == "linear"
    return math.inf if limited and settings.step_size >= context.max_rate(settings) else context.epochs_of(settings)


def fastest_in_time(context: Context) -> tuple[float, Fix] | None:
    """The fastest learning rate, all else as given, where that alone learns within the budget; and it as a fix.

    A slower one where the fastest reaches the level and does not keep it: how far it bounces goes as the rate.
    """
    fastest = context.fastest
    if fastest is None or not (epochs := fastest.steps / context.steps_per_epoch) <= context.budget:
        return None
    rate, left = fastest.learning_rate, context.left_at_end(context.changed({"learning_rate": fastest.learning_rate}))
    settles = rate / math.sqrt(max(left, 1.0)) if math.isfinite(left) else rate
    for slower in (settles / 2, settles / 4, settles / 16):
        if left <= BOUNCES:
            break
        rate = two_digits(slower)
        settings = context.changed({"learning_rate": rate})
        epochs = context.epochs_of(settings)
        left = context.left_at_end(settings) if epochs <= context.budget else math.inf
    if left > BOUNCES:
        return None
    words = f"--learning-rate {rate:.3g}: {count(epochs)} epochs {'followed' if context.followed else 'predicted'}"
    return rate, Fix(words, {"learning_rate": rate}, epochs)


def fastest_finding(context: Context, explanation: Explanation, trouble: str, *, larger: bool) -> Finding | None:
    """A finding that only another learning rate, larger or smaller than the one given, learns within the budget.

    trouble: what is wrong with the one given, in words.
    """
    given, faster = context.settings.step_size, fastest_in_time(context)
    if faster is None or faster[0] == given or (faster[0] > given) != larger:
        return None
    rate, cure = faster
    return explanation.finding(
        message=f"the learning rate {given:.3g} {trouble}: at {rate:.2g} it learns in {count(cure.epochs)} epochs",
        evidence={"learning rate": given, "fastest learning rate": rate, "epochs at that rate": cure.epochs},
        cost=times_slower(context, context.takes, cure.epochs),
        fix=cure,
    )


def with_normalizers(context: Context, *normalizers: str) -> Iterator[dict[str, object]]:
    """Changes that put these normalisers in front of the layer: alone, with a rate of their own, then with a batch."""
    for normalize in normalizers:
        changes: dict[str, object] = {"normalize": normalize, "loss_space": "normalized"}
        yield changes
        yield changed(context, tuned(context, **changes).settings)
        yield changed(context, best(context, normalize).settings)


def changed(context: Context, settings: Settings) -> dict[str, object]:
    """The settings that differ from those given, by name."""
    fields = (field.name for field in dataclasses.fields(settings))
    given = context.settings
    return {name: getattr(settings, name) for name in fields if getattr(settings, name) != getattr(given, name)}


def _fix(context: Context, settings: Settings, epochs: float) -> Fix:
    different = changed(context, settings)
    changes = {name: plain_value(name, value) for name, value in different.items() if name != "solver"}
    # A loss in the normaliser's units is what a normaliser brings by itself.
    told = [name for name in changes if name != "loss_space" or "normalize" not in changes]
    words = " ".join(_flag(name, changes[name]) for name in told if changes[name] is not None)
    late = "" if epochs <= context.budget else ", which is not yet within the budget"
    return Fix(f"{words}: {count(epochs)} epochs predicted{late}", changes, epochs)


def _flag(name: str, value: Value) -> str:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return flag if value else f"--no-{name.replace('_', '-')}"
    if isinstance(value, float) and float(f"{value:.3g}") != value:
        return f"{flag} {value}".removesuffix(".0")
    return f"{flag} {value:.3g}" if isinstance(value, float) else f"{flag} {value}"
