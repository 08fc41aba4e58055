"""Random starts that learn in time and others that do not: told by the loss at the end of the budget alone."""

import dataclasses

import numpy as np
import pytest

from idjax import Settings
from idjax.data import stream
from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.measure import measure as measure_rows
from idjax.moments.moments import measure
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.predict import epochs_to_learn, learns_within, mean_learns_within, run_spec
from idjax.settings import DiagnosisSettings
from idjax.theory.sgd import stability
from idjax.types import silent

STARTS = [Settings(learning_rate=0.01, learned_at=0.9, seed=seed, validation_split=0.0) for seed in range(12)]


def runs(changes: dict[str, object]) -> list[RunSpec]:
    x = np.random.default_rng(5).normal(size=(300, 4)) * np.geomspace(1, 0.4, 4)
    return [run_spec(measure(x), None, Settings(**{**vars(each), **changes})) for each in STARTS]


@pytest.mark.parametrize(
    "changes", [{}, {"batch_size": 4}, {"momentum": 0.5}, {"dtype": "bfloat16", "learning_rate": 0.1}], ids=str
)
def test_a_look_at_the_end_says_what_all_epochs_say(changes):
    each = runs(changes)
    epochs = np.array([epochs_to_learn(run) for run in each])
    assert np.isfinite(epochs).any()
    budget = float(np.floor(np.median(epochs)))
    assert [learns_within(run, budget) for run in each] == (epochs <= budget).tolist()
    assert 0 < np.count_nonzero(epochs <= budget) < len(each)
    # The mean alone is never later.
    assert all(mean_learns_within(run, budget) for run, found in zip(each, epochs, strict=True) if found <= budget)


def test_starts_straddle_a_budget_between_their_epochs():
    x = np.random.default_rng(5).normal(size=(300, 4)) * np.geomspace(1, 0.4, 4)
    context = measure_rows(stream(x), DiagnosisSettings(learning_rate=0.01, learned_at=0.9), None, silent)
    epochs = context.epochs_of_starts
    first, last = epochs.min(), epochs.max()
    told = {budget: _hangs(context, budget) for budget in (1, np.ceil(first) - 1, np.floor(last), np.ceil(last))}
    assert list(told.values()) == [False, False, True, False]
    # A look at the end of the budget says what all epochs say.
    between = np.linspace(first - 1, last + 1, 9)
    assert [_hangs(context, budget) for budget in between] == [first <= budget < last for budget in between]


def _hangs(context: Context, budget: float) -> bool:
    settings = context.changed({"epochs": int(np.ceil(budget))})
    return dataclasses.replace(context, settings=settings, budget=float(budget)).hangs_on_start


def test_a_concave_function_lies_between_its_chords():
    def parabola(at: float) -> float:
        return at * (1 - at)

    known = {at: parabola(at) for at in (0.0, 0.3, 0.45, 1.0)}
    for at in (0.1, 0.9, 0.35, 0.5):
        low, high = stability._between_chords(known, at)  # pyright: ignore[reportPrivateUsage]
        assert low <= parabola(at) <= high
    assert high - low < 0.2  # near the last of what is known
    # Of what is not concave they say something else.
    low, _ = stability._between_chords({at: at**2 for at in known}, 0.5)  # pyright: ignore[reportPrivateUsage]
    assert low > 0.25
