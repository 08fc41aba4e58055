"""Random problems for Adam, and their simulation: many runs of one layer on fresh Gaussian batches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from idjax.theory.adam import recursion as adam


class GaussianProblem(NamedTuple):
    """One layer and its rows: x ~ N(mean, factor factorᵀ), weights that start off their optimum by `errors`."""

    factor: np.ndarray
    mean: np.ndarray
    errors: np.ndarray
    noise: np.ndarray
    batch_size: int
    learning_rate: float
    rule: adam.AdamRule

    @property
    def outputs(self) -> int:
        return self.errors.shape[1]

    @property
    def inputs(self) -> adam.AdamInputs:
        mean = np.append(self.mean, 1.0)
        second_moment = np.outer(mean, mean)
        second_moment[:-1, :-1] += self.factor @ self.factor.T
        return adam_inputs(second_moment, mean, self.batch_size, self.noise)

    def describe(self) -> str:
        size = np.sqrt(np.mean(np.sum(self.factor**2, axis=1)))
        return (
            f"d={len(self.mean):2d} q={self.outputs:2d} B={self.batch_size:2d} lr={self.learning_rate:.1e} "
            f"b1={self.rule.beta_1:.2f} std={size:.1e} mean/std={np.sqrt(np.mean(self.mean**2)) / size:6.1f} "
            f"noise={'yes' if self.noise.any() else 'no '}"
        )


def draw(seed: int) -> GaussianProblem:
    """d 4 to 12, mean 0 to 300 standard deviations, up to 3 decades of spectrum, batch 4 to 64, rate 1e-4 to 1e-2."""
    rng = np.random.default_rng([seed, 70])
    d = int(rng.integers(4, 13))
    q = int(rng.integers(1, d + 1))
    size = 10 ** rng.uniform(-2.5, 0)
    spectrum = np.logspace(0, -rng.uniform(0, 3), d)
    orthogonal = np.linalg.qr(rng.standard_normal((d, d)))[0]
    factor = size * orthogonal * np.sqrt(spectrum / spectrum.mean())
    shift = 0.0 if rng.random() < 0.2 else 10 ** rng.uniform(-1, np.log10(300))
    mean = shift * size * (1 + 0.3 * rng.standard_normal(d))
    limit = np.sqrt(6 / (d + q))
    optimum = rng.standard_normal((d + 1, q)) / np.sqrt(d)
    start = np.concatenate([rng.uniform(-limit, limit, (d, q)), np.zeros((1, q))])
    noise = (0.3 * size * rng.random(q)) ** 2 if rng.random() < 0.5 else np.zeros(q)
    return GaussianProblem(
        factor,
        mean,
        start - optimum,
        noise,
        batch_size=int(2 ** rng.uniform(2, 6)),
        learning_rate=10 ** rng.uniform(-4, -2),
        rule=adam.AdamRule(beta_1=rng.uniform(0, 0.95)),
    )


def adam_inputs(second_moment: np.ndarray, mean: np.ndarray, batch_size: float, noise: np.ndarray) -> adam.AdamInputs:
    """Inputs of as many outputs as there are noises, each with the same share of the loss."""
    outputs, n = len(noise), len(mean)
    gain, optimum = jnp.full(outputs, 2 / outputs), jnp.zeros((outputs, n))
    return adam.AdamInputs(
        jnp.asarray(second_moment), jnp.asarray(mean), float(batch_size), gain, jnp.asarray(noise), optimum
    )


def simulate(
    problem: GaussianProblem, optimizer: optax.GradientTransformation, steps: int, runs: int, seed: int
) -> np.ndarray:
    """The loss above its floor before every update of every run, (steps, runs)."""
    d, q, batch = len(problem.mean), problem.outputs, problem.batch_size
    second_moment = problem.inputs.second_moment

    @jax.jit
    def train(key):
        def step(carry, key):
            errors, state = carry
            loss = jnp.einsum("rij,ik,rkj->r", errors, second_moment, errors) / q
            row_key, noise_key = jax.random.split(key)
            x = jax.random.normal(row_key, (runs, batch, d)) @ problem.factor.T + problem.mean
            rows = jnp.concatenate([x, jnp.ones((runs, batch, 1))], axis=2)
            residual = rows @ errors
            if problem.noise.any():
                residual = residual - jax.random.normal(noise_key, (runs, batch, q)) * np.sqrt(problem.noise)
            gradient = 2 / (q * batch) * jnp.swapaxes(rows, 1, 2) @ residual
            updates, state = optimizer.update(gradient, state, errors)
            return (optax.apply_updates(errors, updates), state), loss

        start = jnp.broadcast_to(jnp.asarray(problem.errors), (runs, d + 1, q))
        return jax.lax.scan(step, (start, optimizer.init(start)), jax.random.split(key, steps))[1]

    return np.asarray(train(jax.random.key(seed, impl="rbg")))


def expected(problem: GaussianProblem, steps: int) -> np.ndarray:
    """The theory's loss above its floor before each update."""
    state = adam.initial_state(jnp.asarray(problem.errors))
    return adam.run(problem.rule, problem.inputs, state, problem.learning_rate, steps)[1].loss
