"""The figure of a program's proof: the losses of its trainings."""

import numpy as np
from matplotlib.figure import Figure

from idjax.report.drawing import BLUE, GREEN, GREY, RED, finite, plain, tidy
from idjax.results.program import ProgramProof

COLORS = (BLUE, GREY, GREEN, RED, "#CC79A7", "#56B4E9", "#E69F00")


def proof_figure(proof: ProgramProof) -> tuple[Figure, str]:
    """The loss of each training by the step, and the common loss, with a caption."""
    figure = Figure(figsize=(5.6, 3.5), layout="constrained")
    ax = figure.subplots()
    tidy(ax)
    positive = all(np.nanmin(finite(run.losses)) > 0 for run in proof.runs)
    for run, color in zip(proof.runs, COLORS * len(proof.runs), strict=False):
        steps = np.arange(1, len(run.losses) + 1)
        ax.plot(steps, finite(run.losses), color=color, lw=1.6, label=plain(f"{run.name}, {run.learning_rate:.2g}"))
    ax.axhline(proof.loss, color=GREY, lw=1, ls=":")
    ax.set(xscale="log", xlabel="steps (log)", ylabel="loss", **({"yscale": "log"} if positive else {}))
    first = max(float(run.losses[0]) for run in proof.runs)
    if np.isfinite(first) and positive:
        ax.set_ylim(top=10 * first)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    reached = sum(bool(np.isfinite(run.steps)) for run in proof.runs)
    return figure, f"Losses in training; {reached} of {len(proof.runs)} reach the common loss, the dotted line."
