"""Result dataclasses of the diagnosis of a program, which `store` writes and `report` draws. No JAX inside.

Curvature is that of the Gauss-Newton matrix H = E_rows Jᵀ (∂²loss) J. The block of a layer's kernel is close to the
Kronecker product M ⊗ G of the second moment M = E a aᵀ of its inputs and one of its outputs' gradients, so that
whatever changes the inputs alone changes the block's eigenvalues as it changes those of M; docs/models.md (M1).
"""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from idjax.results.diagnosis import Finding


@dataclasses.dataclass(frozen=True)
class Effect:
    """Predicted effect of a cure on the ends of a layer's curvature, as factors of what they are: M' over M.

    top, bottom: factors of the largest and of the smallest eigenvalue other than 0; the first is also the factor by
    which the block's largest stable learning rate falls.
    condition_before, condition_after: of the inputs' second moment.
    """

    cure: str
    top: float
    bottom: float
    condition_before: float
    condition_after: float


@dataclasses.dataclass(frozen=True)
class ProgramFinding(Finding):
    """A finding in a program.

    where:      the user's line, as train.py:12; empty if it is in no line of theirs.
    parameters: their paths; layers: the layers that show it, in the order of the program.
    """

    where: str = ""
    parameters: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LayerFinding(ProgramFinding):
    """A finding in layers, and what its cure would do."""

    effect: Effect | None = None


@dataclasses.dataclass(frozen=True)
class LayerFacts:
    """Statistics of what one layer takes and gives, over all rows and positions that were looked at.

    path:           where it is in the model, as encoder/fc1.
    inputs:         p, weights of one output; outputs: q.
    positions:      input vectors that the moments are of.
    input_scale:    root mean square of an input, E|a|²/p under the root.
    mean_share:     |m|²/tr Σ: what the mean of the inputs is to all that varies.
    top, bottom:    largest eigenvalue of M = E[a aᵀ], a = [x; 1] with a bias, and smallest that is not 0; NaN if the
                    layer is too wide to have its bottom computed.
    null_modes:     directions that never move, beyond those that too few positions leave.
    constant:       channels of the input that are the same number everywhere, other than 0.
    dead:           channels that are 0 everywhere.
    channels:       of the input as it came: p, but for convolutions.
    outlier:        share of E|a|² that the largest feature has; outlier_feature says which, of the channels.
    outlier_ratio:  its mean square over the median of the others.
    gain:           root mean square of the kernel times √p: what it does to the scale of white inputs.
    kernel_dtype:   as stored.
    gradient:       root mean square of the kernel's gradient over all rows.
    update_lost:    share of the kernel's weights with a gradient that an update leaves as they are, by rounding.
    passing_rate:   learning rate at which half of them would move; both NaN for dtypes whose rounding is not known.
    """

    path: str
    kind: Literal["dense", "conv", "embed"]
    inputs: int
    outputs: int
    bias: bool
    positions: int
    input_scale: float
    mean_share: float
    top: float
    bottom: float
    null_modes: int
    constant: tuple[int, ...]
    dead: tuple[int, ...]
    channels: int
    outlier: float
    outlier_feature: int
    outlier_ratio: float
    gain: float
    kernel_dtype: str
    kernel_scale: float
    gradient: float
    update_lost: float
    passing_rate: float

    @property
    def condition_number(self) -> float:
        """Of the inputs' second moment, null modes left out."""
        return self.top / self.bottom


@dataclasses.dataclass(frozen=True)
class ProvenRun:
    """A training of the program as given, or with cures in it.

    steps: to the common loss; inf if it was not reached.  losses: of every step, in the units of the program as given,
    or where its loss has no minimum by the one that was meant.
    """

    name: str
    learning_rate: float
    steps: float
    losses: Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class FewRows:
    """A training on a few rows alone, which a program that can learn at all brings to nearly 0.

    steps: made; start and end are the losses; learned says whether the loss fell by all but a twentieth, or to what is
    left of it where all outputs are right, as of penalties.
    stopped: what stopped it, in words; empty where it learned, was still falling, or may be as low as it can.
    bottomless: the lowest loss, where that is so far below 0 that the loss has no minimum; else NaN.
    """

    rows: int
    learning_rate: float
    steps: int
    start: float
    end: float
    learned: bool
    stopped: str
    bottomless: float


@dataclasses.dataclass(frozen=True)
class ProgramProof:
    """Trainings of the program as given and of its cures, from one seed on the same batches, to a common loss.

    loss:    the common one, that of the program as given at its best rate, after `budget` steps.
    batches: which they are, in words.
    spent:   steps of all trainings and races.
    """

    runs: tuple[ProvenRun, ...]
    loss: float
    budget: int
    batches: str
    spent: int
    few_rows: FewRows | None
    interrupted: bool


@dataclasses.dataclass(frozen=True)
class ProgramDiagnosis:
    """Diagnosis of a program: why training will fail or be slow, where, and what to change.

    looked_at: what was looked at, in words; unseen: parameters and control flow that were not.
    proof:     what was trained, where that was asked for.
    """

    source: str
    rows: int
    parameters: int
    loss: float
    verdict: str
    layers: tuple[LayerFacts, ...]
    findings: tuple[ProgramFinding, ...]
    looked_at: tuple[str, ...]
    unseen: tuple[str, ...]
    seconds: float
    proof: ProgramProof | None = None

    @property
    def causes(self) -> tuple[ProgramFinding, ...]:
        """The findings that decide the exit status."""
        return tuple(finding for finding in self.findings if finding.kind == "cause")

    @property
    def slow(self) -> frozenset[str]:
        """The layers that a cause names."""
        return frozenset(layer for finding in self.causes for layer in finding.layers)


@dataclasses.dataclass(frozen=True)
class RateRace:
    """Learning rates raced from one start on the same batches.

    rate:   the best; losses are those of its steps.  NaN where all diverge.
    lowest: loss that any of them had at any step.
    rates:  all that were raced, with the steps that each made and the loss that it had then; inf if not finite.
    spent:  steps of all.
    """

    rate: float
    rates: Float[np.ndarray, " k"]
    steps: Int[np.ndarray, " k"]
    ends: Float[np.ndarray, " k"]
    losses: Float[np.ndarray, " n"]
    lowest: float
    spent: int


@dataclasses.dataclass(frozen=True)
class StepCheck:
    """One step of training, checked: parameters that did not change or are not finite, the loss before and after."""

    verdict: str
    unchanged: tuple[str, ...]
    not_finite: tuple[str, ...]
    loss_before: float
    loss_after: float

    @property
    def fell(self) -> bool:
        """Whether the loss of the batch fell."""
        return self.loss_after < self.loss_before
