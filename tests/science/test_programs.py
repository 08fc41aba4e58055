"""Programs in six libraries: the planted fault is the first cause, and healthy ones are silent."""

import pytest
from programs import HEALTHY, PLANTED, judged
from programs.faults import FAULTS, LIBRARIES
from programs.tokens import TOKEN_NETS

from idjax.diagnosis.program.diagnose_loss import EXPLANATIONS

QUICK = (
    "plain, gaussian",
    "haiku, mlp: numbers, silu",
    "keras, targets (N,) that Keras reshapes",
    "keras, cnn: truths, silu",  # the minus sign of Keras's cross-entropy
    "keras, attention: no log_softmax",  # a norm is no weight
    "equinox, mlp: dead units",
)


@pytest.mark.parametrize("name", QUICK)
def test_some_of_the_programs(name):
    assert not judged({**HEALTHY, **PLANTED}[name]())


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_faults_are_the_first_cause_in_95_of_100(library):
    planted = {name: make for name, make in PLANTED.items() if name.startswith(f"{library},")}
    wrong = {name: said for name, make in planted.items() if (said := judged(make()))}
    assert len(wrong) <= 0.05 * len(planted), wrong


@pytest.mark.slow
def test_59_of_60_healthy_programs_are_silent():
    wrong = {name: said for name, make in HEALTHY.items() if (said := judged(make()))}
    assert len(wrong) <= len(HEALTHY) / 60, wrong


def test_every_finding_is_planted_in_at_least_four_libraries():
    planted: dict[str, set[str]] = {code: set() for code in EXPLANATIONS if not code.startswith("layer-")}
    planted["tokens-outside"] = set(TOKEN_NETS)
    for fault in FAULTS.values():
        planted.setdefault(fault.code, set()).update(fault.libraries)
    assert {code: names for code, names in planted.items() if len(names) < 4} == {}
    assert len(HEALTHY) >= 60
    assert len(PLANTED) >= 150


def test_a_fault_does_not_pass_for_healthy_nor_for_another():
    made = PLANTED["linen, mlp: targets (N,)"]()
    assert judged(made._replace(codes=()))
    assert judged(made._replace(codes=("constant-target",)))
