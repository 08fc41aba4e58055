"""What all tests share: generated problems with fixed seeds, and programs that are compiled once."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
import pytest
from compiled import forget_programs

from idjax.cli.app import main
from idjax.data import prescribed

# Compiled programs are kept on disk: workers, the processes that tests start, and later runs share them. The plugin
# of jaxtyping imports JAX before this file, so that the environment reaches the processes alone. Keras runs on JAX.
COMPILED = {
    "jax_compilation_cache_dir": str(pathlib.Path(__file__).parents[1] / ".jax_cache"),
    "jax_persistent_cache_min_compile_time_secs": 0.1,
}
os.environ.setdefault("KERAS_BACKEND", "jax")
for _name, _value in COMPILED.items():
    jax.config.update(_name, type(_value)(os.environ.setdefault(_name.upper(), str(_value))))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of tests with a mark `quick` all cases but so many, evenly spaced, are slow."""
    cases: dict[tuple[object, ...], list[pytest.Item]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("quick"):
            cases.setdefault((item.parent, item.originalname), []).append(item)
    for same in cases.values():
        mark = same[0].get_closest_marker("quick")
        fast = [item for item in same if not item.get_closest_marker("slow")]
        count = min(mark.args[0] if mark else 0, len(fast))
        kept = {index * len(fast) // count for index in range(count)}
        for index, item in enumerate(fast):
            if index not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _compiled(request: pytest.FixtureRequest):
    """Slow tests compile thousands of programs in one process."""
    yield
    if request.node.get_closest_marker("slow"):
        forget_programs()


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A regression, or an autoencoder where y is None; equal to itself alone, so that what it costs can be cached."""

    name: str
    x: np.ndarray
    y: np.ndarray | None
    learning_rate_share: float

    @property
    def target(self) -> np.ndarray:
        return self.x if self.y is None else self.y


def _problem(
    name: str, seed: int, p: int, q: int | None, rows: int, decades: float, mean: float, share: float
) -> Problem:
    """q is None for an autoencoder; decades is the spread of the covariance's eigenvalues."""
    rng = np.random.default_rng(seed)
    x = prescribed(mean * (1 + 0.3 * rng.standard_normal(p)), np.logspace(0, -decades, p), rows, seed)
    if q is None:
        return Problem(name, x, None, share)
    y = x @ rng.standard_normal((p, q)) + 0.5 * rng.standard_normal((rows, q)) + 2
    return Problem(name, x, y, share)


PROBLEMS = [
    _problem("autoencoder, no mean", 1, 6, None, 60, 1.0, 0.0, 0.9),
    _problem("autoencoder, large mean", 2, 8, None, 80, 1.0, 3.0, 0.5),
    _problem("autoencoder of two", 3, 2, None, 30, 0.5, 1.0, 0.3),
    _problem("regression, more inputs", 4, 10, 3, 90, 1.5, 1.0, 0.9),
    _problem("regression, more outputs", 5, 3, 9, 70, 1.0, -2.0, 0.7),
    _problem("one output", 6, 5, 1, 50, 2.0, 0.5, 0.95),
    _problem("one input, one output", 7, 1, 1, 40, 0.0, 2.0, 0.5),
    _problem("more columns than rows", 8, 20, 4, 12, 1.0, 1.0, 0.8),
    _problem("autoencoder, more columns than rows", 9, 15, None, 9, 0.5, 1.0, 0.6),
    _problem("signs flip every step", 10, 4, 2, 40, 0.3, 0.2, 0.99),
]


@pytest.fixture(params=PROBLEMS, ids=lambda problem: problem.name)
def problem(request: pytest.FixtureRequest) -> Problem:
    return request.param


@pytest.fixture
def in_float64() -> Iterator[None]:
    """JAX's numbers in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command of idjax: its status, standard output and standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run
