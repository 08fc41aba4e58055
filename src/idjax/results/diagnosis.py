"""Result dataclasses of the diagnosis of data, which `store` writes and `report` draws. No JAX inside."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float

from idjax.results.curve import Curve
from idjax.settings import Settings
from idjax.types import Value


@dataclasses.dataclass(frozen=True)
class Samples:
    """A few validation rows and what the trained model made of them, original units, (rows, q) each."""

    target: Float[np.ndarray, "k q"]
    output: Float[np.ndarray, "k q"]
    mean: Float[np.ndarray, " q"]


Kind = Literal["cause", "consequence", "note"]
Role = Literal["simplest", "fastest", "longer", ""]
OF_THE_DATA = ("null-modes", "data-resolution", "target-not-linear")
"""Codes of causes that no setting cures."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that keeps these data from being learned with these settings, as a linter would say it.

    code:      stable name, such as "mean-dominated"; `idjax explain CODE` tells more.
    kind:      a cause; a consequence, which names its `causes`; or a note.
    message:   one sentence with the numbers that matter.
    evidence:  these numbers by name, units in the names or in the message.
    cost:      factor by which it lengthens training (inf: nothing is learned while it lasts; 1: none).
    fix:       what to change, in words, with the flags; empty where nothing that was tried is a gain.
    changes:   the settings that the fix changes, by name; None where it is no change of the settings.
    fixed:     epochs that are predicted with these changes.
    """

    code: str
    kind: Kind
    message: str
    evidence: dict[str, float | int | str | list[str]]
    cost: float
    fix: str
    causes: tuple[str, ...] = ()
    changes: dict[str, Value] | None = None
    fixed: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Proof:
    """Result of a training: epochs to learn (inf if not within the budget) and the explained variance at the end."""

    epochs: float
    explained_variance: float
    curve_epochs: Float[np.ndarray, " t"]
    curve_explained: Float[np.ndarray, " t"]


@dataclasses.dataclass(frozen=True)
class Prescription:
    """Settings that learn these data, with the epochs that they are predicted to take, and measured if proven.

    role: the simplest change that is well inside the budget, the fastest, one that needs more epochs, or none of these.
    runs: drawn on rows of the data, whose mean the prediction is; 0 where it is when the expected loss gets there.
    """

    settings: Settings
    predicted_epochs: float
    predicted_steps: float
    flax_code: str
    keras_code: str
    proof: Proof | None = None
    runs: int = 0
    role: Role = ""


@dataclasses.dataclass(frozen=True)
class ProbeRun:
    """Training of a linear probe under one normaliser.

    learning_rate:    the one to use.
    epochs:           predicted to the target at that rate, fractional.
    how:              raced, or where that would take too long the gradient flow.
    start_limit:      the full batch is stable below it at the zero weights.
    always_limit:     the full batch is stable below it wherever training goes.
    minibatch_limit:  the same, in mean square over the batches.
    largest:          eigenvalue of the second moment of [features; 1].
    linearised:       epochs to the target times learning rate, with the softmax replaced by its tangent at the start.
    raced:            rates that were tried, and the epochs that each took; inf where others arrived well before.
    """

    normalize: str
    learning_rate: float
    epochs: float
    how: str
    start_limit: float
    always_limit: float
    minibatch_limit: float
    largest: float
    linearised: float
    raced: Float[np.ndarray, " r"]
    raced_epochs: Float[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class Probe:
    """A linear probe on frozen features: SGD on softmax cross-entropy, judged by accuracy on the training rows.

    converged is the accuracy that training ends at, target the one that epochs are counted to; the first of runs is
    under the settings' own normaliser, and given_epochs are those of their learning rate there.
    """

    classes: int
    rows: int
    batch_size: int
    momentum: float
    converged: float
    target: float
    given: float
    given_epochs: float
    runs: tuple[ProbeRun, ...]


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Diagnosis of data: what will happen to them with these settings, why, and what to do about it.

    before:       the prediction for the settings as given, over the budget, or what was followed of it where no theory
                  predicts them; None where the targets do not vary.
    level:        the explained variance that counts as learned: that share of what a linear layer can explain.
    reachable:    the explained variance of the best linear layer.
    eigenvalues:  of the second moment of [x; 1], descending; mean_mode and bias_mode are indices into them.
    labels:       where the target is class labels, what is known of the softmax cross-entropy on them.
    probe:        and what a linear probe on the inputs takes to learn them.
    notes:        what else there is to know of the settings and the target, a sentence each.
    left_out:     what was not looked at among prescriptions because the data are wide.
    outputs_explained: the explained variance of each output at the end of the budget, by the expected weights.
    samples:      a few rows, their targets, and what the layer is predicted to answer at the end of the budget.
    """

    source: str
    rows: int
    inputs: int
    outputs: int
    autoencoder: bool
    settings: Settings
    budget: float
    level: float
    reachable: float
    verdict: str
    before: Curve | None
    no_prediction: str
    findings: tuple[Finding, ...]
    prescriptions: tuple[Prescription, ...]
    eigenvalues: Float[np.ndarray, " n"]
    mean_mode: int | None
    bias_mode: int | None
    samples: Samples | None
    proof: Proof | None
    seconds: float
    labels: str = ""
    probe: Probe | None = None
    left_out: str = ""
    notes: tuple[str, ...] = ()
    outputs_explained: Float[np.ndarray, " q"] | None = None

    @property
    def causes(self) -> tuple[Finding, ...]:
        """The findings that decide the exit status."""
        return tuple(finding for finding in self.findings if finding.kind == "cause")
