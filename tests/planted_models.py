"""Small versions of the models in Flax's examples with one planted fault, or none: what a diagnosis has to name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from idjax.settings import DiagnosisSettings

OFFSET, FACTOR = 100.0, 100.0
USUAL = nn.initializers.lecun_normal()
FAULTS: dict[str, tuple[str, ...]] = {
    "bytes": ("cnn", "vae", "mlp", "nnx"),
    "no norm": ("transformer", "normed"),
    "offset": ("cnn", "vae", "transformer", "mlp", "nnx"),
    "large": ("cnn", "vae", "transformer", "mlp", "nnx"),
    "small": ("cnn", "vae", "transformer", "mlp", "nnx"),
    "constant": ("cnn", "vae", "mlp", "nnx"),
    "bfloat16": ("cnn", "vae", "transformer", "mlp", "nnx"),
}
"""The models that each fault is planted in."""
HEALTHY = ("cnn", "vae", "transformer", "mlp", "normed", "nnx")
CODES = {
    "bytes": {"layer-scale"}, "no norm": {"layer-scale", "layer-mean"}, "offset": {"layer-mean"},
    "large": {"layer-init"}, "small": {"layer-init"}, "constant": {"layer-null"}, "bfloat16": {"layer-float-stall"},
}  # fmt: skip
ROWS = 256


class Plan(NamedTuple):
    """What is done to which layer: an offset added before it, its start times a factor, the norm before it left out."""

    offset: str = ""
    scaled: str = ""
    factor: float = 1.0
    unnormed: str = ""
    dtype: Any = jnp.float32

    def start(self, name: str, usual: Callable = USUAL) -> Callable:
        def init(*args: Any) -> Any:
            return usual(*args) * (self.factor if name == self.scaled else 1.0)

        return init

    def given(self, name: str, x: Any) -> Any:
        return x + OFFSET if name == self.offset else x


class PlantedModel(NamedTuple):
    """All that `diagnose_model` takes, and what it has to name: codes, and layers of which it has to name one."""

    model: Any
    params: Any
    batch: tuple[Any, Any]
    loss: Callable
    settings: DiagnosisSettings
    kwargs: dict[str, Any]
    codes: set[str]
    layers: frozenset[str]


def cross_entropy(logits: Any, labels: Any) -> Any:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1))


class CNN(nn.Module):
    """flax/examples/mnist."""

    plan: Plan = Plan()

    @nn.compact
    def __call__(self, x):
        plan = self.plan

        def conv(name, features, x):
            init, dtype = plan.start(name), plan.dtype
            return nn.Conv(features, (3, 3), kernel_init=init, param_dtype=dtype, name=name)(x)

        def dense(name, features, x):
            init, dtype = plan.start(name), plan.dtype
            return nn.Dense(features, kernel_init=init, param_dtype=dtype, name=name)(plan.given(name, x))

        x = nn.avg_pool(nn.relu(conv("conv1", 8, x)), (2, 2), strides=(2, 2))
        x = nn.avg_pool(nn.relu(conv("conv2", 16, x)), (2, 2), strides=(2, 2))
        x = nn.relu(dense("dense1", 64, x.reshape(len(x), -1)))
        return dense("dense2", 10, x)


class MLP(nn.Module):
    """Two hidden layers, with LayerNorm before all layers if asked for."""

    plan: Plan = Plan()
    normed: bool = False

    @nn.compact
    def __call__(self, x):
        for name, features in (("dense1", 64), ("dense2", 64), ("dense3", 10)):
            if self.normed and self.plan.unnormed != name:
                x = nn.LayerNorm(param_dtype=self.plan.dtype)(x)
            init, dtype = self.plan.start(name), self.plan.dtype
            x = nn.Dense(features, kernel_init=init, param_dtype=dtype, name=name)(self.plan.given(name, x))
            x = nn.relu(x) if features == 64 else x
        return x


class VAE(nn.Module):
    """flax/examples/vae."""

    plan: Plan = Plan()
    outputs: int = 144

    @nn.compact
    def __call__(self, x, z_rng):
        plan = self.plan

        def dense(name, features, x):
            init, dtype = plan.start(name), plan.dtype
            return nn.Dense(features, kernel_init=init, param_dtype=dtype, name=name)(plan.given(name, x))

        h = nn.relu(dense("encode", 64, x))
        mean, logvar = dense("mean", 8, h), dense("logvar", 8, h)
        z = mean + jnp.exp(0.5 * logvar) * jax.random.normal(z_rng, mean.shape)
        return dense("pixels", self.outputs, nn.relu(dense("decode", 64, z))), mean, logvar


def elbo(outputs: Any, x: Any) -> Any:
    logits, mean, logvar = outputs
    likelihood = jnp.sum(x * jax.nn.log_sigmoid(logits) + (1 - x) * jax.nn.log_sigmoid(-logits), axis=-1)
    divergence = -0.5 * jnp.sum(1 + logvar - mean**2 - jnp.exp(logvar), axis=-1)
    return jnp.mean(divergence - likelihood)


class Transformer(nn.Module):
    """flax/examples/lm1b: pre-norm, embeddings times the root of their width as in Vaswani et al."""

    plan: Plan = Plan()
    width: int = 64
    vocabulary: int = 48

    @nn.compact
    def __call__(self, tokens):
        plan, width, dtype = self.plan, self.width, self.plan.dtype

        def norm(name, x):
            return x if plan.unnormed == name else nn.LayerNorm(param_dtype=dtype)(x)

        def dense(name, features, x):
            return nn.Dense(features, kernel_init=plan.start(name), param_dtype=dtype, name=name)(plan.given(name, x))

        start = plan.start("embed", nn.initializers.normal(1.0))
        x = nn.Embed(self.vocabulary, width, embedding_init=start, param_dtype=dtype, name="embed")(tokens)
        angle = jnp.arange(tokens.shape[1])[:, None] * 1e4 ** (-jnp.arange(width // 2) / (width // 2))
        x = x * width**0.5 + jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)
        attention = nn.MultiHeadDotProductAttention(
            4, kernel_init=plan.start("attention"), param_dtype=dtype, name="attention"
        )
        x = x + attention(norm("attention", x), mask=nn.make_causal_mask(tokens))
        x = x + dense("mlp2", width, nn.gelu(dense("mlp1", 4 * width, norm("mlp1", x))))
        return dense("logits", self.vocabulary, norm("logits", x))


class NnxMLP(nnx.Module):
    """The same as MLP, in NNX."""

    def __init__(self, inputs: int, plan: Plan, rngs: nnx.Rngs):
        self.plan = plan
        widths = (inputs, 64, 64, 10)
        for index in range(3):
            name = f"dense{index + 1}"
            init = plan.start(name)
            layer = nnx.Linear(*widths[index : index + 2], kernel_init=init, param_dtype=plan.dtype, rngs=rngs)
            setattr(self, name, layer)

    def __call__(self, x):
        for name in ("dense1", "dense2", "dense3"):
            x = getattr(self, name)(self.plan.given(name, x))
            x = nnx.relu(x) if name != "dense3" else x
        return x


SITES = {
    "cnn": (("conv1", "conv2", "dense1", "dense2"), ("dense1", "dense2")),
    "vae": (("encode", "mean", "logvar", "decode", "pixels"), ("encode", "mean", "decode", "pixels")),
    "transformer": (("embed", "mlp1", "mlp2", "logits"), ("mlp1", "mlp2", "logits")),
    "mlp": (("dense1", "dense2", "dense3"), ("dense1", "dense2", "dense3")),
    "normed": (("dense1", "dense2", "dense3"), ("dense1", "dense2", "dense3")),
    "nnx": (("dense1", "dense2", "dense3"), ("dense1", "dense2", "dense3")),
}
"""Layers that can start wrong, and dense layers that an offset can be added before."""
ATTENTION = tuple(f"attention/{name}" for name in ("query", "key", "value"))


def planted_model(kind: str, fault: str, seed: int) -> PlantedModel:
    """A model with one fault in a layer drawn by chance; fault "" is none."""
    rng = np.random.default_rng([seed, *map(ord, kind + fault)])
    every, dense = SITES[kind]
    plan, layers = Plan(), frozenset[str]()
    learning_rate = 10 ** rng.uniform(-3.5, -2.5)
    if not fault:
        learning_rate *= 10  # the smallest of the others are less than a thousandth of the stable ones, as P8's is
    if fault == "offset":
        plan = Plan(offset=str(rng.choice(dense)))
        layers = frozenset({plan.offset})
    elif fault in ("large", "small"):
        plan = Plan(scaled=str(rng.choice(every)), factor=FACTOR if fault == "large" else 1 / FACTOR)
        layers = frozenset({plan.scaled})
    elif fault == "no norm":
        normed = ("attention", "mlp1", "logits") if kind == "transformer" else ("dense1",)
        plan = Plan(unnormed=str(rng.choice(normed)))
        layers = frozenset(ATTENTION if plan.unnormed == "attention" else {plan.unnormed})
    elif fault == "bfloat16":
        plan, layers = Plan(dtype=jnp.bfloat16), frozenset(every)
        learning_rate = 10 ** rng.uniform(-6, -5)
    elif fault:
        layers = frozenset({every[0]})
    x, y = _rows(kind, fault, rng)
    key = jax.random.key(seed)
    kwargs: dict[str, Any] = {}
    loss = cross_entropy
    if kind == "nnx":
        model, params = NnxMLP(x.shape[1], plan, nnx.Rngs(seed)), None
    else:
        model = {
            "cnn": lambda: CNN(plan), "mlp": lambda: MLP(plan), "normed": lambda: MLP(plan, normed=True),
            "vae": lambda: VAE(plan, y.shape[1]), "transformer": lambda: Transformer(plan),
        }[kind]()  # fmt: skip
        if kind == "vae":
            kwargs, loss = {"z_rng": jax.random.key(1)}, elbo
        params = model.init(key, x[:2], **kwargs)
    settings = DiagnosisSettings(learning_rate=float(learning_rate))
    return PlantedModel(model, params, (x, y), loss, settings, kwargs, CODES.get(fault, set()), layers)


def _rows(kind: str, fault: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images of blobs on an empty ground, sequences of tokens, or numbers around a mean that LayerNorm takes out."""
    labels = rng.integers(0, 10, ROWS)
    if kind == "transformer":
        tokens = rng.integers(0, 48, (ROWS, 12))
        return tokens, np.roll(tokens, -1, axis=1)
    if kind == "normed":
        level = rng.uniform(20, 60)
        return (level + level / 4 * rng.normal(size=(ROWS, 24))).astype(np.float32), labels
    place = np.stack(np.meshgrid(np.arange(12), np.arange(12), indexing="ij"), -1)
    centres = rng.uniform(2, 10, (10, 3, 2))[labels] + rng.normal(size=(ROWS, 3, 2))
    distance = ((place[None, None] - centres[:, :, None, None]) ** 2).sum(-1)
    images = np.clip(np.exp(-distance / 3).sum(1) + 0.05 * rng.normal(size=(ROWS, 12, 12)), 0, 1)
    x = images[..., None] if kind == "cnn" else images.reshape(ROWS, -1)
    target = images.reshape(ROWS, -1) if kind == "vae" else labels
    if fault == "bytes":
        x = np.round(255 * x)
    if fault == "constant":
        x = np.concatenate([x, np.full_like(x[..., :1], rng.uniform(0.3, 1))], -1)
    return x.astype(np.float32), target.astype(np.float32) if kind == "vae" else target


def cases(most: int) -> list[tuple[str, str, int]]:
    """Every fault in every model it can be in, round after round, until there are enough."""
    pairs = [(kind, fault) for fault, kinds in FAULTS.items() for kind in kinds]
    return [(*pairs[index % len(pairs)], index // len(pairs)) for index in range(most)]
