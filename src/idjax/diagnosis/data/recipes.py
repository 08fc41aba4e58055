"""Settings → code that a person can paste: rows, normaliser, layer, optimizer, and the way back to original units."""

from collections.abc import Mapping
from typing import NamedTuple

from idjax.settings import Settings


class Recipe(NamedTuple):
    """What a normaliser adds to a program.

    fit:      statements that learn from the rows x, and from y.
    encode:   the statement that makes z of x.
    target:   what the layer is to answer.
    restore:  what is done to an answer to have it in original units.
    error:    the same for an error, where the loss is to be in original units.
    by_rows:  whether that needs a number for every row.
    """

    fit: str
    encode: str
    target: str
    restore: str = ""
    error: str = ""
    by_rows: bool = False


def flax_code(settings: Settings, inputs: int, outputs: int, autoencoder: bool) -> str:
    """A program for Flax and optax that trains the layer with these settings.

    It expects x (rows, inputs), and y (rows, outputs) unless the layer is an autoencoder, and leaves `predict`.

    Raises:
      ValueError: settings that no prescription has, such as a learning rate that changes.
    """
    recipe = _recipe(settings, autoencoder)
    start = "lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype)"
    start = start if settings.start == "identity" else "nn.initializers.glorot_uniform()"
    dtype = ", param_dtype=jnp.float64" if settings.dtype == "float64" else ""
    optimizer = f"sgd({_rate(settings)})"
    if settings.optimizer == "adam":
        names = {"beta_1": "b1", "beta_2": "b2", "epsilon": "eps"}
        optimizer = f"adam({_rate(settings)}{_options({names[k]: v for k, v in settings.numbers.items()})})"
    squared = f"(error {recipe.error}) ** 2)  # in original units" if recipe.error else "error**2)"
    extra, rows = (", deviation", ", deviation[rows]") if recipe.by_rows else ("", "")
    batch = settings.batch_size
    return _program(
        "import flax.linen as nn\nimport jax\nimport jax.numpy as jnp\nimport numpy as np\nimport optax",
        'jax.config.update("jax_enable_x64", True)' if dtype else "",
        *_data(recipe, inputs, outputs, autoencoder),
        f"model = nn.Dense({outputs}, kernel_init={start}{dtype})\n"
        f"params = model.init(jax.random.key({settings.seed}), z[:1])\n"
        f"optimizer = optax.{optimizer}\n"
        "state = optimizer.init(params)",
        "@jax.jit\n"
        f"def update(params, state, z, target{extra}):\n"
        "    def loss(params):\n"
        "        error = model.apply(params, z) - target\n"
        f"        return jnp.mean({squared}\n\n"
        "    change, state = optimizer.update(jax.grad(loss)(params), state)\n"
        "    return optax.apply_updates(params, change), state",
        f"rng = np.random.default_rng({settings.seed})\n"
        f"for epoch in range({settings.epochs}):\n"
        f"    for rows in np.split(rng.permutation(len(z)), range({batch}, len(z), {batch})):\n"
        f"        params, state = update(params, state, z[rows], target[rows]{rows})",
        _predict(recipe, "np.asarray(model.apply(params, z))"),
    )


def keras_code(settings: Settings, inputs: int, outputs: int, autoencoder: bool) -> str:
    """The same program for Keras 3; see `flax_code`.

    Raises:
      ValueError: settings that no prescription has, such as a learning rate that changes.
    """
    recipe = _recipe(settings, autoencoder)
    start = ', kernel_initializer="identity"' if settings.start == "identity" else ""
    optimizer = f"SGD({_rate(settings)})"
    if settings.optimizer == "adam":
        optimizer = f"Adam({_rate(settings)}{_options(settings.numbers)})"
    loss, weights, function = '"mse"', "", ""
    if recipe.by_rows:
        weights = ",\n          sample_weight=deviation[:, 0] ** 2)  # the loss in original units"
    elif recipe.error:
        operator, factor = recipe.error.split()
        loss = "loss"
        function = (
            "def loss(target, output):  # in original units\n"
            "    error = output - target\n"
            f"    error = error {operator} keras.ops.cast({factor}, error.dtype)\n"
            "    return keras.ops.mean(error**2, axis=-1)"
        )
    return _program(
        "import keras\nimport numpy as np",
        'keras.config.set_floatx("float64")' if settings.dtype == "float64" else "",
        *_data(recipe, inputs, outputs, autoencoder),
        function,
        f"keras.utils.set_random_seed({settings.seed})\n"
        f"model = keras.Sequential([keras.Input(({inputs},)), keras.layers.Dense({outputs}{start})])\n"
        f"model.compile(optimizer=keras.optimizers.{optimizer}, loss={loss})\n"
        f"model.fit(z, target, batch_size={settings.batch_size}, epochs={settings.epochs}{weights or ')'}",
        _predict(recipe, "model.predict(z, verbose=0)"),
    )


def _recipe(settings: Settings, autoencoder: bool) -> Recipe:
    """What the normaliser adds: statistics, and where they go."""
    usual = settings.loss == "mse" and settings.activation == "linear" and settings.schedule == "constant"
    if not usual or settings.activity_l1 or settings.activity_l2 or settings.optimizer not in ("sgd", "adam"):
        raise ValueError(f"no recipe for {settings}")
    kind, original = settings.normalize, settings.loss_space == "original"
    if kind == "none":
        return Recipe("", "z = x", "z" if autoencoder else "y")
    if kind == "sample":
        encode = "z, mean, deviation = normalise(x)"
        if not autoencoder:  # each row brings its own statistics, and targets have no such row
            return Recipe(_SAMPLE, encode, "y")
        return Recipe(_SAMPLE, encode, "z", "* deviation + mean", "* deviation" if original else "", original)
    fit, encode = _fit(kind, autoencoder), "z = normalise(x)"
    if autoencoder:
        back = {"center": "", "feature": "* deviation"}.get(kind, "@ inverse")
        return Recipe(fit, encode, "z", f"{back} + mean".lstrip(), back if original else "")
    # Targets are to be learned one by one: whitening of the inputs standardises them per feature.
    kind = "center" if kind == "center" else "feature"
    fit += f"\n\n\n{_statistics(kind, 'y', '_y')}"
    back = "" if kind == "center" else "* deviation_y"
    target = "y - mean_y" if kind == "center" else "(y - mean_y) / divisor_y"
    return Recipe(fit, encode, target, f"{back} + mean_y".lstrip(), back if original else "")


def _fit(kind: str, autoencoder: bool) -> str:
    """Statements that make `normalise` of the statistics of x, and for an autoencoder its inverse."""
    if kind in ("center", "feature"):
        made = "x - mean" if kind == "center" else "(x - mean) / divisor"
        return f"{_statistics(kind, 'x')}\n\n\ndef normalise(x):\n    return {made}"
    turn = kind == "zca"
    fit = _WHITEN + (" @ axes.T" if turn else "") + "  # directions without variance become 0"
    if autoencoder:
        fit += f"\ninverse = {'axes @ ' if turn else ''}(axes * deviation).T"
    return fit + "\n\n\ndef normalise(x):\n    return (x - mean) @ forward"


def _statistics(kind: str, of: str, suffix: str = "") -> str:
    mean, deviation = f"mean{suffix}", f"deviation{suffix}"
    if kind == "center":
        return f"{mean} = {of}.mean(axis=0)"
    return (
        f"{mean}, {deviation} = {of}.mean(axis=0), {of}.std(axis=0)\n"
        f"divisor{suffix} = np.where({deviation} > 1e-12 * np.abs({mean}), {deviation}, np.inf)"
        "  # constant columns become 0"
    )


_SAMPLE = """def normalise(x):
    mean, deviation = x.mean(axis=1, keepdims=True), x.std(axis=1, keepdims=True)
    divisor = np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf)  # constant rows become 0
    return (x - mean) / divisor, mean, deviation"""

_WHITEN = """mean = x.mean(axis=0)
variance, axes = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))
deviation = np.sqrt(np.where(variance > 1e-14 * variance[-1], variance, 0))
forward = axes / np.where(deviation > 0, deviation, np.inf)"""


def _data(recipe: Recipe, inputs: int, outputs: int, autoencoder: bool) -> tuple[str, ...]:
    """The parts of a program that make z and target."""
    rows = f"x = np.asarray(x, np.float64)  # your training rows, {inputs} numbers in each"
    if not autoencoder:
        rows += f"\ny = np.asarray(y, np.float64)  # what to answer to them, {outputs} numbers in each"
    return rows, recipe.fit, f"{recipe.encode}\ntarget = {recipe.target}"


def _predict(recipe: Recipe, answer: str) -> str:
    return f"def predict(x):\n    {recipe.encode}\n    return {answer} {recipe.restore}".rstrip()


def _rate(settings: Settings) -> str:
    """The learning rate, and the momentum if there is one."""
    options: dict[str, float | str] = {"momentum": settings.momentum} if settings.momentum else {}
    if settings.nesterov:
        options["nesterov"] = "True"
    return f"{_float(settings.step_size)}{_options(options)}"


def _options(options: Mapping[str, float | str]) -> str:
    return "".join(f", {k}={v if isinstance(v, str) else _float(v)}" for k, v in options.items())


def _float(value: float) -> str:
    """A few digits, with a point: Keras takes no whole numbers here."""
    return repr(float(f"{value:.6g}"))


def _program(*parts: str) -> str:
    """The parts with a blank line between them, two around functions, as a formatter has it."""
    text, after_function = "", False
    for part in filter(None, parts):
        gap = "\n\n\n" if after_function or part.startswith(("def ", "@")) else "\n\n"
        text += (gap if text else "") + part
        after_function = [line for line in part.splitlines() if line[:1].strip(" ")][-1].startswith("def ")
    return text + "\n"
