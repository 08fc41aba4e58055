"""A million predictions in four numbers each: point by point the full theory, and one call over all devices."""

import itertools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from idjax.moments.moments import MomentSet
from idjax.moments.spectrum import spectrum_of
from idjax.prediction.grid import AT_ONCE, predict_grid
from idjax.prediction.predict import predict_from_moments
from idjax.settings import Settings
from idjax.theory.sgd import exchangeable
from idjax.types import IdjaxError, Moments

POINTS = [
    # mean, deviation, inputs, learning rate, batch, rows
    (0.0, 1.0, 5, 0.05, 4, 64),
    (1.0, 0.1, 6, 0.02, 8, 200),
    (-3.0, 0.5, 4, 0.01, 2, 30),
    (1.1090579, 0.0012380764, 84, 0.01, 8, 97535),
    (0.3, 2.0, 12, 0.03, 5, 64),
    (1.0, 1e-4, 3, 0.1, 1, 50),
    (2.0, 0.3, 7, 0.02, 33, 100),
]


def moments(mean: float, deviation: float, inputs: int, rows: int) -> Moments:
    covariance = deviation**2 * np.eye(inputs)
    means = np.full(inputs, mean)
    return Moments(rows, 1.0, means, means, covariance, covariance, covariance, True)


def full_theory(tmp_path, mean, deviation, inputs, learning_rate, batch, rows, epochs=3):
    """`predict` from a start whose squared error is alike in all directions, as that of a Glorot start is expected."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((inputs, inputs)))[0]
    np.savez(tmp_path / "start.npz", kernel=np.eye(inputs) + np.sqrt(2) * turn, bias=np.zeros(inputs))
    settings = Settings(
        start=str(tmp_path / "start.npz"),
        learning_rate=learning_rate,
        batch_size=batch,
        epochs=epochs,
        validation_split=0.0,
        dtype="float64",
    )
    return predict_from_moments(
        MomentSet(moments(mean, deviation, inputs, rows), None), None, settings, band=False, details=False
    )


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_every_point_is_what_the_full_theory_says(tmp_path, point):
    mean, deviation, inputs, rate, batch, rows = point
    curve = full_theory(tmp_path, *point)
    steps = curve.epoch * float(curve.steps_per_epoch)
    found = predict_grid(
        mean=mean, deviation=deviation, inputs=inputs, learning_rate=rate, batch_size=batch, rows=rows, steps=steps
    )
    assert np.isfinite(curve.steps_to_learn)
    np.testing.assert_allclose(found.steps_to_learn, curve.steps_to_learn, rtol=1e-9, atol=1)
    # The full theory knows a loss to about 1e-14 of that of the start, the square of the mean.
    rounding = 2e-15 * (mean / deviation) ** 2
    np.testing.assert_allclose(found.explained_variance, curve.explained_variance, rtol=1e-9, atol=1e-9 + rounding)


@pytest.mark.parametrize("changes", [{"batch_size": 9}, {"rows": 100}, {"mean": 1.01}, {"learning_rate": 0.0201}])
def test_other_settings_are_another_prediction(tmp_path, changes):
    """The control: a change of a percent, of the batch or of the shuffle, is seen."""
    curve = full_theory(tmp_path, 1.0, 0.3, 6, 0.02, 8, 200, epochs=20)
    steps = curve.epoch * float(curve.steps_per_epoch)
    given = {"mean": 1.0, "deviation": 0.3, "inputs": 6, "learning_rate": 0.02, "batch_size": 8, "rows": 200}
    right = 1 - predict_grid(**given, steps=steps).explained_variance
    wrong = 1 - predict_grid(**(given | changes), steps=steps).explained_variance
    np.testing.assert_allclose(right, 1 - curve.explained_variance, rtol=1e-9)
    assert np.max(np.abs(wrong / right - 1)) > 1e-5


def test_slow_modes_keep_their_digits():
    """Against 60 digits: the recursion (E4) in other coordinates, by powers of its matrix."""
    mpmath.mp.dps = 60
    mean, deviation, inputs, rate, batch = 1.0, 1e-4, 3, 0.1, 1
    found = float(
        predict_grid(mean=mean, deviation=deviation, inputs=inputs, learning_rate=rate, batch_size=batch).steps_to_learn
    )
    m, s, p, eta = (mpmath.mpf(value) for value in (mean, deviation, inputs, 2 * mpmath.mpf(rate) / inputs))
    across = mpmath.sqrt(p) * m
    second = mpmath.matrix([[s**2 + across**2, across], [across, 1]])
    towards = mpmath.matrix([across, 1])
    start = mpmath.matrix([2, 2, 0, 0])  # slow, and the block of the mean and the bias in its own coordinates

    def update(errors):
        slow, block = errors[0], mpmath.matrix([[errors[1], errors[2]], [errors[2], errors[3]]])
        level = (p - 1) * s**2 * slow + sum((second * block)[i, i] for i in range(2))
        focus = (towards.T * block * towards)[0]
        slow = slow - 2 * eta * s**2 * slow + eta**2 * (2 * s**4 * slow + level * s**2)
        fourth = 2 * second * block * second + level * second - 2 * focus * towards * towards.T
        block = block - eta * (second * block + block * second) + eta**2 * fourth
        return mpmath.matrix([slow, block[0, 0], block[0, 1], block[1, 1]])

    columns = [update(mpmath.matrix([int(i == j) for i in range(4)])) for j in range(4)]
    update_matrix = mpmath.matrix([[columns[j][i] for j in range(4)] for i in range(4)])

    def loss(steps):
        slow, a, b, d = update_matrix ** int(steps) * start
        return ((p - 1) * s**2 * slow + second[0, 0] * a + 2 * second[0, 1] * b + second[1, 1] * d) / p

    level = (1 - mpmath.mpf(0.99)) * s**2
    assert loss(found * (1 + 1e-11)) <= level < loss(found * (1 - 1e-11))


def test_modes_are_those_of_the_spectrum():
    for mean, deviation, inputs in itertools.product((0.0, 0.3, 100.0), (1e-6, 0.5, 3.0), (2, 84)):
        spectrum = spectrum_of(moments(mean, deviation, inputs, 100))
        with jax.enable_x64(True):
            runs = exchangeable.GaussianRuns(
                *(jnp.asarray(value) for value in (mean, deviation, float(inputs), 0.1, 1.0, 1.0))
            )
            slow, first, last, cosine, sine = (float(value) for value in exchangeable.modes(runs))
        expected = np.sort([first, last, *[slow] * (inputs - 1)])[::-1]
        np.testing.assert_allclose(spectrum.eigenvalues, expected, rtol=1e-12)
        assert cosine**2 + sine**2 == pytest.approx(1)


def test_full_batches_have_no_noise_and_too_large_rates_never_learn():
    given = {"mean": 1.0, "deviation": 0.5, "inputs": 4, "rows": 50}
    steps = predict_grid(**given, learning_rate=np.array([0.1, 0.1, 10.0]), batch_size=np.array([50.0, 5.0, 5.0]))
    assert steps.steps_to_learn[2] == np.inf
    # The slowest that matters: (1 - ηh)^2t of the slow modes, h = 2 s²/p, from 2 s² to 1%.
    h = 2 * 0.25 / 4
    least = np.log(0.01 / (2 * 3 / 4)) / (2 * np.log1p(-0.1 * h))
    assert steps.steps_to_learn[0] >= np.floor(least)
    assert steps.steps_to_learn[1] != steps.steps_to_learn[0]


def test_arrays_broadcast_and_any_number_of_points_fits():
    rates, batches = np.geomspace(1e-3, 0.1, 13)[:, None], np.array([1.0, 8.0, 32.0])
    grid = predict_grid(mean=1.0, deviation=0.3, inputs=5, learning_rate=rates, batch_size=batches, rows=64)
    assert grid.steps_to_learn.shape == (13, 3)
    one = predict_grid(mean=1.0, deviation=0.3, inputs=5, learning_rate=rates[7, 0], batch_size=8, rows=64)
    assert float(one.steps_to_learn) == grid.steps_to_learn[7, 1]
    many = predict_grid(mean=np.linspace(0, 1, AT_ONCE + 1), deviation=0.3, inputs=5, learning_rate=0.01, batch_size=8)
    last = predict_grid(mean=1.0, deviation=0.3, inputs=5, learning_rate=0.01, batch_size=8)
    assert many.steps_to_learn.shape == (AT_ONCE + 1,)
    assert many.steps_to_learn[-1] == float(last.steps_to_learn)
    assert np.isnan(many.explained_variance).all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"deviation": 0.0}, "deviation: give positive numbers"),
        ({"mean": np.inf}, "mean: give finite numbers"),
        ({"batch_size": np.array([1.0, np.nan])}, "batch_size: give positive"),
        ({"learned_at": 1.0}, "learned_at is 1.0"),
        ({"mean": np.zeros(2), "deviation": np.ones(3)}, "do not broadcast"),
    ],
)
def test_bad_arguments_are_named(changes, reason):
    with pytest.raises(IdjaxError, match=reason):
        predict_grid(**({"mean": 1.0, "deviation": 0.1, "learning_rate": 0.1, "batch_size": 8} | changes))


def test_no_point_recompiles():
    from idjax.prediction import grid as prediction_grid

    given = {"mean": 1.0, "deviation": 0.1, "learning_rate": np.full(70, 0.1), "batch_size": 8}
    predict_grid(**given)
    before = prediction_grid._grid._cache_size()
    predict_grid(**(given | {"mean": 2.0, "batch_size": 16, "inputs": 3, "learned_at": 0.9}))
    assert prediction_grid._grid._cache_size() == before


EIGHT = """
import jax, numpy as np
from idjax.prediction.grid import predict_grid
assert len(jax.devices()) == 8
rates = np.geomspace(1e-3, 0.3, 1000)
found = predict_grid(mean=1.0, deviation=0.1, inputs=6, learning_rate=rates, batch_size=8, rows=512)
print(found.steps_to_learn.tolist())
"""


def test_eight_devices_give_the_same_as_one():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run([sys.executable, "-c", EIGHT], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    rates = np.geomspace(1e-3, 0.3, 1000)
    here = predict_grid(mean=1.0, deviation=0.1, inputs=6, learning_rate=rates, batch_size=8, rows=512).steps_to_learn
    there = np.array(eval(done.stdout, {"inf": np.inf}))
    np.testing.assert_allclose(there, here, rtol=1e-12, atol=1)
