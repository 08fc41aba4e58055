"""Learning rates over time, against Keras's own schedules and at their corners."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from keras.optimizers import schedules as keras_schedules

from idjax.nn import schedules
from idjax.settings import Schedule

STEPS, EPOCHS = 50, 8
COUNTS = np.arange(STEPS * EPOCHS)


def rates(schedule: Schedule, counts=COUNTS):
    with jax.enable_x64(True):
        return np.asarray(schedules.build(schedule, 0.3, STEPS, EPOCHS)(jnp.asarray(counts)))


@pytest.mark.parametrize(
    ("schedule", "keras"),
    [
        (Schedule("cosine"), keras_schedules.CosineDecay(0.3, STEPS * EPOCHS)),
        (Schedule("exponential", factor=0.8), keras_schedules.ExponentialDecay(0.3, STEPS, 0.8)),
        (
            Schedule("cosine", warmup=2.0),
            keras_schedules.CosineDecay(0.0, STEPS * (EPOCHS - 2), warmup_target=0.3, warmup_steps=2 * STEPS),
        ),
    ],
)
def test_the_rates_are_those_of_keras(schedule, keras):
    counts = COUNTS[::11]  # a call of Keras for each
    expected = np.array([float(keras(int(count))) for count in counts])
    assert np.abs(rates(schedule, counts) - expected).max() < 1e-6
    assert np.abs(rates(Schedule(warmup=1.0), counts) - expected).max() > 1e-2


def test_warm_up_alone():
    got = rates(Schedule(warmup=2.0))
    np.testing.assert_allclose(got[: 2 * STEPS], 0.3 * COUNTS[: 2 * STEPS] / (2 * STEPS))
    np.testing.assert_allclose(got[2 * STEPS :], 0.3)


def test_a_traced_count_and_rate_give_the_same():
    for schedule in (Schedule("cosine"), Schedule("exponential", warmup=2.0)):
        got = jax.jit(lambda rate, count, schedule=schedule: schedules.build(schedule, rate, STEPS, EPOCHS)(count))
        traced = [float(got(jnp.float32(0.3), jnp.int32(count))) for count in COUNTS[::37]]
        np.testing.assert_allclose(traced, rates(schedule)[::37], rtol=1e-5)


def test_a_constant_rate_stays_a_number():
    assert not callable(schedules.build(Schedule(), 0.3, STEPS, EPOCHS))
