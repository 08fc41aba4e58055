"""The expected loss with the rows' own fourth moment: against every order of few rows, and simulation of more."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gaussian_rows import of_gaussians

from idjax.theory.sgd import fourth_moment, minibatch
from idjax.theory.sgd.fourth_moment import EmpiricalRows, LinearUpdate
from idjax.types import Weights

pytestmark = pytest.mark.usefixtures("in_float64")


class Few(NamedTuple):
    """Skewed rows with label noise, so few that every order can be taken."""

    rows: EmpiricalRows
    error: jax.Array
    batch: int


def few(count: int, batch: int) -> Few:
    rng = np.random.default_rng(count)
    x = rng.exponential(size=(count, 2))
    y = x @ rng.normal(size=(2, 2)) + rng.normal(size=(count, 2))
    return Few(*fourth_moment.rows_of(x, y, Weights(np.zeros((2, 2)), np.zeros(2))), batch)


def orders(left: tuple[int, ...], batch: int) -> list[tuple[tuple[int, ...], ...]]:
    """All ways to draw batches without replacement, the last one with what is left."""
    if not left:
        return [()]
    return [
        (chosen, *rest)
        for chosen in itertools.combinations(left, min(batch, len(left)))
        for rest in orders(tuple(row for row in left if row not in chosen), batch)
    ]


def over_all_orders(problem: Few, rule: LinearUpdate) -> tuple[np.ndarray, ...]:
    """Excess and batch loss before each step of one epoch, and E[e] and Σ_j E[e_j e_jᵀ] at its end."""
    inputs, residuals, modes = map(np.asarray, problem.rows)
    drawn = orders(tuple(range(len(inputs))), problem.batch)
    state = np.zeros((len(drawn), len(rule.push), *problem.error.shape))
    state[:, 0] = problem.error
    losses = []
    for step in range(len(drawn[0])):
        chosen = np.array([order[step] for order in drawn])
        off = np.einsum("kbn,knq->kbq", inputs[chosen], state[:, 0]) - residuals[chosen]
        excess = np.einsum("n,knq->k", modes, state[:, 0] ** 2)
        losses.append((excess.mean(), np.mean(np.sum(off**2, axis=-1))))
        gradient = np.einsum("kbn,kbq->knq", inputs[chosen], off) / chosen.shape[1]
        pushed = np.asarray(rule.push)[:, None, None] * gradient[:, None]
        state = np.einsum("ab,kbnq->kanq", np.asarray(rule.keep), state) + pushed
    errors = state[:, 0]
    return *np.transpose(losses), errors.mean(axis=0), np.einsum("knq,kmq->nm", errors, errors) / len(errors)


RULES = [(0.0, False), (0.6, False), (0.6, True)]


@pytest.mark.parametrize(("momentum", "nesterov"), RULES)
@pytest.mark.parametrize(("count", "batch"), [(8, 2), (7, 2), (5, 1)])
def test_a_shuffled_epoch_is_exact_to_third_order_in_the_rate(count, batch, momentum, nesterov):
    """Halving the rate divides what is wrong by 16, and by 8 in the loss of a batch, which is exact to second order."""
    problem = few(count, batch)

    def off(share: float) -> np.ndarray:
        """The largest errors of the four expectations."""
        rule = fourth_moment.rule_of(share / float(problem.rows.eigenvalues[0]), momentum, nesterov)
        found = fourth_moment.shuffled(problem.rows, rule, problem.error, batch, 1)
        pairs = zip(found, over_all_orders(problem, rule), strict=True)
        return np.array([np.abs(np.asarray(got)[0] - right).max() / np.abs(right).max() for got, right in pairs])

    wrong = off(1 / 64)
    assert np.all(wrong < 1e-4)
    assert np.all(wrong / off(1 / 128) > [12, 6, 12, 12])


@pytest.mark.parametrize(("momentum", "nesterov"), RULES)
def test_wrong_noise_of_an_epoch_is_of_second_order(momentum, nesterov):
    """The control of the test above: the noise of fresh batches, drawn with replacement or without, and none."""
    problem = few(6, 2)

    def off(share: float, noise: float) -> float:
        rule = fourth_moment.rule_of(share / float(problem.rows.eigenvalues[0]), momentum, nesterov)
        excess = np.asarray(fourth_moment.fresh(problem.rows, rule, problem.error, noise, 3))
        return float(np.abs(excess - over_all_orders(problem, rule)[0]).max() / excess[0])

    for noise in (1 / 2, (6 - 2) / (2 * 5), 0.0):
        assert off(1 / 64, noise) / off(1 / 128, noise) < 5


def like_gaussians(kurtosis: int) -> np.ndarray:
    """Three independent columns of mean 0 and variance 1, each with kurtosis - 1 zeros to every other number."""
    zeros = 2 * (kurtosis - 1)
    column = np.sqrt(kurtosis) * np.array([-1.0, *np.zeros(zeros), 1.0])
    return np.array(list(itertools.product(column, repeat=3)))


def test_rows_with_the_moments_of_gaussians_have_their_fourth_moment():
    """-√3, 0, 0, 0, 0, √3 has the moments of a Gaussian up to the fifth; with kurtosis 4 it has not."""
    rng = np.random.default_rng(4)
    mixing, mean, kernel = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=(3, 2))

    def fourths(kurtosis: int) -> tuple[np.ndarray, np.ndarray]:
        plain = np.tile(like_gaussians(kurtosis), (2, 1))
        signs = np.repeat([1.0, -1.0], len(plain) // 2)[:, None]
        x = plain @ mixing + mean
        y = x @ kernel + signs * np.array([0.3, 2.0])
        rows, error = fourth_moment.rows_of(x, y, Weights(rng.normal(size=(3, 2)), rng.normal(size=2)))
        state = fourth_moment.at_start(error, fourth_moment.rule_of(0.1))
        return np.asarray(fourth_moment.of_rows(rows, state)), np.asarray(of_gaussians(rows, state))

    own, gaussian = fourths(3)
    np.testing.assert_allclose(own, gaussian, atol=1e-12 * np.abs(own).max())
    own, gaussian = fourths(4)
    assert np.abs(own - gaussian).max() > 0.02 * np.abs(own).max()


COUNT, BATCH = 50, 4
EPOCHS = 3
RUNS = 2000
PULL = 0.2
"""What a batch may change, in all, of the error that its largest row sees."""


class Case(NamedTuple):
    """A regression on rows that are not Gaussian."""

    rows: EmpiricalRows
    error: jax.Array
    batch: int
    rate: float
    momentum: float
    nesterov: bool

    @property
    def rule(self) -> LinearUpdate:
        return fourth_moment.rule_of(self.rate, self.momentum, self.nesterov)

    @property
    def epoch_steps(self) -> int:
        return -(-len(self.rows.inputs) // self.batch)

    def fresh(self, fourth=fourth_moment.of_rows) -> np.ndarray:
        steps = EPOCHS * self.epoch_steps
        return np.asarray(fourth_moment.fresh(self.rows, self.rule, self.error, 1 / self.batch, steps, fourth))

    def shuffled(self) -> np.ndarray:
        return np.asarray(fourth_moment.shuffled(self.rows, self.rule, self.error, self.batch, EPOCHS).excess).ravel()

    def gaussian_shuffled(self) -> np.ndarray:
        """What `predict` says of Gaussian rows; docs/theory.md (49)."""
        modes, mean = np.asarray(self.rows.eigenvalues), np.asarray(self.rows.inputs.mean(axis=0))
        updates = minibatch.updates(
            modes, mean, self.batch, self.rate, self.momentum, self.nesterov, float(self.epoch_steps)
        )
        noise = float(jnp.sum(self.rows.residuals**2)) / len(self.rows.inputs)
        start = minibatch.at_start(np.asarray(self.error @ self.error.T))
        _, losses = minibatch.expected(updates, start, noise, np.diag(modes)[None], EPOCHS * self.epoch_steps)
        return losses[:, 0]


def case(seed: int) -> Case:
    """Skewed or heavy-tailed inputs with a mean, and label noise that depends on them; two thirds with momentum."""
    rng = np.random.default_rng([seed, 5])
    tails = (rng.exponential(size=(COUNT, 4)), rng.standard_t(4, size=(COUNT, 4)))[seed % 2]
    x = tails * np.geomspace(1, 0.2, 4) + 0.3 * rng.normal(size=4)
    y = x @ rng.normal(size=(4, 2)) + rng.normal(size=(COUNT, 2)) * np.abs(x[:, :1])
    rows, error = fourth_moment.rows_of(x, y, Weights(2 * rng.normal(size=(4, 2)), np.zeros(2)))
    momentum, nesterov = ((0.0, False), (0.8, False), (0.8, True))[seed % 3]
    largest = float(jnp.sum(rows.inputs**2, axis=1).max())
    return Case(rows, error, BATCH, PULL * (1 - momentum) * BATCH / largest, momentum, nesterov)


@functools.partial(jax.jit, static_argnames=("batch", "epochs", "runs", "replaced"))
def simulate(
    rows: EmpiricalRows,
    rule: LinearUpdate,
    error: jax.Array,
    batch: int,
    epochs: int,
    runs: int,
    replaced: bool,
    seed: int = 0,
) -> jax.Array:
    """The excess loss before each step, (runs, steps): batches drawn with replacement, or shuffled epochs."""
    inputs, residuals, modes = rows
    count = len(inputs)
    steps = -(-count // batch)
    kept = (jnp.arange(steps * batch) < count).reshape(steps, batch)
    kept = jnp.ones_like(kept) if replaced else kept

    def step(state: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        chosen, kept = drawn
        off = (inputs[chosen] @ state[0] - residuals[chosen]) * kept[:, None]
        new = jnp.einsum("ab,bnq->anq", rule.keep, state)
        new += rule.push[:, None, None] * (inputs[chosen].T @ off) / kept.sum()
        return new, modes @ jnp.sum(state[0] ** 2, axis=1)

    def epoch(state: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        order = jnp.pad(jax.random.permutation(key, count), (0, steps * batch - count))
        fresh = jax.random.randint(key, (steps * batch,), 0, count)
        chosen = fresh if replaced else order
        return jax.lax.scan(step, state, (chosen.reshape(steps, batch), kept))

    def run(key: jax.Array) -> jax.Array:
        start = jnp.zeros((len(rule.push), *error.shape)).at[0].set(error)
        return jax.lax.scan(epoch, start, jax.random.split(key, epochs))[1].ravel()

    return jax.vmap(run)(jax.random.split(jax.random.key(seed), runs))


def standardised(replaced: bool, theory) -> np.ndarray:
    """Of each case the difference of mean and theory in standard errors, early, midway and at the end in turn."""
    scores = []
    for seed in range(12):
        problem = case(seed)
        losses = _simulated(seed, replaced)
        step = round((0.1, 0.5, 1.0)[seed // 3 % 3] * (losses.shape[1] - 1))
        error = losses[:, step].std(ddof=1) / np.sqrt(RUNS)
        scores.append((losses[:, step].mean() - theory(problem)[step]) / error)
    return np.array(scores)


@functools.cache
def _simulated(seed: int, replaced: bool) -> np.ndarray:
    problem = case(seed)
    return np.asarray(
        simulate(problem.rows, problem.rule, problem.error, problem.batch, EPOCHS, RUNS, replaced, seed=seed + 100)
    )


def look_standard_normal(scores: np.ndarray) -> bool:
    """The sum of squares against its chi-squared: 1 in 1000."""
    return bool(scipy.stats.chi2.sf(np.sum(scores**2), len(scores)) > 1e-3)


@pytest.mark.slow
def test_fresh_batches_against_simulation():
    scores = standardised(True, Case.fresh)
    assert look_standard_normal(scores)
    wrong = standardised(True, lambda problem: problem.fresh(of_gaussians))
    assert not look_standard_normal(wrong)


@pytest.mark.slow
def test_shuffled_epochs_against_simulation():
    scores = standardised(False, Case.shuffled)
    assert look_standard_normal(scores)
    assert not look_standard_normal(standardised(False, Case.fresh))
    assert not look_standard_normal(standardised(False, Case.gaussian_shuffled))
