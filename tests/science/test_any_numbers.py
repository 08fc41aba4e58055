"""No traceback on any numbers: data and settings of all kinds are predicted and diagnosed, or refused in one line."""

import contextlib

import numpy as np
import pytest
from any_numbers import case, check
from compiled import forget_programs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import idjax
from idjax.moments.moments import measure
from idjax.prediction.learning_rates import is_stable, learning_rates
from idjax.prediction.problem import quadratic_problem
from idjax.settings import DiagnosisSettings, Settings
from idjax.theory.sgd import stability
from idjax.types import IdjaxError, Spectrum

NORMAL = np.random.default_rng(7).normal(size=(4000, 30))


def anything(draw, quick=False):
    """Predicts and diagnoses data and settings that hypothesis draws."""
    drawn = case(lambda some: draw(st.sampled_from(some)), np.random.default_rng(draw(st.integers(0, 2**20))), quick)
    for command in ("predict", "diagnose"):
        with contextlib.suppress(IdjaxError):
            check(command, drawn)
    if not quick:
        forget_programs()


UNHURRIED = {
    "phases": [Phase.explicit, Phase.generate],
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}


@seed(0)
@settings(max_examples=15, **UNHURRIED)
@given(st.data())
def test_some_numbers(data):
    anything(data.draw, quick=True)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(12))
def test_any_numbers(part):
    """2,400 draws, 2,000 of them quick."""

    @seed(part)
    @settings(max_examples=200, **UNHURRIED)
    @given(st.data())
    def draws(data):
        anything(data.draw, quick=part >= 2)

    draws()


def codes(x, **options):
    found = idjax.diagnose(x, DiagnosisSettings(), prescriptions=False, **options)
    return [finding.code for finding in found.causes], found


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "x",
    [
        (NORMAL[:4000, :8] * 0.05 + 1e6).astype(np.float32),
        NORMAL[:40, :1] * 1e-30,
        NORMAL[:40, :3] * 1e-40,
        NORMAL[:40, :3] * 1e-150,
    ],
)
def test_what_float32_cannot_tell_apart_is_a_matter_of_resolution(x):
    causes, found = codes(x)
    assert causes[0] == "data-resolution"
    assert "learned in" not in found.verdict
    assert "data-resolution" not in codes(x * 0 + NORMAL[: len(x), : x.shape[1]])[0]


def test_inputs_without_gradients_are_cured_by_standardising_them():
    x = NORMAL[:40, :3] * 1e-25
    assert codes(x)[0][0] == "data-resolution"
    standardised = DiagnosisSettings(normalize="feature", learning_rate=0.4, epochs=40)
    assert idjax.diagnose(x, standardised, prescriptions=False).causes == ()
    trained = idjax.train(x, standardised)
    assert trained.explained_variance[-1] > 0.99


def test_a_target_whose_squares_underflow_is_refused():
    with pytest.raises(IdjaxError, match="underflow float64: scale it up"):
        codes(NORMAL[:40, :3] * 1e-170)


@pytest.mark.parametrize("target", [None, np.full((40, 2), 3.0)])
def test_nothing_to_learn(target):
    x = np.full((40, 3), 7.0) if target is None else NORMAL[:40, :3]
    causes, found = codes(x, target=target)
    assert not causes
    assert "nothing to learn" in found.verdict


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e18, 1e140])
def test_stable_rates_of_rows_of_any_size_go_as_their_inverse_squares(scale, momentum):
    """In original units every mode of samples that bring their own deviation is as small or large as their squares."""
    asked = Settings(normalize="sample", loss_space="original", batch_size=8, momentum=momentum)
    x = NORMAL[:200, :5] + 1
    one, other = (quadratic_problem(measure(size * x), None, asked) for size in (1.0, scale))
    rates, scaled = (learning_rates(problem, 8, momentum) for problem in (one, other))
    for name in ("full_batch_max", "full_batch_best", "max", "best"):
        assert getattr(scaled, name) == pytest.approx(getattr(rates, name) / scale / scale, rel=1e-3), name
    assert scaled.critical_batch == pytest.approx(rates.critical_batch, rel=1e-6)
    assert is_stable(other, asked, 0.99 * scaled.max)
    assert not is_stable(other, asked, 1.01 * scaled.max)


def test_any_rate_is_stable_where_nothing_moves():
    asked = Settings(normalize="sample", loss_space="original", batch_size=8)
    problem = quadratic_problem(measure(NORMAL[:40, :1]), None, asked)
    assert problem.spectrum.rank == 0
    rates = learning_rates(problem, 8)
    assert rates.max == rates.best == np.inf
    assert is_stable(problem, asked, 1e300)


def test_margins_do_not_change_with_units():
    eigenvalues, mean = np.array([3.0, 1.0, 0.2]), np.array([1.0, 0.5, 0.1])
    for unit in (1.0, 1e-300, 1e300):
        spectrum = Spectrum(unit * eigenvalues, np.eye(3))
        step = stability.max_step(spectrum, np.sqrt(unit) * mean, 4)
        assert step * unit == pytest.approx(stability.max_step(Spectrum(eigenvalues, np.eye(3)), mean, 4), rel=1e-9)
