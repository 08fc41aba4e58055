"""Sweeps: shards that survive kills, the same bytes each time, verdicts, tables and figures."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import polars
import pytest

from idjax.prediction.predict import predict
from idjax.report import progress
from idjax.settings import Settings
from idjax.sweeps import compute
from idjax.sweeps import report as report
from idjax.sweeps.axes import Gaussian, Grid, LogGrid, Paired, Random, Sweep, Table
from idjax.sweeps.config import check_points
from idjax.sweeps.folder import Folder
from idjax.sweeps.plan import cut
from idjax.sweeps.run import run_sweep
from idjax.training.train import train
from idjax.types import IdjaxError

SMALL = Sweep(
    name="small",
    title="A small sweep",
    question="Does it hold?",
    data=Gaussian(mean=1.0, deviation=0.5, inputs=3, rows=48, exact=True),
    settings=Settings(batch_size=8, epochs=3, validation_split=0.0, dtype="float64"),
    axes=(Grid("batch_size", (8, 48)), Grid("mean", (0.0, 1.0)), LogGrid("learning_rate", 0.01, 0.1, 2)),
    tolerance=0.1,
)

CONFIG = """
from idjax.sweeps.axes import Gaussian, Grid, LogGrid, Sweep
from idjax.settings import Settings
sweep = Sweep("small", "A small sweep", "Does it hold?",
    Gaussian(mean=1.0, deviation=0.5, inputs=3, rows=48, exact=True),
    Settings(batch_size=8, epochs=3, validation_split=0.0, dtype="float64"),
    (Grid("batch_size", (8, 16, 48)), Grid("mean", (0.0, 1.0)), LogGrid("learning_rate", 0.01, 0.1, 2)), 0.1)
"""


def with_axes(*axes, **changes) -> Sweep:
    return dataclasses.replace(SMALL, axes=axes, **changes)


def test_data_of_a_file_are_swept_and_their_numbers_name_the_shards(tmp_path):
    x = np.random.default_rng(0).random((40, 3))
    np.save(tmp_path / "x.npy", x)
    sweep = with_axes(Grid("learning_rate", (0.05, 0.1)), data=str(tmp_path / "x.npy"))
    for count in (1, 2):
        assert run_sweep(sweep, check_points(sweep), Folder(tmp_path / "out")).holds
        assert len(list((tmp_path / "out" / "shards").iterdir())) == count
        np.save(tmp_path / "x.npy", x + 0.1)


def test_classes_of_a_table_are_swept(tmp_path):
    """Full batches to rounding; the control has labels that the rows do not tell, which no run learns."""
    rng = np.random.default_rng(0)
    x, drawn = rng.normal(size=(120, 3)), rng.integers(0, 3, 120)
    told = np.argmax(x + 0.3 * rng.normal(size=x.shape), axis=1)
    polars.DataFrame({**{f"x{k}": x[:, k] for k in range(3)}, "told": told}).write_csv(tmp_path / "told.csv")
    polars.DataFrame({**{f"x{k}": x[:, k] for k in range(3)}, "drawn": drawn}).write_csv(tmp_path / "drawn.csv")
    settings = Settings(loss="cross-entropy", epochs=200, batch_size=120, validation_split=0.0, dtype="float64")
    ends = []
    for name in ("told", "drawn"):
        data = Table(str(tmp_path / f"{name}.csv"), target=name, labels=True)
        sweep = with_axes(LogGrid("learning_rate", 0.1, 1.0, 3), data=data, settings=settings)
        outcome = run_sweep(sweep, check_points(sweep), Folder(tmp_path / name))
        assert [point.agreement for point in outcome.points] == ["agrees"] * 3
        ends.append(outcome.points[-1].trained_explained[-1])
    assert ends[0] > 0.7
    assert ends[1] < 0.1
    with pytest.raises(IdjaxError, match="settings: loss is cross-entropy: it takes a target"):
        check_points(dataclasses.replace(sweep, data=Table(data.source, target="drawn"), axes=()))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The small sweep, run through: its folder and what came of it."""
    path = tmp_path_factory.mktemp("reference")
    return path, run_sweep(SMALL, SMALL.expand(), Folder(path))


def test_every_point_is_what_predict_and_train_say(reference):
    _, outcome = reference
    for point, asked in zip(outcome.points, SMALL.expand(), strict=True):
        data = compute.dataset_of(asked.data, asked.settings)
        trained, predicted = train(data, asked.settings), predict(data, asked.settings, band=False)
        np.testing.assert_allclose(point.trained_train, trained.train, rtol=1e-12)
        np.testing.assert_array_equal(point.predicted_train, predicted.train)
        assert point.predicted_epochs == predicted.epochs_to_learn
        assert point.at == asked.at


def test_full_batches_are_held_to_rounding_and_minibatches_to_the_tolerance(reference):
    _, outcome = reference
    assert outcome.holds
    assert outcome.counts == {"agrees": 8}
    for point in outcome.points:
        exact = point.at["batch_size"] == 48
        assert point.bound == (1e-8 if exact else 0.1)
        assert point.error < (1e-10 if exact else 0.1)


def test_a_prediction_that_is_off_does_not_hold(monkeypatch, tmp_path):
    """The control: what theory says of a rate 3% larger must fail, and the exit status with it."""
    right = compute.run_spec

    def wrong(train, validation, settings, **options):
        return right(
            train, validation, dataclasses.replace(settings, learning_rate=1.03 * settings.step_size), **options
        )

    monkeypatch.setattr(compute, "run_spec", wrong)
    sweep = with_axes(Grid("batch_size", (48,)))
    outcome = run_sweep(sweep, sweep.expand(), Folder(tmp_path))
    assert outcome.counts == {"differs": 1}
    assert not outcome.holds


def test_divergence_missing_theory_and_range_are_told_apart(tmp_path):
    sweep = with_axes(
        Paired((Grid("loss", ("mse", "mse", "mae")), Grid("learning_rate", (3.0, 0.5, 0.01)))),
        settings=dataclasses.replace(SMALL.settings, epochs=30),
    )
    outcome = run_sweep(sweep, sweep.expand(), Folder(tmp_path))
    assert [point.agreement for point in outcome.points] == ["diverges as predicted", "outside the range", "agrees"]
    assert "followed" in outcome.points[2].how
    assert [point.predicted_status for point in outcome.points] == ["diverges", "outside_range", "followed"]
    assert outcome.holds


def test_divergence_on_the_rows_own_moments_is_as_predicted(tmp_path):
    settings = dataclasses.replace(SMALL.settings, moments="data", epochs=30)
    sweep = with_axes(Grid("learning_rate", (3.0,)), settings=settings)
    outcome = run_sweep(sweep, sweep.expand(), Folder(tmp_path))
    assert outcome.counts == {"diverges as predicted": 1}


def test_error_counts_below_the_level_against_the_level():
    predicted, trained = np.array([0.5, 0.999, 0.99999]), np.array([0.45, 0.999, 0.9999])
    assert compute.unexplained_error(predicted, trained, 0.01) == pytest.approx(0.1)
    assert compute.unexplained_error(predicted, predicted, 0.01) == 0
    assert np.isnan(compute.unexplained_error(predicted, np.array([0.5, np.nan, np.nan]), 0.01))


def run_again(path: pathlib.Path) -> bytes:
    run_sweep(SMALL, SMALL.expand(), Folder(path))
    return (path / "results.parquet").read_bytes()


def test_the_same_bytes_from_a_new_run_and_from_a_finished_folder(reference, tmp_path, monkeypatch):
    path, _ = reference
    expected = (path / "results.parquet").read_bytes()
    assert run_again(tmp_path) == expected
    monkeypatch.setattr(compute, "train_many", lambda *_: pytest.fail("all is finished"))
    assert run_again(tmp_path) == expected


def test_a_full_disk_loses_nothing_that_is_finished(reference, tmp_path, monkeypatch):
    path, _ = reference
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IdjaxError, match="No space left on device"):
        run_sweep(SMALL, SMALL.expand(), Folder(tmp_path))
    monkeypatch.setattr(os, "fsync", real)
    assert len(list((tmp_path / "shards").glob("*.parquet"))) == 2
    assert not list((tmp_path / "shards").glob(".*"))
    assert run_again(tmp_path) == (path / "results.parquet").read_bytes()


def test_a_folder_takes_no_other_sweep(reference):
    path, _ = reference
    other = dataclasses.replace(SMALL, tolerance=0.2)
    with pytest.raises(IdjaxError, match="it holds another sweep"):
        run_sweep(other, other.expand(), Folder(path))


def test_what_a_killed_process_left_is_cleared(tmp_path, reference):
    path, _ = reference
    (name, *_) = [shard.name for shard in cut(SMALL.expand())]
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / f".{name}.parquet-x1y2").write_bytes(b"half")
    (tmp_path / "shards" / f"{name}.lock").touch()
    assert run_again(tmp_path) == (path / "results.parquet").read_bytes()
    assert sorted(file.suffix for file in (tmp_path / "shards").iterdir()) == [".parquet"] * 4


def test_a_damaged_shard_is_named(tmp_path):
    run_again(tmp_path)
    shard = min((tmp_path / "shards").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(IdjaxError, match=f"{shard.name}: it is damaged.*delete it and run the sweep again"):
        run_again(tmp_path)


def sweep_process(config: pathlib.Path, out: pathlib.Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "idjax.cli", "sweep", str(config), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait(process: subprocess.Popen) -> None:
    _, err = process.communicate()
    assert process.returncode == 0, err


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """A config, and the bytes of its results when nothing disturbs it."""
    folder = tmp_path_factory.mktemp("through")
    (folder / "config.py").write_text(CONFIG)
    wait(sweep_process(folder / "config.py", folder / "out"))
    return folder / "config.py", (folder / "out" / "results.parquet").read_bytes()


@pytest.mark.slow
def test_killed_sweeps_go_on_and_give_the_same_bytes(through, tmp_path):
    config, expected = through
    process = sweep_process(config, tmp_path)
    while not list((tmp_path / "shards").glob("*.parquet")) and process.poll() is None:
        time.sleep(0.01)  # killed at its second shard, the first being done
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "results.parquet").exists()
    wait(sweep_process(config, tmp_path))
    assert (tmp_path / "results.parquet").read_bytes() == expected


@pytest.mark.slow
def test_two_processes_share_a_folder(through, tmp_path):
    config, expected = through
    for process in [sweep_process(config, tmp_path) for _ in range(2)]:
        wait(process)
    assert (tmp_path / "results.parquet").read_bytes() == expected


def test_command_line(tmp_path, command, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    (tmp_path / "config.py").write_text(CONFIG)
    status, out, err = command("sweep", str(tmp_path / "config.py"), "--out", str(tmp_path / "out"))
    assert status == 0
    assert "axis batch_size cannot be stacked" in err
    assert "12 of 12 points, 100%" in err
    assert "s left" in err
    assert "small: 12 points: 12 agree" in out
    figures = {file.name: file.read_bytes() for file in (tmp_path / "out" / "figures").iterdir()}
    assert set(figures) == {"curves.png", "epochs.png", "errors.png"}
    status, again, _ = command("sweep", "show", str(tmp_path / "out"))
    assert (status, again) == (0, out)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out" / "figures").iterdir()} == figures
    status, out, err = command("sweep", "show", str(tmp_path / "out"), "--json")
    assert len(json.loads(out)["points"]) == 12
    status, out, err = command("sweep", "show", str(tmp_path))
    assert (status, out) == (2, "")
    assert "it holds no sweep" in err
    status, _, err = command("sweep", "nothing", "--out", str(tmp_path / "out"))
    assert status == 2
    assert "is not a sweep" in err


def test_results_hold_config_versions_seed_and_revision(reference):
    parquet = pytest.importorskip("pyarrow.parquet")
    path, _ = reference
    table = parquet.read_table(path / "results.parquet")
    about = json.loads(table.schema.metadata[b"idjax"])
    assert about["settings"]["seed"] == 0
    assert about["data"]["data_seed"] == 0
    assert {"idjax", "jax", "numpy", "python", "git"} <= set(about["made_by"][0])
    assert table.column("batch_size").to_pylist() == [8] * 4 + [48] * 4


def test_random_searches_are_drawn_in_one_panel(tmp_path):
    search = Paired((Random("learning_rate", 0.01, 0.1, 4, log=True), Random("momentum", 0.1, 0.5, 4)))
    sweep = with_axes(search)
    outcome = run_sweep(sweep, sweep.expand(), Folder(tmp_path))
    assert len(report.curves_figure(outcome).axes) == 1
    assert len(report.rows(outcome)) == 4
