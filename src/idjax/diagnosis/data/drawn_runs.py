"""Simulated runs of a prescription on the sample of the rows, whose mean time is its predicted time."""

import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import Candidate
from idjax.diagnosis.data.drawn_cost import long_run, most_steps
from idjax.nn.learned import crossing
from idjax.prediction.dynamics import followed
from idjax.prediction.dynamics.empirical_rows import rows_seen
from idjax.prediction.precision import in_float64
from idjax.theory.sgd.first_passage import Judge, MomentumRule, first_steps
from idjax.types import Rows


def mean_epochs(context: Context, candidate: Candidate, runs: int) -> float:
    """The mean over orders of the rows of the epochs until the level is first reached; inf if a run does not get there.

    A run that fails is told from the epochs by the expected loss, which the candidate has.
    """
    steps = _drawn if candidate.settings.optimizer == "sgd" else _followed
    return float(np.mean(steps(context, candidate, runs))) / -(-context.rows // candidate.settings.batch_size)


def _followed(context: Context, candidate: Candidate, runs: int) -> np.ndarray:
    """Of trainings side by side: optimizers that have no recursion of moments."""
    run = long_run(context, candidate)
    found = followed.side_by_side(run, followed.numbered(run, runs))
    return np.array([crossing(found.steps, error - run.problem.lost, run.left) for error in found.error])


@in_float64
def _drawn(context: Context, candidate: Candidate, runs: int) -> np.ndarray:
    """Of runs of the recursion on rows, in the eigenbasis."""
    settings = candidate.settings
    problem = context.problem_of(settings)
    sample = Rows(*(part if part is None else part.astype(settings.data_dtype) for part in context.sample))
    judged, shares = problem.on_judged, problem.judged_shares
    rates = np.broadcast_to(2 * settings.step_size * problem.output_shares[: problem.groups], shares.shape)
    first = first_steps(
        rows_seen(problem, settings, sample),
        MomentumRule(jnp.asarray(rates), settings.momentum, settings.nesterov),
        Judge(
            jnp.asarray(np.diagonal(judged.gram) if judged is problem.on_train else judged.gram),
            jnp.asarray(judged.slopes),
            jnp.asarray(shares),
            float(judged.residual @ shares),
        ),
        jnp.asarray(problem.coefficients(context.run_of(settings).start)),
        (1 - context.level) * problem.variance - problem.lost,
        np.ceil(most_steps(context, candidate)),
        settings.seed,
        batch_size=settings.batch_size,
        runs=runs,
    )
    return np.asarray(first)
