"""The study of one data set: what the pages that show it share, and the threads that work for them."""

import concurrent.futures
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

from idjax.data import Dataset, Stream, stream
from idjax.diagnosis.data.diagnose import training_rows
from idjax.diagnosis.data.measure import measure
from idjax.diagnosis.data.recipes import command_line, flax_code, keras_code
from idjax.diagnosis.explore.view import Groups, Judged, View, groups_of, judgement_of, under, view_of
from idjax.moments.one_thread import ONE_THREAD
from idjax.results.curve import Curve
from idjax.settings import DiagnosisSettings, Settings
from idjax.types import IdjaxError, Moments, OnProgress, Progress, silent


class Stopped(Exception):
    """Raised in a training that was told to stop."""


class Study:
    """Rows, measured once; views, judgements and trainings of settings, each made once.

    Example:
      >>> import numpy as np
      >>> study = Study(3 + np.random.default_rng(0).normal(size=(100, 3)), None, DiagnosisSettings(epochs=3))
      >>> [finding.code for finding in study.judge(study.given).findings][:1]
      ['mean-dominated']
    """

    def __init__(self, data: Any, target: Any, settings: Settings | None, progress: OnProgress = silent):
        self._rows: Stream = stream(data, target)
        given = settings or DiagnosisSettings()
        if given.hidden:
            raise IdjaxError("hidden is not for exploring: the page shows one Dense layer; leave it out")
        self._context = measure(self._rows, given, None, progress)
        if not self._context.varies:
            raise IdjaxError(f"{self._rows.source}: the targets do not vary: there is nothing to learn")
        # Held while the page is open: a core is left for what is shown while findings are looked for on the other, and
        # entered and left at each change beside a thread it costs ten times the work.
        self._held = contextlib.ExitStack()
        self._held.enter_context(ONE_THREAD)
        self._view = functools.cache(lambda settings: view_of(under(self._context, settings)))
        self._groups = functools.cache(lambda settings: groups_of(under(self._context, settings)))
        self._view(self.given)
        self._for_judging = self._context.apart()
        self._judged: dict[Settings, Judged] = {}
        self.trained: dict[Settings, Curve] = {}
        self._target = target if isinstance(target, str) else None
        self._judging, self._training = (concurrent.futures.ThreadPoolExecutor(1, name) for name in ("judge", "train"))
        self._closed = threading.Event()
        self._dataset: Dataset | None = None

    @property
    def given(self) -> Settings:
        """The settings to begin with."""
        return self._context.settings

    @property
    def moments(self) -> Moments:
        """Of the rows as they are."""
        return self._context.moments.raw

    @property
    def about(self) -> str:
        """The data in a line."""
        raw = self.moments
        alone = f"{raw.inputs:,} columns to reproduce"
        what = (
            alone
            if raw.autoencoder
            else f"{raw.inputs:,} inputs and {raw.outputs:,} output{'' if raw.outputs == 1 else 's'}"
        )
        return f"{self._rows.source}: {raw.count:,} rows, {what}"

    def view(self, settings: Settings) -> View:
        """Everything known of settings at once, and of the curve what was found since; for one thread."""
        view, judged = self._view(settings), self.known(settings)
        if judged is None or judged.curve is None:
            return view
        return view._replace(curve=judged.curve, stable=judged.stable or view.stable, sketched=False)

    def groups(self, settings: Settings) -> Groups:
        """The times of the groups of modes; for the thread of views."""
        return self._groups(settings)

    def known(self, settings: Settings) -> Judged | None:
        """The judgement of these settings, if it was made."""
        return self._judged.get(settings)

    def judge(self, settings: Settings) -> Judged:
        """Everything that takes longer to know of these settings; for one thread."""
        if settings not in self._judged:
            self._judged[settings] = judgement_of(under(self._for_judging, settings))
        return self._judged[settings]

    def judge_aside(self, settings: Settings, then: Callable[[Any], None]) -> None:
        """Judges in a thread of its own, and tells what came of it: a judgement or an exception."""
        self._judging.submit(_told, lambda: self.judge(settings), then)

    def train_aside(
        self,
        settings: Settings,
        on_epoch: Callable[[Progress], None],
        stop: threading.Event,
        then: Callable[[Any], None],
    ) -> None:
        """Trains in a thread of its own until told to stop, and tells what came of it: a curve or an exception."""
        from idjax.training.train import train  # JAX, which looking needs not

        def heard(event: Progress) -> None:
            if stop.is_set() or self._closed.is_set():
                raise Stopped
            on_epoch(event)

        def run() -> Curve:
            self._dataset = self._dataset or training_rows(self._rows, self._context)
            self.trained[settings] = train(self._dataset, settings, on_epoch=heard)
            return self.trained[settings]

        self._training.submit(_told, run, then)

    def code(self, settings: Settings) -> dict[str, str]:
        """Code of these settings to copy, by what it is for; a line that says so where there is no recipe."""
        shape = (self.moments.inputs, self.moments.outputs, self.moments.autoencoder)
        none = f"# No recipe for {settings.optimizer} yet: the command line trains it.\n"
        return {
            "Command line": command_line(self._rows.source, self._target, settings),
            "Flax and optax": flax_code(settings, *shape) or none,
            "Keras": keras_code(settings, *shape) or none,
        }

    def close(self) -> None:
        """Ends what runs."""
        self._closed.set()
        self._held.close()
        for pool in (self._judging, self._training):
            pool.shutdown(wait=False, cancel_futures=True)


def _told(work: Callable[[], Any], then: Callable[[Any], None]) -> None:
    try:
        outcome = work()
    except Exception as error:  # told to the page, which has no other way to hear of it
        outcome = error
    then(outcome)
