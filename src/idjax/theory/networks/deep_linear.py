"""Deep linear networks on the squared error: what they can learn, how each mode is learned, and every step of descent.

A network of linear layers is one affine map Θ(layers), and its loss is the quadratic of a single layer at Θ. All that
training sees of the data are the moments: the gradient is that of `stepped.excess` pulled back through the product.
Derivations are in docs/deep.md. Sources: Baldi and Hornik 1989; Saxe, McClelland and Ganguli 2014.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from idjax.moments.spectrum import covariance_factor
from idjax.nn.losses import unit_penalty
from idjax.theory.full_batch import stepped
from idjax.types import Layers, Weights, end_to_end


def discarded(
    covariance: Float[np.ndarray, "p p"],
    optimum: Float[np.ndarray, "p q"],
    shares: Float[np.ndarray, " q"],
    rank: int,
    weight: float = 1.0,
) -> float:
    """The loss that a bottleneck of `rank` units leaves above that of the best single layer (D4).

    w̄ Σ_{i>k} s_i², s the singular values of Σ^½ W* diag(√share); of an autoencoder with equal shares 1/q these are the
    eigenvalues of the covariance beyond the first k, over q.

    Args:
      covariance: of the inputs.
      optimum: a kernel W* of the best single layer.
      shares: what the squared error of each output counts in the loss.
      weight: mean weight of a row.
    """
    values = np.linalg.svd(covariance_factor(covariance).T @ (optimum * np.sqrt(shares)), compute_uv=False)
    return weight * float(np.sum(values[rank:] ** 2))


def principal_angles(
    kernel: Float[np.ndarray, "p q"], covariance: Float[np.ndarray, "q q"], rank: int
) -> Float[np.ndarray, " rank"]:
    """Angles in radians, ascending, between the span of a network's outputs and the first principal axes (D5).

    The cosines are the singular values of UᵀV, U the first `rank` right singular vectors of the end-to-end kernel and V
    the first eigenvectors of the covariance; small angles by their sines. Source: Björck and Golub 1973.
    """
    spanned = np.linalg.svd(kernel)[2][:rank].T
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :rank]
    return scipy.linalg.subspace_angles(axes, spanned)[::-1]


def component_angles(
    decoder: Float[np.ndarray, "k q"], covariance: Float[np.ndarray, "q q"], penalty: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """Angles in radians between each unit's outgoing weights and its principal axis, in the order of the penalties.

    Without a penalty a linear autoencoder finds the span of the first principal axes only. One penalty for all units
    keeps the span and shrinks it (Kunin, Bloom, Goeva and Seed 2019); different ones turn every unit onto an axis of
    its own, the least penalised onto the first (Bao, Lucas, Sachdeva and Grosse 2020), by a curvature as small as the
    penalties differ (D10) to (D12).
    """
    axes = np.linalg.eigh(covariance)[1][:, ::-1].T[np.argsort(np.argsort(penalty, kind="stable"))]
    along = np.sum(decoder * axes, axis=1)
    across = np.linalg.norm(decoder - along[:, None] * axes, axis=1)
    return np.arctan2(across, np.abs(along))


Parameters = tuple[dict[str, Any], ...]
"""The kernel and bias of every layer, in a tree whose leaves are in training's order: so they are rounded at random."""


def parameters_of(layers: Layers) -> Parameters:
    """These layers as they are trained."""
    return tuple(jax.tree.map(jnp.asarray, layer._asdict()) for layer in layers)


class LinearLayers(NamedTuple):
    """A problem of linear layers, one or more.

    layer: the moments, and an optimum of the single layer from which errors are counted.  penalties: μ of the units of
    every hidden layer; () for none.  watched: what is judged, as forms of the error of the end-to-end map.
    """

    layer: stepped.LinearLayer
    penalties: tuple[Float[Array, " h"], ...]
    watched: stepped.Watched

    def loss(self, trained: Parameters) -> Float[Array, ""]:
        """The loss above the floor of a single layer, with Σ_h Σ_i μ_hi (|in_hi|² + |out_hi|²) of every hidden layer h.

        in and out are what the kernels on both sides of hidden unit i hold of it (D10).
        """
        return stepped.loss(self.layer, self.error(trained)) + self._penalty(trained)

    def seen(self, trained: Parameters) -> Float[Array, " seen"]:
        """Σ_j share_j (e_jᵀ Q e_j + 2 slope_jᵀ e_j) of all that is watched, and last the penalty."""
        return jnp.append(stepped.values(self.watched, self.error(trained)), self._penalty(trained))

    def error(self, trained: Parameters) -> Float[Array, "n q"]:
        """Θ - Θ_ref of all layers together."""
        kernel, bias = end_to_end(self.layers(trained))
        return jnp.concatenate([kernel, bias[None]]) - self.layer.reference

    def layers(self, trained: Parameters) -> Layers:
        """The layers, exactly."""
        exact = jax.tree.map(lambda a: a.astype(self.layer.reference.dtype), trained)
        return tuple(Weights(**layer) for layer in exact)

    def _penalty(self, trained: Parameters) -> Float[Array, ""]:
        kernels: list[Any] = [layer.kernel for layer in self.layers(trained)]
        return unit_penalty(self.penalties, kernels)
