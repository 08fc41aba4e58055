"""Adam's expected loss at the records of a run: its recursion iterated to the end for every output.

A step costs as much as 4 n³ multiplications an output, so that wide data and long runs are beyond any budget:
`products_a_step` tells before. See docs/theory.md, section 12.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from idjax.theory.adam import recursion
from idjax.theory.adam.recursion import AdamForm, AdamInputs, AdamLosses, AdamRate, AdamRule, AdamState

CHANCE, SURE = 0.5, 0.1
"""Shares of a loss that falls faster than v follows which batches may have made, where it still describes one run, and
where it does so within the few percent that runs on the rows themselves are known to.
"""
NOTHING = 1e-12
"""Share of the loss at the start below which a run is not followed: float32 training stops long before."""


class AdamForecast(NamedTuple):
    """The expected run, seen at each record.

    mean: the loss above its floor, over the updates since the record before, each before it is made.
    forms: Σ_j share_j (tr(Q E_j) + 2 slope_jᵀ E[e_j]) at the record, for every form (k, records).
    errors: E[e] at the last record (n, q).
    verdict: from which step on the numbers do not describe one run, and why, if they do not.
    """

    mean: Float[np.ndarray, " r"]
    forms: Float[np.ndarray, "k r"]
    errors: Float[np.ndarray, "n q"]
    verdict: tuple[float, str] | None


def forecast(
    rule: AdamRule,
    inputs: AdamInputs,
    errors: Float[Array, "n q"],
    rate: AdamRate,
    records: Float[np.ndarray, " r"],
    forms: Float[np.ndarray, "k n n"],
    shares: Float[np.ndarray, "k q"],
    slopes: Float[np.ndarray, "k n q"],
    *,
    form: AdamForm = "adam",
    chance: float = CHANCE,
    progress: Callable[[float], None] = lambda _: None,
) -> AdamForecast:
    """The expected losses at the steps of `records` (whole, ascending); progress hears the share of the work done.

    Each form has its own shares of the outputs, and slopes along E[e]. chance: CHANCE, or a stricter one as SURE.
    """
    state, pieces, means, values = recursion.initial_state(errors), list[AdamLosses](), [], []

    def nothing_left() -> bool:
        return bool(pieces) and bool(pieces[-1].loss[-1] <= NOTHING * pieces[0].loss[0])

    def seen(state: AdamState) -> Float[np.ndarray, " k"]:
        traces = np.einsum("kij,qij->kq", forms, state.ee, optimize=True)
        return np.sum(shares * (traces + 2 * np.einsum("kiq,qi->kq", slopes, state.e)), axis=1)

    for before, stop in pairwise([0.0, *map(float, records)]):
        total = 0.0
        while (step := float(state.step)) < stop and not nothing_left():
            count = int(min(recursion.PIECE, stop - step))
            state, piece = recursion.run(rule, inputs, state, rate, count, form)
            pieces.append(piece)
            total += float(piece.loss.sum())
            progress((step + count) / float(records[-1]))
        means.append(total / (stop - before))
        values.append(seen(state))
    losses = AdamLosses(*map(np.concatenate, zip(*pieces, strict=True)))
    memory = round(1 / (1 - float(rule.beta_2)))
    verdict, known = _verdict(losses, memory, chance), len(losses.loss) + memory
    if verdict is None and nothing_left() and known < records[-1]:
        verdict = float(known), "nothing is left, and v decays until updates are too large"
    return AdamForecast(np.array(means), np.stack(values, axis=1), np.asarray(state.e).T, verdict)


def products_a_step(n: int, outputs: int) -> float:
    """About what one step of the recursion takes, in multiplications of which two cores do 5e9 a second."""
    return 1e5 + outputs * n**3


def _verdict(losses: AdamLosses, memory: int, most: float) -> tuple[float, str] | None:
    """From where on v, taken for its expectation, is not that of one run; docs/theory.md, section 12."""
    tiny = np.finfo(float).tiny
    log = np.log(np.maximum(losses.loss, tiny))
    # What falls alike in every run is no matter.
    chance = 1 - losses.of_mean / np.maximum(losses.loss, tiny)
    # The record ends where nothing is left, and what comes after counts as its end.
    later = np.pad(log[memory:], (0, min(memory, len(log))), constant_values=log[-1])
    falls = np.flatnonzero((log - later > np.log(10)) & (chance > most))
    if len(falls):
        return float(falls[0]), f"the loss falls tenfold within {memory:,} steps, faster than v follows"
    # A loss that has settled drifts; it oscillates where it rises and falls by much more than once.
    turns = np.diff(log[5 * memory :: recursion.PIECE])
    big = np.sign(turns) * (np.abs(turns) > np.log(1.5))
    signs = big[big != 0]
    if np.count_nonzero(np.diff(signs)) > 3:
        return 5.0 * memory, "v and the loss oscillate"
    return None
