"""Largest rates by Brent's method against plain bisection, and iterated pairs of modes against whole matrices."""

import dataclasses

import numpy as np
import pytest

from idjax.diagnosis.data.tails import fourth_moment_of, white_rows
from idjax.moments.moments import measure
from idjax.moments.spectrum import largest_eigenvalue
from idjax.prediction.learning_rates import is_stable, max_learning_rate
from idjax.prediction.predict import epochs_to_learn, predict_from_moments, run_spec, times_of_groups
from idjax.prediction.problem import quadratic_problem
from idjax.settings import Settings
from idjax.theory.root_finding import last_where
from idjax.theory.sgd import mean_square, minibatch
from idjax.theory.sgd import stability as sgd
from idjax.types import Spectrum

pytestmark = pytest.mark.usefixtures("in_float64")


def draw(seed: int, most: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Eigenvalues, μ with M - μμᵀ ≥ 0, and a batch size; a third are nearly nothing but their mean."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, most))
    eigenvalues = np.sort(10 ** rng.uniform(-rng.uniform(0.1, 5), 0, n))[::-1] * 10 ** rng.uniform(-3, 3)
    direction = rng.normal(size=n)
    share = rng.choice([0.0, 0.1, 0.5, 0.99])
    if seed % 3 == 0:
        eigenvalues[0] *= 10 ** rng.uniform(1, 4)
        direction, share = np.eye(n)[0], 1 - 1e-6
    mean = share * np.sqrt(eigenvalues) * direction / np.linalg.norm(direction)
    return eigenvalues.copy(), mean, float(rng.choice([1, 2, 4, 8, 32, 256]))


def bisected(stable, ceiling: float) -> float:
    """The old way: 45 halves of an interval that starts a little beyond, off the poles."""
    low, high = 0.0, 1.0001 * ceiling
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if stable(middle) else (low, middle)
    return min(low, ceiling)


def counts_no_eigenvalues(step, eigenvalues, mean, batch) -> bool:
    """(31) alone, the largest eigenvalue of G D below 1, beyond the first pole of the pairs as well."""
    pull = step * eigenvalues
    gap = np.add.outer(pull, pull) - (1 + 1 / batch) * np.outer(pull, pull)
    a, b, noise = np.diagonal(gap), mean**2, step**2 / batch
    spread, overlap = noise * np.sum(eigenvalues**2 / a), noise * np.sum(eigenvalues * b / a)
    focus = noise * np.sum(np.outer(b, b) / gap)
    return float(np.linalg.eigvals([[spread, -2 * overlap], [overlap, -2 * focus]]).real.max()) < 1


def test_largest_steps_are_those_of_bisection():
    """60 problems to 1e-9; a criterion without the count of eigenvalues fails beyond the poles."""
    wrong = 0
    for seed in range(60):
        eigenvalues, mean, batch = draw(seed, 60)
        ceiling = 2 / eigenvalues[0]
        got = sgd.max_step(Spectrum(eigenvalues, np.eye(len(mean))), mean, batch)
        slow = bisected(lambda step, e=eigenvalues, m=mean, b=batch: sgd.growth_is_below(1.0, step, e, m, b), ceiling)
        assert got == pytest.approx(slow, rel=1e-9)
        other = bisected(lambda step, e=eigenvalues, m=mean, b=batch: counts_no_eigenvalues(step, e, m, b), ceiling)
        wrong += abs(other / slow - 1) > 1e-9
    assert wrong > 10


@pytest.mark.parametrize(("beta", "nesterov"), [(0.0, False), (0.5, True), (0.9, False), (0.9, True)])
def test_largest_rates_with_momentum_are_those_of_bisection(beta, nesterov, monkeypatch):
    """To 1e-9 of 12 problems each, in a third of the looks."""
    looks, solve = [], mean_square.solve
    monkeypatch.setattr(mean_square, "solve", lambda *args: looks.append(1) or solve(*args))
    for seed in range(12):
        eigenvalues, mean, batch = draw(seed, 8)
        rule = minibatch.updates(eigenvalues, mean, batch, 1.0, beta, nesterov)
        limit = 2 * (1 + beta) / eigenvalues[0] / (1 + 2 * beta if nesterov else 1)
        looks.clear()
        got = mean_square.max_rate(rule, limit)
        assert len(looks) <= 20
        slow = bisected(lambda rate, rule=rule: mean_square.growth_is_below(1.0, rule._replace(rate=rate)), limit)
        assert got == pytest.approx(slow, rel=1e-9)


def test_stability_without_momentum_takes_no_lifted_matrix():
    rng = np.random.default_rng(4)
    moments = measure(rng.normal(size=(500, 6)) * np.logspace(0, -1, 6) + 2)
    settings = Settings(batch_size=4)
    problem = quadratic_problem(moments, None, settings)
    limit = max_learning_rate(problem, 4)
    assert is_stable(problem, settings, limit * (1 - 1e-9))
    assert not is_stable(problem, settings, limit * (1 + 1e-9))
    rate = 2 * limit * float(problem.output_shares.max())
    rule = minibatch.updates(problem.spectrum.eigenvalues, problem.mean, 4, rate)
    for share in (0.5, 0.999, 1.001, 1.5):
        lifted = mean_square.growth_is_below(1.0, rule._replace(rate=share * rate))
        assert is_stable(problem, settings, share * limit) == lifted == (share < 1)


def test_the_decay_of_the_mean_bounds_that_of_the_loss():
    eigenvalues = np.array([2.0, 0.3, 1e-9])
    for beta, nesterov in ((0.0, False), (0.9, False), (0.9, True)):
        rule = minibatch.updates(eigenvalues, np.zeros(3), 4, 0.1, beta, nesterov)
        ahead = 1 + beta if nesterov else 1.0
        pull = 0.1 * eigenvalues
        maps = [[[1 - ahead * p, -0.1 * beta * (beta if nesterov else 1)], [p / 0.1, beta]] for p in pull]
        radius = max(np.abs(np.linalg.eigvals(one)).max() for one in maps)
        assert mean_square.mean_decay(rule) == pytest.approx(1 - radius**2, rel=1e-6)
        assert not mean_square.growth_is_below(1 - 1.01 * mean_square.mean_decay(rule), rule)


@pytest.mark.parametrize(("decades", "scale", "batch", "epoch_steps"), [(3.0, 1.0, 32, np.inf), (1.5, 0.1, 4, 50.0)])
def test_groups_of_modes_find_the_rate_that_learns_fastest(decades, scale, batch, epoch_steps, monkeypatch):
    """Where the loss shrinks as fast as at the rate of all modes apart; groups ten times as wide do not do."""
    rng, n = np.random.default_rng(0), 60
    mean = rng.normal(size=n) * scale * np.sqrt(np.geomspace(1, 10**-decades, n) / n)
    eigenvalues, vectors = np.linalg.eigh(np.diag(np.geomspace(1, 10**-decades, n)) + np.outer(mean, mean))
    modes = eigenvalues[::-1].copy(), (vectors.T @ mean)[::-1].copy()
    rule = minibatch.updates(*modes, batch, 0.1 / modes[0][0], 0.9, False, epoch_steps)
    limit = mean_square.max_rate(rule, 3.8 / modes[0][0])

    def decay(few: int, width: float) -> float:
        monkeypatch.setattr(mean_square, "FEW", few)
        monkeypatch.setattr(mean_square, "WIDTH", width)
        return mean_square.loss_decay(rule._replace(rate=mean_square.best_rate(rule, limit)))

    exact = decay(n, 0.05)
    assert decay(0, 0.05) == pytest.approx(exact, rel=1e-5)
    assert decay(0, 20.0) < 0.999 * exact
    kept = mean_square.grouped(rule)
    assert len(np.unique(kept.eigenvalues)) < n
    assert kept.eigenvalues.sum() == pytest.approx(rule.eigenvalues.sum())
    assert np.linalg.norm(kept.mean) == pytest.approx(np.linalg.norm(rule.mean))


def test_the_end_of_what_holds():
    assert last_where(lambda x: 0.3 - x, 1.0, 1e-12) == pytest.approx(0.3, abs=1e-12)
    assert last_where(lambda x: 1.0 if x < 0.7 else -1.0, 1.0, 1e-9) == pytest.approx(0.7, abs=1e-9)
    assert last_where(lambda x: 1.0, 1.0, 1e-12) == 1.0


def iterated(rule, start, noise, forms, steps):
    """(42) in NumPy on whole matrices: the values of the forms before each update, and the second moments after."""
    modes, mean, nu = map(np.asarray, (rule.eigenvalues, rule.mean, rule.batch_noise))
    (phi, b), beta = rule.throughs, rule.momentum
    ee, ev, vv = start, np.zeros_like(start), np.zeros_like(start)
    through, values = np.diag(modes), []
    for _ in range(steps):
        values.append([np.sum(form * ee) for form in forms])
        gaussian = through @ ee @ through + (modes @ np.diag(ee) + noise) * through
        gg = through @ ee @ through + nu * (gaussian - 2 * (mean @ ee @ mean) * np.outer(mean, mean))
        uu = ee + phi * (ev + ev.T) + phi**2 * vv
        ug, vg = (ee + phi * ev.T) @ through, ev.T @ through
        ee, ev, vv = (
            uu + b * (ug + ug.T) + b**2 * gg,
            beta * (ev + phi * vv) + ug + b * (beta * vg.T + gg),
            beta**2 * vv + beta * (vg + vg.T) + gg,
        )
    return np.array(values), (ee, ev, vv)


@pytest.mark.parametrize(("beta", "nesterov"), [(0.0, False), (0.9, False), (0.5, True)])
@pytest.mark.parametrize("epoch_steps", [np.inf, 20.0])
def test_pairs_of_modes_are_iterated_as_whole_matrices_are(beta, nesterov, epoch_steps):
    rng = np.random.default_rng(1)
    eigenvalues = np.logspace(0, -2, 7)
    mean = 0.3 * np.sqrt(eigenvalues) * rng.normal(size=7)
    rule = minibatch.updates(eigenvalues, mean, 4, 0.1, beta, nesterov, epoch_steps)
    error, forms = rng.normal(size=(7, 2)), rng.normal(size=(2, 7, 7))
    start = error @ error.T
    state, values = minibatch.expected(rule, minibatch.at_start(start), 0.3, forms, 50)
    slow, moments = iterated(rule, start, 0.3, forms, 50)
    np.testing.assert_allclose(values, slow, rtol=1e-11, atol=1e-12 * np.abs(slow).max())
    for got, whole in zip(state, moments, strict=True):
        np.testing.assert_allclose(got, whole, rtol=1e-10, atol=1e-12 * np.abs(whole).max())
    wrong, _ = iterated(rule._replace(mean=0 * rule.mean), start, 0.3, forms, 50)
    assert np.abs(wrong - slow).max() > 1e-6 * np.abs(slow).max()


def test_the_largest_eigenvalue_of_many_columns():
    rng = np.random.default_rng(2)
    factor = rng.normal(size=(150, 150))
    for matrix in (factor @ factor.T, factor + factor.T, np.eye(150)):
        assert largest_eigenvalue(matrix) == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=1e-12)


@pytest.mark.parametrize("columns", [5, 120])
def test_tails_of_every_batch_share_one_fourth_moment(columns):
    """Against (131) formed from M and T for each batch; with a bent T it fails."""
    rng = np.random.default_rng(3)
    z = rng.standard_t(3, size=(2000, columns)) * np.logspace(0, -1, columns) + 1
    a = np.append(z, np.ones((2000, 1)), axis=1)
    second, mean = a.T @ a / len(a), a.mean(axis=0)
    own = (a * np.sum(a**2, axis=1)[:, None]).T @ a / len(a)
    normal = 2 * second @ second + np.trace(second) * second - 2 * (mean @ mean) * np.outer(mean, mean)
    values, vectors = np.linalg.eigh(second)
    whitener = vectors / np.sqrt(values)
    shared = fourth_moment_of(white_rows(z))

    def largest(fourth, batch):
        return np.linalg.eigvalsh(whitener.T @ ((1 - 1 / batch) * second @ second + fourth / batch) @ whitener)[-1]

    for batch in (1, 8):
        expected = largest(normal, batch) / largest(own, batch)
        assert expected < 1
        assert shared.tails(batch) == pytest.approx(expected, rel=1e-9)
        assert shared._replace(own=1.1 * shared.own).tails(batch) != pytest.approx(expected, rel=1e-4)


def test_times_alone_are_those_of_the_whole_prediction():
    rng = np.random.default_rng(5)
    moments = measure(rng.normal(size=(400, 5)) + 1, rng.normal(size=(400, 2)))
    for changes in ({}, {"momentum": 0.9, "learning_rate": 0.005}, {"batch_size": 400}, {"learning_rate": 100.0}):
        settings = dataclasses.replace(
            Settings(batch_size=8, learning_rate=0.02, learned_at=0.001, epochs=3), **changes
        )
        problem = quadratic_problem(moments, None, settings)
        curve = predict_from_moments(moments, None, settings, band=False)
        spec = run_spec(moments, None, settings, problem=problem)
        assert epochs_to_learn(spec) == curve.epochs_to_learn
        assert times_of_groups(spec) == curve.mode_groups
