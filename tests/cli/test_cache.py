"""Compiled programs on disk: later commands load them, and where they cannot be kept nothing is said or broken."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from idjax.cli.cache import keep_compiled

NAMES = ("JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment that says nothing of JAX's cache, before JAX is imported; the folder of the user's caches."""
    monkeypatch.setattr("warnings.filterwarnings", lambda *_args, **_options: None)
    for name in (*NAMES, "IDJAX_CACHE"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def _asked_of_jax():
    keep_compiled()
    return os.environ.get(NAMES[0])


def test_where_programs_are_kept(bare, monkeypatch):
    assert _asked_of_jax() == str(bare / "idjax" / "compiled")
    monkeypatch.setenv(NAMES[0], "mine")
    assert _asked_of_jax() == "mine"
    monkeypatch.delenv(NAMES[0])
    monkeypatch.setenv("IDJAX_CACHE", str(bare / "elsewhere"))
    assert _asked_of_jax() == str(bare / "elsewhere")


@pytest.mark.parametrize("asked", ["0", "off", "OFF", "{tmp}/file", "{tmp}/file/below"])
def test_nothing_is_kept(bare, monkeypatch, asked):
    (bare / "file").touch()
    monkeypatch.setenv("IDJAX_CACHE", asked.format(tmp=bare))
    assert _asked_of_jax() is None
    assert os.listdir(bare) == ["file"]


def test_a_folder_that_cannot_be_written(bare, monkeypatch):
    def full(**_options):
        raise OSError("read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert _asked_of_jax() is None


def test_a_process_that_has_jax_keeps_its_settings(bare, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", sys)
    assert _asked_of_jax() is None


def test_a_second_command_compiles_nothing(tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(40, 2)))
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment |= {"IDJAX_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "idjax.cli", "predict", "rows.npy", "--json", "--quiet", "--epochs", "2"]
    command += ["--optimizer", "adam", "--batch-size", "8"]

    def predicted():
        done = subprocess.run(command, check=True, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.stderr == ""
        return {**json.loads(done.stdout), "seconds": None}, sorted(tmp_path.glob("cache/*-cache"))

    first, kept = predicted()
    assert kept
    assert predicted() == (first, kept)
    for program in kept:
        program.write_bytes(b"damaged")
    assert predicted()[0] == first
