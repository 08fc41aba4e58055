"""Linear probes in closed form: softmax cross-entropy on frozen features, from zero weights.

With a = [x; 1], M = E[a aᵀ] of eigenvalues λᵢ and k classes, the Hessian is E[(diag(p) - p pᵀ) ⊗ a aᵀ]. It is known
at the start, where p = 1/k, and bounded everywhere; docs/probes.md (P1)-(P5).
"""

from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float, Int

DEGENERATE = 1e-7
"""Eigenvalues below this share of the largest are left out: single precision does not hold them."""


class Rates(NamedTuple):
    """Learning rates below which training is stable.

    start:      at the zero weights, full batch, 2k/λ₁ (P2).
    always:     wherever training goes, full batch, 4/λ₁ (P3).
    minibatch:  the same in mean square over batches, 4/ρ (P4).
    """

    start: float
    always: float
    minibatch: float


class Axes(NamedTuple):
    """Eigenvalues (n,), descending, of M = E[a aᵀ], and eigenvectors (n, n): zeros in place of degenerate ones, so that
    all normalisers of the same features share one compilation.
    """

    eigenvalues: Float[np.ndarray, " n"]
    vectors: Float[np.ndarray, "n n"]


def with_bias(x: Float[np.ndarray, "N p"]) -> Float[np.ndarray, "N n"]:
    """a = [x; 1] of every row."""
    return np.append(x, np.ones((len(x), 1)), axis=1)


def principal_axes(a: Float[np.ndarray, "N n"]) -> Axes:
    """The axes along which the rows a reach, the mean included."""
    values, vectors = np.linalg.eigh(a.T @ a / len(a))
    keep = values > DEGENERATE * values[-1]
    return Axes((keep * values)[::-1], (keep * vectors)[:, ::-1])


def stable_rates(u: Float[np.ndarray, "N r"], classes: int, batch_size: int, momentum: float = 0.0) -> Rates:
    """The three limits for rows u = Vᵀa along their axes; momentum β allows the full batch 1 + β times as much.

    In mean square an update is stable if η E[Ĥ²] < 2 H; Ĥ is at most M̂/2, so η < 4/ρ with the largest ρ of
    E[M̂²] ⪯ ρ M, E[M̂²] = (1 - 1/B) M² + E[|a|² a aᵀ]/B (Défossez and Bach 2015; theory (131)). With momentum noise
    adds up over 1/(1 - β) updates, and this limit shrinks by 1 - β.
    """
    u = u[:, np.any(u, axis=0)]
    eigenvalues = np.mean(u**2, axis=0)
    largest = float(np.max(eigenvalues))
    whitened = u / np.sqrt(eigenvalues)
    fourth = (whitened * np.sum(u**2, axis=1)[:, None]).T @ whitened / len(u)
    noisy = (1 - 1 / batch_size) * np.diag(eigenvalues) + fourth / batch_size
    speed = 1 + momentum
    return Rates(
        start=speed * 2 * classes / largest,
        always=speed * 4 / largest,
        minibatch=min(speed * 4 / largest, (1 - momentum) * 4 / float(np.linalg.eigvalsh(noisy)[-1])),
    )


def linearised_weights(
    u: Float[np.ndarray, "N r"], codes: Float[np.ndarray, "N k"], step: float
) -> Float[np.ndarray, "r k"]:
    """W after `step` = η t/(1 - β), where the softmax is replaced by its tangent at the start (P5).

    p ≈ (1 + z - z̄)/k makes it linear regression, dW/ds = C - Λ W/k with C = E[u (y - 1/k)ᵀ], which each axis solves by
    itself: W = k (1 - exp(-s λ/k))/λ · C.
    """
    eigenvalues = np.mean(u**2, axis=0)[:, None]
    classes = codes.shape[1]
    pull = u.T @ (codes - 1 / classes) / len(u)
    reach = -classes * np.expm1(-step * eigenvalues / classes) / np.where(eigenvalues > 0, eigenvalues, 1)
    return reach * pull


def linearised_step(
    u: Float[np.ndarray, "N r"],
    codes: Float[np.ndarray, "N k"],
    judged: Float[np.ndarray, "m r"],
    labels: Int[np.ndarray, " m"],
    target: float,
) -> float:
    """η t at which the linearised probe first reaches the target accuracy on the rows judged; inf if never."""
    largest = float(np.max(np.mean(u**2, axis=0)))
    for step in np.geomspace(1e-2, 1e10, 141) / largest:
        if accuracy(judged @ linearised_weights(u, codes, step), labels) >= target:
            return float(step)
    return float("inf")


def converged_weights(v: Float[np.ndarray, "N r"], codes: Float[np.ndarray, "N k"]) -> Float[np.ndarray, "r k"]:
    """The probe that training ends at, on whitened rows v, by L-BFGS.

    A Gaussian prior of variance 1 on the weights, 1/N of the loss a row, keeps it finite where classes are separable.
    """
    shape = v.shape[1], codes.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        logits = v @ weights
        normaliser = np.asarray(scipy.special.logsumexp(logits, axis=1, keepdims=True))
        error = np.exp(logits - normaliser) - codes
        value = np.mean(normaliser[:, 0] - np.sum(codes * logits, axis=1)) + np.sum(flat**2) / (2 * len(v))
        return float(value), ((v.T @ error + weights) / len(v)).ravel()

    found = scipy.optimize.minimize(
        loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300}
    )
    return np.asarray(found.x).reshape(shape)


def accuracy(logits: Float[np.ndarray, "m k"], labels: Int[np.ndarray, " m"]) -> float:
    """The share of rows whose largest logit is that of their label."""
    return float(np.mean(np.argmax(logits, axis=1) == labels))
