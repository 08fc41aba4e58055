"""First passages of drawn runs: against steps written out, other draws in NumPy, and the expected loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_rows import of_gaussians

from idjax.theory.sgd import first_passage, fourth_moment
from idjax.theory.sgd.first_passage import Judge, MomentumRule, first_steps
from idjax.theory.sgd.fourth_moment import EmpiricalRows
from idjax.types import Weights

OUTPUTS = 2
RULES = {"plain": (0.0, False), "heavy ball": (0.8, False), "Nesterov": (0.8, True)}


pytestmark = pytest.mark.usefixtures("in_float64")


def heavy_rows(count: int = 400) -> tuple[EmpiricalRows, jax.Array]:
    """Rows of Student's t of 3 degrees of freedom that a layer can fit up to a little noise."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(count, 5)) * np.sqrt(3 / rng.chisquare(3.0, size=(count, 1)))
    y = x @ rng.normal(size=(5, OUTPUTS)) + 0.02 * rng.normal(size=(count, OUTPUTS))
    return fourth_moment.rows_of(x, y, Weights(np.zeros((5, OUTPUTS)), np.zeros(OUTPUTS)))


def judge(rows: EmpiricalRows) -> Judge:
    shares = jnp.full(OUTPUTS, 0.5)
    floor = float(jnp.mean(rows.residuals**2))
    return Judge(rows.eigenvalues, jnp.zeros((len(rows.eigenvalues), OUTPUTS)), shares, floor)


def level_of(rows: EmpiricalRows, start: jax.Array, left: float = 0.01) -> float:
    return left * float(judge(rows).loss(start))


def passages(
    rows: EmpiricalRows, start: jax.Array, rate: float, name: str, batch_size: int, runs: int, **other
) -> np.ndarray:
    momentum, nesterov = RULES[name]
    rule = MomentumRule(jnp.full(OUTPUTS, rate), momentum, nesterov)
    arguments = {"level": level_of(rows, start), "most": 5000.0, "seed": 0} | other
    return np.asarray(first_steps(rows, rule, judge(rows), start, **arguments, batch_size=batch_size, runs=runs))


def written_out(
    rows: EmpiricalRows, start: jax.Array, rate: float, name: str, batch_size: int, rng: np.random.Generator
) -> float:
    """The same of one run, a step at a time."""
    momentum, nesterov = RULES[name]
    inputs, residuals, modes = map(np.asarray, rows)
    error, velocity = np.asarray(start), np.zeros(start.shape)
    floor, level = np.mean(residuals**2), level_of(rows, start)
    done = 0
    while done < 5000:
        order = rng.permutation(len(inputs))
        for chosen in (order[begin : begin + batch_size] for begin in range(0, len(inputs), batch_size)):
            if np.sum(modes[:, None] * error**2) / OUTPUTS + floor <= level:
                return done
            gradient = inputs[chosen].T @ (inputs[chosen] @ error - residuals[chosen]) / len(chosen)
            velocity = momentum * velocity + gradient
            error = error - rate * (momentum * velocity + gradient if nesterov else velocity)
            done += 1
    return np.inf


@pytest.mark.parametrize("name", RULES)
def test_a_full_batch_step_by_step(name):
    """No order matters: every run takes the steps that are written out."""
    rows, start = heavy_rows()
    expected = written_out(rows, start, 0.02, name, 400, np.random.default_rng(0))
    assert 10 < expected < 1000
    np.testing.assert_array_equal(passages(rows, start, 0.02, name, 400, 2), expected)


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("name", "rate", "batch"),
    [("plain", 0.03, 8), ("plain", 0.02, 150), ("heavy ball", 0.002, 8), ("Nesterov", 0.002, 8)],
)
def test_mean_of_runs_against_other_draws(name, rate, batch):
    """And a rate that is a tenth off is told, so that the test could fail. The third of 150 rows has 100 of 400."""
    rows, start = heavy_rows()
    rng = np.random.default_rng(1)
    others = np.array([written_out(rows, start, rate, name, batch, rng) for _ in range(200)])

    def apart(rate: float) -> float:
        runs = passages(rows, start, rate, name, batch, 400)
        return abs(runs.mean() - others.mean()) / np.sqrt(runs.var() / len(runs) + others.var() / len(others))

    assert apart(rate) < 4
    assert apart(0.9 * rate) > 4


def test_the_expected_loss_is_late_where_rows_have_heavy_tails():
    """What the mean of first passages is for: neither fourth moment of the rows tells how long runs take."""
    rows, start = heavy_rows()
    runs = passages(rows, start, 0.01, "heavy ball", 8, 400)
    rule = fourth_moment.rule_of(0.01, 0.8)
    share = np.sqrt(1 / OUTPUTS)
    scaled = rows._replace(residuals=rows.residuals * share)
    for fourth in (fourth_moment.of_rows, of_gaussians):
        losses = np.asarray(fourth_moment.fresh(scaled, rule, start * share, 1 / 8, 2000, fourth))
        reached = np.flatnonzero(losses + judge(rows).constant <= level_of(rows, start))
        expected = reached[0] if len(reached) else np.inf
        assert abs(expected / runs.mean() - 1) > 0.1


def test_runs_that_do_not_get_there_take_for_ever():
    rows, start = heavy_rows()
    assert np.isinf(passages(rows, start, 5.0, "plain", 8, 4)).all()
    assert np.isinf(passages(rows, start, 0.03, "plain", 8, 4, most=3.0)).all()
    assert (passages(rows, start, 0.03, "plain", 8, 4, level=1e9) == 0).all()


def test_new_numbers_do_not_recompile():
    rows, start = heavy_rows()
    passages(rows, start, 0.03, "heavy ball", 8, 4)
    programs = (first_passage._at_start, first_passage._epoch)
    before = [each._cache_size() for each in programs]
    passages(rows, start, 0.02, "Nesterov", 8, 4, most=100.0, seed=3)
    assert [each._cache_size() for each in programs] == before
    passages(rows, start, 0.02, "Nesterov", 9, 4)  # another size of batches
    assert [each._cache_size() for each in programs] == [before[0], before[1] + 1]


def test_a_form_of_other_rows():
    """The loss with a matrix and slopes is that with a diagonal where both say the same."""
    rows, start = heavy_rows()
    known = judge(rows)
    full = known._replace(gram=jnp.diag(known.gram), slopes=known.slopes + 1.0)
    np.testing.assert_allclose(full.loss(start), known.loss(start) + 2 * jnp.sum(start) / OUTPUTS, rtol=1e-12)
