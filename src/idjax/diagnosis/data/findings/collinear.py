"""Features are so nearly dependent that scaling them is not enough.

Combinations of features hardly vary although each feature does. What the target owes to such a combination is learned
slower by the ratio of the largest to the smallest eigenvalue of the correlation matrix.

Formula: epochs whitened against epochs with each feature standardised, each at its own rate and batch; evidence is the
    condition number of the correlation matrix; theory sections 3 and 6.
Source: Hoerl and Kennard 1970 on the regression; LeCun, Bottou, Orr and Müller 1998 on its speed
Example: idjax diagnose spectra.parquet --target protein
Fix: --normalize pca (whitening inside the model), or a direct solve.
Apart: unequal-scales goes away by standardising each feature. Exactly dependent features are null-modes, and slow
    nothing down.
"""

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import before_and_after, fix, times_slower, with_normalizers
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count, times_words
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Standardised features are still too slow, and whitening cures most of it."""
    if context.learned:
        return None
    epochs = before_and_after(context, "pca")
    if epochs is None:
        return None
    slow, fast = epochs
    covariance = context.moments.raw.covariance_xx
    deviation = np.sqrt(np.diagonal(covariance))
    kept = deviation > 0
    scale = deviation[kept]
    values, vectors = np.linalg.eigh(covariance[np.ix_(kept, kept)] / scale[:, None] / scale)
    condition = float(values[-1] / max(values[0], len(values) * np.finfo(float).eps * values[-1]))
    names = [name for name, keep in zip(context.columns.feature_names, kept, strict=True) if keep]
    nearly = [names[index] for index in np.argsort(-np.abs(vectors[:, 0]))[:4]]
    return EXPLANATION.finding(
        message=f"features nearly depend on each other (condition number {count(condition)} once standardised): "
        f"at its best rate and batch {times_words(slow)}, whitened {times_words(fast)}",
        evidence={
            "condition number of the correlations": condition,
            "most in the thinnest direction": nearly,
            "epochs, each standardised": slow,
            "epochs, whitened": fast,
        },
        cost=times_slower(context, slow, fast),
        fix=fix(context, with_normalizers(context, "pca")),
    )
