"""The layer and the quadratic forms of a run that is stepped on the moments of its data."""

from typing import Any, cast

import numpy as np
from jaxtyping import Float

from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.theory.full_batch.stepped import LinearLayer, Watched


def layer_of(spec: RunSpec) -> LinearLayer:
    """The layer as it is stepped on the moments of the data."""
    problem = spec.problem
    train = problem.train
    numbers = train.covariance_xx, train.mean_x, train.weight, problem.reference.stacked, problem.output_shares
    return LinearLayer(*(cast(Any, np.asarray(number)) for number in numbers))


def watched_of(spec: RunSpec) -> tuple[Watched, Float[np.ndarray, " k"]]:
    """The quadratic forms recorded of a run that is followed step by step, and their values at the optimum.

    Validation loss, judged error and the loss of every group of modes, as forms of the error in the inputs'
    coordinates.
    """
    problem, coefficients = spec.problem, spec.coefficients
    vectors, eigenvalues = problem.spectrum.eigenvectors, problem.spectrum.eigenvalues
    projected = [problem.on_validation or problem.on_train, problem.on_judged]
    rows_shares = [problem.output_shares, problem.judged_shares]
    masks = [mask for _, mask in problem.mode_groups]
    forms = [vectors @ part.gram @ vectors.T for part in projected]
    forms += [(vectors * (mask * eigenvalues)) @ vectors.T for mask in masks]
    slopes = [vectors @ part.slopes for part in projected] + [np.zeros_like(coefficients) for _ in masks]
    shares = rows_shares + [problem.output_shares for _ in masks]
    constants = [float(part.residual @ share) for part, share in zip(projected, rows_shares, strict=True)]
    watched = Watched(*(cast(Any, np.stack(part)) for part in (forms, shares, slopes)))
    return watched, np.array(constants + [0.0] * len(masks))
