"""The proof of a program's diagnosis in words: a table of its trainings, what they were, and the few rows."""

import numpy as np

from idjax.report.formatting import number
from idjax.results.program import FewRows, ProgramProof

HEADER = ("trained", "learning\nrate", "steps", "loss at\nthe end")


def proof_rows(proof: ProgramProof) -> list[tuple[str, ...]]:
    """Name, learning rate, steps to the common loss, and the loss where training stopped, of each."""
    return [
        (
            run.name,
            f"{run.learning_rate:.3g}",
            number(run.steps) if np.isfinite(run.steps) else f"not in {len(run.losses):,}",
            number(float(run.losses[-1])) if np.isfinite(run.losses[-1]) else "not finite",
        )
        for run in proof.runs
    ]


def proof_words(proof: ProgramProof) -> str:
    """How it was trained, and what of it is not known."""
    if not proof.runs:
        return "Interrupted before the first training ended; nothing is proven."
    words = (
        f"Steps to a loss of {number(proof.loss)}, the lowest of the program as given at its best rate, or of its "
        f"cures where it learns nothing, within {proof.budget:,} steps; one start, on {proof.batches}. Rates are the "
        "best of a race, but for “as given”; "
        f"{proof.spent:,} steps in all."
    )
    return words + (" Interrupted: these are the trainings that were done." if proof.interrupted else "")


def few_rows_words(few: FewRows) -> str:
    """The loss of a few rows, before and after."""
    end = number(few.end) if np.isfinite(few.end) else "not finite"
    lost = few.stopped or np.isfinite(few.bottomless) or not np.isfinite(few.end)
    how = "learned" if few.learned else "not learned" if lost else "brought down"
    words = f"{few.rows} rows alone are {how}: {number(few.start)} at the start, {end} after {few.steps:,}"
    return f"{words} steps at a rate of {few.learning_rate:.2g}" + (f"; {few.stopped}" if few.stopped else "")
