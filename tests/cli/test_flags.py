"""Settings as flags: their texts, and errors in the words of the command line."""

import dataclasses

import pytest

from idjax.cli.flags import in_flags, parse_penalty, parse_schedule, parse_widths
from idjax.results.plain import plain
from idjax.settings import Schedule, Settings
from idjax.types import IdjaxError

SCHEDULES = {
    "constant": Schedule(),
    "cosine": Schedule("cosine"),
    "exponential": Schedule("exponential", factor=0.9),
    "exponential=0.8": Schedule("exponential", factor=0.8),
    "warmup=2": Schedule(warmup=2.0),
    "warmup=2+cosine": Schedule("cosine", warmup=2.0),
    "exponential=0.8 + warmup=0.5": Schedule("exponential", warmup=0.5, factor=0.8),
}


@pytest.mark.parametrize("text", SCHEDULES)
def test_schedules_are_read_and_written_back(text):
    assert parse_schedule(text) == SCHEDULES[text]
    assert parse_schedule(str(SCHEDULES[text])) == SCHEDULES[text]


@pytest.mark.parametrize("text", ["", "linear", "cosine=3", "exponential=2", "exponential=x", "warmup", "warmup=-1"])
def test_other_words_of_a_schedule_are_refused_in_one_line(text):
    with pytest.raises(IdjaxError, match=r"^--schedule is .*warmup=2\+cosine$"):
        parse_schedule(text)


def test_widths_and_penalties_are_read_and_written_back():
    for text, widths in {"": (), "32": (32,), "64, 8,64": (64, 8, 64)}.items():
        assert parse_widths(text) == widths
        assert plain(Settings(hidden=widths))["hidden"] == text.replace(" ", "")
    for text, penalty in {"": 0.0, "0.01": 0.01, "0.01:0.05": (0.01, 0.05)}.items():
        assert parse_penalty(text) == penalty
        assert plain(Settings(hidden=(3,), hidden_l2=penalty))["hidden_l2"] == text


def test_other_words_of_widths_and_penalties_are_refused():
    for text in ("0", "4,,2", "4.5", "-1", "many"):
        with pytest.raises(IdjaxError, match="--hidden is"):
            parse_widths(text)
    for text in ("-1", "a", "1:2:3", "nan"):
        with pytest.raises(IdjaxError, match="--hidden-l2 is"):
            parse_penalty(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1.0}, "--learning-rate is -1.0: give a positive number, such as 0.01"),
        (
            {"solver": "blocks", "optimizer": "adam", "hidden": (3,)},
            "--solver is blocks: blocks of batches need --optimizer sgd and no --hidden layers; use auto or steps",
        ),
        ({"nesterov": True}, "--nesterov is True: it needs --optimizer sgd and a positive --momentum"),
        (
            {"rounding": "master"},
            "--rounding is master: float32 has none; stochastic needs --dtype bfloat16, float16 or float32, master "
            "needs bfloat16 or float16",
        ),
        (
            {"loss_scale": 1024.0},
            "--loss-scale is 1024.0: float32 holds gradients without; it is for --dtype float16",
        ),
        ({"loss_scale": 0.0, "dtype": "float16"}, "--loss-scale is 0.0: give a positive number, such as 1024"),
        (
            {"hidden_activation": "relu"},
            "--hidden-activation is relu: there is no hidden layer; give --hidden 32",
        ),
    ],
)
def test_errors_speak_in_flags(changes, message):
    with pytest.raises(IdjaxError) as refused:
        dataclasses.replace(Settings(), **changes)
    assert "--" not in str(refused.value)
    assert in_flags(str(refused.value)) == message


def test_other_errors_stay_as_they_are():
    for message in ("x.npy: `hidden` is no column", "a `dask scheduler` is not there", "moments: none is there"):
        assert in_flags(message) == message
