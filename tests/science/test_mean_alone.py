"""The mean of the weights of minibatch SGD: the full batch at its steps; the batches' noise only adds to its loss."""

import dataclasses

import numpy as np
import pytest

from idjax import Settings
from idjax.moments.moments import measure
from idjax.prediction.dynamics.full_batch import FullBatchTrajectory, MeanTrajectory
from idjax.prediction.dynamics.minibatch import MinibatchTrajectory
from idjax.prediction.predict import run_spec


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_the_mean_is_the_full_batch_step_by_step(momentum):
    draws = np.random.default_rng(1)
    x = draws.normal(size=(600, 5)) * np.geomspace(1, 0.3, 5) + 0.5
    settings = Settings(learning_rate=0.01, batch_size=10, epochs=4, momentum=momentum)
    spec = run_spec(measure(x[:420]), measure(x[420:]), dataclasses.replace(settings))
    found, noisy = (kind(spec).losses(spec.epochs) for kind in (MeanTrajectory, MinibatchTrajectory))
    every = FullBatchTrajectory(spec).losses(np.arange(1.0, 4 * spec.steps + 1))
    np.testing.assert_allclose(found.train, every.train.reshape(4, -1).mean(axis=1), rtol=0.02)
    for field in ("validation", "error"):
        ends = getattr(every, field)[spec.steps - 1 :: spec.steps]
        np.testing.assert_allclose(getattr(found, field), ends, rtol=1e-12)
        assert np.abs(getattr(found, field)[1:] / ends[:-1] - 1).min() > 0.05  # not those of the epoch before
    assert (noisy.error > found.error).all()


def test_the_mean_from_its_own_start_is_the_mean():
    x = 1 + np.random.default_rng(0).normal(size=(100, 3))
    spec = run_spec(measure(x, None), None, Settings(batch_size=10, learning_rate=0.01, epochs=5))
    mean = MeanTrajectory(spec)
    np.testing.assert_allclose(mean.ensemble([spec.start], 1)[0].train, mean.losses(spec.epochs).train, rtol=1e-12)
