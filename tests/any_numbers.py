"""Data and settings of all kinds, drawn, and what holds of every prediction and diagnosis of them."""

import io
import json
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import idjax
from idjax.results.curve import Curve, Status
from idjax.results.store import curve_object, diagnosis_object, to_json
from idjax.settings import KERAS_NUMBERS, DiagnosisSettings, Schedule, Settings
from idjax.types import IdjaxError

OPTIMIZERS = ("sgd", *KERAS_NUMBERS)
QUICK = {"loss": "mse", "rounding": "nearest", "loss_scale": 1.0, "moments": "gaussian"}


class Case(NamedTuple):
    """Rows, their target or None, whether it is labels, and settings by name."""

    name: str
    x: np.ndarray
    target: np.ndarray | None
    labels: bool
    given: dict[str, Any]
    thorough: bool


Pick = Callable[[Sequence[Any]], Any]
"""What chooses one of several: hypothesis, or a generator."""


def rows_of(pick: Pick, rng: np.random.Generator, quick: bool) -> tuple[str, np.ndarray]:
    """Rows of one of many kinds; of few shapes if not quick, for each is compiled."""
    count = pick([2, 3, 4, 5, 8, 13, 40, 150, 400] if quick else [4, 40])
    width = min(max(pick([1, 2, 3, 5, count - 1, count + 3] if quick else [1, 5]), 1), 24)
    plain = rng.normal(size=(count, width))
    size = 10.0 ** pick([0, -150, -40, -30, -12, -3, 3, 8, 18, 100, 150])
    constant = np.broadcast_to(rng.normal(size=width), (count, width))
    kinds = {
        "plain": plain,
        "of a size": size * plain,
        "around a size": size * (1 + 0.1 * plain),
        "constant": size * constant,
        "some constant": np.where(rng.random(width) < 0.5, size * constant, plain),
        "zeros": np.zeros((count, width)),
        "scales": plain * 10.0 ** rng.uniform(-20, 20, width),
        "Cauchy": rng.standard_cauchy((count, width)),
        "duplicates": np.repeat(plain[:, :1], width, axis=1),
        "nearly duplicates": plain[:, :1] + 1e-9 * plain,
        "few rows again": plain[rng.integers(0, 2, count)],
        "integers": rng.integers(-5, 5, (count, width)),
        "bytes": rng.integers(0, 2, (count, width)).astype(np.uint8),
        "float16": (10 * plain).astype(np.float16),
        "tiny deviation": 10.0 ** rng.integers(0, 9) + 0.05 * plain,
        "in float32": (1e6 + 0.05 * plain).astype(np.float32),
        "one outlier": np.where(np.arange(count)[:, None] == 0, 1e9, plain),
        "an index": np.arange(count * width, dtype=float).reshape(count, width),
    }
    name = pick(list(kinds))
    return f"{name} {count}x{width} {size:g}", np.array(kinds[name])


def target_of(pick: Pick, rng: np.random.Generator, x: np.ndarray) -> tuple[str, np.ndarray | None]:
    """A target of one of many kinds, or None."""
    count, outputs = len(x), pick([1, 2, 4])
    values = np.asarray(x, np.float64)
    kinds = {
        "itself": None,
        "linear": values @ rng.normal(size=(x.shape[1], outputs)) + 1,
        "noise": rng.normal(size=(count, outputs)),
        "constant": np.full((count, outputs), 3.0),
        "zero": np.zeros((count, outputs)),
        "some constant": np.where(np.arange(outputs) % 2, rng.normal(size=(count, outputs)), 1.0),
        "large": 1e12 * rng.normal(size=(count, outputs)),
        "small": 1e-30 * rng.normal(size=(count, outputs)),
        "labels": rng.integers(0, min(3, count), (count, 1)),
        "a column": values[:, :1],
        "squares": np.minimum(np.abs(values[:, :1]), 1e100) ** 2,
    }
    name = pick([*["itself"] * 5, *kinds])
    return name, kinds[name]


def settings_of(pick: Pick, rng: np.random.Generator, count: int) -> dict[str, Any]:
    """Settings by name; many are the defaults."""
    optimizer = pick(["sgd", "sgd", "sgd", *OPTIMIZERS])
    given = {
        "optimizer": optimizer,
        "learning_rate": pick([None, 0.01, 0.1, 10.0 ** rng.uniform(-12, 6)]),
        "batch_size": pick([32, 1, 2, 7, max(count - 1, 1), count, count + 1, 10 * count]),
        "epochs": pick([20, 1, 2, 100, 1000, 100_000]),
        "normalize": pick(["none", "none", "none", "center", "feature", "sample", "pca", "zca"]),
        "loss_space": pick(["normalized", "normalized", "original"]),
        "loss": pick([*["mse"] * 8, "mae", "huber", "log-cosh"]),
        "validation_split": pick([0.0, 0.0, 0.3, 0.5]),
        "dtype": pick(["float32", "float32", "float32", "float64", "bfloat16", "float16"]),
        "learned_at": pick([0.99, 0.99, 0.5, 0.999999]),
        "seed": pick([0, 1, 2]),
        "schedule": pick([*[Schedule()] * 6, Schedule("cosine"), Schedule("exponential", warmup=0.5)]),
    }
    if optimizer in ("sgd", "rmsprop"):
        given["momentum"] = pick([0.0, 0.0, 0.0, 0.5, 0.9, 0.999])
        given["nesterov"] = optimizer == "sgd" and given["momentum"] > 0 and pick([False, True])
    if pick([False] * 9 + [True]):
        given["activity_l2"] = 10.0 ** rng.uniform(-6, 2)
    if optimizer == "sgd" and pick([False] * 9 + [True]):
        given["moments"] = "data"
    half = given["dtype"] in ("bfloat16", "float16")
    if half:
        given["rounding"] = pick(["nearest", "stochastic", "master"])
    if given["dtype"] == "float16":
        given["loss_scale"] = pick([1.0, 1024.0, 2.0 ** rng.integers(-20, 60)])
    # Runs that are iterated take as long as their updates: how long is not asked here.
    if optimizer != "sgd" or half or given["schedule"].changes or "moments" in given:
        given["epochs"] = min(given["epochs"], 20)
    return given


def case(pick: Pick, rng: np.random.Generator, quick: bool = False) -> Case:
    """Data and settings, drawn; quick ones need no compilation."""
    name, x = rows_of(pick, rng, quick)
    of, target = target_of(pick, rng, x)
    labels = of == "labels" and pick([False, False, False, True])
    given, thorough = settings_of(pick, rng, len(x)), pick([False, True, False])
    if quick:
        closed = {"optimizer": "sgd", "dtype": pick(["float32", "float64"]), "schedule": Schedule()}
        given, thorough, labels = given | closed | QUICK, False, False
    return Case(f"{name}, {of}{' as labels' if labels else ''}", x, target, labels, given, thorough)


def check(command: str, drawn: Case) -> None:
    """Runs `predict` or `diagnose`, and holds what comes of it against what is always so.

    Raises:
      IdjaxError: where the data or settings are refused; AssertionError, or anything else, where something is wrong.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if command == "predict":
                with np.errstate(divide="warn", over="warn", invalid="warn"):
                    settings = Settings(**drawn.given)
                    check_curve(idjax.predict(drawn.x, settings, target=drawn.target, band=drawn.thorough))
            else:
                found = idjax.diagnose(
                    drawn.x,
                    DiagnosisSettings(**drawn.given),
                    target=drawn.target,
                    labels=drawn.labels,
                    prescriptions=drawn.thorough,
                )
                check_diagnosis(found)
        except IdjaxError as error:
            message = str(error)
            assert message.isprintable(), message
            assert 20 < len(message) < 600, message
            raise


def check_curve(curve: Curve) -> None:
    """What holds of every curve."""
    for losses in (curve.train, curve.validation):
        assert not (losses < 0).any(), losses
    if curve.status is Status.VALID:
        assert np.isfinite(curve.train).all(), (curve.train, curve.how)
        assert np.isnan(curve.validation).all() or np.isfinite(curve.validation).all(), (curve.validation, curve.how)
        assert np.isfinite(curve.weights.kernel).all(), curve.how
    assert (curve.explained_variance <= 1 + 1e-9).all() or np.isnan(curve.explained_variance).any()
    assert not curve.steps_to_learn < 0, curve.steps_to_learn
    if curve.learning_rates is not None:
        for name in ("full_batch_max", "full_batch_best", "max", "best"):
            rate = getattr(curve.learning_rates, name)
            assert rate > 0, (name, rate)
    for band in (curve.train_band, curve.validation_band):
        if band is not None:
            assert (band.low <= band.high).all() or np.isnan(band.low).any(), (band, curve.how)
    assert_json(curve_object(curve))


def check_diagnosis(found: idjax.Diagnosis) -> None:
    """What holds of every diagnosis."""
    from rich.console import Console

    from idjax.report.pages import notebook_html
    from idjax.report.terminal import diagnosis_text

    if found.before is not None:
        check_curve(found.before)
    for finding in found.findings:
        assert not math.isnan(finding.cost), finding
        assert finding.cost >= 1, finding
    for each in found.prescriptions:
        assert 0 < each.settings.step_size < math.inf, each
        assert 0 <= each.predicted_epochs < math.inf, each
        assert each.settings.batch_size <= found.rows
    assert (found.eigenvalues >= 0).all()
    assert math.isnan(found.reachable) or 0 <= found.reachable <= 1, found.reachable
    assert_json(diagnosis_object(found))
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(diagnosis_text(found))
    text = console.export_text() + notebook_html(found)
    words = text.replace("(", " ").replace(",", " ").split()
    assert not {"nan", "inf", "-inf", "nan;", "nan."} & set(words), text


def assert_json(what: object) -> None:
    """It can be written as JSON of finite numbers, and read back."""
    text = to_json(what)
    json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> float:
    raise AssertionError(f"{name} in JSON")
