"""The command line as users and scripts meet it: output, exit status, one line for bad input, nothing half-written."""

import json
import os
import pathlib
import pickle
import signal
import stat
import subprocess
import sys
import time

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idjax.nn.model import DenseModel


@pytest.fixture
def run(command, monkeypatch, tmp_path):
    """Runs a command in a fresh folder."""
    monkeypatch.chdir(tmp_path)
    return command


@pytest.fixture
def small(tmp_path):
    """60 rows of 4 numbers, as a file."""
    x = np.random.default_rng(0).normal(1, 0.5, (60, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return x


def one_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1, err
    assert lines[0].startswith("idjax: error: ")
    assert "Traceback" not in err
    return lines[0]


def test_predict_json_is_one_object(run, small):
    status, out, err = run("predict", "x.npy", "--epochs", "5", "--batch-size", "8", "--json")
    assert (status, err) == (0, "")
    got = json.loads(out)
    assert list(got["loss"]["epoch"]) == [1, 2, 3, 4, 5]
    assert {len(got["loss"][key]) for key in ("train", "validation", "explained_variance")} == {5}
    assert got["steps_to_learn"] > 0
    assert got["condition_number"] > 1
    assert got["max_learning_rate"] > 0


def test_train_json_holds_both_twins(run, small):
    status, out, _ = run("train", "x.npy", "--epochs", "3", "--batch-size", "8", "--json", "--quiet")
    assert status == 0
    got = json.loads(out)
    assert set(got["measured"]) == set(got["predicted"])
    np.testing.assert_allclose(got["measured"]["loss"]["train"], got["predicted"]["loss"]["train"], rtol=0.05)


def test_what_is_not_finite_is_null(run, small):
    _, out, _ = run("train", "x.npy", "--epochs", "300", "--learning-rate", "1e9", "--json", "--quiet")
    got = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert got["measured"]["loss"]["train"][-1] is None
    assert got["measured"]["steps_to_learn"] is None


def test_progress_line_has_the_predicted_loss_beside_the_measured(run, small):
    _, out, err = run("train", "x.npy", "--epochs", "2", "--batch-size", "8")
    lines = err.splitlines()
    assert lines[0].startswith("Epoch 1/2  6/6")
    assert lines[0].count("(predicted ") == 2
    assert "explained_variance" in lines[1]
    assert "explained variance" in out


def test_quiet(run, small):
    assert run("train", "x.npy", "--epochs", "2", "--quiet")[2] == ""


def test_train_out_keeps_weights_that_flax_reads_back(run, small, tmp_path):
    status, out, _ = run("train", "x.npy", "--epochs", "4", "--batch-size", "8", "--out", "kept", "--json")
    assert status == 0
    kept = tmp_path / "kept"
    assert sorted(file.name for file in kept.iterdir()) == ["curve.png", "training.json", "weights.msgpack"]
    assert json.loads((kept / "training.json").read_text()) == json.loads(out)
    model = DenseModel(features=4)
    variables = flax.serialization.from_bytes(
        model.init(jax.random.key(0), jnp.ones((1, 4))), (kept / "weights.msgpack").read_bytes()
    )
    held_out = small[42:]
    error = np.mean((np.asarray(model.apply(variables, held_out)) - held_out) ** 2)
    assert error == pytest.approx(json.loads(out)["measured"]["loss"]["validation"][-1], rel=1e-5)
    status, out, _ = run("predict", "x.npy", "--start", "kept/weights.msgpack", "--epochs", "1", "--json")
    assert status == 0
    assert json.loads(out)["loss"]["train"][0] < error * 1.5


def test_csv_with_target_columns(run, tmp_path):
    rng = np.random.default_rng(1)
    table = rng.normal(size=(40, 3))
    table[:, 2] = table[:, 0] - table[:, 1]
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header="a,b,price", comments="")
    status, out, _ = run("train", "t.csv", "--target", "price", "--learning-rate", "0.1", "--epochs", "60",
                         "--batch-size", "4", "--json")  # fmt: skip
    assert status == 0
    assert json.loads(out)["measured"]["loss"]["explained_variance"][-1] > 0.99


def bad_files(folder: pathlib.Path) -> None:
    good = np.ones((20, 3)) + np.arange(60).reshape(20, 3)
    np.save(folder / "good.npy", good)
    np.save(folder / "short.npy", good[:7])
    np.save(folder / "one_row.npy", good[:1])
    np.save(folder / "no_columns.npy", good[:, :0])
    broken = good.copy()
    broken[4, 1] = np.nan
    np.save(folder / "nan.npy", broken)
    broken[4, 1] = np.inf
    np.save(folder / "inf.npy", broken)
    np.save(folder / "huge.npy", good * 1e200)
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "empty.npy").write_bytes(b"")
    (folder / "empty.csv").write_text("")
    (folder / "text.csv").write_text("a,b\n1,2\n3,hello\n")
    (folder / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (folder / "pickle.npy").write_bytes(pickle.dumps({"a": 1}))
    (folder / "kernel.npz").write_bytes(b"PK\x03\x04 not a zip")
    (folder / "folder.npy").mkdir()


BAD = {
    "missing file": (["predict", "missing.npy"], "missing.npy"),
    "empty npy": (["train", "empty.npy"], "empty.npy"),
    "empty csv": (["predict", "empty.csv"], "empty.csv"),
    "text cell": (["predict", "text.csv"], "row 2"),
    "ragged rows": (["predict", "ragged.csv"], "row 2"),
    "nan": (["predict", "nan.npy"], "row 5, column 2"),
    "infinity": (["train", "inf.npy"], "row 5, column 2"),
    "overflow": (["train", "huge.npy"], "float64"),
    "one row": (["predict", "one_row.npy"], "one_row.npy"),
    "no columns": (["predict", "no_columns.npy"], "column"),
    "objects": (["predict", "objects.npy"], "objects.npy"),
    "pickle": (["predict", "pickle.npy"], "pickle.npy"),
    "a folder": (["predict", "folder.npy"], "folder.npy"),
    "target rows": (["predict", "good.npy", "--target", "short.npy"], "7"),
    "target column": (["predict", "good.npy", "--target", "prize"], "prize"),
    "negative rate": (["predict", "good.npy", "--learning-rate", "-1"], "--learning-rate"),
    "zero rate": (["predict", "good.npy", "--learning-rate", "0"], "--learning-rate"),
    "nan rate": (["train", "good.npy", "--learning-rate", "nan"], "--learning-rate"),
    "infinite rate": (["train", "good.npy", "--learning-rate", "inf"], "--learning-rate"),
    "no batch": (["train", "good.npy", "--batch-size", "0"], "--batch-size"),
    "no epochs": (["train", "good.npy", "--epochs", "0"], "--epochs"),
    "split": (["predict", "good.npy", "--validation-split", "1"], "--validation-split"),
    "empty training": (["predict", "good.npy", "--validation-split", "0.99"], "--validation-split"),
    "momentum": (["train", "good.npy", "--momentum", "1.5"], "--momentum"),
    "momentum of adam": (["train", "good.npy", "--optimizer", "adam", "--momentum", "0.9"], "--momentum"),
    "nesterov alone": (["train", "good.npy", "--nesterov"], "--nesterov"),
    "penalty": (["train", "good.npy", "--activity-l1", "-1"], "--activity-l1"),
    "seed": (["train", "good.npy", "--seed", "-1"], "--seed"),
    "unknown flag": (["train", "good.npy", "--lerning-rate", "1"], "--learning-rate"),
    "unknown optimizer": (["train", "good.npy", "--optimizer", "adamm"], "adam"),
    "unknown command": (["trian", "good.npy"], "train"),
    "unknown set": (["train", "unit-unifrom"], "unit-uniform"),
    "unknown experiment": (["reproduce", "narow_normal"], "narrow_normal"),
    "no data": (["train"], "data"),
    "not a number": (["train", "good.npy", "--epochs", "many"], "--epochs"),
    "start missing": (["train", "good.npy", "--start", "w.npz", "--batch-size", "4"], "w.npz"),
    "start damaged": (["train", "good.npy", "--start", "kernel.npz", "--batch-size", "4"], "kernel.npz"),
    "start of another shape": (["train", "good.npy", "--start", "short.npy", "--batch-size", "4"], "(7, 3)"),
    "out is a file": (["train", "good.npy", "--out", "good.npy"], "--out"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(run, tmp_path, case):
    bad_files(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    words, named = BAD[case]
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert named in one_line(err)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_identity_needs_a_square(run, tmp_path):
    np.savetxt(
        tmp_path / "t.csv",
        np.random.default_rng(0).normal(size=(9, 3)),
        delimiter=",",
        header="a,b,c",
        comments="",
    )
    status, _, err = run("predict", "t.csv", "--target", "c", "--start", "identity", "--batch-size", "2")
    assert status == 2
    assert "glorot" in one_line(err)


def test_an_out_that_cannot_be_written(run, small, tmp_path, monkeypatch):
    if os.geteuid() == 0:  # root may write anywhere: refuse at the system call instead
        monkeypatch.setattr("os.access", lambda *_: False)
    (tmp_path / "locked").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    status, _, err = run("train", "x.npy", "--out", "locked")
    assert status == 2
    assert "permission" in one_line(err)


def test_a_full_disk_leaves_the_old_results(run, small, tmp_path, monkeypatch):
    assert run("predict", "x.npy", "--epochs", "2", "--out", "kept")[0] == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "kept").iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    status, _, err = run("predict", "x.npy", "--epochs", "7", "--out", "kept")
    assert status == 2
    assert "No space left" in one_line(err)
    assert {file.name: file.read_bytes() for file in (tmp_path / "kept").iterdir()} == before


def test_version_and_completion(run):
    import idjax

    status, out, _ = run("--version")
    assert (status, out.strip()) == (0, idjax.__version__)
    status, out, _ = run("completion", "bash")
    assert status == 0
    assert "--learning-rate" in out


def test_ctrl_c_is_one_line(small, tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "idjax.cli",
            "train",
            "x.npy",
            "--epochs",
            "100000",
            "--batch-size",
            "1",
            "--out",
            "kept",
        ],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "idjax: interrupted; the training is kept in kept: add --resume to go on"
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["checkpoint"]
