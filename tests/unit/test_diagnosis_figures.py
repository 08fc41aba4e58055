"""Figures of a diagnosis, and what they tell in words."""

import re

import numpy as np
import pytest
from made_diagnoses import PROVENANCE, curve, diagnosis, healthy, said
from pages import Page

from idjax.report.diagnosis_figures import budget_figure, proof_figure, samples_figure, spectrum_figure
from idjax.report.pages import render
from idjax.results.diagnosis import Samples


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
    assert "in no number of epochs" in told
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


def test_pictures_are_told_in_words():
    page = Page(render(diagnosis(), PROVENANCE)[0])
    alts = [value for name, value in page.attributes if name == "alt"]
    assert len(alts) == 4
    told = " ".join(alts)
    for part in ("83 directions, from 102.9 down to 1.4e-08", "(rank 1)", "(rank 83)", "2 null modes",
                 "597,894 epochs", "3 rows at the end of the budget", "prescription 2: learned in 2.9 epochs",
                 "as given: not learned"):  # fmt: skip
        assert part.replace("102.9", "103") in told
