"""Figures of runs and experiments: what is drawn, and what is said where nothing can be drawn."""

import dataclasses

import numpy as np
import pytest
from made_outcomes import curve, outcome, scan_outcome, texts, with_curve

from idjax.published import page
from idjax.published.figures import attempts_figure, loss_figure, loss_of_mean, variance_figure
from idjax.published.tables import summary_rows
from idjax.report.curves import curve_figure
from idjax.report.drawing import to_png
from idjax.settings import Settings


def render(*outcomes) -> tuple[str, dict[str, bytes]]:
    return page.render(outcomes, {"jax": "0.10", "git": "abc"}, 12.0)


def test_a_loss_of_exactly_zero_is_said_not_drawn():
    zero = dataclasses.replace(curve(), train=np.zeros(12), validation=np.zeros(12))
    figure = loss_figure(outcome(trained=zero, predicted=zero).runs[0])
    assert texts(figure) == {"exactly 0 at every epoch"}
    assert {ax.get_yscale() for ax in figure.axes} == {"linear"}
    assert {ax.get_yscale() for ax in loss_figure(outcome().runs[0]).axes} == {"log"}
    assert "exactly 0 at every epoch" in texts(curve_figure(zero, zero))
    _, pictures = render(outcome(trained=zero, predicted=zero))
    assert "narrow_normal-loss.png" not in pictures


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
    pairs = [(curve(), None), (curve(), curve()), (one, None), (one, one), (curve(), wild)]
    assert len({to_png(curve_figure(*pair)) for pair in pairs}) == len(pairs)
    assert curve_figure(curve(), wild).axes[1].get_yscale() == "symlog"


def test_without_validation_rows_one_panel_is_drawn():
    alone = with_curve(validation=np.full(12, np.nan))
    assert len(loss_figure(alone.runs[0]).axes) == 1
    assert "loss 0.01523, EV" in summary_rows([alone])[0][2]
