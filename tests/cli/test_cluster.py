"""Many devices, processes and machines: the same results from eight devices, two processes and a dask cluster."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from test_sweeps import CONFIG, SMALL

from idjax.moments.moments import moments_of
from idjax.settings import Settings
from idjax.sweeps import cluster
from idjax.sweeps.folder import Folder
from idjax.sweeps.run import run_sweep
from idjax.training.many import train_many
from idjax.types import IdjaxError


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, **changes}


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("reference")
    run_sweep(SMALL, SMALL.expand(), Folder(path))
    return (path / "results.parquet").read_bytes()


EIGHT = """
import sys
import jax, numpy as np
from idjax.nn import sharding
from idjax.data import as_dataset
from idjax.settings import Settings
from idjax.training.many import train_many
assert len(jax.devices()) == 8
placed = sharding.spread(np.zeros((12, 3)), 12)
assert len(placed.sharding.device_set) == 4
assert placed.addressable_shards[0].data.shape == (3, 3)
x = np.load(sys.argv[1])
found = []
for solver in ("steps", "blocks"):
    runs = [
        Settings(learning_rate=0.01 * k, batch_size=8, epochs=4, dtype="float64", solver=solver) for k in range(1, 17)
    ]
    found.append([curve.train for curve in train_many(as_dataset(x, None, "float64"), runs)])
np.save(sys.argv[2], np.array(found))
"""


@pytest.mark.slow
def test_runs_spread_over_eight_devices_come_to_the_same(tmp_path):
    x = np.random.default_rng(0).normal(1, 0.5, (100, 4))
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-c", EIGHT, str(tmp_path / "x.npy"), str(tmp_path / "out.npy")]
    flags = environment(XLA_FLAGS="--xla_force_host_platform_device_count=8")
    done = subprocess.run(command, env=flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    from idjax.data import as_dataset

    for there, solver in zip(np.load(tmp_path / "out.npy"), ("steps", "blocks"), strict=True):
        runs = [
            Settings(learning_rate=0.01 * k, batch_size=8, epochs=4, dtype="float64", solver=solver)
            for k in range(1, 17)
        ]
        here = np.array([curve.train for curve in train_many(as_dataset(x, None, "float64"), runs)])
        np.testing.assert_allclose(there, here, rtol=1e-11)
        assert np.ptp(here[:, -1]) > 0.01


@pytest.mark.slow
def test_two_parts_share_a_sweep(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    command = [sys.executable, "-m", "idjax.cli", "sweep", "config.py", "--out", "out"]
    both = [
        subprocess.Popen(
            [*command, "--part", f"{index}/2"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert "small: 12 points: 12 agree" in out
        assert not err.strip().endswith("12/12 points")  # either had shards of its own
    sequence = [sys.executable, "-m", "idjax.cli", "sweep", "config.py", "--out", "alone", "--quiet"]
    subprocess.run(sequence, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "out" / "results.parquet").read_bytes() == (tmp_path / "alone" / "results.parquet").read_bytes()


@contextlib.contextmanager
def dask(folder: pathlib.Path, workers: int = 2):
    """A scheduler and worker processes: its address and the processes."""
    port, running = free_port(), []
    address = f"tcp://127.0.0.1:{port}"

    def start(*words: str) -> None:
        command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
        log = (folder / f"dask-{len(running)}.log").open("w")
        with log:
            running.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))

    try:
        start("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        for _ in range(workers):
            start("dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        import distributed

        with distributed.Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield address, running[1:]
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(tmp_path, reference):
    pytest.importorskip("distributed")
    x = np.random.default_rng(0).normal(5, 1, (900, 3))
    files = [str(tmp_path / f"part{number}.npy") for number in range(3)]
    for file, part in zip(files, np.split(x, 3), strict=True):
        np.save(file, part)
    with dask(tmp_path) as (address, workers):
        whole, found = moments_of(x), cluster.moments_on_cluster(address, files)
        assert found.count == 900
        np.testing.assert_allclose(found.mean_x, whole.mean_x, rtol=1e-13)
        np.testing.assert_allclose(found.covariance_xx, whole.covariance_xx, rtol=1e-12, atol=1e-14)
        with pytest.raises(IdjaxError, match="no such file"):
            cluster.moments_on_cluster(address, [*files, str(tmp_path / "gone.npy")])

        def kill() -> None:
            time.sleep(0.5)
            workers[0].kill()

        killer = threading.Thread(target=kill)
        killer.start()
        run_sweep(SMALL, SMALL.expand(), Folder(tmp_path / "out"), compute=cluster.on_cluster(address))
        assert not killer.is_alive()  # it came before the end
        killer.join()
        assert workers[0].poll() is not None
    assert (tmp_path / "out" / "results.parquet").read_bytes() == reference


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    with pytest.raises(IdjaxError, match=r"--cluster tcp://127.0.0.1:9: no scheduler answers"):
        cluster.moments_on_cluster("tcp://127.0.0.1:9", ["x.npy"])
