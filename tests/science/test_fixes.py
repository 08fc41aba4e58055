"""The advice of a diagnosis: every fix is a gain, the first prescription has no cause; adaptive optimizers too."""

import dataclasses

import numpy as np
import pytest
from planted import ALONE, PAIRS, QUICK, planted
from planted_adaptive import CAUSES, planted_adaptive

import idjax
from idjax.results.diagnosis import OF_THE_DATA
from idjax.settings import DiagnosisSettings, Schedule

KINDS = [(), *((cause,) for cause in ALONE), *PAIRS]
SHARED = ("start-dependent", "heavy-tails")
"""Whose epochs are those of other starts, or of other rows, than the plain prediction's."""


def wrong_advice(kind: tuple[str, ...], seed: int) -> str:
    """What is wrong with the advice on a planted set; empty where nothing is."""
    data = planted(kind, seed, **QUICK)
    found = idjax.diagnose(data.x, data.settings, target=data.y, budget=data.budget)
    assert found.before is not None
    plain = not any(finding.code in SHARED for finding in found.findings)
    for finding in found.causes:
        total = finding.changes and finding.code != "hidden-outputs"  # whose total is learned as it is
        if total and plain and not finding.fixed < found.before.epochs_to_learn:
            return f"{finding.code}: {finding.fix}"
    curable = {finding.code for finding in found.causes} - set(OF_THE_DATA)
    if not found.prescriptions:
        return "no prescription" if curable else ""
    first = found.prescriptions[0].settings
    budget = max(data.budget, float(first.epochs)) if found.prescriptions[0].role == "longer" else data.budget
    again = idjax.diagnose(data.x, first, target=data.y, budget=budget, prescriptions=False)
    left = {finding.code for finding in again.causes} - set(OF_THE_DATA)
    return f"prescribed, and then {sorted(left)}: {again.verdict}" if left else ""


@pytest.mark.parametrize("kind", [("mean-dominated",), ("over-budget",)])
def test_advice_is_a_gain(kind):
    assert not wrong_advice(kind, 5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300, 315))
def test_advice_on_five_hundred_sets_is_a_gain(seed):
    wrong = {kind: said for kind in KINDS if (said := wrong_advice(kind, seed))}
    assert not wrong


@pytest.mark.quick(2)
@pytest.mark.parametrize("cause", CAUSES)
def test_causes_under_adam(cause):
    data = planted_adaptive(cause, "adam", 32, 1)
    found = idjax.diagnose(data.x, data.settings, target=data.y, prescriptions=False)
    assert {finding.code for finding in found.causes} == data.causes, found.verdict


@pytest.mark.slow
def test_causes_under_adaptive_optimizers_at_batches_from_one_to_full():
    """Planted by training at every rate: 98% of the causes, and silence where there is none."""
    right, silent = [], []
    for seed in range(4):
        for optimizer in ("adam", "rmsprop"):
            for batch in (1, 8, 32, 400):
                for cause in CAUSES:
                    data = planted_adaptive(cause, optimizer, batch, seed)
                    found = idjax.diagnose(data.x, data.settings, target=data.y, prescriptions=False)
                    causes = {finding.code for finding in found.causes}
                    (right if cause else silent).append(causes == data.causes)
    assert np.mean(right) >= 0.98, np.mean(right)
    assert np.mean(silent) >= 0.99, np.mean(silent)


@pytest.mark.slow
def test_planted_bounces_are_learned_at_no_rate():
    """The planted truth of the mean under Adam is proven by training, rate by rate."""
    for seed in (9, 10, 107):
        data = planted(("adam-bounce",), seed, **QUICK)
        for rate in np.geomspace(1e-3, 3, 8):
            settings = dataclasses.replace(data.settings, learning_rate=float(rate))
            curve = idjax.train(data.x, settings, target=data.y)
            assert not curve.explained_variance[-1] >= 0.9 * curve.reachable


@pytest.mark.slow
def test_a_schedule_is_kept_where_the_rate_alone_is_the_cure():
    """The run as given at another rate is prescribed, without code to paste: no recipe has a rate that changes."""
    x = np.random.default_rng(0).normal(size=(40, 3))
    settings = DiagnosisSettings(
        loss="mae", optimizer="adam", schedule=Schedule("cosine"), batch_size=2, epochs=20, learning_rate=1e-4
    )
    found = idjax.diagnose(x, settings, target=x @ np.ones((3, 1)))
    best = found.prescriptions[0]
    assert (best.role, best.settings.schedule, best.flax_code) == ("simplest", Schedule("cosine"), "")
    assert all(other.flax_code for other in found.prescriptions[1:])
