"""A training that is stopped goes on bit for bit: from any call, whatever the optimizer, on Ctrl-C and on a kill."""

import dataclasses
import json
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from idjax.data import as_dataset, prescribed
from idjax.settings import Schedule, Settings
from idjax.training.checkpoint import CheckpointFolder
from idjax.training.train import Snapshot, train
from idjax.types import IdjaxError

BASE = Settings(batch_size=50, epochs=6, learning_rate=0.05)
CASES = {
    "sgd in blocks": dataclasses.replace(BASE, batch_size=10, solver="blocks"),
    "momentum by steps": dataclasses.replace(BASE, momentum=0.9, solver="steps"),
    "adam": dataclasses.replace(BASE, optimizer="adam"),
    "float64": dataclasses.replace(BASE, dtype="float64"),
    "stochastic bfloat16": dataclasses.replace(BASE, dtype="bfloat16", rounding="stochastic"),
    "float16, scaled": dataclasses.replace(BASE, dtype="float16", loss_scale=1024.0),
    "master bfloat16": dataclasses.replace(BASE, dtype="bfloat16", rounding="master"),
    "schedule": dataclasses.replace(BASE, optimizer="nadam", schedule=Schedule("cosine"), solver="steps"),
    "full batch": dataclasses.replace(BASE, batch_size=150, validation_split=0.5),
}


@pytest.fixture(autouse=True)
def _short_calls(monkeypatch):
    """Two epochs a call, so that a run has several."""
    monkeypatch.setattr("idjax.training.train.ROWS_PER_CALL", 2 * 210)


def data():
    return as_dataset(prescribed(np.full(5, 1.0), np.logspace(0, -2, 5), 300, 0), None, "float32")


class Stopping(CheckpointFolder):
    """Ends the run after so many calls, as a kill would."""

    stop_after = 2
    calls = 0

    def reached(self, snapshot: Snapshot) -> None:
        super().reached(snapshot)
        self.calls += 1
        if self.calls == self.stop_after:
            raise InterruptedError


def checkpointer(kind, folder: pathlib.Path, settings: Settings, **changes):
    given = {"seconds": 0.0, "resume": True} | changes
    return kind(folder / "checkpoint", data(), settings, **given)


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_is_bit_for_bit_the_same(tmp_path, name):
    settings = CASES[name]
    through = train(data(), settings)
    with pytest.raises(InterruptedError), checkpointer(Stopping, tmp_path, settings) as first:
        train(data(), settings, checkpointer=first)
    heard = []
    with checkpointer(CheckpointFolder, tmp_path, settings) as second:
        resumed = train(data(), settings, checkpointer=second, on_epoch=lambda progress: heard.append(progress.done))
        second.clear()
    assert heard[0] > 1
    for field in ("train", "validation", "explained_variance"):
        np.testing.assert_array_equal(getattr(resumed, field), getattr(through, field))
    np.testing.assert_array_equal(resumed.weights.stacked, through.weights.stacked)
    assert not (tmp_path / "checkpoint").exists()


def test_another_state_is_another_run(tmp_path):
    """The control: a checkpoint of weights a bit off does not come to the same."""

    class Disturbed(CheckpointFolder):
        def begin(self, like: Snapshot) -> Snapshot:
            held = super().begin(like)

            def off(weights: object) -> np.ndarray:
                return np.nextafter(np.asarray(weights), np.float32(np.inf))

            return held._replace(state=held.state._replace(params=jax.tree.map(off, held.state.params)))

    settings = CASES["momentum by steps"]
    with pytest.raises(InterruptedError), checkpointer(Stopping, tmp_path, settings) as first:
        train(data(), settings, checkpointer=first)
    with checkpointer(Disturbed, tmp_path, settings) as second:
        resumed = train(data(), settings, checkpointer=second)
    assert np.any(resumed.train != train(data(), settings).train)


def test_without_resume_a_run_begins_anew_and_other_settings_are_refused(tmp_path):
    settings = CASES["adam"]
    with pytest.raises(InterruptedError), checkpointer(Stopping, tmp_path, settings) as first:
        train(data(), settings, checkpointer=first)
    other = dataclasses.replace(settings, learning_rate=0.06)
    with (
        pytest.raises(IdjaxError, match="other data or settings"),
        checkpointer(CheckpointFolder, tmp_path, other) as second,
    ):
        train(data(), other, checkpointer=second)
    heard = []
    with checkpointer(CheckpointFolder, tmp_path, other, resume=False, seconds=1e9) as third:
        train(data(), other, checkpointer=third, on_epoch=lambda progress: heard.append(progress.done))
    assert heard[0] == 1
    assert not (tmp_path / "checkpoint").exists()


def test_a_damaged_checkpoint_is_named(tmp_path):
    settings = CASES["adam"]
    with pytest.raises(InterruptedError), checkpointer(Stopping, tmp_path, settings) as first:
        train(data(), settings, checkpointer=first)
    for file in (tmp_path / "checkpoint").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with (
        pytest.raises(IdjaxError, match="cannot be read; delete it"),
        checkpointer(CheckpointFolder, tmp_path, settings) as second,
    ):
        train(data(), settings, checkpointer=second)


def training(out: pathlib.Path, *more: str) -> subprocess.Popen:
    # Calls of about a thousand epochs, for the rows are few.
    words = ["train", "x.npy", "--epochs", "4000", "--batch-size", "50", "--solver", "steps", "--out", out.name]
    command = [sys.executable, "-m", "idjax.cli", *words, "--checkpoint-every", "0", *more]
    return subprocess.Popen(command, cwd=out.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def results(out: pathlib.Path) -> tuple[bytes, dict]:
    """The weights, and training.json without the seconds that it took and the state of the checkout."""
    found = json.loads((out / "training.json").read_text())
    del found["provenance"]
    for curve in ("measured", "predicted"):
        del found[curve]["seconds"]
    return (out / "weights.msgpack").read_bytes(), found


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """The results of a process that nothing disturbs."""
    folder = tmp_path_factory.mktemp("through")
    np.save(folder / "x.npy", data().x)
    process = training(folder / "out", "--quiet")
    assert process.communicate() == (None, "")
    return results(folder / "out")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_goes_on(through, tmp_path, number):
    np.save(tmp_path / "x.npy", data().x)
    stopped = tmp_path / "stopped"
    process = training(stopped)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Epoch 1500/"):
            break
    process.send_signal(number)
    err = process.communicate()[1]
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "add --resume to go on" in err
    assert not (stopped / "training.json").exists()
    process = training(stopped, "--resume")
    lines = process.communicate()[1].splitlines()
    assert process.returncode == 0, lines
    assert int(lines[0].split()[1].split("/")[0]) > 100
    assert results(stopped) == through
