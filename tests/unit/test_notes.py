"""Notes on settings and targets: a batch larger than the data is the full batch, and labels taken as numbers."""

import dataclasses
import json

import numpy as np
import pytest

import idjax
from idjax.data import notes_on
from idjax.results.store import diagnosis_object
from idjax.settings import DiagnosisSettings, Settings

X = np.random.default_rng(0).normal(1, 1, (10, 3))
LARGE, FULL = Settings(batch_size=32, epochs=3, learning_rate=0.1), Settings(batch_size=7, epochs=3, learning_rate=0.1)
SAID = "batch_size is 32, more than the 7 training rows: each update sees all 7 of them, as in Keras"


@pytest.mark.parametrize("of", [idjax.predict, idjax.train])
def test_a_batch_of_more_than_the_rows_is_the_full_batch(of):
    curve, full = of(X, LARGE), of(X, FULL)
    np.testing.assert_array_equal(curve.train, full.train)
    np.testing.assert_array_equal(curve.weights.kernel, full.weights.kernel)
    assert (curve.steps_per_epoch, curve.how) == (1, full.how)
    assert curve.notes == (SAID, *full.notes)
    assert not any("Keras" in note for note in full.notes)


def test_runs_side_by_side_take_it_as_one_does():
    [curve] = idjax.train_many(idjax.load(X), [LARGE])
    np.testing.assert_array_equal(curve.train, idjax.train(X, FULL).train)


def test_a_diagnosis_takes_the_full_batch_and_says_so():
    asked = DiagnosisSettings(batch_size=32, epochs=300, learning_rate=0.1)
    found, full = (idjax.diagnose(X, each) for each in (asked, dataclasses.replace(asked, batch_size=10)))
    assert (found.verdict, found.findings) == (full.verdict, full.findings)
    assert found.notes == (SAID.replace("7", "10"),)
    assert diagnosis_object(found)["notes"] == found.notes
    assert (found.settings.batch_size, full.notes) == (10, ())


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ([0, 1], "only 0 and 1,"),
        ([-1, 1], "only -1 and 1,"),
        ([True, False], "only 0 and 1,"),
        ([0, 1, 2, 5], "only 4 whole numbers from 0 to 5,"),
        ([0, 0.5], ""),  # not whole
        ([3], ""),  # nothing to tell apart
        (range(21), ""),  # too many
        (range(12), ""),  # not often enough: 40 rows could be a count
    ],
)
def test_a_target_that_looks_like_labels(values, held):
    target = np.resize(np.array(values, float), 40)[:, None]
    said = notes_on(Settings(), 40, target)
    assert (held in said[0] and "give `labels=True`" in said[0]) if held else said == ()
    assert notes_on(Settings(), 40, np.hstack([target, target])) == ()


@pytest.mark.parametrize("name", ["predict", "train", "diagnose"])
def test_the_command_line_says_it_in_flags(name, tmp_path, command):
    np.savez(tmp_path / "data.npz", x=X, y=X[:, :1] > 1)
    words = [name, str(tmp_path / "data.npz"), "--target", "y", "--epochs", "2", "--batch-size", "32", "--quiet"]
    told = [command(*words, *more)[1] for more in ([], ["--json"])]
    shown, parsed = " ".join(told[0].split()), json.loads(told[1])
    notes = (parsed["measured"] if name == "train" else parsed)["notes"]
    assert notes[0].startswith("--batch-size is 32, more than the")
    assert notes[1].endswith("if these are classes, give --labels")
    for note in notes:
        assert note in shown
