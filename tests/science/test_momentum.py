"""Jumps over many updates, stable rates and growth with momentum, against the recursion, the dense map and optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from idjax.theory.full_batch import momentum
from idjax.theory.sgd import horizons as fast_forward
from idjax.theory.sgd import mean_square, minibatch

pytestmark = pytest.mark.usefixtures("in_float64")


RULES = [(0.0, False), (0.5, True), (0.9, False), (0.9, True), (0.99, False)]


def iterated_and_jumped(rule, start, noise, steps):
    n = len(rule.eigenvalues)
    forms = np.stack([np.diag(np.asarray(rule.eigenvalues)), np.cov(np.random.default_rng(0).normal(size=(n, 3 * n)))])
    _, slow = minibatch.expected(rule, minibatch.at_start(start), noise, forms, int(steps[-1]) + 1)
    run = (rule, start[None], np.array([noise]), forms)
    return np.asarray(slow).T, fast_forward.Expectation(*run), fast_forward.Expectation(*run, foretold=(1.0, steps[-1]))


@pytest.mark.parametrize(("beta", "nesterov"), RULES)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_any_horizon_equals_the_recursion(beta, nesterov, seed):
    """To 1e-8 of the initial loss; spectra of six decades, null modes, rates that flip signs, shuffled epochs."""
    rng = np.random.default_rng(seed)
    n = 14
    eigenvalues = np.append(np.logspace(rng.uniform(-1, 1), -5, n - 2), [0.0, 0.0])
    mean = np.sqrt(eigenvalues) * rng.normal(size=n) * rng.choice([0.1, 0.7])
    limit = 2 * (1 + beta) / eigenvalues[0] / (1 + 2 * beta if nesterov else 1)
    rule = minibatch.updates(eigenvalues, mean, 8, 1.0, beta, nesterov)
    rate = (0.02, 0.3, 0.7, 0.95)[seed] * mean_square.max_rate(rule, limit)
    rule = minibatch.updates(eigenvalues, mean, 8, rate, beta, nesterov, np.inf if seed % 2 else 50.0)
    error = rng.normal(size=(n, 5))
    steps = np.unique(np.round(np.geomspace(1, 30_001, 60)))
    slow, *jumped = iterated_and_jumped(rule, error @ error.T, 0.3, steps)
    chosen = steps.astype(int)
    sums = np.concatenate([np.zeros((2, 1)), np.cumsum(slow, axis=1)], axis=1)
    means = (sums[:, chosen] - sums[:, chosen - chosen // 3]) / np.maximum(chosen // 3, 1)
    for fast, digits in zip(jumped, (1e-8, 1e-11), strict=True):
        assert np.max(np.abs(fast.at(steps)[0] - slow[:, chosen]) / slow[:, :1]) < 1e-11
        assert np.max(np.abs(fast.total(steps)[0] - sums[:, chosen]) / np.abs(sums[:, chosen])) < 1e-8
        for k in range(30, len(steps), 5):
            length = int(chosen[k] // 3)
            mean = fast.mean(steps[k : k + 1] - length, length)[0, :, 0]
            assert np.max(np.abs(mean - means[:, k]) / slow[:, 0]) < digits
    wrong = rule._replace(batch_noise=rule.batch_noise * 1.01)
    other = fast_forward.Expectation(wrong, (error @ error.T)[None], np.array([0.3]), np.diag(eigenvalues)[None])
    assert np.max(np.abs(other.at(steps)[0] - slow[:1, chosen]) / slow[0, 0]) > 1e-11


def test_a_billion_steps_of_84_inputs():
    """Where the answer is known: one mode at a time for a batch of all rows, and the floor that label noise keeps."""
    rng = np.random.default_rng(2)
    eigenvalues = np.logspace(0, -9, 85)
    error = rng.normal(size=85)
    plain = minibatch.updates(eigenvalues, np.zeros(85), 1e300, 0.5)
    steps = np.array([1e3, 1e6, 1e9, 1e15])
    got = fast_forward.Expectation(plain, np.outer(error, error)[None], np.zeros(1), np.diag(eigenvalues)[None])
    expected = np.exp(2 * steps[:, None] * np.log1p(-0.5 * eigenvalues)) @ (eigenvalues * error**2)
    np.testing.assert_allclose(got.at(steps)[0, 0], expected, atol=1e-12 * float(eigenvalues @ error**2))
    rule = minibatch.updates(eigenvalues, 0.3 * np.sqrt(eigenvalues), 8, 0.1)
    kept = fast_forward.Expectation(rule, np.zeros((1, 85, 85)), np.ones(1), np.diag(eigenvalues)[None])
    floor = float(np.sum(rule.eigenvalues * np.diagonal(mean_square.settled(rule, 1.0).ee)))
    assert kept.at(np.array([1e15]))[0, 0, 0] == pytest.approx(floor, rel=1e-9)


@pytest.mark.parametrize(("beta", "nesterov"), RULES)
def test_jumps_of_the_whole_state(beta, nesterov):
    """Two jumps from any state, their means included, equal the recursion."""
    rng = np.random.default_rng(3)
    eigenvalues = np.logspace(0, -3, 8)
    rule = minibatch.updates(eigenvalues, 0.5 * rng.normal(size=8) * np.sqrt(eigenvalues), 8, 0.01, beta, nesterov)
    error = rng.normal(size=(8, 3))
    form = np.diag(eigenvalues)
    start, _ = minibatch.expected(rule, minibatch.at_start(error @ error.T), 0.1, form[None], 5)
    slow, values = minibatch.expected(rule, start, 0.1, form[None], 20_001)
    middle, first = fast_forward.advance(rule, start, 0.1, form, 9_001)
    fast, second = fast_forward.advance(rule, middle, 0.1, form, 11_000)
    for got, expected, size in zip(fast, slow, start, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-11 * float(np.abs(size).max()))
    assert (9_001 * first + 11_000 * second) / 20_001 == pytest.approx(float(values.mean()), rel=1e-8)


def dense_growth(rule) -> float:
    """Spectral radius of the map of second moments, written out."""
    n = len(rule.eigenvalues)

    def flat(state):
        ee, ev, vv = state.reshape(3, n, n)
        return np.stack(one_step(rule, 0.0, minibatch.Second((ee + ee.T) / 2, ev, (vv + vv.T) / 2))).ravel()

    return float(np.abs(np.linalg.eigvals(np.stack([flat(unit) for unit in np.eye(3 * n * n)], axis=1))).max())


def one_step(rule, noise, state):
    return minibatch.expected(rule, state, noise, np.empty((0, *state.ee.shape)), 1)[0]


@pytest.mark.parametrize(("beta", "nesterov"), RULES)
@pytest.mark.parametrize("seed", range(4))
def test_the_stable_rates_with_momentum_against_the_dense_map(beta, nesterov, seed):
    rng = np.random.default_rng(seed)
    eigenvalues = np.sort(10 ** rng.uniform(-2, 0.5, 3))[::-1].copy()
    mean = np.sqrt(eigenvalues) * rng.uniform(-1, 1, 3) * rng.choice([0.1, 0.5])
    rule = minibatch.updates(eigenvalues, mean, float(rng.choice([1, 3, 8])), 1.0, beta, nesterov)
    ceiling = 2 * (1 + beta) / eigenvalues[0] / (1 + 2 * beta if nesterov else 1)
    limit = mean_square.max_rate(rule, ceiling)
    assert dense_growth(rule._replace(rate=limit * (1 - 1e-5))) < 1
    assert dense_growth(rule._replace(rate=limit * (1 + 1e-5))) > 1
    inside = rule._replace(rate=0.4 * limit)
    growth = dense_growth(inside)
    assert mean_square.growth_is_below(growth + 1e-9, inside)
    assert not mean_square.growth_is_below(growth - 1e-9, inside)
    settled = mean_square.settled(inside, 0.2)
    for before, after in zip(settled, one_step(inside, 0.2, settled), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-12 * float(np.abs(before).max()))
    best = mean_square.best_rate(rule, limit)
    others = [dense_growth(rule._replace(rate=best * factor)) for factor in (0.9, 1.0, 1.1)]
    assert others[1] <= min(others) + 1e-3 * (1 - min(others))


@pytest.mark.parametrize(("beta", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_how_fast_the_loss_shrinks_against_the_dense_map(beta, nesterov):
    """To 1e-5. A search that ends at the pole of the slowest pair takes that for the answer at a third of the rates."""
    eigenvalues = np.array([0.39, 0.047, 0.013])
    mean = np.array([-0.3, 0.068, 0.046])
    rule = minibatch.updates(eigenvalues, mean, 3.0, 1.0, beta, nesterov)
    limit = mean_square.max_rate(rule, 2 * (1 + beta) / eigenvalues[0] / (1 + 2 * beta if nesterov else 1))
    for share in np.linspace(0.05, 0.95, 13):
        at = rule._replace(rate=share * limit)
        assert mean_square.loss_decay(at) == pytest.approx(1 - dense_growth(at), rel=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("share", "beta"), [(0.02, 0.9), (0.5, 0.5), (0.98, 0.9), (0.3, 0.999), (0.7, 0.0)])
def test_full_batch_momentum_against_optax(nesterov, share, beta):
    """1e-10 over 1,000 steps, double roots and null modes included."""
    rates = np.append(np.geomspace(1e-8, 2.0, 30), 0.0)
    rate = share * float(momentum.max_learning_rate(rates, beta, nesterov))
    rates[5] = (1 - beta**0.5) ** 2 / rate  # the heavy ball's double root
    rates = np.minimum(rates, 2.0)
    optimizer = optax.sgd(rate, momentum=beta, nesterov=nesterov)

    def step(state, _):
        error, inside = state
        update, inside = optimizer.update(rates * error, inside)
        return (error + update, inside), error

    error = jnp.ones_like(rates)
    _, path = jax.lax.scan(step, (error, optimizer.init(error)), None, length=1001)
    got = momentum.shrink_factors(rates, rate, beta, nesterov, np.arange(1001.0))
    assert float(jnp.abs(got - path).max()) < 1e-10
    other = momentum.shrink_factors(rates, rate, beta, not nesterov, np.arange(1001.0))
    assert beta == 0 or not float(jnp.abs(other - path).max()) < 1e-10


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_best_momentum_is_the_best(nesterov):
    """No pair of rate and momentum nearby has a smaller spectral radius over the modes."""
    rates = np.array([1.0, 0.3, 0.01])

    def radius(rate, beta):
        ahead = 1 + beta if nesterov else 1.0
        kept = beta**2 if nesterov else beta
        k = jnp.array([[[1 - rate * h * ahead, -rate * kept], [h, beta]] for h in rates])
        return float(np.abs(np.linalg.eigvals(np.asarray(k))).max())

    best = momentum.best(rates, nesterov)
    assert radius(best.learning_rate, best.momentum) == pytest.approx(best.factor, abs=1e-6)
    for rate in (0.97, 1.0, 1.03):
        for shift in (-0.01, 0.0, 0.01):
            assert radius(rate * best.learning_rate, best.momentum + shift) > best.factor - 1e-6
    fixed = float(momentum.best_learning_rate(rates, 0.5, nesterov))
    assert all(radius(factor * fixed, 0.5) >= radius(fixed, 0.5) - 1e-6 for factor in (0.95, 1.05))


# Shuffled epochs. Their noise cancels within the epoch for slow modes: the theory is of second order in the rate.
