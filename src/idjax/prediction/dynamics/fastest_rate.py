"""The learning rate that learns fastest, for optimizers without a closed form: searched among predictions."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.optimize
from jaxtyping import Float

from idjax.nn.learned import crossing
from idjax.prediction import budget
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.dynamics.theories import products_of, trajectory_for
from idjax.results.curve import FastestRate
from idjax.settings import Settings

REACH = 3.0
"""Decades up and down from the rate given that are searched, and more where the best is at an end."""
POINTS = 7
"""Rates that are looked at before the best of them is refined."""
MOST = 11
"""The same where the best of them is the first or the last."""
REFINED = 6


def fastest_rate(spec: RunSpec) -> FastestRate | None:
    """The rate with the fewest predicted updates to learned_at within the run; if none gets there, the one that ends
    closest, with infinitely many. None where the search would take long, or all rates are outside the theory's range.

    Of a layer alone the updates are those that the theory has for them, where `predict` may follow the run on its rows.
    """
    if products_of(spec) * (POINTS + REFINED) > budget.FOLLOWED:
        return None
    if not spec.layers:  # moments are enough for a theory, and what it leaves open is too dear to be followed
        spec = spec._replace(sample=None)
    settings = spec.settings
    level = spec.left
    end = float(settings.epochs * spec.steps)
    last = np.array([float(settings.epochs)])
    found: dict[float, float] = {}

    def score(log_rate: float) -> float:
        """log of the updates; beyond the run, as if what is left fell by e in a run."""
        rate = float(f"{10**log_rate:.3g}")
        trajectory = trajectory_for(spec._replace(settings=dataclasses.replace(settings, learning_rate=rate)))
        steps = trajectory.steps_to(level)
        found[rate] = steps
        if np.isfinite(steps):
            return float(np.log(max(steps, 1.0)))
        left = float(trajectory.losses(last).error[0])
        return float(np.log(end) + np.log(max(left / max(level, 1e-300), 1.0))) if np.isfinite(left) else 1e9

    rates = list(np.log10(settings.step_size) + np.linspace(-REACH, REACH, POINTS))
    scores = [score(rate) for rate in rates]
    best = int(np.argmin(scores))
    # It may be beyond what was looked at; what is far too large is no guide.
    while scores[best] < 1e9 and (scores[best] > np.log(end) or best in (0, len(rates) - 1)) and len(rates) < MOST:
        side, out = (len(rates), rates[-1] + 1) if best == len(rates) - 1 else (0, rates[0] - 1)
        rates.insert(side, out)
        scores.insert(side, score(out))
        best = int(np.argmin(scores))
    if scores[best] >= 1e9:
        return None
    around = rates[max(best - 1, 0)], rates[min(best + 1, len(rates) - 1)]
    refined: Any = scipy.optimize.minimize_scalar(score, bounds=around, method="bounded", options={"maxiter": REFINED})
    chosen = refined.x if refined.fun < scores[best] else rates[best]
    rate = float(f"{10**chosen:.3g}")
    return FastestRate(rate, found[rate])


def followed_rates(spec: RunSpec, runs: Sequence[Settings]) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Of runs that differ in the learning rate alone, followed side by side on the rows: the share of the variance that
    each leaves, the most of the last tenth of its looks, and its updates to where it stays at learned_at, or inf.

    At a rate that is too large the error leaps up again and again, and one look may find it low.
    """
    from idjax.prediction.dynamics import followed

    found = followed.side_by_side(spec, runs)
    held = np.maximum.accumulate(found.error[:, ::-1], axis=1)[:, ::-1]
    times = np.array([crossing(found.steps, error - spec.problem.lost, spec.left) for error in held])
    return held[:, -max(1, held.shape[1] // 10)] / spec.problem.variance, times
