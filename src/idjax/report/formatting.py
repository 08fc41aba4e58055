"""Numbers, settings and verdicts in words, the same in tables, captions, figures and pages."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from idjax.results.curve import Curve, Status
from idjax.results.diagnosis import Diagnosis, Finding
from idjax.results.program import LayerFinding
from idjax.settings import Settings

NORMALIZERS = {
    "none": "raw",
    "center": "centred",
    "feature": "per feature",
    "sample": "per sample",
    "pca": "whitened (PCA)",
    "zca": "whitened (ZCA)",
}
LOSSES = {
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "huber": "Huber loss",
    "log-cosh": "log-cosh loss",
    "cross-entropy": "cross-entropy",
}
OPTIMIZERS = {"sgd": "SGD", "rmsprop": "RMSprop"}


def number(value: float | None, digits: int = 4) -> str:
    """A few digits, or a word for what is not a finite number."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "never" if value > 0 else "–∞"
    if value == 0:
        return "0"
    if 0 < value < 1e-15:
        return "below 1e-15"
    if 1e6 <= abs(value) < 1e12:
        size, word = (1e9, "billion") if abs(value) >= 1e9 else (1e6, "million")
        return f"{value / size:.3g} {word}"
    if abs(value) >= 1e12:
        return f"{value:.3g}".replace("e+", "e")
    if abs(value) >= 1e3:
        return f"{value:,.0f}"
    if 0.9999 < value < 1:
        return "> 0.9999"
    return f"{value:.{digits}g}"


def decimals(value: float, places: int = 4) -> str:
    """A number with so many decimals, or a dash."""
    return f"{round(value, places) + 0.0:.{places}f}" if math.isfinite(value) else "–"


NO_NUMBER = {
    Status.VALID: "–",
    Status.DIVERGES: "diverged",
    Status.OUTSIDE_RANGE: "outside its range",
    Status.NO_THEORY: "no theory yet",
    Status.FOLLOWED: "–",
}
"""What is said in place of a number that a curve does not have."""


def explained(value: float, status: Status = Status.DIVERGES) -> str:
    """An explained variance, with enough digits to tell 0.9999 from 1; or why a curve of this status has none."""
    if not math.isfinite(value):
        return NO_NUMBER[status]
    return number(value) if abs(value) >= 10 or 0.9999 < value < 1 else f"{value:.4f}"


def level_words(learned_at: float, reachable: float) -> str:
    """The explained variance that counts as learned, and of what it is a share."""
    if reachable == 1 or reachable <= 0:
        return f"explained variance {learned_at:g}"
    share = f"{learned_at:g} of the {number(reachable)} that a linear layer can explain"
    return f"explained variance {number(learned_at * reachable)}, {share}"


def final_loss(curve: Curve, epoch: int = -1) -> float:
    """The validation loss at the end, or of another index; the training loss without a split."""
    validation = float(curve.validation[epoch])
    return float(curve.train[epoch]) if math.isnan(validation) else validation


def ending(curve: Curve) -> str:
    """A curve's end in a table cell, or the last that is known of it: loss and explained variance."""
    known = np.flatnonzero(np.isfinite(curve.explained_variance))
    last = int(known[-1]) if len(known) and curve.status is not Status.DIVERGES else -1
    end = float(curve.explained_variance[last])
    if not math.isfinite(end) and curve.status is not Status.VALID:
        return NO_NUMBER[curve.status]
    until = f" after {curve.epoch[last]:,.0f} epochs" if 0 <= last < len(curve.epoch) - 1 else ""
    return f"loss {number(final_loss(curve, last))}, EV {explained(end, curve.status)}{until}"


def settings_parts(settings: Settings) -> list[str]:
    """Settings in words, piece by piece."""
    starts = {"glorot": "random (Glorot) start", "identity": "started at the identity"}
    parts = [
        f"{optimizer_words(settings)} at learning rate {number(settings.step_size)}",
        batch_words(settings),
        "1 epoch" if settings.epochs == 1 else f"{settings.epochs:,} epochs",
        starts.get(settings.start, f"started from {settings.start}"),
        LOSSES[settings.loss],
    ]
    if settings.beta_1 is not None:
        parts.insert(1, f"β₁ {settings.beta_1:g}")
    if settings.schedule.changes:
        parts.insert(1, f"schedule {settings.schedule}")
    if settings.activation != "linear":
        parts.append(f"{settings.activation} output")
    for name, penalty in (("L1", settings.activity_l1), ("L2", settings.activity_l2)):
        if penalty:
            parts.append(f"{name} penalty {penalty:g} on the output")
    if settings.normalize != "none":
        parts.append(f"{NORMALIZERS[settings.normalize]} normalisation, loss in {units(settings)}")
    return parts


def optimizer_words(settings: Settings) -> str:
    """The optimizer, with its momentum."""
    words = OPTIMIZERS.get(settings.optimizer, settings.optimizer.capitalize())
    if settings.momentum:
        words += f" with {'Nesterov ' if settings.nesterov else ''}momentum {settings.momentum:.4g}"
    return words


def batch_words(settings: Settings) -> str:
    """The rows of an update."""
    return "1 row an update" if settings.batch_size == 1 else f"batches of {settings.batch_size:,} rows"


def units(settings: Settings) -> str:
    """The units of the loss."""
    original = settings.normalize == "none" or settings.loss_space == "original"
    return "original units" if original else "normalised units"


def sentence(text: str) -> str:
    """With a capital at the start and a full stop at the end."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def stopped(text: str) -> str:
    """With a full stop at the end, and a first word left as it is: it may be a name."""
    return f"{text.rstrip('.')}." if text else ""


def epochs_words(epochs: float) -> str:
    """A time in epochs."""
    return "never" if math.isinf(epochs) else "1 epoch" if epochs == 1 else f"{number(epochs)} epochs"


def followed_words(diagnosis: Diagnosis) -> str:
    """Words for the run that stands in for a theory, where none predicts the settings as given."""
    reason, how = diagnosis.no_prediction.split(":")[0], diagnosis.before.how if diagnosis.before else ""
    return f"No prediction: {stopped(reason)} {sentence(how)}".strip()


def evidence_words(value: float | int | str | list[str]) -> str:
    """A number, a name, or the first of many names."""
    if isinstance(value, list):
        return listed(value, 12)
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return number(value).replace("never", "∞")


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Causes, then consequences, then notes; each as they were given."""
    return sorted(findings, key=lambda finding: ("cause", "consequence", "note").index(finding.kind))


def cost_words(finding: Finding) -> str:
    """The cost of a finding in time, in words; empty if there is none."""
    if math.isinf(finding.cost):
        return "not learned in time while it lasts"
    if finding.cost <= 1:
        return ""
    if isinstance(finding, LayerFinding):
        return f"up to {number(finding.cost, 3)} times the steps, by this layer's part of the curvature"
    return f"training takes {number(finding.cost, 3)} times as long"


def percent(share: float, digits: int = 2) -> str:
    """A share in percent, 100% and not 1e+02%."""
    return f"{float(f'{100 * share:.{digits}g}'):g}%" if math.isfinite(share) else "–"


def factor_words(factor: float) -> str:
    """A factor in words, as what becomes of a number that is multiplied by it."""
    if not math.isfinite(factor) or factor <= 0:
        return "not known"
    if 0.995 < factor < 1.005:
        return "unchanged"
    return f"{number(max(factor, 1 / factor), 3)} times {'larger' if factor > 1 else 'smaller'}"


def not_reached(curve: Curve) -> str:
    """The sentence on a level that a curve does not reach: in no number of epochs, or not as far as it is known."""
    if curve.never_learned:
        return "That level is reached in no number of epochs."
    known = epochs_words(curve.known_until / curve.steps_per_epoch)
    return f"That level is not reached within the {known} that are known."


def nothing_words(diagnosis: Diagnosis) -> str:
    """The words for a diagnosis without findings: how long learning takes, measured or else predicted."""
    proof, before = diagnosis.proof, diagnosis.before
    epochs = proof.epochs if proof else before.epochs_to_learn if before else math.nan
    if not math.isfinite(epochs):
        return "nothing found"
    how = "" if proof else "predicted to be "
    return f"nothing found: {how}learned in {number(epochs, 3)} epochs of {number(diagnosis.budget)}"


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


def times_words(epochs: float) -> str:
    """A number of epochs to learn, or that there is none."""
    return f"{count(epochs)} epoch{'' if epochs == 1 else 's'}" if math.isfinite(epochs) else "not learned"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names with commas, the first few of many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
