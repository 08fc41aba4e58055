"""Diagnoses: planted causes are found and nothing else is, prescriptions hold in training, bad input is one line."""

import functools
import json

import numpy as np
import pytest
from planted import ALONE, PAIRS, QUICK, SHOWN, planted

import idjax
from idjax.diagnosis.data import EXPLANATIONS
from idjax.diagnosis.data.findings import MODULES
from idjax.diagnosis.data.measure import Thinned
from idjax.prediction.learning_rates import two_digits
from idjax.types import IdjaxError

KINDS = [(), *((cause,) for cause in ALONE), *PAIRS]
DEAR = dict.fromkeys(
    ["adam-epsilon", "misleading-loss", ("adam-bounce",), ("unreachable-output",)], pytest.mark.slow
)  # fmt: skip
"""Codes, and pairs of causes by their first, whose data take seconds."""
NONE = [(seed, ()) for seed in range(3)]


def causes_of(kind: tuple[str, ...], seed: int, **sizes: object) -> tuple[frozenset[str], frozenset[str], str]:
    """The planted causes, those that are found, and the verdict."""
    data = planted(kind, seed, **sizes)
    found = idjax.diagnose(data.x, data.settings, target=data.y, budget=data.budget, prescriptions=False)
    return data.causes, frozenset(finding.code for finding in found.causes), found.verdict


@functools.cache
def found_in(kind: tuple[str, ...], seed: int):
    """The diagnosis of a data set of the one quick size, and the causes planted in it."""
    data = planted(kind, seed, **QUICK)
    return idjax.diagnose(
        data.x, data.settings, target=data.y, budget=data.budget, prescriptions=False
    ), data.causes  # fmt: skip


@pytest.mark.parametrize("code", [pytest.param(code, marks=DEAR.get(code, ())) for code in SHOWN])
def test_every_code_is_found_in_data_that_show_it(code):
    found, causes = found_in(*SHOWN[code])
    assert code in {finding.code for finding in found.findings}
    assert {finding.code for finding in found.causes} == causes, found.verdict


@pytest.mark.parametrize(
    ("seed", "kind"),
    [
        pytest.param(seed, kind, id=f"{seed} {'+'.join(kind)}", marks=DEAR.get(kind[:1], ()))
        for seed, kind in [*NONE, *enumerate(PAIRS[:13], 17)]
    ],
)
def test_planted_causes_are_found_and_nothing_else(seed, kind):
    found, causes = found_in(kind, seed)
    assert {finding.code for finding in found.causes} == causes, found.verdict


@pytest.mark.slow
def test_three_hundred_data_sets():
    """Every cause alone, pairs and healthy ones, of all sizes: 98% of the causes, 99% of the healthy sets."""
    right, exact, healthy = [], [], []
    for seed in range(9):
        for kind in KINDS:
            planted_causes, found, _ = causes_of(kind, 100 + seed)
            exact.append(found == planted_causes)
            right.append(planted_causes <= found)
    for seed in range(100):
        healthy.append(not causes_of((), 1000 + seed, p=6)[1])
    assert len(exact) + len(healthy) >= 300
    assert np.mean(right) >= 0.98, np.mean(right)
    assert np.mean(exact) >= 0.95, np.mean(exact)
    assert np.mean(healthy) >= 0.99, np.mean(healthy)


@pytest.mark.slow
def test_the_published_failing_set():
    x = idjax.load("narrow-normal").x[:20_000]
    settings = idjax.DiagnosisSettings(batch_size=8, learning_rate=0.01, epochs=20)
    found = idjax.diagnose(x, settings, prescriptions=False)
    kinds = {finding.code: finding.kind for finding in found.findings}
    assert kinds == {
        "mean-dominated": "cause", "step-too-small": "cause", "over-budget": "consequence",
        "slow-bias": "consequence", "misleading-loss": "consequence", "better-solved": "note",
    }  # fmt: skip
    (misleading,) = (finding for finding in found.findings if finding.code == "misleading-loss")
    assert set(misleading.causes) == {"mean-dominated", "step-too-small"}
    assert found.mean_mode == 0
    assert found.samples is not None
    adam = idjax.diagnose(x, idjax.DiagnosisSettings(batch_size=8, optimizer="adam", epochs=20), prescriptions=False)
    assert {finding.code for finding in adam.causes} == {"adam-bounce"}


def test_silent_when_all_is_well(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = planted((), 3, **QUICK)
    np.save("x.npy", data.x)
    flags = ["--batch-size", "8", "--learning-rate", str(data.settings.step_size), "--budget", str(data.budget)]
    if data.y is not None:
        np.save("y.npy", data.y)
        flags += ["--target", "y.npy"]
    status, out, _ = command("diagnose", "x.npy", *flags, "--quiet", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["findings"] == []
    assert "nothing found" in found["verdict"]


def test_the_command_line_writes_a_report_and_exits_with_1(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400)) * [[1], [1e-3]]
    rows = [",".join(f"{value:.6f}" for value in row) for row in zip(a, b, a + 1000 * b, strict=True)]
    (tmp_path / "t.csv").write_text("<b>a</b>,b,y\n" + "\n".join(rows))
    flags = ["--target", "y", "--out", "r", "--quiet", "--batch-size", "8", "--ignore", "collinear"]
    status, out, _ = command("diagnose", "t.csv", *flags)
    assert status == 1
    assert "step-too-small" in out or "unequal-scales" in out or "over-budget" in out
    page = (tmp_path / "r" / "report.html").read_text()
    assert "<b>a</b>" not in page
    assert json.loads((tmp_path / "r" / "diagnosis.json").read_text())["verdict"]


BAD = {
    "unknown code": (["diagnose", "x.npy", "--select", "mean-dominatd"], "'mean-dominated'"),
    "unknown code to explain": (["explain", "step-small"], "step-small"),
    "budget": (["diagnose", "x.npy", "--budget", "0", "--batch-size", "4"], "--budget"),
    "missing value": (["diagnose", "gaps.npy", "--batch-size", "4"], "missing"),
    "infinite value": (["diagnose", "infinite.npy", "--batch-size", "4"], "infin"),
    "no such column": (["diagnose", "t.csv", "--columns", "z"], "'z'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(20, 3))
    np.save("x.npy", x)
    np.save("gaps.npy", np.where(x > 1.5, np.nan, x))
    np.save("infinite.npy", np.where(x > 1.5, np.inf, x))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n5,6\n")
    argv, words = BAD[name]
    status, _, err = command(*argv)
    assert status == 2
    error = err.strip().splitlines()
    assert len([line for line in error if line.startswith("idjax: error")]) == 1
    assert words in error[-1]


def test_constant_targets_have_nothing_to_learn():
    found = idjax.diagnose(np.ones((50, 3)), idjax.DiagnosisSettings(batch_size=5))
    assert "do not vary" in found.verdict
    assert not found.findings


def test_labels_are_judged_as_codes_with_a_bound_for_softmax():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    words = np.where(x[:, 0] > 0, "cat", "dog")
    found = idjax.diagnose(x, idjax.DiagnosisSettings(batch_size=10, learning_rate=0.1), target=words)
    assert found.outputs == 2
    stacked = np.append(x, np.ones((300, 1)), axis=1)
    largest = np.linalg.eigvalsh(stacked.T @ stacked / 300)[-1]
    assert f"below {4 / largest:.3g}" in found.labels
    assert found.reachable < 0.9  # a linear layer cannot say which


def test_notebooks_get_a_fragment():
    data = planted(("step-too-small",), 0, **QUICK)
    found = idjax.diagnose(data.x, data.settings, target=data.y, budget=data.budget, prescriptions=False)
    html = found._repr_html_()  # pyright: ignore[reportAttributeAccessIssue]
    assert "step-too-small" in html
    assert "<html" not in html


def test_codes_are_one_module_each_and_explained():
    assert len(EXPLANATIONS) == len(MODULES) == 22
    assert EXPLANATIONS.keys() == {*SHOWN, "start-dependent", "bottleneck", "strong-penalty"}  # in tests of their own
    for module, (code, known) in zip(MODULES, EXPLANATIONS.items(), strict=True):
        assert module.__name__.rsplit(".", 1)[-1] == code.replace("-", "_") == known.code.replace("-", "_")
        assert known.means and known.formula and known.fix and known.apart  # noqa: PT018
        assert known.example.startswith("idjax diagnose")


def test_a_thinned_sample_is_evenly_spaced_whatever_the_blocks():
    x = np.arange(1000.0)[:, None]
    kept = []
    for size in (7, 100, 1000):
        thinned = Thinned(60)
        for i in range(0, 1000, size):
            thinned.add(x[i : i + size], None)
        kept.append(thinned.rows()[0][:, 0])
    for rows in kept:
        assert 30 < len(rows) <= 60
        assert len(set(np.diff(rows))) == 1
    np.testing.assert_array_equal(kept[0], kept[1])


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0199, 0.019), (1234.0, 1200.0), (0.1, 0.1), (3.0, 3.0), (9.99e-7, 9.9e-7)]
)
def test_two_digits_are_rounded_down(value, expected):
    assert two_digits(value) == pytest.approx(expected, rel=1e-12)


def test_unknown_codes_are_refused():
    with pytest.raises(IdjaxError, match="no finding"):
        idjax.diagnose(np.eye(3), codes=["none-such"])
