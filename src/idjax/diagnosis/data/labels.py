"""Class labels as targets: what holds under softmax cross-entropy, where findings are those of a squared error."""

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.results.diagnosis import Probe
from idjax.types import OnProgress, Progress


def labels_note(context: Context, classes: int) -> str:
    """The learning rates that are stable under softmax, whatever the labels, by Böhning's bound; theory (132)."""
    largest = float(context.problem.spectrum.eigenvalues[0])
    return (
        f"the findings are those of a squared error on one-hot codes of {classes} classes; under softmax cross-entropy "
        f"the curvature is at most {largest / 2:.3g}, so that full-batch learning rates below {4 / largest:.3g} are "
        "stable, as a bound: late in training larger ones may be"
    )


def probe_of(context: Context, classes: int, progress: OnProgress) -> Probe:
    """A linear probe on the sample's features: the same labels under softmax cross-entropy."""
    from idjax.prediction.probe import NORMALIZERS, predict_probe  # races are JAX's, which few diagnoses need

    progress(Progress(0, 1, "racing learning rates of a linear probe"))
    settings = context.settings
    ready = "pca" if settings.normalize == "zca" else settings.normalize
    return predict_probe(
        context.sample.x,
        np.argmax(context.sample.target, axis=1),
        classes,
        batch_size=settings.batch_size,
        momentum=settings.momentum if settings.optimizer == "sgd" else 0.0,
        total=context.rows,
        normalizers=tuple(dict.fromkeys((ready, *NORMALIZERS))),
        given=settings.step_size if settings.optimizer == "sgd" else None,
        seed=settings.seed,
    )
