"""The page: self-contained, without scripts, everything escaped, and failing claims shown as failing."""

import base64
import concurrent.futures
import dataclasses
import io
import re
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
from pages import Page

from idjax.published import page
from idjax.published.experiments import Claim, Experiment, PublishedLoss, Run, VarianceScan
from idjax.published.figures import attempts_figure, loss_figure, loss_of_mean, samples_figure, variance_figure
from idjax.published.outcomes import Checked, ExperimentOutcome, RunOutcome, ScanOutcome, ScanPoint
from idjax.published.tables import HEADER, summary_rows
from idjax.report import formatting as words
from idjax.report.curves import curve_figure
from idjax.report.drawing import to_png
from idjax.results.diagnosis import Samples
from idjax.settings import Settings
from idjax.types import Band, Curve, LearningRates, Weights

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def curve(epochs: int = 12, level: float = 1.0, band: bool = False) -> Curve:
    epoch = np.arange(1, epochs + 1)
    losses = level * 0.7**epoch
    return Curve(
        epoch=epoch,
        train=losses * 1.1,
        validation=losses,
        explained_variance=1 - losses / level,
        shape_correlation=0.5,
        steps_per_epoch=10,
        steps_to_learn=121.0,
        weights=Weights(np.eye(4), np.zeros(4)),
        how="made up",
        seconds=0.1,
        condition_number=7.1e9,
        learning_rates=LearningRates(2.0, 1.0, 2.0, 1.0),
        train_band=Band(losses, 1.1 * losses, 1.2 * losses) if band else None,
        validation_band=Band(0.9 * losses, losses, 1.1 * losses) if band else None,
    )


def outcome(name="narrow_normal", label="run", value=0.5, runs=1, **changes) -> ExperimentOutcome:
    one = RunOutcome(
        run=Run(label, Settings(), (Claim("explained_variance", 0.0, 1.0),), note=f"note of {label}"),
        settings=Settings(),
        predicted=curve(band=True),
        no_prediction="",
        trained=curve(),
        checks=(Checked(Claim("explained_variance", 0.0, 1.0), value, "explained variance at the end"),),
        verdict=f"verdict of {label}",
        samples=Samples(np.ones((3, 9)), np.zeros((3, 9)), np.full(9, 0.5)),
    )
    one = dataclasses.replace(one, **changes)
    experiment = Experiment(
        name=name,
        title=f"Title {label}",
        question="Why?",
        data="x",
        runs=(one.run,) * runs,
        published=(PublishedLoss(1, 0.7, 0.6), PublishedLoss(12, 0.02, 0.01)),
        published_words=f"published {label}",
        answer=f"What {label} shows.",
    )
    return ExperimentOutcome(experiment, (one,) * runs)


def scan_outcome() -> ScanOutcome:
    scan = VarianceScan(
        name="variance_scan", title="Scan", question="What?", mean=1.1, inputs=84, rows=96, ratios=(1e-6, 1e-3, 1.0),
        marked=1e-3, normalizers=("none", "center", "feature", "sample"), learning_rate=0.01, most_steps=2e6,
        smallest_measured=1e-5, tolerance=0.02,
    )  # fmt: skip
    kinds = {1e-6: "beyond float64", 1e-3: "extrapolated", 1.0: "trained"}
    points = tuple(
        ScanPoint(ratio, normalize, 0.01, 9e3 / ratio**2, 9e3 / ratio**2 if ratio > 1e-5 else np.nan, kinds[ratio])
        for ratio in scan.ratios
        for normalize in scan.normalizers
    )
    return ScanOutcome(scan, points)


def render(*outcomes) -> tuple[str, dict[str, bytes]]:
    return page.render(outcomes, {"jax": "0.10", "git": "abc"}, 12.0)


def with_curve(**changes) -> ExperimentOutcome:
    return outcome(trained=dataclasses.replace(curve(), **changes))


def texts(figure) -> set[str]:
    return {text.get_text() for ax in figure.axes for text in ax.texts}


def test_the_page_is_self_contained():
    text, _ = render(outcome(), outcome("attempts", "beta", runs=9), scan_outcome())
    seen = Page(text)
    assert not {"script", "iframe", "object", "embed", "form"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    links = [value for name, value in seen.attributes if name in ("src", "href", "srcset")]
    assert {value.split(",")[0].split("#")[0] for value in links} == {"data:", "data:image/png;base64", ""}
    assert "url(" not in text
    assert "@import" not in text
    anchors = {value[1:] for value in links if value.startswith("#")}
    assert anchors == {"narrow_normal", "attempts", "variance_scan"}
    assert anchors <= {value for name, value in seen.attributes if name == "id"}


def test_every_figure_is_embedded_and_decodes():
    text, pictures = render(outcome(), outcome("attempts", "beta", runs=9), scan_outcome())
    assert list(pictures) == [
        "narrow_normal-samples.png",
        "narrow_normal-loss.png",
        "attempts.png",
        "variance_scan.png",
    ]
    embedded = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    assert [base64.b64decode(data) for data in embedded] == list(pictures.values())
    for data in pictures.values():
        image = matplotlib.image.imread(io.BytesIO(data))
        assert image.shape[1] > 1000
        assert image[..., :3].std() > 0.01


def test_what_comes_from_data_is_escaped():
    one = outcome(label=HOSTILE, no_prediction=HOSTILE, predicted=None, verdict=HOSTILE)
    text, _ = page.render([one, dataclasses.replace(one, runs=one.runs * 9)], {HOSTILE: HOSTILE}, 1.0)
    seen = Page(text)
    assert "script" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert all(value.startswith("data:") for name, value in seen.attributes if name == "src")
    assert HOSTILE in "".join(seen.words)


def test_every_run_appears_with_its_verdict():
    text, _ = render(outcome(label="alpha"), outcome("attempts", "beta", runs=9))
    for label in ("alpha", "beta"):
        assert text.lower().count(f"verdict of {label}") >= 2  # at a glance, and in its section
        assert f"note of {label}" in text
        assert f"published {label}" in text


def test_a_claim_that_fails_is_shown_as_failing():
    good, _ = render(outcome())
    bad, _ = render(outcome(value=2.0))
    assert "DOES NOT HOLD" not in good
    assert "NOT as claimed" not in good
    assert "DOES NOT HOLD" in bad
    assert "NOT as claimed" in bad
    assert "NOT everything claimed" in bad
    assert "What run shows." in good
    assert "What run shows." not in bad
    unknown, _ = render(outcome(value=float("nan")))
    assert "DOES NOT HOLD" in unknown
    missed = scan_outcome()
    missed = dataclasses.replace(missed, scan=dataclasses.replace(missed.scan, tolerance=-1.0))
    assert "NOT as claimed" in render(missed)[0]


def test_where_adam_stalls_is_told_from_its_predictions():
    whole = outcome("adam", "beta", runs=2, long_run=curve(level=0.001, epochs=30))
    narrow = dataclasses.replace(whole.runs[0], run=dataclasses.replace(whole.runs[0].run, spread=0.1))
    narrow = dataclasses.replace(narrow, long_run=curve(level=0.002, epochs=30))
    text, _ = render(dataclasses.replace(whole, runs=(whole.runs[0], narrow)))
    first, other = (words.number(run.long_run.train[-1], 2) for run in (whole.runs[0], narrow))
    assert f"stall at a loss of {first} on these data, and at {other} on data that vary 0.1 times" in text
    assert "Predicted within 12.1 epochs, trained within 12.1".lower() in text.lower()
    assert "What beta shows." in text
    assert "Adam is predicted" not in render(outcome("adam", "beta"))[0]


def test_many_failing_claims_are_not_folded_away():
    assert "<details open>" not in render(outcome("attempts", runs=9))[0]
    assert "<details open>" in render(outcome("attempts", runs=9, value=2.0))[0]


def test_a_missing_prediction_has_its_reason():
    few, _ = render(outcome(predicted=None, no_prediction="for a reason"))
    many, _ = render(outcome("attempts", predicted=None, no_prediction="for a reason", runs=9))
    assert "No theory yet: for a reason." in few
    assert many.count("For a reason.") == 1
    assert "no theory yet" in many


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_is_said_in_words(bad):
    gone = np.full(12, bad)
    lost = with_curve(train=gone, validation=gone, explained_variance=-gone, shape_correlation=np.nan)
    samples = Samples(np.ones((3, 9)), np.full((3, 9), np.nan), np.ones(9))
    lost = dataclasses.replace(lost, runs=(dataclasses.replace(lost.runs[0], samples=samples),))
    text, _ = render(lost, dataclasses.replace(lost, runs=lost.runs * 9))
    shown = " ".join(Page(text).words)
    assert "diverged" in shown
    assert not re.search(r"\b(nan|inf)\b", shown, re.IGNORECASE)
    assert "diverged" in texts(attempts_figure(lost))
    assert texts(loss_figure(dataclasses.replace(lost.runs[0], predicted=None))) == {"no finite loss"}
    assert texts(samples_figure(lost.runs[0])) == {"no finite output"}


def test_a_loss_of_exactly_zero_is_said_not_drawn():
    zero = dataclasses.replace(curve(), train=np.zeros(12), validation=np.zeros(12))
    figure = loss_figure(outcome(trained=zero, predicted=zero).runs[0])
    assert texts(figure) == {"exactly 0 at every epoch"}
    assert {ax.get_yscale() for ax in figure.axes} == {"linear"}
    assert {ax.get_yscale() for ax in loss_figure(outcome().runs[0]).axes} == {"log"}
    assert "exactly 0 at every epoch" in texts(curve_figure(zero, zero))
    _, pictures = render(outcome(trained=zero, predicted=zero))
    assert "narrow_normal-loss.png" not in pictures


def test_a_run_shorter_than_the_published_one():
    text, _ = render(outcome(trained=curve(3), predicted=curve(3)))
    assert '<td class="n">0.0200</td>\n<td class="n">– to –</td>' in text


def test_the_line_of_the_mean_is_the_variance():
    run = outcome().runs[0]
    assert loss_of_mean(run) == pytest.approx(1.0)
    assert loss_of_mean(outcome(trained=curve(level=3e-6)).runs[0]) == pytest.approx(3e-6)
    for changes in ({"loss": "mae"}, {"activity_l2": 0.1}, {"normalize": "sample"}):
        assert loss_of_mean(dataclasses.replace(run, settings=Settings(**changes))) is None
    original = Settings(normalize="sample", loss_space="original")
    assert loss_of_mean(dataclasses.replace(run, settings=original)) == pytest.approx(1.0)


def test_training_that_stops_early_is_not_squeezed_by_the_prediction():
    deep = dataclasses.replace(curve(), train=10.0 ** -(np.arange(12.0) ** 2), train_band=None)
    (axes, *_) = loss_figure(outcome(predicted=deep).runs[0]).axes
    assert 1e-5 < axes.get_ylim()[0] < curve().validation.min()


def test_attempts_are_placed_by_their_error():
    runs = (outcome().runs[0], *(with_curve(explained_variance=np.full(12, ev)).runs[0] for ev in (-1367.0, 1.0)))
    figure = attempts_figure(dataclasses.replace(outcome("attempts"), runs=runs))
    assert {"1,368", "0"} <= texts(figure)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_color() for line in dots] == ["#009E73", "#0072B2", "#0072B2"]  # from the lowest, the last run


def test_a_label_with_dollars_is_not_mathematics():
    odd = outcome("attempts", label=r"$\nonsense{$", runs=9)
    assert len(to_png(attempts_figure(odd))) > 1000


def test_the_scan_marks_the_published_data():
    shown = scan_outcome()
    (axes,) = variance_figure(shown).axes
    assert {"the published data", "9 billion steps"} <= texts(variance_figure(shown))
    vertical = [line for line in axes.lines if list(line.get_xdata()) == [1e-3, 1e-3]]
    assert len(vertical) == 1
    assert ":" in {line.get_linestyle() for line in axes.lines}
    seen = tuple(point for point in shown.points if point.kind != "beyond float64")
    (axes,) = variance_figure(dataclasses.replace(shown, points=seen)).axes
    assert ":" not in {line.get_linestyle() for line in axes.lines}


def test_one_curve_alone_draws():
    one = dataclasses.replace(curve(1), validation=np.full(1, np.nan))
    wild = dataclasses.replace(curve(), explained_variance=np.linspace(-1e6, 1, 12))
    pairs = [(curve(), None), (None, curve()), (one, None), (None, one), (curve(), wild)]
    assert len({to_png(curve_figure(*pair)) for pair in pairs}) == len(pairs)
    assert curve_figure(None, wild).axes[1].get_yscale() == "symlog"


def test_without_validation_rows_one_panel_is_drawn():
    alone = with_curve(validation=np.full(12, np.nan))
    assert len(loss_figure(alone.runs[0]).axes) == 1
    assert "loss 0.01523, EV" in summary_rows([alone])[0][2]


def test_bytes_repeat_in_any_thread():
    outcomes = (outcome("attempts", runs=9), scan_outcome())
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: render(*outcomes), range(2))
    assert first == second == render(*outcomes)
    assert first != render(outcome("attempts", "other", runs=9), scan_outcome())


@pytest.mark.parametrize("shown", [(), (outcome(),), (scan_outcome(),), (outcome("fixed"), outcome("identity_start"))])
def test_any_subset_of_experiments_makes_a_page(shown):
    text, pictures = render(*shown)
    assert Page(text).tags.count("section") == len(shown)
    assert Page(text).tags.count("img") == len(pictures)


def test_drawing_imports_neither_jax_nor_pyplot():
    code = "import idjax.published.page, sys; print({'jax', 'matplotlib.pyplot'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_summary_rows_have_all_columns():
    rows = summary_rows([outcome(), outcome(predicted=None), scan_outcome()])
    assert {len(row) for row in rows} == {len(HEADER)}
    assert rows[1][1] == "no theory yet"


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


def test_a_small_kernel_is_printed():
    text, _ = render(outcome())
    assert " 1.000   0.000   0.000   0.000\n 0.000   1.000" in text
    large = with_curve(weights=Weights(np.eye(9), np.zeros(9)))
    assert "<pre>" not in render(large)[0]
