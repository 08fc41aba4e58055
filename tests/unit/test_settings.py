"""Settings that cannot be: refused when they are made, with the setting, its value and what it takes."""

import dataclasses
import math
import subprocess
import sys

import pytest

from idjax.settings import STACKED, DiagnosisSettings, Schedule, Settings
from idjax.types import IdjaxError

REFUSED = [
    ({"learning_rate": 0.0}, "learning_rate is 0.0: give a positive number, such as 0.01"),
    ({"learning_rate": math.inf}, "learning_rate is inf: give a positive number, such as 0.01"),
    ({"learning_rate": math.nan}, "learning_rate is nan: give a positive number, such as 0.01"),
    ({"momentum": 1.0}, "momentum is 1.0: give a number from 0 up to, not including, 1"),
    ({"optimizer": "adam", "momentum": 0.9}, "momentum is 0.9: adam has no momentum setting; use it with sgd or rms"),
    ({"beta_1": 0.9}, "beta_1 is 0.9: sgd has none; use it with adam, adamw, adamax, nadam"),
    ({"optimizer": "adam", "beta_2": 1.0}, "beta_2 is 1.0: give a number from 0 up to, not including, 1"),
    ({"optimizer": "adam", "epsilon": 0.0}, "epsilon is 0.0: give a positive number, such as 1e-7"),
    ({"optimizer": "adamw", "weight_decay": -1.0}, "weight_decay is -1.0: give zero or a positive number"),
    ({"hidden": (4, 0)}, r"hidden is \(4, 0\): give a tuple of whole numbers of units"),
    ({"hidden_activation": "relu"}, r"hidden_activation is relu: there is no hidden layer; give `hidden=\(32,\)`"),
    ({"hidden_l2": 0.1}, "hidden_l2 is 0.1: there is no hidden layer"),
    ({"hidden": (3,), "hidden_l2": -0.1}, "hidden_l2 is -0.1: give a number from 0 on, or two"),
    ({"rounding": "stochastic", "dtype": "float64"}, "rounding is stochastic: float64 has none"),
    ({"rounding": "master"}, "rounding is master: float32 has none"),
    ({"nesterov": True}, "nesterov is True: it needs `optimizer='sgd'` and a positive `momentum`"),
    ({"activity_l1": -1.0}, "activity_l1 is -1.0: give zero or a positive number"),
    ({"batch_size": 0}, "batch_size is 0: give a whole number of rows, at least 1"),
    ({"epochs": 10**7}, "epochs is 10000000: give a whole number, at least 1 and at most a million"),
    ({"validation_split": 1.0}, "validation_split is 1.0: give a share from 0 up to, not including, 1"),
    ({"learned_at": 1.0}, "learned_at is 1.0: give a number between 0 and 1, such as 0.99"),
    ({"seed": 2**32}, "seed is 4294967296: give a whole number from 0 to 4294967295"),
    ({"solver": "blocks", "loss": "mae"}, "solver is blocks: blocks of batches need `loss='mse'`; use auto or steps"),
]

OF_ANOTHER_TYPE = [
    ({"learning_rate": "fast"}, "learning_rate is 'fast': give a positive number, such as 0.01"),
    ({"optimizer": "adamm"}, "optimizer is 'adamm': give one of sgd, rmsprop"),
    ({"optimizer": ["sgd"]}, "optimizer is ['sgd']: give one of sgd, rmsprop"),
    ({"hidden": (4.5,)}, "hidden is (4.5,): give a tuple of whole numbers of units"),
    ({"hidden": "64,8"}, "hidden is '64,8': give a tuple of whole numbers of units"),
    ({"hidden": 64}, "hidden is 64: give a tuple of whole numbers of units"),
    ({"hidden": (3,), "hidden_l2": (0.1, 0.2, 0.3)}, "hidden_l2 is (0.1, 0.2, 0.3): give a number from 0 on, or two"),
    ({"schedule": "cosine"}, "schedule is 'cosine': give an idjax.Schedule, such as Schedule('cosine', warmup=2)"),
    ({"batch_size": 8.5}, "batch_size is 8.5: give a whole number of rows, at least 1"),
    ({"start": 3}, "start is 3: give glorot, lecun, identity or the name of a file"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
@pytest.mark.parametrize("kind", [Settings, DiagnosisSettings])
def test_what_cannot_be_does_not_exist(kind, changes, message):
    with pytest.raises(IdjaxError, match=f"^{message}"):
        kind(**changes)
    with pytest.raises(IdjaxError, match=f"^{message}"):
        dataclasses.replace(kind(), **changes)


def test_values_of_another_type_are_refused_as_well():
    """In a process of its own: these tests check types as the functions are called, and would be faster."""
    code = (
        "from idjax import IdjaxError, Schedule, Settings\n"
        "for kind, changes in eval(input()):\n"
        "    try: print({'settings': Settings, 'schedule': Schedule}[kind](**changes))\n"
        "    except IdjaxError as error: print(error)"
    )
    given = repr([*(("settings", changes) for changes, _ in OF_ANOTHER_TYPE), ("schedule", {"kind": "linear"})])
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True)
    expected = [*(message for _, message in OF_ANOTHER_TYPE), "kind is 'linear': give one of constant, cosine, exp"]
    for told, message in zip(done.stdout.splitlines(), expected, strict=True):
        assert told.startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup": -1.0}, "warmup is -1.0: give zero or a positive number"),
        ({"warmup": math.inf}, "warmup is inf"),
        ({"factor": 2.0}, "factor is 2.0: give a number above 0, at most 1"),
    ],
)
def test_schedules_that_cannot_be_do_not_exist(changes, message):
    with pytest.raises(IdjaxError, match=f"^{message}"):
        Schedule(**changes)


def test_settings_are_values():
    one = Settings(hidden=(64, 8), hidden_l2=(0.1, 0.3), schedule=Schedule("cosine"))
    assert one == dataclasses.replace(Settings(), hidden=(64, 8), hidden_l2=(0.1, 0.3), schedule=Schedule("cosine"))
    assert {one: 1}[dataclasses.replace(one)] == 1
    assert [len(layer) for layer in one.unit_penalties] == [64, 8]
    assert one.unit_penalties[1][0] == 0.1
    assert one.unit_penalties[1][-1] == pytest.approx(0.3)


def test_what_is_stacked_is_listed_once():
    names = "start learning_rate momentum beta_1 beta_2 epsilon weight_decay learned_at loss_scale seed"
    assert names.split() == list(STACKED)
