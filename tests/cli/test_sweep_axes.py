"""Axes of sweeps, their points and shards, and what is refused before any work."""

import dataclasses

import numpy as np
import pytest
from test_sweeps import CONFIG, SMALL, with_axes

from idjax.sweeps.axes import Grid, LinearGrid, LogGrid, Paired, Random
from idjax.sweeps.config import check_points, load_sweep
from idjax.sweeps.plan import costs, cut
from idjax.types import IdjaxError


def test_points_are_the_product_of_the_axes_the_last_one_fastest():
    points = SMALL.expand()
    assert [point.index for point in points] == list(range(8))
    assert points[1].at == {"batch_size": 8, "mean": 0.0, "learning_rate": 0.1}
    assert points[6].data == dataclasses.replace(SMALL.data, mean=1.0)
    assert points[6].settings == dataclasses.replace(SMALL.settings, batch_size=48, learning_rate=0.01)


def test_axes_have_the_values_that_they_say():
    assert LinearGrid("momentum", 0, 0.9, 4).values() == [(0.0,), (pytest.approx(0.3),), (pytest.approx(0.6),), (0.9,)]
    assert LogGrid("batch_size", 1, 64, 7, whole=True).values() == [(2**n,) for n in range(7)]
    drawn = np.array(Random("learning_rate", 1e-4, 1, 400, log=True).values())[:, 0]
    assert drawn.min() > 1e-4
    assert drawn.max() < 1
    assert np.log10(drawn).mean() == pytest.approx(-2, abs=0.15)
    assert drawn.tolist() == np.array(Random("learning_rate", 1e-4, 1, 400, log=True).values())[:, 0].tolist()
    assert drawn.tolist() != np.array(Random("learning_rate", 1e-4, 1, 400, log=True, seed=1).values())[:, 0].tolist()
    both = Paired((Grid("batch_size", (8, 16)), Grid("learning_rate", (0.1, 0.2))))
    assert [point.at for point in with_axes(both).expand()] == [
        {"batch_size": 8, "learning_rate": 0.1},
        {"batch_size": 16, "learning_rate": 0.2},
    ]


@pytest.mark.parametrize(
    ("axis", "reason"),
    [
        (Grid("lerning_rate", (0.1,)), "axis lerning_rate: there is no such setting; did you mean 'learning_rate'"),
        (Grid("learning_rate", ()), "axis learning_rate: it has no points"),
        (Grid("learning_rate", (0.1, -1.0)), "axis learning_rate: learning_rate is -1.0: give a positive number"),
        (Grid("batch_size", (8.5,)), "axis batch_size: 8.5 is not a whole number"),
        (Grid("batch_size", (True,)), "axis batch_size: True is not a whole number"),
        (Grid("optimizer", ("sdg",)), "axis optimizer: 'sdg' is none of sgd, rmsprop"),
        (Grid("deviation", (0.0,)), "axis deviation: deviation is 0.0: give a positive number"),
        (Grid("rows", (3,)), "axis rows: rows is 3: give at least 4"),
        (LogGrid("learning_rate", 0, 1, 3), "axis learning_rate: it goes from 0 to 1; give two positive numbers"),
        (LinearGrid("momentum", 0.9, 0.1, 3), "axis momentum: it goes from 0.9 to 0.1"),
        (Random("momentum", 0.1, 0.9, 0), "axis momentum: count is 0"),
        (Grid("momentum", (0.5, 1.0)), "axis momentum: momentum is 1.0"),
        (Grid("nesterov", (True,)), r"axis nesterov: nesterov is True: it needs"),
        (LogGrid("batch_size", 1, 4, 9, whole=True), "axis batch_size: points 0 and 1 are alike"),
        (Paired((Grid("mean", (0.0, 1.0)), Grid("batch_size", (8,)))), "axis mean/batch_size: paired axes have diff"),
        (Paired((Grid("mean", (0.0,)), Grid("mean", (1.0,)))), "axis mean: more than one axis sets it"),
    ],
)
def test_bad_axes_are_refused_with_their_name_and_the_reason(axis, reason):
    with pytest.raises(IdjaxError, match=reason):
        check_points(with_axes(axis))


def test_batches_of_more_than_the_rows_of_a_file_are_the_full_batch(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40, 3)))
    sweep = with_axes(Grid("batch_size", (8, 41)), data=str(tmp_path / "x.npy"))
    points = check_points(sweep)
    assert [point.settings.batch_size for point in points] == [8, 40]
    assert costs(sweep, points)[-1] == (
        "batch_size is more than the training rows at 1 of 2 points: the full batch, as in Keras"
    )
    assert not any("Keras" in line for line in costs(sweep, points[:1]))


def test_fields_of_gaussian_data_are_no_axes_of_a_file():
    with pytest.raises(IdjaxError, match="axis mean: the data are 'unit-uniform-5', which has none"):
        with_axes(Grid("mean", (0.0,)), data="unit-uniform-5").expand()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "there is no such file"),
        ("x = 1", "defines no sweep; end it with sweep ="),
        ("sweep = 1", "its sweep is a int"),
        ("import idjax\n\nsweep = (", "line 3: SyntaxError"),
        ("def f():\n    return 1 / 0\n\nsweep = f()", "line 2: ZeroDivisionError: division by zero"),
        (CONFIG.replace("0.01, 0.1, 2", "0.1, 0.01, 2"), "bad.py: axis learning_rate: it goes from 0.1 to 0.01"),
    ],
)
def test_bad_configs_are_refused_with_the_file_and_the_line(tmp_path, text, reason):
    file = tmp_path / "bad.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(IdjaxError, match=reason) as refused:
        load_sweep(str(file))
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_published_sweeps_are_sound():
    sweep, points = load_sweep("mean_and_rate")
    assert sweep.name == "mean_and_rate"
    assert len(points) == 63
    with pytest.raises(IdjaxError, match="did you mean 'mean_and_rate'"):
        load_sweep("mean_and_rates")


def test_shards_share_a_program_and_are_named_by_their_content():
    shards = cut(SMALL.expand())
    assert [len(shard.points) for shard in shards] == [2, 2, 2, 2]
    assert [point.index for shard in shards for point in shard.points] == list(range(8))
    assert {shard.name for shard in shards}.isdisjoint(shard.name for shard in cut(SMALL.expand(), "other numbers"))
    many = cut(with_axes(LinearGrid("learning_rate", 0.01, 0.02, 70)).expand())
    assert [len(shard.points) for shard in many] == [32, 32, 6]
    mixed = cut(with_axes(Grid("momentum", (0.0, 0.5, 0.9))).expand())
    assert [len(shard.points) for shard in mixed] == [1, 2]


def test_axes_that_cannot_be_stacked_say_what_they_cost():
    said = costs(SMALL, SMALL.expand())
    assert len(said) == 2
    assert "axis batch_size cannot be stacked: each of its 2 values" in said[0]
    assert "compilation" in said[0]
    assert "data of its own" in said[1]
