"""The wheel, in an empty environment: what a newcomer does, on the oldest and the newest JAX."""

import os
import pathlib
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
JAX = {"oldest": "jax==0.8.0", "newest": "jax"}
pytestmark = pytest.mark.slow


def run(*command, cwd=None, status=0):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    found = subprocess.run([sys.executable, "-m", "pip", "index", "versions", "hatchling"], capture_output=True)
    if found.returncode:
        pytest.skip("no package index is reached from here")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=JAX)
def idjax(request, wheel, tmp_path_factory):
    """The command of a fresh environment that holds the wheel and what it needs."""
    home = tmp_path_factory.mktemp(request.param)
    run(sys.executable, "-m", "venv", home)
    run(home / "bin" / "pip", "install", "--quiet", f"{wheel}[explore]", JAX[request.param])
    return home / "bin" / "idjax"


def test_a_file_is_diagnosed(idjax, tmp_path):
    np.savetxt(tmp_path / "rows.csv", 50 + np.random.default_rng(0).normal(size=(300, 4)), delimiter=",")
    assert "mean-dominated" in run(idjax, "diagnose", "rows.csv", "--quiet", cwd=tmp_path, status=1)


PROGRAM = """
import jax.numpy as jnp
import numpy as np


def broadcast():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    return lambda w, x, y: jnp.mean((x @ w - y) ** 2), np.ones((3, 1), "float32"), x, x.sum(1)
"""


def test_a_program_is_diagnosed(idjax, tmp_path):
    """Its primitives are run one by one, by names that JAX does not promise to keep."""
    (tmp_path / "own.py").write_text(PROGRAM)
    assert "broadcast-loss" in run(idjax, "diagnose", "--program", "own:broadcast", cwd=tmp_path, status=1)


def test_an_experiment_is_replayed(idjax, tmp_path):
    run(idjax, "reproduce", "identity_start", "--out", "published", cwd=tmp_path)
    assert (tmp_path / "published" / "report.html").stat().st_size > 1000


def test_the_live_page_starts_and_stops(idjax, tmp_path):
    np.savetxt(tmp_path / "rows.csv", np.random.default_rng(0).normal(size=(300, 4)), delimiter=",")
    command = [idjax, "explore", "rows.csv", "--no-browser"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as served:
        assert served.stdout is not None
        url = served.stdout.readline().strip()
        with urllib.request.urlopen(url) as page:
            assert "idjax explore" in page.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(url.rsplit("/", 2)[0] + "/")
        served.send_signal(signal.SIGINT)
        out, err = served.communicate(timeout=60)
    assert (served.returncode, out) == (0, "")
    assert "Traceback" not in err
