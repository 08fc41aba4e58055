"""Many steps of minibatch SGD with momentum by powers of one matrix, against one step after another."""

import numpy as np
import pytest

from idjax.theory.sgd.minibatch import at_start, iterated, packed, pairs_of, updates
from idjax.theory.sgd.powers import by_powers

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("modes", "momentum", "nesterov", "steps"),
    [(1, 0.9, False, 1), (3, 0.999, False, 20_011), (5, 0.9, True, 3000), (8, 0.99, False, 5000), (2, 0.0, False, 700)],
)
def test_powers_are_one_step_after_another(modes, momentum, nesterov, steps):
    eigenvalues = np.geomspace(1, 1e-3, modes)
    mean = 0.5 * RNG.normal(size=modes) * np.sqrt(eigenvalues)
    rule = updates(eigenvalues, mean, 8, 0.02 * (1 - momentum), momentum, nesterov, epoch_steps=20.0)
    pairs, errors = pairs_of(rule), RNG.normal(size=(modes, 2))
    start, forms = packed(at_start(errors @ errors.T)), RNG.normal(size=(2, len(pairs.first)))
    _, each = iterated(rule, pairs, start, 0.3, forms, steps, last=False)
    rounding = max(steps, 100) * np.finfo(float).eps * np.abs(each[0]).max()
    assert np.abs(by_powers(rule, pairs, start, 0.3, forms, steps) - each).max() < rounding
    # Without the noise of the labels, and with a mean a hundredth off, it is something else.
    if steps > 1:
        assert np.abs(by_powers(rule, pairs, start, 0.0, forms, steps) - each).max() > 100 * rounding
        other = rule._replace(mean=1.01 * mean)
        assert np.abs(by_powers(other, pairs_of(other), start, 0.3, forms, steps) - each).max() > 100 * rounding
