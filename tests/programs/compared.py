"""Losses of outputs and targets, in the way of each library; and those with a fault in them."""

import jax
import jax.numpy as jnp
import keras
import optax


def squares(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)


def absolute(outputs, targets):
    return jnp.abs(outputs - targets).mean()


def integer_labels(outputs, targets):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


def picked(outputs, targets):
    logs = jax.nn.log_softmax(outputs)
    return -jnp.mean(jnp.take_along_axis(logs, targets[:, None], 1))


def by_logsumexp(outputs, targets):
    return jnp.mean(jax.nn.logsumexp(outputs, -1) - outputs[jnp.arange(len(targets)), targets])


def each_row(outputs, targets):
    return jax.vmap(optax.softmax_cross_entropy_with_integer_labels)(outputs, targets).mean()


def one_hot(outputs, targets):
    return optax.softmax_cross_entropy(outputs, jax.nn.one_hot(targets, outputs.shape[-1])).mean()


def binary(outputs, targets):
    return optax.sigmoid_binary_cross_entropy(outputs, targets).mean()


def stable_binary(outputs, targets):
    return jnp.mean(jnp.maximum(outputs, 0) - outputs * targets + jnp.log1p(jnp.exp(-jnp.abs(outputs))))


def binary_by_hand(outputs, targets):
    return -jnp.mean(targets * jax.nn.log_sigmoid(outputs) + (1 - targets) * jax.nn.log_sigmoid(-outputs))


SQUARES = {
    "linen": squares, "nnx": lambda o, t: optax.squared_error(o, t).mean(), "equinox": squares,
    "haiku": lambda o, t: optax.l2_loss(o, t).mean(), "keras": keras.losses.MeanSquaredError(),
    "plain": lambda o, t: 0.5 * jnp.sum((o - t) ** 2) / len(t),
}  # fmt: skip
CLASSES = {
    "linen": integer_labels, "nnx": one_hot, "equinox": each_row, "haiku": picked,
    "keras": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "plain": by_logsumexp,
}  # fmt: skip
BINARY = {
    "linen": binary, "nnx": binary, "equinox": binary_by_hand, "haiku": binary_by_hand,
    "keras": keras.losses.BinaryCrossentropy(from_logits=True), "plain": stable_binary,
}  # fmt: skip


def log_of_softmax(outputs, targets):
    return -jnp.mean(jnp.sum(jax.nn.one_hot(targets, 4) * jnp.log(jax.nn.softmax(200 * outputs)), -1))


def root_left_out(outputs, targets):
    """A root whose NaN is left out of the values, and not out of the derivatives."""
    roots = jnp.where(outputs > 0, jnp.sqrt(outputs), 0.0)
    return squares(roots, targets)


def exponential(outputs, targets):
    return jnp.mean(jnp.exp(outputs * 1e4) - targets * outputs * 1e4)


def correlation(outputs, targets):
    """A correlation with targets that do not vary."""
    a, b = outputs - outputs.mean(), targets - targets.mean()
    return -jnp.mean(a * b) / (jnp.std(a) * jnp.std(b))


def of_argmax(outputs, targets):
    return jnp.mean((outputs.argmax(-1) - targets) ** 2.0)


def rounded(outputs, targets):
    return squares(jnp.round(outputs), targets)


def accuracy(outputs, targets):
    return 1 - jnp.mean((outputs > 0) == (targets > 0.5))


def without_logarithm(outputs, targets):
    return -jnp.mean(jnp.sum(outputs * jax.nn.one_hot(targets, 4), -1))


def picked_without_logarithm(outputs, targets):
    return -jnp.mean(outputs[jnp.arange(len(targets)), targets])


def squares_maximised(outputs, targets):
    return -squares(outputs, targets)


def entropy_maximised(outputs, targets):
    return -integer_labels(outputs, targets)


def one_hot_of_probabilities(outputs, targets):
    return optax.softmax_cross_entropy(outputs, jax.nn.one_hot(targets, 4)).mean()


def softmax_over_rows(outputs, targets):
    logs = jnp.log(jax.nn.softmax(outputs, axis=0) + 1e-6)
    return -jnp.mean(jnp.take_along_axis(logs, targets[:, None], 1))


def turned(outputs, targets):
    """Outputs whose axes are changed by a reshape where a transpose was meant."""
    return squares(outputs.T.reshape(outputs.shape), targets)
