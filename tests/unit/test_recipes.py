"""The programs that a diagnosis hands over: they run as they are, learn, and learn what idjax's own layer learns."""

import os
import subprocess
import sys

import numpy as np
import pytest

import idjax
from idjax.diagnosis.data.recipes import flax_code, keras_code
from idjax.settings import Schedule, Settings

KINDS = ("none", "center", "feature", "sample", "pca", "zca")


def settings_of(normalize: str = "none", **changes) -> Settings:
    """Settings with a normaliser that `Settings` may not know by name yet."""
    settings = Settings(**changes)
    object.__setattr__(settings, "normalize", normalize)
    return settings


def rows(count: int = 48, features: int = 5) -> np.ndarray:
    """Rows with a mean, features of different sizes, correlations, and a constant column."""
    rng = np.random.default_rng(0)
    x = 1 + rng.standard_normal((count, features)) @ rng.standard_normal((features, features)) * 0.3
    x[:, 2] = 0.7
    return x


def run(code: str, x: np.ndarray, y: np.ndarray | None = None) -> dict:
    scope = {"x": x, "y": y}
    exec(compile(code, "recipe", "exec"), scope)
    return scope


def explained(answer: np.ndarray, target: np.ndarray) -> float:
    return 1 - np.mean((answer - target) ** 2) / np.var(target, axis=0).mean()


LOSS_SPACES = ("normalized", "original")
# At these learning rates, in the units of the loss, some 300 epochs of two updates are enough.
LEARNS = [
    ("none", "normalized", {"learning_rate": 0.15, "momentum": 0.95}),
    ("center", "original", {"learning_rate": 1.0, "momentum": 0.9}),
    ("feature", "normalized", {"learning_rate": 0.8, "momentum": 0.9}),
    ("sample", "original", {"learning_rate": 1.0, "momentum": 0.9}),
    ("pca", "normalized", {"learning_rate": 1.0}),
    ("zca", "original", {"learning_rate": 1.5, "momentum": 0.9, "nesterov": True}),
    ("zca", "normalized", {"learning_rate": 0.02, "optimizer": "adam"}),
]


@pytest.mark.parametrize(("normalize", "space", "changes"), LEARNS)
def test_the_flax_program_of_an_autoencoder_learns(normalize, space, changes):
    settings = settings_of(normalize, loss_space=space, batch_size=24, epochs=300, **changes)
    x = rows()
    predict = run(flax_code(settings, 5, 5, True), x)["predict"]
    assert explained(predict(x), x) > 0.99
    assert predict(x[:1]).shape == (1, 5)
    assert predict(x)[:, 2] == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize(
    ("normalize", "space"),
    [("none", "original"), ("center", "original"), ("feature", "original"), ("sample", "original"),
     ("pca", "normalized"), ("zca", "original")],
)  # fmt: skip
def test_the_flax_program_of_a_regression_learns(normalize, space):
    x = rows()
    y = np.column_stack([x @ np.arange(5.0), 3 + x[:, 0], np.full(len(x), 2.0)])
    # Standardised, a row is another function of the target: it is learned in part.
    least = 0.7 if normalize == "sample" else 0.99
    rate = 0.02 if space == "original" or normalize in ("none", "sample") else 0.5
    settings = settings_of(normalize, loss_space=space, learning_rate=rate, momentum=0.95, batch_size=48, epochs=400)
    predict = run(flax_code(settings, 5, 3, False), x, y)["predict"]
    assert explained(predict(x), y) > least
    assert predict(x).shape == (len(x), 3)


@pytest.mark.parametrize(
    ("normalize", "space", "loss"),
    [
        *((normalize, space, "mse") for normalize in ("none", "feature", "sample") for space in LOSS_SPACES),
        *(("feature", "original", loss) for loss in ("mae", "huber", "log-cosh")),
    ],
)
def test_the_flax_program_is_what_idjax_trains(normalize, space, loss):
    """From the identity, full batch: no random number is left, and both must end at the same weights."""
    x = rows(40, 4).astype(np.float32)[:, [0, 1, 3, 3]] * [1, 2, 0.5, 1]
    y = (x @ np.ones((4, 4)) * 0.5 + 1).astype(np.float32)
    settings = Settings(
        start="identity", normalize=normalize, loss_space=space, learning_rate=0.05, momentum=0.5, loss=loss,
        batch_size=40, epochs=7, validation_split=0.0, dtype="float32",
    )  # fmt: skip
    scope = run(flax_code(settings, 4, 4, False), x, y)
    trained = idjax.train(x, settings, target=y)
    kernel = np.asarray(scope["params"]["params"]["kernel"])
    assert np.abs(kernel - np.eye(4)).max() > 0.01
    np.testing.assert_allclose(kernel, trained.weights.kernel, atol=2e-5)
    assert explained(scope["predict"](x), y) == pytest.approx(trained.explained_variance[-1], abs=1e-4)


def test_the_loss_of_a_standardised_row_weighs_its_deviation():
    """An autoencoder per sample in original units, from weights that are not the answer."""
    x = rows(40, 4) * np.linspace(0.2, 3, 40)[:, None]
    np.random.default_rng(1).shuffle(x)
    settings = {"normalize": "sample", "learning_rate": 0.1, "batch_size": 40, "epochs": 3, "validation_split": 0.0}
    errors = {}
    for space in ("normalized", "original"):
        chosen = Settings(loss_space=space, **settings)
        scope = run(flax_code(chosen, 4, 4, True), x)
        # Both start at Glorot's kernel of the same seed, drawn by Flax under another key: compare what they come to.
        errors[space] = explained(scope["predict"](x), x)
        assert ("deviation[rows]" in flax_code(chosen, 4, 4, True)) == (space == "original")
    assert errors["original"] != pytest.approx(errors["normalized"], abs=1e-3)


def test_a_double_precision_program_says_so():
    settings = Settings(dtype="float64", seed=7)
    assert 'jax.config.update("jax_enable_x64", True)' in flax_code(settings, 3, 3, True)
    assert "param_dtype=jnp.float64" in flax_code(settings, 3, 3, True)
    assert 'set_floatx("float64")' in keras_code(settings, 3, 3, True)
    assert "jax.random.key(7)" in flax_code(settings, 3, 3, True)
    assert "float64)" not in flax_code(Settings(), 3, 3, True).split("# your")[1]


@pytest.mark.parametrize("space", ["normalized", "original"])
@pytest.mark.parametrize("autoencoder", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_program_is_tidy(kind, autoencoder, space):
    settings = settings_of(kind, loss_space=space, optimizer="adam")
    for code in (flax_code(settings, 84, 84, autoencoder), keras_code(settings, 84, 84, autoencoder)):
        compile(code, "recipe", "exec")
        assert max(map(len, code.splitlines())) <= 120
        assert not [line for line in code.splitlines() if line != line.rstrip()]
        assert ("y = " in code) == (not autoencoder)
        assert "\n\n\n\n" not in code


@pytest.mark.parametrize(
    "changes", [{"activation": "relu"}, {"schedule": Schedule("cosine")}, {"optimizer": "nadam"},
                {"activity_l2": 0.1}],
)  # fmt: skip
def test_what_no_recipe_does_has_no_program(changes):
    assert flax_code(Settings(**changes), 3, 3, True) == keras_code(Settings(**changes), 3, 3, True) == ""


KERAS = """
import numpy as np
x = np.load({path!r})
y = 3 + x[:, :2]
for code in {codes!r}:
    scope = {{"x": x, "y": y}}
    exec(code, scope)
    target = x if "y = " not in code else y
    print("found", 1 - np.mean((scope["predict"](x) - target) ** 2) / np.var(target, axis=0).mean())
"""


@pytest.mark.slow
def test_keras_programs_learn(tmp_path):
    np.save(tmp_path / "x.npy", rows())
    usual = {"batch_size": 24, "epochs": 300, "momentum": 0.9}
    codes = [
        keras_code(settings_of("sample", loss_space="original", learning_rate=1.0, **usual), 5, 5, True),
        keras_code(settings_of("pca", loss_space="original", learning_rate=1.5, **usual), 5, 5, True),
        keras_code(settings_of("feature", loss_space="original", learning_rate=0.1, **usual), 5, 2, False),
        keras_code(settings_of("zca", optimizer="adam", learning_rate=0.02, epochs=150), 5, 5, True),
        keras_code(settings_of("zca", optimizer="adam", learning_rate=0.02, epochs=150, loss="huber"), 5, 5, True),
        keras_code(
            settings_of("feature", loss="log-cosh", loss_space="original", learning_rate=0.5, **usual), 5, 5, True
        ),
    ]
    script = KERAS.format(path=str(tmp_path / "x.npy"), codes=codes)
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("found")]
    assert len(found) == 6
    assert min(found) > 0.98
