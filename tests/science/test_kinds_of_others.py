"""The kinds of fault of TheDeepChecker's synthetic programs, on digits and diabetes, where they show before training.

Source: the folders of buggy_synthetic_programs in github.com/thedeepchecker/thedeepchecker; docs/programs.md.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from sklearn.datasets import load_diabetes, load_digits

from idjax import diagnose_loss

pytestmark = pytest.mark.slow
DIGITS = load_digits(n_class=10)
BYTES = (DIGITS.images[:256] / 16 * 255).astype(np.float32)[..., None]  # pyright: ignore[reportAttributeAccessIssue]
LABELS = DIGITS.target[:256]  # pyright: ignore[reportAttributeAccessIssue]
SCALED = BYTES / 255 - 0.3
USUAL = nn.initializers.lecun_normal()


class Net(nn.Module):
    start: jax.nn.initializers.Initializer = USUAL
    softmax: int | None = None

    @nn.compact
    def __call__(self, x):
        for width in (16, 32):
            x = nn.max_pool(nn.relu(nn.Conv(width, (3, 3), kernel_init=self.start)(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Dense(64, kernel_init=self.start)(x.reshape(len(x), -1)))
        logits = nn.Dense(10, kernel_init=self.start)(x)
        return logits if self.softmax is None else nn.softmax(logits, axis=self.softmax)


def entropy(outputs, labels):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()


def flipped(outputs, labels):
    return -entropy(outputs, labels)


def of_probabilities(outputs, labels):
    return -jnp.mean(jnp.log(outputs[jnp.arange(len(labels)), labels] + 1e-10))


KINDS = {
    "clean": (Net(), SCALED, entropy, 1e-3, None),
    "double_normalization": (Net(), BYTES / 255**2, entropy, 1e-3, "layer-scale"),
    "flipped_sign": (Net(), SCALED, flipped, 1e-3, "unbounded-loss"),
    "high_lr": (Net(), SCALED, entropy, 10.0, "step-too-large"),
    "low_lr": (Net(), SCALED, entropy, 1e-8, "step-too-small"),
    "missing_softmax": (Net(), SCALED, of_probabilities, 1e-3, "not-finite"),
    "redundant_softmax": (Net(softmax=-1), SCALED, entropy, 1e-3, "softmax-twice"),
    "wrong_softmax_impl": (Net(softmax=0), SCALED, of_probabilities, 1e-3, "mixed-rows"),
    "wrong_init, constant": (Net(nn.initializers.constant(0.1)), SCALED, entropy, 1e-3, "symmetric-start"),
    "missing_normalization": (Net(), BYTES, entropy, 1e-3, None),
    "wrong_init, random": (Net(nn.initializers.normal(1.0)), SCALED, entropy, 1e-3, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_named_first(kind):
    model, x, loss, rate, code = KINDS[kind]
    params = model.init(jax.random.key(0), x[:1])
    given = lambda params, x, labels: loss(model.apply(params, x), labels)  # noqa: E731
    found = diagnose_loss(given, params, x, LABELS, optimizer="adam", learning_rate=rate).causes
    assert [cause.code for cause in found][:1] == ([] if code is None else [code])


@pytest.mark.parametrize("kind", ["missing_normalization", "wrong_init, random"])
def test_two_kinds_are_no_fault_here(kind):
    """Adam learns them as they are: nine tenths of the digits are right after 300 steps."""
    model, x, loss, rate, _ = KINDS[kind]
    params = model.init(jax.random.key(0), x[:1])
    optimizer = optax.adam(rate)

    @jax.jit
    def step(params, state):
        slope = jax.grad(lambda params: loss(model.apply(params, x), LABELS))(params)
        updates, state = optimizer.update(slope, state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    before = np.mean(np.argmax(model.apply(params, x), -1) == LABELS)
    for _ in range(300):
        params, state = step(params, state)
    assert before < 0.3 < 0.9 < np.mean(np.argmax(model.apply(params, x), -1) == LABELS)


def test_over_scaled_outputs():
    x, y = load_diabetes(return_X_y=True)
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    model = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(64), nn.relu, nn.Dense(1)])
    params = model.init(jax.random.key(0), x[:1])
    given = lambda params, x, y: jnp.mean((model.apply(params, x) - y) ** 2)  # noqa: E731
    large, usual = ((y * scale)[:, None].astype(np.float32) for scale in (1e3, 1 / y.std()))
    found = [
        diagnose_loss(given, params, x, each, optimizer="adam", learning_rate=1e-3).causes for each in (large, usual)
    ]
    assert [[cause.code for cause in each][:1] for each in found] == [["target-scale"], []]
