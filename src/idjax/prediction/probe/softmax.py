"""Linear probes in closed form: softmax cross-entropy on frozen features, from zero weights.

With a = [x; 1], M = E[a aᵀ] of eigenvalues λᵢ and k classes, the Hessian is E[(diag(p) - p pᵀ) ⊗ a aᵀ]. It is known
at the start, where p = 1/k, and bounded everywhere; docs/probes.md (P1)-(P5).
"""

from typing import NamedTuple

import numpy as np
import scipy.optimize
from jaxtyping import Float, Int

DEGENERATE = 1e-7
"""Eigenvalues below this share of the largest are left out: single precision does not hold them."""


STRIDE = 5
"""Times between two looks at the linearised probe, before the way between them is looked at."""


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
    eigenvalues: Float[np.ndarray, " r"], pull: Float[np.ndarray, "r k"], step: float
) -> Float[np.ndarray, "r k"]:
    """W after `step` = η t/(1 - β), where the softmax is replaced by its tangent at the start (P5).

    p ≈ (1 + z - z̄)/k makes it linear regression, dW/ds = C - Λ W/k with C = E[u (y - 1/k)ᵀ], which each axis solves by
    itself: W = k (1 - exp(-s λ/k))/λ · C.
    """
    classes, rates = pull.shape[1], eigenvalues[:, None]
    return -classes * np.expm1(-step * rates / classes) / np.where(rates > 0, rates, 1) * pull


def linearised_step(
    u: Float[np.ndarray, "N r"],
    codes: Float[np.ndarray, "N k"],
    judged: Float[np.ndarray, "m r"],
    labels: Int[np.ndarray, " m"],
    target: float,
) -> float:
    """η t at which the linearised probe first reaches the target accuracy on the rows judged; inf if never."""
    eigenvalues, judged = np.mean(u**2, axis=0), np.asarray(judged, np.float32)
    pull = u.T @ (codes - 1 / codes.shape[1]) / len(u)

    def reached(step: float) -> bool:
        weights = np.asarray(linearised_weights(eigenvalues, pull, step), np.float32)
        return accuracy(judged @ weights, labels) >= target

    steps = np.geomspace(1e-2, 1e10, 141) / np.max(eigenvalues)
    # In strides first: the way is monotonic but for the last rows.
    found = next((last for last in range(0, len(steps), STRIDE) if reached(steps[last])), None)
    if found is None:
        return float("inf")
    return next(float(step) for step in steps[max(0, found - STRIDE + 1) : found + 1] if reached(step))


def converged_weights(v: Float[np.ndarray, "N r"], codes: Float[np.ndarray, "N k"]) -> Float[np.ndarray, "r k"]:
    """The probe that training ends at, on whitened rows v, by L-BFGS.

    A Gaussian prior of variance 1 on the weights, 1/N of the loss a row, keeps it finite where classes are separable.
    """
    shape, codes = (codes.shape[1], v.shape[1]), codes.T

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        logits = weights @ v.T
        logits -= np.max(logits, axis=0)
        odds = np.exp(logits)
        total = np.sum(odds, axis=0)
        value = np.mean(np.log(total) - np.sum(codes * logits, axis=0)) + np.sum(flat**2) / (2 * len(v))
        return float(value), (((odds / total - codes) @ v + weights) / len(v)).ravel()

    found = scipy.optimize.minimize(
        loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300}
    )
    return np.asarray(found.x).reshape(shape).T


def accuracy(logits: Float[np.ndarray, "m k"], labels: Int[np.ndarray, " m"]) -> float:
    """The share of rows whose largest logit is that of their label."""
    return float(np.mean(np.argmax(logits, axis=1) == labels))
