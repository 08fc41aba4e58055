"""Networks with activations, linearised at their start: the squared error is then a quadratic in the weights.

f(x; θ) ≈ f(x; θ₀) + J(x) (θ - θ₀), so that the loss over weighted outputs is c + 2 gᵀδ + δᵀ G δ, δ = θ - θ₀. Descent on
it is that of the tangent kernel K = J Jᵀ; it describes training as long as K stands still. Derivations are in
docs/deep.md (D13) to (D17). Sources: Jacot, Gabriel and Hongler 2018; Lee et al. 2019.

Weights come in g groups that share no output: the outputs of one layer are g = q groups, a deep network is one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idjax.theory.full_batch.gradient_descent import shrink_factors, summed_factors


class Form(NamedTuple):
    """c + Σ_g (2 g_gᵀ δ_g + δ_gᵀ G_g δ_g): constant, linear (g, m), matrix (g, m, m), or its diagonal (g, m)."""

    constant: Float[np.ndarray, ""]
    linear: Float[np.ndarray, "g m"]
    matrix: Float[np.ndarray, "..."]


def form_of(
    jacobian: Float[np.ndarray, "g r P"], residual: Float[np.ndarray, "g r"], shares: Float[np.ndarray, "g r"]
) -> Form:
    """The form of Σ share (residual + J δ)² over some outputs (D14)."""
    groups, _, weights = jacobian.shape
    linear, matrix = np.empty((groups, weights)), np.empty((groups, weights, weights))
    for group, (slope, share) in enumerate(zip(jacobian, shares, strict=True)):  # one at a time stays in the cache
        weighted = (share[:, None] * slope).T
        linear[group], matrix[group] = weighted @ residual[group], weighted @ slope
    return Form(np.sum(shares * residual**2), linear, matrix)


def basis_of_outputs(
    jacobian: Float[np.ndarray, "g r P"], shares: Float[np.ndarray, "g r"]
) -> Float[np.ndarray, "g P r"]:
    """An orthonormal basis of the weights that the outputs see, in function space: Aᵀ U λ^-½, A Aᵀ = U λ Uᵀ (D15).

    A = √share J; cheaper than the eigenvectors of AᵀA where there are fewer outputs than weights. Directions without
    curvature are 0.
    """
    root = np.sqrt(shares)[..., None] * jacobian
    values, vectors = np.linalg.eigh(root @ root.mT)
    kept = values > values[:, -1:] * values.shape[-1] * np.finfo(values.dtype).eps
    scale = np.where(kept, 1 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    return root.mT @ (vectors * scale[:, None])


def diagonal(form: Form) -> tuple[Form, Float[np.ndarray, "g m m"]]:
    """The form along the eigenvectors of its matrix, and these: weights that descend there do so by themselves."""
    values, vectors = np.linalg.eigh(form.matrix)
    linear = (vectors.mT @ form.linear[..., None])[..., 0]
    return Form(form.constant, linear, np.maximum(values, 0.0)), vectors


class Linearised(NamedTuple):
    """A problem of weights that move from an origin: the form that is descended on, and those that are watched."""

    train: Form
    watched: tuple[Form, ...]
    origin: Float[Array | np.ndarray, "g m"]

    def loss(self, weights: Float[Array, "g m"]) -> Float[Array, ""]:
        """The form at δ = weights - origin, of gradient 2 (g + G δ)."""
        return _value(self.train, weights - self.origin)

    def seen(self, weights: Float[Array, "g m"]) -> Float[Array, " watched"]:
        """The forms that are watched."""
        return jnp.array([_value(form, weights - self.origin) for form in self.watched])


@jax.custom_vjp
def _value(form: Form, step: Float[Array, "g m"]) -> Float[Array, ""]:
    return _value_and_gradient(form, step)[0]


def _value_and_gradient(form: Form, step: Float[Array, "g m"]) -> tuple[Float[Array, ""], Float[Array, "g m"]]:
    """One product with G serves both."""
    dense = form.matrix.ndim == 3
    bent = jnp.einsum("gmn,gn->gm", form.matrix, step) if dense else jnp.multiply(form.matrix, step)
    return jnp.asarray(form.constant + jnp.sum(step * (2 * form.linear + bent))), 2 * jnp.add(form.linear, bent)


_value.defvjp(_value_and_gradient, lambda gradient, along: (None, along * gradient))


def descend(
    train: Form, watched: tuple[Form, ...], learning_rate: float, done: int, windows: int, every: int
) -> tuple[Float[np.ndarray, "g m"], Float[np.ndarray, " windows"], Float[np.ndarray, "w windows"]]:
    """Plain gradient descent from δ = 0 on a diagonal form, as `stepped.follow` has it, in closed form (D17).

    done: windows before these.

    Returns:
      δ at the end; of every window the mean of the losses before its updates, and the forms watched at its end.
    """
    constant, linear, rates = train
    pull, rate, flat = -2 * learning_rate * linear, 2 * learning_rate, 2 - 2 * learning_rate * rates
    # Σ_j<k s^2j / k
    mean = np.divide(summed_factors(rates, rate, 2 * every), every * flat, out=np.ones_like(flat), where=flat != 0)
    losses, seen, step = np.empty(windows), np.empty((len(watched), windows)), np.zeros_like(linear)
    for number in range(windows):
        steps = float((done + number) * every)
        lost = 1 - shrink_factors(rates, rate, 2 * steps) * mean
        lost = np.divide(lost, rate * rates, out=np.full_like(lost, 2 * steps + every - 1), where=rates > 0)
        losses[number] = constant + np.sum(pull * linear * lost)
        step = pull * summed_factors(rates, rate, steps + every)
        seen[:, number] = [
            least + np.sum(step * (2 * slope + (matrix @ step[..., None])[..., 0])) for least, slope, matrix in watched
        ]
    return step, losses, seen


def drift(start: Float[np.ndarray, "g r P"], now: Float[np.ndarray, "g r P"]) -> float:
    """|K - K₀| / |K₀| in the Frobenius norm, K = J Jᵀ of every group on the same rows (D16)."""
    before, after = (part @ part.mT for part in (start, now))
    return float(np.linalg.norm(after - before) / np.linalg.norm(before))
