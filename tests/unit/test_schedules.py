"""Learning rates over time, against Keras's own schedules and at their corners."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from keras.optimizers import schedules as keras_schedules

from idjax.nn import schedules
from idjax.settings import Schedule, parse_schedule
from idjax.types import IdjaxError

STEPS, EPOCHS = 50, 8
COUNTS = np.arange(STEPS * EPOCHS)


def rates(text: str, counts=COUNTS):
    with jax.enable_x64(True):
        return np.asarray(schedules.build(parse_schedule(text), 0.3, STEPS, EPOCHS)(jnp.asarray(counts)))


@pytest.mark.parametrize(
    ("text", "keras"),
    [
        ("cosine", keras_schedules.CosineDecay(0.3, STEPS * EPOCHS)),
        ("exponential=0.8", keras_schedules.ExponentialDecay(0.3, STEPS, 0.8)),
        (
            "warmup=2+cosine",
            keras_schedules.CosineDecay(0.0, STEPS * (EPOCHS - 2), warmup_target=0.3, warmup_steps=2 * STEPS),
        ),
    ],
)
def test_the_rates_are_those_of_keras(text, keras):
    counts = COUNTS[::11]  # a call of Keras for each
    expected = np.array([float(keras(int(count))) for count in counts])
    assert np.abs(rates(text, counts) - expected).max() < 1e-6
    assert np.abs(rates("constant+warmup=1", counts) - expected).max() > 1e-2


def test_warm_up_alone():
    got = rates("warmup=2")
    np.testing.assert_allclose(got[: 2 * STEPS], 0.3 * COUNTS[: 2 * STEPS] / (2 * STEPS))
    np.testing.assert_allclose(got[2 * STEPS :], 0.3)


def test_a_traced_count_and_rate_give_the_same():
    for text in ("cosine", "warmup=2+exponential"):
        schedule = parse_schedule(text)
        got = jax.jit(lambda rate, count, schedule=schedule: schedules.build(schedule, rate, STEPS, EPOCHS)(count))
        traced = [float(got(jnp.float32(0.3), jnp.int32(count))) for count in COUNTS[::37]]
        np.testing.assert_allclose(traced, rates(text)[::37], rtol=1e-5)


def test_a_constant_rate_stays_a_number():
    assert not callable(schedules.build(Schedule(), 0.3, STEPS, EPOCHS))


@pytest.mark.parametrize("text", ["", "linear", "cosine=3", "exponential=2", "exponential=x", "warmup", "warmup=-1"])
def test_other_words_are_refused_in_one_line(text):
    with pytest.raises(IdjaxError, match=r"^--schedule is .*warmup=2\+cosine$"):
        parse_schedule(text)
