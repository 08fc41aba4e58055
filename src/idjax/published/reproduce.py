"""The published experiments: predicted, trained, held against what was published and against their claims."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from idjax.data import Dataset, keras_split, load
from idjax.data.config_files import configs_folder, run_config
from idjax.data.dataset import quote, suggestion
from idjax.nn.model import DenseModel, to_params
from idjax.prediction.predict import predict
from idjax.published.claims import Evidence, check_claim
from idjax.published.experiments import Experiment, Run, VarianceScan
from idjax.published.outcomes import ExperimentOutcome, Outcome, RunOutcome, ScanOutcome
from idjax.published.variance_scan import scan_outcome, scan_tasks
from idjax.published.workers import OnResult, Task, run_tasks
from idjax.report.comparison import verdict
from idjax.results.curve import Curve
from idjax.results.diagnosis import Samples
from idjax.results.store import curve_object
from idjax.settings import Settings
from idjax.training.train import train
from idjax.types import IdjaxError, OnProgress, Progress, silent

ORDER = (
    "identity_start",
    "narrow_normal",
    "attempts",
    "adam",
    "unit_uniform",
    "unit_uniform_5",
    "fixed",
    "variance_scan",
)
"""The experiments in the order in which they tell the story."""

SAMPLE_ROWS = 3
COMPILING = 1e5
"""What a run costs before its first update, in updates."""

_rows = functools.lru_cache(4)(load)
"""Experiments on the same data share its rows."""


def load_experiment(name: str) -> Experiment | VarianceScan:
    """The experiment of a published name, from its file.

    Raises:
      IdjaxError: for a name that is none of `ORDER`, with the closest one.
    """
    if name not in ORDER:
        raise IdjaxError(f"{quote(name)} is not an experiment; {suggestion(name, ORDER)}")
    return run_config(configs_folder() / f"{name}.py", "experiment")


def replay(
    experiments: Sequence[Experiment | VarianceScan],
    progress: OnProgress = silent,
    on_result: OnResult = lambda *_: None,
) -> list[Outcome]:
    """Outcomes of experiments, whose runs are independent and share the cores of the machine.

    Every run is predicted and trained, every point of a scan predicted and measured; `on_result` hears of each as soon
    as it is there, in any order.

    Example:
      >>> [outcome] = replay([load_experiment("identity_start")])
      >>> outcome.holds
      True
    """
    tasks = [_tasks(experiment) for experiment in experiments]
    results = iter(run_tasks(list(itertools.chain(*tasks)), progress, on_result))
    outcomes: list[Outcome] = []
    for experiment, group in zip(experiments, tasks, strict=True):
        found = tuple(itertools.islice(results, len(group)))
        is_scan = isinstance(experiment, VarianceScan)
        outcomes.append(scan_outcome(experiment, found) if is_scan else ExperimentOutcome(experiment, found))
    return outcomes


def at_length(experiment: Experiment | VarianceScan, full: bool) -> Experiment | VarianceScan:
    """The experiment with its long trainings where all is wanted, else without them."""
    if isinstance(experiment, VarianceScan):
        return dataclasses.replace(experiment, most_steps=experiment.full_steps) if full else experiment
    if not full or experiment.full_epochs is None:
        return experiment
    runs = tuple(
        dataclasses.replace(run, settings=dataclasses.replace(run.settings, epochs=experiment.full_epochs))
        for run in experiment.runs
    )
    return dataclasses.replace(experiment, runs=runs)


def _tasks(experiment: Experiment | VarianceScan) -> list[Task]:
    """Independent tasks: runs, or points of a scan. A run costs its updates, thrice as many by other rules than SGD."""
    if isinstance(experiment, VarianceScan):
        return scan_tasks(experiment)
    data = _rows(experiment.data)
    return [
        Task(
            f"{experiment.name} · {run.label}",
            functools.partial(_run, experiment, run, data),
            COMPILING + run.settings.epochs * len(data.x) / run.settings.batch_size
            * (1 if run.settings.optimizer == "sgd" else 3),
        )
        for run in experiment.runs
    ]  # fmt: skip


def _run(experiment: Experiment, run: Run, data: Dataset, progress: OnProgress) -> RunOutcome:
    settings = run.settings
    data = dataclasses.replace(data, x=_spread(data.x, run.spread)) if run.spread != 1 else data
    title = f"{experiment.name} · {run.label}"
    progress(Progress(0, 1, title))
    band = settings.optimizer == "sgd" and not experiment.many
    predicted, long_run = predict(data, settings, band=band), None
    if run.best_learning_rate and predicted.learning_rates:
        settings = dataclasses.replace(settings, learning_rate=predicted.learning_rates.best)
        predicted = predict(data, settings, band=band)
    if run.long_run:
        long_run = predict(data, dataclasses.replace(settings, epochs=run.long_run), band=False)
    trained = train(data, settings, on_epoch=lambda event: progress(event._replace(what=title)))
    seen = Evidence(trained, predicted, experiment.published, long_run)
    return RunOutcome(
        run=run,
        settings=settings,
        predicted=predicted,
        trained=trained,
        checks=tuple(check_claim(claim, seen) for claim in run.claims),
        verdict=verdict(trained, predicted, settings.learned_at),
        samples=_samples(data, settings, trained) if run.draw_samples else None,
        long_run=long_run,
    )


def _spread(x: np.ndarray, factor: float) -> np.ndarray:
    """The rows so many times as far from their mean."""
    mean = x.mean(axis=0, dtype=np.float64)
    return (mean + factor * (x - mean)).astype(x.dtype)


def _samples(data: Dataset, settings: Settings, trained: Curve) -> Samples:
    """The first validation rows and what the trained model makes of them."""
    rows = keras_split(len(data.x), settings.validation_split)
    chosen = data.x[rows : rows + SAMPLE_ROWS]
    model = DenseModel(features=data.target.shape[1], normalize=settings.normalize)
    output = model.apply(to_params(trained.weights), chosen)
    return Samples(
        target=chosen.astype(np.float64),
        output=np.asarray(output, np.float64),
        mean=data.target[:rows].mean(axis=0, dtype=np.float64),
    )


def outcome_object(outcome: Outcome) -> Mapping[str, object]:
    """An outcome as it stands in results.json."""
    if isinstance(outcome, ScanOutcome):
        return {
            "name": outcome.scan.name,
            "holds": outcome.holds,
            "worst_error": outcome.worst,
            "points": [{**dataclasses.asdict(point), "error": point.error} for point in outcome.points],
        }
    return {
        "name": outcome.experiment.name,
        "holds": outcome.holds,
        "published": outcome.experiment.published,
        "runs": [
            {
                "label": run.run.label,
                "settings": run.settings,
                "predicted": curve_object(run.predicted),
                "no_prediction": None,
                "long_run": curve_object(run.long_run) if run.long_run else None,
                "measured": curve_object(run.trained),
                "claims": [
                    {
                        "metric": check.claim.metric,
                        "words": check.words,
                        "bounds": check.bounds,
                        "value": check.value,
                        "holds": check.holds,
                    }
                    for check in run.checks
                ],
                "verdict": run.verdict,
            }
            for run in outcome.runs
        ],
    }
