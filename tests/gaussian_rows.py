"""The fourth moment that rows of the same mean and covariance would have if they were Gaussian."""

import jax
import jax.numpy as jnp

from idjax.theory.sgd.fourth_moment import EmpiricalRows, MomentState


def of_gaussians(rows: EmpiricalRows, state: MomentState) -> jax.Array:
    """That of Gaussian inputs with the same mean and covariance, and independent label noise: docs/theory.md (25)."""
    modes, mean, error = rows.eigenvalues, jnp.mean(rows.inputs, axis=0), state.second[0, 0]
    level = modes @ jnp.diagonal(error) + jnp.sum(rows.residuals**2) / len(rows.inputs)
    through = modes[:, None] * error * modes
    return 2 * through + jnp.diag(level * modes) - 2 * (mean @ error @ mean) * jnp.outer(mean, mean)
