"""Numbers, settings and prescriptions in words."""

import dataclasses

import pytest
from made_diagnoses import prescription, proof

from idjax.report import formatting as words
from idjax.report import prescriptions
from idjax.results.curve import Status
from idjax.settings import Settings


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (float("nan"), "–"), (float("inf"), "never"), (3.0784e-6, "3.078e-06"), (7.29e9, "7.29 billion"),
     (597_894.2, "597,894"), (9.05e13, "9.05e13"), (1e-20, "below 1e-15"), (0.0051, "0.0051"), (-1368.2, "-1,368"),
     (0.99999999, "> 0.9999"), (1.0, "1"), (None, "–")],
)  # fmt: skip
def test_numbers(value, text):
    assert words.number(value) == text


def test_decimals():
    assert [words.decimals(value, 3) for value in (-0.0002, 0.0281, float("nan"))] == ["0.000", "0.028", "–"]


def test_explained_variances():
    assert [words.explained(float("nan"), status) for status in Status] == list(words.NO_NUMBER.values())
    found = [words.explained(value) for value in (0.5, 1.0, 0.99999, -1.00691, -34.0351, -401_298.3, float("-inf"))]
    assert found == ["0.5000", "1.0000", "> 0.9999", "-1.0069", "-34.04", "-401,298", "diverged"]


def test_settings_in_words():
    plain = words.settings_parts(Settings(batch_size=8))
    assert plain == ["SGD at learning rate 0.01", "batches of 8 rows", "20 epochs", "random (Glorot) start",
                     "mean squared error"]  # fmt: skip
    other = ", ".join(
        words.settings_parts(
            Settings(optimizer="adam", start="w.npz", loss="huber", activation="relu", activity_l2=0.1,
                     normalize="sample", loss_space="original", batch_size=1, epochs=1)
        )
    )  # fmt: skip
    assert other == (
        "Adam at learning rate 0.001, 1 row an update, 1 epoch, started from w.npz, Huber loss, relu output, "
        "L2 penalty 0.1 on the output, per sample normalisation, loss in original units"
    )


def test_a_proof_that_failed_says_how_far_it_was_trained():
    failed = dataclasses.replace(prescription(), proof=proof(100.0))
    assert prescriptions.measured_words(failed) == "not in 20"
    assert prescriptions.measured_words(prescription()) == "not trained"
    assert prescriptions.measured_words(prescription(1.25)) == "1.25"


def test_prescriptions_in_words():
    assert prescriptions.prescription_words(prescription()) == (
        "standardised per feature, loss in normalised units, SGD, learning rate 12.35, batches of 32 rows"
    )
    one = prescription(normalize="none", momentum=0.9, nesterov=True, batch_size=1)
    assert prescriptions.prescription_words(one) == (
        "raw rows, loss in original units, SGD with Nesterov momentum 0.9, learning rate 12.35, 1 row an update"
    )
    whitened = prescription(optimizer="adam", loss_space="original")
    object.__setattr__(whitened.settings, "normalize", "zca")
    assert prescriptions.prescription_words(whitened).startswith("whitened (ZCA), loss in original units, Adam, ")


def test_evidence_in_words():
    values = [7.1e9, 12_192, "price", ["a", "b"], float("inf"), [str(k) for k in range(14)]]
    shown = [words.evidence_words(value) for value in values]
    assert shown[:5] == ["7.1 billion", "12,192", "price", "a, b", "∞"]
    assert shown[5].endswith("10, 11 and 2 more")
