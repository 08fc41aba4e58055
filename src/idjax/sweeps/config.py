"""A sweep by its name or file, refused before any work if one of its points could not be run."""

import dataclasses
import pathlib

from idjax.data import keras_split, notes_on, within
from idjax.data.config_files import configs_folder, run_config
from idjax.data.dataset import quote, suggestion
from idjax.sweeps.axes import Gaussian, Point, Sweep
from idjax.sweeps.compute import dataset_of
from idjax.types import IdjaxError


def load_sweep(config: str) -> tuple[Sweep, tuple[Point, ...]]:
    """The sweep of a published name or of a Python file, and its points.

    Raises:
      IdjaxError: with the file, the axis or point, and the reason.
    """
    path = pathlib.Path(config) if config.endswith(".py") else _published(config)
    sweep = run_config(path, "sweep")
    if not isinstance(sweep, Sweep):
        raise IdjaxError(f"{path}: its sweep is a {type(sweep).__name__}; give a Sweep(...) of idjax.sweeps.axes")
    try:
        return sweep, check_points(sweep)
    except IdjaxError as error:
        raise IdjaxError(f"{path}: {error}") from None


def check_points(sweep: Sweep) -> tuple[Point, ...]:
    """The points of a sweep, each held against what settings and data can be; batches of at most the training rows.

    Raises:
      IdjaxError: with the axis, or the point where several axes make it, and the reason.
    """
    if not 0 < sweep.tolerance < 1:
        raise IdjaxError(f"tolerance is {sweep.tolerance}; give a number between 0 and 1, such as 0.05")
    points, checked = sweep.expand(), []
    held = None if isinstance(sweep.data, Gaussian) else dataset_of(sweep.data, sweep.settings)
    rows, target = (0, None) if held is None else (len(held.x), held.y)
    for point in points:
        with sweep.blaming(point.index, point.at):
            if isinstance(point.data, Gaussian):
                _check_gaussian(point.data)
                rows = point.data.rows
            training = keras_split(rows, point.settings.validation_split)
            notes_on(point.settings, training, target)
        checked.append(dataclasses.replace(point, settings=within(point.settings, training)))
    return tuple(checked)


def _check_gaussian(data: Gaussian) -> None:
    least = data.inputs + 1 if data.exact else 2
    for holds, what in (
        (abs(data.mean) < 1e150, "mean: give a number that float64 can square"),
        (0 < data.deviation < 1e150, "deviation: give a positive number"),
        (data.inputs >= 1, "inputs: give a whole number, at least 1"),
        (data.rows >= least, f"rows: give at least {least}"),
        (0 <= data.decades <= 300, "decades: give a number from 0 to 300"),
        (data.data_seed >= 0, "data_seed: give a whole number from 0"),
    ):
        if not holds:
            field = what.partition(":")[0]
            raise IdjaxError(f"{field} is {getattr(data, field)}: {what.partition(': ')[2]}")


def _published(name: str) -> pathlib.Path:
    folder = configs_folder() / "sweeps"
    names = sorted(file.stem for file in folder.glob("*.py"))
    if name not in names:
        raise IdjaxError(f"{quote(name)} is not a sweep, nor a FILE.py of one; {suggestion(name, names)}")
    return folder / f"{name}.py"
