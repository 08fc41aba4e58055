"""Healthy programs in plain JAX: losses of many kinds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from programs.shape import KEY, ROWS, MadeProgram, labels_of, targets_of

RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, 6)).astype(np.float32)
Y, LABELS = targets_of(X), labels_of(X)


def layers(*sizes: int, seed: int = 0) -> list[dict[str, jax.Array]]:
    keys = jax.random.split(jax.random.key(seed), len(sizes))
    return [
        {"w": jax.random.normal(key, (a, b)) * (2 / (a + b)) ** 0.5, "b": jnp.zeros(b)}
        for key, a, b in zip(keys, sizes, sizes[1:], strict=False)
    ]


def forward(params: list[dict[str, jax.Array]], x: Any, act: Callable = jnp.tanh) -> Any:
    for layer in params[:-1]:
        x = act(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def physics() -> MadeProgram:
    """u'' = -sin x, u(0) = u(pi) = 0, by derivatives forward."""

    def loss(params, x, edges):
        def u(t):
            return forward(params, t[None])[0]

        def slope(t):
            return jax.jvp(u, (t,), (jnp.ones_like(t),))[1]

        curved = jax.vmap(lambda t: jax.jvp(slope, (t,), (jnp.ones_like(t),))[1])(x)
        return jnp.mean((curved + jnp.sin(x)) ** 2) + jnp.mean(jax.vmap(u)(edges) ** 2)

    x = np.linspace(0, np.pi, ROWS).astype(np.float32)
    return MadeProgram(loss, layers(1, 16, 16, 1), (x, np.array([0, np.pi], np.float32)))


def heat() -> MadeProgram:
    def loss(params, points, start):
        def u(t, x):
            return forward(params, jnp.stack([t, x]))[0]

        def residual(point):
            t, x = point
            return jax.grad(u, 0)(t, x) - 0.1 * jax.grad(jax.grad(u, 1), 1)(t, x)

        begun = jax.vmap(lambda x: u(0.0, x) - jnp.sin(jnp.pi * x))(start)
        return jnp.mean(jax.vmap(residual)(points) ** 2) + jnp.mean(begun**2)

    points = RNG.uniform(size=(ROWS, 2)).astype(np.float32)
    return MadeProgram(loss, layers(2, 16, 16, 1), (points, points[:, 1]))


def logistic() -> MadeProgram:
    def loss(params, x, y):
        z = x @ params["w"] + params["b"]
        return jnp.mean(jnp.log1p(jnp.exp(-y * z)))

    return MadeProgram(loss, {"w": np.zeros(6, np.float32), "b": np.zeros((), np.float32)}, (X, np.sign(Y[:, 0])))


def factors() -> MadeProgram:
    """Ratings as products of factors of users and items."""

    def loss(params, users, items, ratings):
        return jnp.mean((jnp.sum(params["user"][users] * params["item"][items], -1) + params["mean"] - ratings) ** 2)

    users, items = RNG.integers(0, 8, ROWS), RNG.integers(0, 9, ROWS)
    params = {"user": 0.3 * RNG.normal(size=(8, 4)), "item": 0.3 * RNG.normal(size=(9, 4)), "mean": np.zeros(())}
    params = {name: value.astype(np.float32) for name, value in params.items()}
    return MadeProgram(loss, params, (users, items, (2 + Y[:, 0]).astype(np.float32)))


def graph_convolution() -> MadeProgram:
    def loss(params, neighbours, x, labels, known):
        h = jax.nn.relu(neighbours @ x @ params[0]["w"] + params[0]["b"])
        logits = neighbours @ h @ params[1]["w"] + params[1]["b"]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.sum(losses * known) / jnp.sum(known)

    near = (RNG.uniform(size=(ROWS, ROWS)) < 0.1) + np.eye(ROWS)
    near = (near / near.sum(1, keepdims=True)).astype(np.float32)
    return MadeProgram(loss, layers(6, 16, 4), (near, X, LABELS, (RNG.uniform(size=ROWS) < 0.5).astype(np.float32)))


def flow() -> MadeProgram:
    """Likelihood under couplings that are affine."""

    def loss(params, x):
        log_det = 0.0
        for place, coupling in enumerate(params):
            a, b = jnp.split(x, 2, -1) if place % 2 else jnp.split(x, 2, -1)[::-1]
            scale, shift = jnp.split(forward(coupling, a), 2, -1)
            scale = jnp.tanh(scale)
            x, log_det = jnp.concatenate([a, b * jnp.exp(scale) + shift], -1), log_det + scale.sum(-1)
        return jnp.mean(0.5 * jnp.sum(x**2, -1) - log_det)

    return MadeProgram(loss, [layers(3, 16, 6, seed=seed) for seed in range(3)], (X,))


def gaussian() -> MadeProgram:
    def loss(params, x, y):
        mean, log_variance = jnp.split(forward(params, x, jax.nn.relu), 2, -1)
        return 0.5 * jnp.mean(log_variance + (y - mean) ** 2 / jnp.exp(log_variance))

    return MadeProgram(loss, layers(6, 16, 2), (X, Y))


def mixture() -> MadeProgram:
    def loss(params, x, y):
        weights, means, logs = jnp.split(forward(params, x), 3, -1)
        each = jax.nn.log_softmax(weights) - logs - 0.5 * ((y - means) / jnp.exp(logs)) ** 2
        return -jnp.mean(jax.nn.logsumexp(each, -1))

    return MadeProgram(loss, layers(6, 16, 9), (X, Y))


def quantiles() -> MadeProgram:
    def loss(params, x, y):
        gap, share = y - forward(params, x), jnp.array([0.1, 0.5, 0.9])
        return jnp.mean(jnp.maximum(share * gap, (share - 1) * gap))

    return MadeProgram(loss, layers(6, 16, 3), (X, Y))


def triplet() -> MadeProgram:
    def loss(params, anchor, same, other):
        a, b, c = (forward(params, x) for x in (anchor, same, other))
        return jnp.mean(jax.nn.relu(jnp.sum((a - b) ** 2, -1) - jnp.sum((a - c) ** 2, -1) + 1))

    noise = 0.1 * RNG.normal(size=X.shape).astype(np.float32)
    return MadeProgram(loss, layers(6, 16, 4), (X, X + noise, X[::-1].copy()))


def ensemble() -> MadeProgram:
    def loss(params, x, y):
        return jnp.mean((jax.vmap(forward, (0, None))(params, x) - y) ** 2)

    each = [layers(6, 8, 1, seed=seed) for seed in range(3)]
    return MadeProgram(loss, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each), (X, Y))


def adapter() -> MadeProgram:
    """Low-rank additions to weights that stay as they are; one factor starts at 0."""

    def loss(params, fixed, x, y):
        h = jnp.tanh(x @ (fixed + params["a"] @ params["b"]))
        return jnp.mean((h @ params["head"] - y) ** 2)

    fixed = RNG.normal(size=(6, 16)).astype(np.float32) / 2.4
    params = {"a": RNG.normal(size=(6, 2)) / 2.4, "b": np.zeros((2, 16)), "head": RNG.normal(size=(16, 1)) / 4}
    return MadeProgram(loss, {name: value.astype(np.float32) for name, value in params.items()}, (fixed, X, Y))


def focal() -> MadeProgram:
    def loss(params, x, labels):
        logs = jax.nn.log_softmax(forward(params, x, jax.nn.gelu))
        log = jnp.take_along_axis(logs, labels[:, None], -1)[:, 0]
        return -jnp.mean((1 - jnp.exp(log)) ** 2 * log)

    return MadeProgram(loss, layers(6, 16, 4), (X, LABELS))


def poisson() -> MadeProgram:
    def loss(params, x, counts):
        log_rate = forward(params, x)
        return jnp.mean(jnp.exp(log_rate) - counts * log_rate)

    return MadeProgram(loss, layers(6, 16, 1), (X, RNG.poisson(np.exp(Y)).astype(np.float32)))


def hinge() -> MadeProgram:
    def loss(params, x, y):
        return jnp.mean(jax.nn.relu(1 - y * forward(params, x))) + 1e-3 * sum(jnp.sum(p["w"] ** 2) for p in params)

    return MadeProgram(loss, layers(6, 16, 1), (X, np.sign(Y)))


def barlow() -> MadeProgram:
    """Two views whose outputs are to be correlated, unit by unit."""

    def loss(params, a, b):
        a, b = (forward(params, x, jax.nn.relu) for x in (a, b))
        a, b = ((z - z.mean(0)) / (z.std(0) + 1e-5) for z in (a, b))
        c = a.T @ b / len(a)
        return jnp.sum((1 - jnp.diag(c)) ** 2) + 0.01 * (jnp.sum(c**2) - jnp.sum(jnp.diag(c) ** 2))

    return MadeProgram(loss, layers(6, 16, 4), (X, X + 0.1))


def bootstrap() -> MadeProgram:
    """A copy of the parameters as target, through which no gradient goes."""

    def loss(params, copy, a, b):
        online, target = forward(params, a, jax.nn.relu), jax.lax.stop_gradient(forward(copy, b, jax.nn.relu))
        online, target = (z / (jnp.linalg.norm(z, axis=-1, keepdims=True) + 1e-6) for z in (online, target))
        return jnp.mean(jnp.sum((online - target) ** 2, -1))

    return MadeProgram(loss, layers(6, 16, 4), (layers(6, 16, 4, seed=1), X, X + 0.1))


def tied() -> MadeProgram:
    def loss(params, x):
        h = jnp.tanh(x @ params["w"] + params["b"])
        return jnp.mean((h @ params["w"].T + params["c"] - x) ** 2)

    w = RNG.normal(size=(6, 4)).astype(np.float32) / 2.4
    return MadeProgram(loss, {"w": w, "b": np.zeros(4, np.float32), "c": np.zeros(6, np.float32)}, (X,))


def experts() -> MadeProgram:
    def loss(params, x, y):
        gates = jax.nn.softmax(x @ params["gate"])
        each = jnp.einsum("np,epq->neq", x, params["first"])
        each = jnp.einsum("neq,eqr->ner", jax.nn.relu(each), params["second"])
        return jnp.mean((jnp.einsum("ne,ner->nr", gates, each) - y) ** 2)

    sizes = {"gate": (6, 3), "first": (3, 6, 8), "second": (3, 8, 1)}
    params = {name: (RNG.normal(size=size) / 2.5).astype(np.float32) for name, size in sizes.items()}
    return MadeProgram(loss, params, (X, Y))


def mixed_precision() -> MadeProgram:
    def loss(params, x, labels):
        half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
        logits = forward(half, x.astype(jnp.bfloat16), jax.nn.relu).astype(jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return MadeProgram(loss, layers(6, 16, 4), (X, LABELS))


def value_learning() -> MadeProgram:
    """Squared error to rewards and the best of the next values, of which no gradient is taken."""

    def loss(params, batch):
        values = jnp.take_along_axis(forward(params, batch["now"]), batch["action"][:, None], 1)[:, 0]
        after = jax.lax.stop_gradient(forward(params, batch["next"]).max(-1))
        return jnp.mean((values - batch["reward"] - 0.9 * after) ** 2)

    batch = {"now": X, "next": X[::-1].copy(), "action": LABELS, "reward": Y[:, 0]}
    return MadeProgram(loss, layers(6, 16, 4), (batch,))


def inner_step() -> MadeProgram:
    """The loss after one step on other rows."""

    def error(params, x, y):
        return jnp.mean((forward(params, x) - y) ** 2)

    def loss(params, x, y, x_test, y_test):
        slopes = jax.grad(error)(params, x, y)
        return error(jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, params, slopes), x_test, y_test)

    return MadeProgram(loss, layers(6, 16, 1), (X[:30], Y[:30], X[30:], Y[30:]))


def noise_prediction() -> MadeProgram:
    def loss(params, key, x):
        times = jax.random.uniform(key, (len(x), 1))
        noise = jax.random.normal(jax.random.fold_in(key, 1), x.shape)
        given = jnp.cos(times * jnp.pi / 2) * x + jnp.sin(times * jnp.pi / 2) * noise
        return jnp.mean((forward(params, jnp.concatenate([given, times], -1), jax.nn.silu) - noise) ** 2)

    return MadeProgram(loss, layers(7, 32, 6), (KEY, X))


HEALTHY_PLAIN: dict[str, Callable[[], MadeProgram]] = {
    f"plain, {made.__name__}": made
    for made in (
        physics, heat, logistic, factors, graph_convolution, flow, gaussian, mixture, quantiles, triplet, ensemble,
        adapter, focal, poisson, hinge, barlow, bootstrap, tied, experts, mixed_precision, value_learning, inner_step,
        noise_prediction,
    )
}  # fmt: skip
