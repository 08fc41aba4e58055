"""Random problems for minibatch SGD, and their simulation with Gaussian rows drawn afresh."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from idjax.theory.sgd import mean_square, minibatch
from idjax.theory.sgd.horizons import Expectation


class Problem(NamedTuple):
    """A regression with independent Gaussian inputs; any other Gaussian is a rotation of one."""

    mean: np.ndarray  # (d,)
    deviation: np.ndarray  # (d,)
    noise: np.ndarray  # (q,), deviation of the label noise
    start: np.ndarray  # (d + 1, q), error at the start
    batch: int
    rate: float  # η' = 2 η/q
    share: float  # of the largest stable rate
    steps: int  # until 95% of the way to the floor
    momentum: float
    nesterov: bool

    @property
    def eigen(self) -> tuple[np.ndarray, np.ndarray]:
        mean = np.append(self.mean, 1.0)
        second = np.outer(mean, mean)
        second[:-1, :-1] += np.diag(self.deviation**2)
        eigenvalues, vectors = np.linalg.eigh(second)
        return eigenvalues[::-1].copy(), vectors[:, ::-1].copy()

    def rule(self, **changes) -> minibatch.Updates:
        eigenvalues, vectors = self.eigen
        mean = vectors.T @ np.append(self.mean, 1.0)
        given = {"mean": mean, "batch_size": self.batch, "rate": self.rate, **changes}
        return minibatch.updates(eigenvalues, momentum=self.momentum, nesterov=self.nesterov, **given)

    def second(self) -> np.ndarray:
        error = self.eigen[1].T @ self.start
        return error @ error.T

    def expected(self, steps: np.ndarray, **changes) -> np.ndarray:
        """The expected excess loss Σ_j e_jᵀ M e_j before these steps."""
        form = np.diag(self.eigen[0])[None]
        noise = np.array([np.sum(self.noise**2)])
        with jax.enable_x64(True):
            return Expectation(self.rule(**changes), self.second()[None], noise, form).at(steps)[0, 0]


MOST_NUMBERS = 400_000
"""Inputs that a simulated run may draw."""


def draw(seed: int, momentum: bool = False, low: float = 0.01, high: float = 0.3) -> Problem:
    """d 2 to 40, mean 0 to 100 deviations, batch 1 to 64, rate 0.01 to 0.3 of the limit."""
    rng = np.random.default_rng([seed, 77])
    d = int(rng.integers(2, 41))
    q = int(rng.integers(1, 4))
    deviation = np.logspace(0, -rng.uniform(0, 1), d)
    ratio = rng.choice([0.0, 10 ** rng.uniform(-1, 2)], p=[0.2, 0.8])
    mean = ratio * np.mean(deviation) * rng.normal(size=d) / np.sqrt(d)
    beta = float(rng.choice([0.3, 0.6, 0.9])) if momentum else 0.0
    nesterov = bool(momentum and rng.random() < 0.5)
    start = rng.normal(size=(d + 1, q))
    problem = Problem(
        mean=mean,
        deviation=deviation,
        noise=rng.choice([0.0, 0.3, 1.0]) * np.ones(q),
        start=start,
        batch=int(2 ** rng.uniform(0, 6)),
        rate=1.0,
        share=float(10 ** rng.uniform(np.log10(low), np.log10(high))),
        steps=1,
        momentum=beta,
        nesterov=nesterov,
    )
    with jax.enable_x64(True):
        ceiling = 2 * (1 + beta) / problem.eigen[0][0] / (1 + 2 * beta if nesterov else 1)
        limit = mean_square.max_rate(problem.rule(), ceiling)
    problem = problem._replace(rate=problem.share * limit)
    horizons = np.unique(np.round(np.geomspace(1, 1e12, 400)))
    losses = problem.expected(horizons)
    first, floor = problem.expected(np.array([0.0, 1e15]))
    steps = int(horizons[np.flatnonzero(losses - floor <= 0.05 * (first - floor))[0]])
    if steps * problem.batch * d > MOST_NUMBERS or first < 2 * floor:
        # Too slow to simulate, or started at the floor: another of the same kind.
        return draw(seed + 1000, momentum, low, high)
    return problem._replace(steps=max(steps, 2))


def simulate(problem: Problem, checks: np.ndarray, runs: int, seed: int) -> np.ndarray:
    """The excess loss before the steps of `checks`, (checks, runs)."""
    with jax.enable_x64(True):
        return np.asarray(_simulate(problem, int(checks[-1]) + 1, runs, seed)[checks])


def _simulate(problem: Problem, steps: int, runs: int, seed: int) -> jax.Array:
    mean, deviation, noise = map(jnp.asarray, (problem.mean, problem.deviation, problem.noise))
    batch, momentum = problem.batch, problem.momentum
    start = jnp.broadcast_to(jnp.asarray(problem.start), (runs, *problem.start.shape))

    def loss(error):
        centred = jnp.sum((deviation[:, None] * error[:, :-1]) ** 2, axis=(1, 2))
        return centred + jnp.sum((jnp.einsum("d,rdq->rq", mean, error[:, :-1]) + error[:, -1]) ** 2, axis=1)

    def step(state, key):
        error, velocity = state
        of_inputs, of_noise = jax.random.split(key)
        x = mean + deviation * jax.random.normal(of_inputs, (runs, batch, len(mean)))
        residual = jnp.einsum("rbd,rdq->rbq", x, error[:, :-1]) + error[:, -1:]
        residual -= noise * jax.random.normal(of_noise, residual.shape)
        gradient = jnp.concatenate(
            [jnp.einsum("rbd,rbq->rdq", x, residual), residual.sum(axis=1, keepdims=True)], axis=1
        )
        gradient /= batch
        velocity = momentum * velocity + gradient
        moved = momentum * velocity + gradient if problem.nesterov else velocity
        return (error - problem.rate * moved, velocity), loss(error)

    @jax.jit
    def run(start):
        keys = jax.random.split(jax.random.key(seed, impl="unsafe_rbg"), steps)
        return jax.lax.scan(step, (start, jnp.zeros_like(start)), keys)[1]

    return run(start)
