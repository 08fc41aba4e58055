"""Prescriptions in words and table cells, the same in the terminal, notebooks and pages."""

import math
from collections.abc import Iterable

from idjax.report.formatting import NORMALIZERS, batch_words, explained, number, optimizer_words, units
from idjax.results.diagnosis import OF_THE_DATA, Finding, Prescription


def prescription_words(prescription: Prescription) -> str:
    """Settings that learn, in one line: what is done to the rows, the loss, the optimizer and its numbers."""
    settings = prescription.settings
    rows = NORMALIZERS.get(settings.normalize, settings.normalize)
    if settings.normalize == "none":
        rows = "raw rows"
    elif rows.startswith("per "):
        rows = f"standardised {rows}"
    longer = f"for {settings.epochs:,} epochs: "
    role = {"simplest": "simplest change: ", "fastest": "fastest: ", "longer": longer, "": ""}[prescription.role]
    return role + ", ".join(
        (
            rows,
            f"loss in {units(settings)}",
            optimizer_words(settings),
            f"learning rate {number(settings.step_size)}",
            batch_words(settings),
        )
    )


def prescription_rows(prescriptions: Iterable[Prescription]) -> list[tuple[str, ...]]:
    """Cells of the table of prescriptions: rank, settings, predicted and measured epochs, explained variance."""
    return [
        (
            str(rank),
            prescription_words(prescription),
            number(prescription.predicted_epochs),
            measured_words(prescription),
            explained(prescription.proof.explained_variance) if prescription.proof else "–",
        )
        for rank, prescription in enumerate(prescriptions, 1)
    ]


def predicted_words(prescriptions: Iterable[Prescription]) -> str:
    """How the epochs of prescriptions were predicted."""
    drawn = [(rank, prescription.runs) for rank, prescription in enumerate(prescriptions, 1) if prescription.runs]
    theory = "when the loss gets there that mean and covariance of the data let expect"
    if not drawn:
        return f"Predicted epochs: {theory}."
    ranks = ", ".join(str(rank) for rank, _ in drawn)
    runs = min(runs for _, runs in drawn)
    how = "runs followed on rows of the data" if runs == 1 else f"the mean of {runs} runs drawn on rows of the data"
    return f"Predicted epochs of {ranks}: {how}; of any others {theory}."


def none_words(causes: Iterable[Finding]) -> str:
    """Why there are no prescriptions: what is wrong is in the data, or nothing that was tried learns them."""
    if all(cause.code in OF_THE_DATA for cause in causes):
        return "No settings change that: it is in the data."
    return "No settings were found that learn these data within the budget."


def measured_words(prescription: Prescription) -> str:
    """Epochs that training took; how far it was trained where that was not enough."""
    proof = prescription.proof
    if proof is None:
        return "not trained"
    if math.isinf(proof.epochs):
        trained = float(proof.curve_epochs[-1]) if len(proof.curve_epochs) else math.nan
        return f"not in {number(trained)}" if math.isfinite(trained) else "not learned"
    return number(proof.epochs)
