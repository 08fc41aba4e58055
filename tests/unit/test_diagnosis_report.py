"""What a diagnosis looks like: the page, the notebook, the terminal and the JSON, from hand-made diagnoses."""

import base64
import dataclasses
import html
import io
import json
import re
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
from pages import Page
from rich.console import Console

from idjax.diagnosis.data.recipes import flax_code, keras_code
from idjax.report import formatting as words
from idjax.report.diagnosis import notebook_html, render
from idjax.report.diagnosis_figures import budget_figure, proof_figure, samples_figure, spectrum_figure
from idjax.report.notebook import Shown
from idjax.report.terminal import diagnosis_text
from idjax.results import store
from idjax.results.diagnosis import Diagnosis, Finding, Prescription, Proof, Samples
from idjax.settings import Settings
from idjax.types import Curve, Weights

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> [bold]a[/bold]\u202eevil\x1b[31m"
SHOWN = HOSTILE.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b")
PROVENANCE = {"idjax": "0.1.0", "jax": "0.10", "git": "abc"}


def curve(explained: np.ndarray, steps_to_learn: float) -> Curve:
    return Curve(
        epoch=np.arange(1, len(explained) + 1),
        train=np.abs(1 - explained),
        validation=np.abs(1 - explained),
        explained_variance=explained,
        shape_correlation=0.5,
        steps_per_epoch=10,
        steps_to_learn=steps_to_learn,
        weights=Weights(np.eye(4), np.zeros(4)),
        how="minibatch SGD, expected loss",
        seconds=0.1,
    )


def proof(epochs: float, level: float = 0.99) -> Proof:
    at = np.geomspace(0.1, 20, 40)
    rate = 4.6 / epochs
    explained = 1 - np.exp(-rate * at)
    return Proof(epochs if epochs <= 20 else np.inf, float(explained[-1]), at, explained)


def prescription(proven: float | None = None, predicted: float = 1.04, **changes) -> Prescription:
    settings = Settings(**{"normalize": "feature", "learning_rate": 12.3456, "batch_size": 32, **changes})
    return Prescription(
        settings, predicted, 10 * predicted, flax_code(settings, 84, 84, True), keras_code(settings, 84, 84, True),
        None if proven is None else proof(proven),
    )  # fmt: skip


CAUSE = Finding(
    "mean-dominated", "cause", "The common mean of 1.1 is 890 times the deviation, so one step size cannot suit both",
    {"condition number": 7.145e9, "mean": 1.1, "columns": [f"column_{k}" for k in range(30)], "rows": 12_192},
    54_321.0, "standardise the inputs: --normalize feature",
)  # fmt: skip
CONSEQUENCE = Finding(
    "slow-directions", "consequence", "83 of 85 directions need 518,700 epochs", {"directions": 83}, float("inf"),
    "as above", ("mean-dominated",),
)  # fmt: skip
NOTE = Finding("rounding", "note", "float32 loses the last updates", {}, 1.0, "")


def diagnosis(**changes) -> Diagnosis:
    """Data that are not learned, with everything that a diagnosis may hold."""
    rng = np.random.default_rng(0)
    samples = 1.1 + 0.0012 * rng.standard_normal((3, 84))
    eigenvalues = np.concatenate([[102.9], 1.5e-6 * np.linspace(1.3, 0.7, 81), [1.4e-8, 0.0, 0.0]])
    whole = Diagnosis(
        source="narrow.csv",
        rows=12_192,
        inputs=84,
        outputs=84,
        autoencoder=True,
        settings=Settings(batch_size=8),
        budget=20.0,
        level=0.99,
        reachable=1.0,
        verdict="These data will not be learned in 20 epochs: it would take 597,894",
        before=curve(-1 - 1 / np.arange(1, 21), 5_978_942.0),
        no_prediction="",
        findings=(NOTE, CONSEQUENCE, CAUSE),
        prescriptions=(
            prescription(1.1),
            prescription(2.9, 3.0, normalize="sample", loss_space="original", momentum=0.9, learning_rate=3e5),
            prescription(None, 7.5, normalize="center", optimizer="adam", learning_rate=0.002, batch_size=1),
        ),
        eigenvalues=eigenvalues,
        mean_mode=0,
        bias_mode=82,
        samples=Samples(samples, 1.1 + 0.0012 * rng.standard_normal((3, 84)), np.full(84, 1.1)),
        proof=Proof(float("inf"), -1.05, np.arange(1.0, 21), -1.05 - 1 / np.arange(1, 21)),
        seconds=4.2,
    )
    return dataclasses.replace(whole, **changes)


def healthy() -> Diagnosis:
    learned = curve(1 - 0.3 ** np.arange(1, 21), 32.0)
    return diagnosis(
        verdict="Learned in 3.2 epochs of 20", before=learned, findings=(), prescriptions=(), proof=None, samples=None,
        eigenvalues=np.linspace(2, 0.5, 5), mean_mode=None, bias_mode=None,
    )  # fmt: skip


def unpredicted() -> Diagnosis:
    return diagnosis(
        before=None, no_prediction="relu outputs have no theory yet", samples=None, proof=None, prescriptions=(),
        findings=(),
    )  # fmt: skip


def hostile() -> Diagnosis:
    cause = Finding(
        "constant-columns", "cause", f"column {HOSTILE} is constant", {HOSTILE: 1.0, "columns": [HOSTILE]}, 2.0,
        f"drop {HOSTILE}",
    )  # fmt: skip
    return diagnosis(source=HOSTILE, verdict=HOSTILE, findings=(cause,), no_prediction=HOSTILE)


def said(shown: Diagnosis) -> str:
    return Page(render(shown, PROVENANCE)[0]).said


def printed(shown: Diagnosis, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, markup=False)
    console.print(diagnosis_text(shown))
    return console.file.getvalue()


EVERY = [diagnosis, healthy, unpredicted, hostile]


@pytest.mark.parametrize("make", EVERY)
def test_the_page_is_self_contained_and_harmless(make):
    text, pictures = render(make(), PROVENANCE)
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert {value.split(",")[0] for value in links} == {"data:", "data:image/png;base64"}
    assert "url(" not in text
    assert "@import" not in text
    assert page.tags.count("img") == len(pictures)
    embedded = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    assert sorted(base64.b64decode(data) for data in embedded) == sorted(pictures.values())
    for data in pictures.values():
        assert matplotlib.image.imread(io.BytesIO(data))[..., :3].std() > 0.01
    assert [v for n, v in page.attributes if n == "name" and v == "viewport"]
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_the_page_says_everything():
    told = said(diagnosis())
    assert told.index("These data will not be learned") < told.index("What is found")
    assert told.index("mean-dominated") < told.index("slow-directions") < told.index("rounding")
    assert "consequence, because of mean-dominated" in told
    assert "training takes 54,321 times as long" in told
    assert "nothing is learned while it lasts" in told
    assert told.count("Cost:") == 2
    assert "idjax explain mean-dominated" in told
    assert "column_11 and 18 more" in told
    assert "7.14 billion" in told
    assert "--normalize feature" in told
    assert "standardised per sample, loss in original units, SGD with momentum 0.9" in told
    assert "optax.sgd(12.3456)" in told
    assert "keras.optimizers.SGD(300000.0, momentum=0.9)" in told
    assert "not trained" in told
    assert "No prediction" not in told


def test_code_is_as_it_is_run():
    page = render(diagnosis(), PROVENANCE)[0]
    blocks = [re.sub("<[^>]+>", "", block) for block in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]
    assert [html.unescape(block) for block in blocks[:2]] == [
        diagnosis().prescriptions[0].flax_code, diagnosis().prescriptions[0].keras_code,
    ]  # fmt: skip
    assert len(blocks) == 6


def test_nothing_found_is_said():
    for told in (said(healthy()), Page(notebook_html(healthy())).said, printed(healthy())):
        assert "Nothing found: predicted to be learned in 3.2 epochs of 20." in told
    trained = dataclasses.replace(healthy(), proof=proof(4.0))
    assert "Nothing found: learned in 4 epochs of 20." in said(trained)
    assert words.nothing_words(unpredicted()) == "nothing found"
    assert "No settings were found" not in said(healthy())
    assert "What learns these data" not in said(healthy())


def test_no_prediction_has_its_reason():
    for told in (said(unpredicted()), Page(notebook_html(unpredicted())).said, printed(unpredicted())):
        assert "No prediction: relu outputs have no theory yet." in told
    assert set(render(unpredicted(), {})[1]) == {"spectrum.png"}
    with_proof = dataclasses.replace(unpredicted(), proof=proof(4.0))
    assert set(render(with_proof, {})[1]) == {"spectrum.png", "proof.png"}


def test_a_cause_without_a_cure_is_said():
    bad = diagnosis(prescriptions=())
    assert "No settings were found that learn these data" in said(bad)
    assert "No settings were found that learn these data" in printed(bad)


def test_names_show_themselves_and_do_nothing():
    page = Page(render(hostile(), {HOSTILE: HOSTILE})[0])
    assert SHOWN in page.said
    assert not any(c in page.said for c in "\u202e\x1b")
    assert SHOWN in Page(notebook_html(hostile())).said
    assert "script" not in Page(notebook_html(hostile())).tags
    text = printed(hostile(), 400)
    assert SHOWN in text
    assert not any(c in text for c in "\u202e\x1b")
    assert words.visible("שלום ünïcödé") == "שלום ünïcödé"
    assert words.visible("a\nb\x00\ud800") == r"a\nb\x00\ud800"


def test_pictures_are_told_in_words():
    page = Page(render(diagnosis(), PROVENANCE)[0])
    alts = [value for name, value in page.attributes if name == "alt"]
    assert len(alts) == 4
    told = " ".join(alts)
    for part in ("83 directions, from 102.9 down to 1.4e-08", "(rank 1)", "(rank 83)", "2 null modes",
                 "597,894 epochs", "3 rows at the end of the budget", "prescription 2: learned in 2.9 epochs",
                 "as given: not learned"):  # fmt: skip
        assert part.replace("102.9", "103") in told


def texts(figure) -> str:
    return " | ".join(text.get_text() for ax in figure.axes for text in ax.texts)


def test_the_spectrum_marks_the_mean_and_the_bias():
    figure, _ = spectrum_figure(diagnosis())
    assert figure.axes[0].get_yscale() == "log"
    assert "mean: 103" in texts(figure)
    assert "bias: 1.4e-08" in texts(figure)
    assert "+ 2 null modes" in texts(figure)
    plain, told = spectrum_figure(healthy())
    assert texts(plain) == ""
    assert "null" not in told
    assert "no direction" in spectrum_figure(diagnosis(eigenvalues=np.zeros(3), mean_mode=None, bias_mode=None))[1]
    assert "bias: 0" not in texts(spectrum_figure(diagnosis(bias_mode=84))[0])


def test_the_budget_is_a_line_and_what_is_beyond_it_is_marked():
    figure, told = budget_figure(diagnosis())
    (ax,) = figure.axes
    assert [20.0, 20.0] in [list(line.get_xdata()) for line in ax.lines]
    assert [0.99, 0.99] in [list(line.get_ydata()) for line in ax.lines]
    assert ax.get_xscale() == "log"
    assert ax.get_xlim()[1] > 597_894
    assert "budget: 20" in texts(figure)
    assert "predicted after 597,894 epochs" in told


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_prediction_out_of_range_is_said(bad):
    gone = curve(np.full(20, bad), np.inf)
    figure, told = budget_figure(diagnosis(before=gone))
    assert "it diverges" in texts(figure)
    assert "no curve" in told
    explained = np.where(np.arange(20) < 5, -(10.0 ** np.arange(20)), bad)
    figure, told = budget_figure(diagnosis(before=curve(explained, np.inf)))
    assert "drawn up to epoch 5; after it the loss is not finite" in told
    assert "never reached" in told
    assert figure.axes[0].get_yscale() == "symlog"
    page = said(diagnosis(before=gone, samples=Samples(np.ones((2, 3)), np.full((2, 3), bad), np.ones(3))))
    assert not re.search(r"\b(nan|inf)\b", page.split("import flax")[0], re.IGNORECASE)
    assert "the answers are not finite" in page


def test_rows_of_one_output_are_points_in_one_panel():
    figure, told = samples_figure(Samples(np.ones((5, 1)), np.zeros((5, 1)), np.full(1, 0.5)))
    assert len(figure.axes) == 1
    assert "off by 1 (root" in told
    assert "the mean is off by 0.5" in told
    assert len(samples_figure(diagnosis().samples)[0].axes) == 3


def test_before_and_after_share_one_panel():
    figure, told = proof_figure(diagnosis())
    (ax,) = figure.axes
    labels = ax.get_legend_handles_labels()[1]
    assert labels == ["as given, predicted", "as given, trained", "prescription 1, trained",
                      "prescription 2, trained", "learned, predicted"]  # fmt: skip
    diamonds = [float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == "D" and len(line.get_xdata())]
    assert diamonds == [1.04, 3.0]
    assert "prescription 3" not in told


def test_a_proof_that_failed_says_how_far_it_was_trained():
    failed = dataclasses.replace(prescription(), proof=proof(100.0))
    assert words.measured_words(failed) == "not in 20"
    assert words.measured_words(prescription()) == "not trained"
    assert words.measured_words(prescription(1.25)) == "1.25"


@pytest.mark.parametrize("make", EVERY)
def test_the_terminal_is_eighty_columns_wide(make):
    text = printed(make())
    assert max(map(len, text.splitlines())) <= 80
    narrow = printed(make(), 40)
    assert max(map(len, narrow.splitlines())) <= 40


def test_the_terminal_reads_like_a_linter():
    lines = printed(diagnosis()).splitlines()
    assert lines[0] == "These data will not be learned in 20 epochs: it would take 597,894."
    heads = [line for line in lines if re.match(r"[a-z-]+  (cause|consequence|note)", line)]
    assert [line.split()[0] for line in heads] == ["mean-dominated", "slow-directions", "rounding"]
    assert "slow-directions  consequence of mean-dominated  83 of 85" in heads[1]
    text = printed(diagnosis())
    assert "    condition number" in text
    assert "    fix: standardise the inputs: --normalize feature" in text
    assert "    more: idjax explain rounding" in text
    (first,) = [line for line in lines if line.strip().startswith("1 ")]
    assert first.split()[-3:] == ["1.04", "1.1", "1.0000"] or first.split()[-1] == "0.9999"


def test_a_notebook_shows_it():
    fields = {field.name: getattr(diagnosis(), field.name) for field in dataclasses.fields(Diagnosis)}
    shown = Shown(**fields)
    assert isinstance(shown, Diagnosis)
    page = Page(shown._repr_html_())
    assert shown._repr_html_() == notebook_html(diagnosis())
    assert not {"html", "body", "script", "img"} & set(page.tags)
    assert page.attributes[0] == ("class", "idjax-diagnosis")
    assert "These data will not be learned" in page.said
    assert "optax.sgd(12.3456)" in page.said
    style = re.search("<style>(.*)</style>", shown._repr_html_(), re.DOTALL)
    rules = [line for line in style.group(1).strip().splitlines() if "{" in line]
    assert all(rule.startswith(".idjax-diagnosis ") for rule in rules)


def test_json_is_one_object_best_first():
    found = json.loads(store.to_json(store.diagnosis_object(diagnosis())))
    assert found["verdict"].startswith("These data will not")
    assert (found["source"], found["rows"], found["budget"], found["level"]) == ("narrow.csv", 12_192, 20.0, 0.99)
    assert found["predicted_epochs"] == pytest.approx(597_894.2)
    assert found["measured_epochs"] is None
    assert [sorted(finding) for finding in found["findings"]] == [
        ["causes", "code", "cost", "evidence", "fix", "kind", "message"]
    ] * 3
    assert found["findings"][1]["causes"] == ["mean-dominated"]
    assert found["findings"][1]["cost"] is None
    first, _, last = found["prescriptions"]
    assert first == {
        "normalize": "feature", "loss_space": "normalized", "optimizer": "sgd", "learning_rate": 12.3456,
        "momentum": 0.0, "batch_size": 32, "predicted_epochs": 1.04, "predicted_runs": 0, "measured_epochs": 1.1,
        "explained_variance": pytest.approx(1.0),
    }  # fmt: skip
    assert "measured_epochs" not in last
    nothing = json.loads(store.to_json(store.diagnosis_object(unpredicted())))
    assert nothing["predicted_epochs"] is None
    assert nothing["no_prediction"] == "relu outputs have no theory yet"
    assert nothing["prescriptions"] == []
    assert "measured_epochs" not in nothing


def test_prescriptions_in_words():
    assert words.prescription_words(prescription()) == (
        "standardised per feature, loss in normalised units, SGD, learning rate 12.35, batches of 32 rows"
    )
    one = prescription(normalize="none", momentum=0.9, nesterov=True, batch_size=1)
    assert words.prescription_words(one) == (
        "raw rows, loss in original units, SGD with Nesterov momentum 0.9, learning rate 12.35, 1 row an update"
    )
    whitened = prescription(optimizer="adam", loss_space="original")
    object.__setattr__(whitened.settings, "normalize", "zca")
    assert words.prescription_words(whitened).startswith("whitened (ZCA), loss in original units, Adam, ")


def test_evidence_in_words():
    values = [7.1e9, 12_192, "price", ["a", "b"], float("inf"), [str(k) for k in range(14)]]
    shown = [words.evidence_words(value, 12) for value in values]
    assert shown[:5] == ["7.1 billion", "12,192", "price", "a, b", "∞"]
    assert shown[5].endswith("10, 11 and 2 more")


def test_bytes_repeat():
    assert render(diagnosis(), PROVENANCE) == render(diagnosis(), PROVENANCE)


def test_the_terminal_is_light():
    code = "import idjax.report.terminal, idjax.report.notebook, sys; print({'jax', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
