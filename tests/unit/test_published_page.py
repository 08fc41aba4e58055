"""The published page: self-contained, without scripts, everything escaped, and failing claims shown as failing."""

import base64
import concurrent.futures
import dataclasses
import io
import re

import matplotlib.image
import numpy as np
import pytest
from made_outcomes import HOSTILE, curve, outcome, scan_outcome, texts, with_curve
from pages import Page

from idjax.published import page
from idjax.published.figures import attempts_figure, loss_figure, samples_figure
from idjax.published.tables import HEADER, summary_rows
from idjax.report import formatting as words
from idjax.results.curve import Status
from idjax.results.diagnosis import Samples
from idjax.types import Weights


@pytest.fixture
def in_words(monkeypatch: pytest.MonkeyPatch):
    """Pages whose pictures are empty files: what they say is as it is with them."""
    monkeypatch.setattr(page, "to_png", lambda figure: b"")


def render(*outcomes) -> tuple[str, dict[str, bytes]]:
    return page.render(outcomes, {"jax": "0.10", "git": "abc"}, 12.0)


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


@pytest.mark.usefixtures("in_words")
def test_what_comes_from_data_is_escaped():
    one = outcome(label=HOSTILE, predicted=dataclasses.replace(curve(), how=HOSTILE), verdict=HOSTILE)
    text, _ = page.render([one, dataclasses.replace(one, runs=one.runs * 9)], {HOSTILE: HOSTILE}, 1.0)
    seen = Page(text)
    assert "script" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert all(value.startswith("data:") for name, value in seen.attributes if name == "src")
    assert HOSTILE in "".join(seen.words)


@pytest.mark.usefixtures("in_words")
def test_every_run_appears_with_its_verdict():
    text, _ = render(outcome(label="alpha"), outcome("attempts", "beta", runs=9))
    for label in ("alpha", "beta"):
        assert text.lower().count(f"verdict of {label}") >= 2  # at a glance, and in its section
        assert f"note of {label}" in text
        assert f"published {label}" in text


@pytest.mark.usefixtures("in_words")
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


@pytest.mark.usefixtures("in_words")
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


@pytest.mark.usefixtures("in_words")
def test_many_failing_claims_are_not_folded_away():
    assert "<details open>" not in render(outcome("attempts", runs=9))[0]
    assert "<details open>" in render(outcome("attempts", runs=9, value=2.0))[0]


@pytest.mark.usefixtures("in_words")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_is_said_in_words(bad):
    gone = np.full(12, bad)
    numbers = {"train": gone, "validation": gone, "explained_variance": -gone, "shape_correlation": np.nan}
    lost = with_curve(**numbers, status=Status.DIVERGES)
    samples = Samples(np.ones((3, 9)), np.full((3, 9), np.nan), np.ones(9))
    lost = dataclasses.replace(lost, runs=(dataclasses.replace(lost.runs[0], samples=samples),))
    text, _ = render(lost, dataclasses.replace(lost, runs=lost.runs * 9))
    shown = " ".join(Page(text).words)
    assert "diverged" in shown
    assert not re.search(r"\b(nan|inf)\b", shown, re.IGNORECASE)
    assert "diverged" in texts(attempts_figure(lost))
    assert texts(loss_figure(dataclasses.replace(lost.runs[0], predicted=lost.runs[0].trained))) == {"no finite loss"}
    assert texts(samples_figure(lost.runs[0])) == {"no finite output"}


@pytest.mark.usefixtures("in_words")
def test_a_run_shorter_than_the_published_one():
    text, _ = render(outcome(trained=curve(3), predicted=curve(3)))
    assert '<td class="n">0.0200</td>\n<td class="n">– to –</td>' in text


@pytest.mark.slow
def test_bytes_repeat_in_any_thread():
    outcomes = (outcome("attempts", runs=9), scan_outcome())
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: render(*outcomes), range(2))
    assert first == second == render(*outcomes)
    assert first != render(outcome("attempts", "other", runs=9), scan_outcome())


@pytest.mark.usefixtures("in_words")
@pytest.mark.parametrize("shown", [(), (outcome(),), (scan_outcome(),), (outcome("fixed"), outcome("identity_start"))])
def test_any_subset_of_experiments_makes_a_page(shown):
    text, pictures = render(*shown)
    assert Page(text).tags.count("section") == len(shown)
    assert Page(text).tags.count("img") == len(pictures)


def test_summary_rows_have_all_columns():
    rows = summary_rows([outcome(), scan_outcome()])
    assert {len(row) for row in rows} == {len(HEADER)}


def test_a_prediction_without_numbers_says_why():
    """Outside the range of its theory no run diverges: F13 of the shared cases, rmsprop in the table of the demo."""
    gone = np.full(12, np.nan)
    for status, word in ((Status.OUTSIDE_RANGE, "outside its range"), (Status.DIVERGES, "diverged")):
        lost = dataclasses.replace(curve(), train=gone, validation=gone, explained_variance=gone, status=status)
        assert summary_rows([outcome(predicted=lost)])[0][1] == word
    still = dataclasses.replace(curve(), explained_variance=gone)
    assert summary_rows([outcome(predicted=still)])[0][1] == f"loss {words.number(still.validation[-1])}, EV –"


@pytest.mark.usefixtures("in_words")
def test_a_small_kernel_is_printed():
    text, _ = render(outcome())
    assert " 1.000   0.000   0.000   0.000\n 0.000   1.000" in text
    large = with_curve(weights=Weights(np.eye(9), np.zeros(9)))
    assert "<pre>" not in render(large)[0]
