"""Random starts that learn in time and others that do not: told by the loss at the end of the budget alone."""

import numpy as np
import pytest

from idjax import Settings
from idjax.diagnosis.data.random_starts import RandomStarts
from idjax.moments.moments import measure
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.predict import epochs_to_learn, learns_within, mean_learns_within, run_spec
from idjax.theory.sgd import stability

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
    each = dict(zip(STARTS, runs({}), strict=True))
    starts = RandomStarts(STARTS, lambda settings: epochs_to_learn(each[settings]), each.__getitem__)
    first, last = starts.epochs.min(), starts.epochs.max()
    assert [starts.straddle(float(budget)) for budget in (np.ceil(first) - 1, np.ceil(last))] == [False, False]
    assert starts.straddle(float(np.floor(last)))
    assert starts.none_within(1.0)
    assert not starts.none_within(float(np.ceil(last)))


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
