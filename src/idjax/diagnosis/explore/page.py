"""The live page: controls, figures and words of one person, which follow each other."""

import pathlib
import threading
import time
from typing import Any

import panel as pn  # pyright: ignore[reportMissingImports]

from idjax.diagnosis.explore import words
from idjax.diagnosis.explore.controls import Controls
from idjax.diagnosis.explore.figures import Figures
from idjax.diagnosis.explore.study import Stopped, Study
from idjax.diagnosis.explore.view import Judged, View
from idjax.report.formatting import sentence
from idjax.results.curve import Curve
from idjax.results.diagnosis import Finding
from idjax.types import Progress

HERE = pathlib.Path(__file__).parent
GATHER, PAUSE, REST = 8, 150, 200
"""Milliseconds: changes that come so close together are drawn once; the words follow after this pause, and after this
rest findings are looked for."""
SAID = (
    *("headline", "status", "findings", "pinned", "groups", "training", "code"),
    *("loss_words", "explained_words", "spectrum_words", "answers_words"),
)
"""The places of the page that have words."""
TELL = 0.1
"""Seconds between pictures of a training."""


class Page:
    """One person's page of a study."""

    def __init__(self, study: Study):
        self._study = study
        self._doc: Any = pn.state.curdoc
        self._findings = self._earlier = tuple[Finding, ...]()
        self._waiting, self._asking, self._turn = False, False, 0
        self._stop: threading.Event | None = None
        self._shown_at = 0.0
        style, sheets = (
            (HERE / "parts.css").read_text(),
            {"stylesheets": [(HERE / "widgets.css").read_text()], "margin": 4},
        )
        self._controls, self._figures = Controls(study.given, study.moments, sheets), Figures()
        self._said = {
            name: pn.pane.HTML("", stylesheets=[style], sizing_mode="stretch_width", margin=0, disable_math=True)
            for name in SAID
        }
        self._reset = pn.widgets.Button(name="Back to given", css_classes=["reset"], **sheets)
        self._train = pn.widgets.Button(name="Train this", button_type="primary", css_classes=["train"], **sheets)
        self._progress = pn.indicators.Progress(value=0, max=100, visible=False, sizing_mode="stretch_width", margin=4)
        self._language = pn.widgets.Select(
            name="Code as", options=list(study.code(study.given)), css_classes=["language"], **sheets
        )
        self._copy = pn.widgets.Button(name="Copy", css_classes=["copy"], **sheets)
        self._text = pn.widgets.TextAreaInput(visible=False)
        self._copy.js_on_click(args={"code": self._text}, code="navigator.clipboard.writeText(code.value)")
        for widget in self._controls.widgets.values():
            widget.param.watch(lambda _: self._soon(), "value")
        self._language.param.watch(lambda _: self._show_code(), "value")
        self._reset.on_click(lambda _: self._controls.reset())
        self._train.on_click(lambda _: self._train_or_stop())
        self._draw()

    def template(self) -> Any:
        """The page as Panel serves it."""
        page = pn.Template((HERE / "page.html.jinja").read_text())
        page.add_variable("about", self._study.about)
        page.add_variable("style", (HERE / "page.css").read_text())
        for name, widget in self._controls.widgets.items():
            page.add_panel(f"set_{name}", widget)
        for name, pane in self._said.items():
            page.add_panel(name, pane)
        for name in ("loss", "explained", "spectrum", "answers"):
            page.add_panel(f"{name}_figure", pn.pane.Bokeh(getattr(self._figures, name), sizing_mode="stretch_width"))
        for name in ("reset", "train", "progress", "language", "copy", "text"):
            page.add_panel(name, getattr(self, f"_{name}"))
        return page

    def _soon(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._doc.add_timeout_callback(self._draw, GATHER)

    def _draw(self) -> None:
        """Shows what is known at once."""
        self._waiting, self._turn = False, self._turn + 1
        settings, turn = self._controls.settings, self._turn
        try:
            view = self._study.view(settings)
        except ValueError as error:
            self._say("headline", str(error))
            return
        judged = self._study.known(settings)
        trained, given = self._study.trained.get(settings), self._study.view(self._study.given)
        with pn.io.hold():
            self._figures.show(given, view, judged.band if judged else None, trained)
            self._say("training", words.trained_words(trained, view.curve, view.settings) if trained else "")
            if judged is None:
                self._say("headline", words.headline(view))
                self._say("status", "Looking for findings …")
        self._doc.add_timeout_callback(lambda: self._explain(turn, given, view, judged), PAUSE)

    def _explain(self, turn: int, given: View, view: View, judged: Judged | None) -> None:
        """Adds the words once the hand pauses, and asks for the rest when it rests."""
        if turn != self._turn:
            return
        with pn.io.hold():
            self._say("loss_words", words.loss_words(view, judged.band if judged else None))
            self._say("explained_words", words.explained_words(view))
            self._say("spectrum_words", words.spectrum_words(view))
            self._say("answers_words", words.samples_words(view.samples))
            self._said["pinned"].object = words.pinned_html(given, view)
            groups = self._study.groups(given.settings), self._study.groups(view.settings)
            self._said["groups"].object = words.groups_html(given, view, groups)
            if judged is not None:
                self._say("headline", sentence(judged.verdict))
                self._say("status", "")
                if judged.findings != self._findings:
                    self._earlier, self._findings = self._findings or judged.findings, judged.findings
                self._said["findings"].object = words.findings_html(self._earlier, self._findings)
            self._show_code()
        if judged is None:
            self._doc.add_timeout_callback(lambda: self._ask(turn), REST)

    def _show_code(self) -> None:
        code = self._study.code(self._controls.settings)[self._language.value]
        self._text.value = code
        self._said["code"].object = words.parts("code", text=code)

    def _say(self, name: str, text: str) -> None:
        self._said[name].object = words.parts("said", text=text) if text else ""

    def _ask(self, turn: int) -> None:
        """Looks for findings, unless the hand has moved on; one look at a time."""
        if turn == self._turn and not self._asking:
            self._asking = True
            self._study.judge_aside(self._controls.settings, self._told(self._judged))

    def _judged(self, outcome: Any) -> None:
        self._asking = False
        if isinstance(outcome, Exception):
            self._say("status", f"No findings: {outcome}")
        else:
            self._draw()

    def _told(self, show: Any) -> Any:
        """A function for another thread, whose outcome is shown in the page's own."""
        return lambda outcome: self._doc.add_next_tick_callback(lambda: show(outcome))

    def _train_or_stop(self) -> None:
        if self._stop is not None:
            self._stop.set()
            return
        self._stop, self._shown_at, settings = threading.Event(), 0.0, self._controls.settings
        self._train.name = "Stop"
        self._progress.param.update(visible=True, value=0)
        self._study.train_aside(settings, self._heard, self._stop, self._told(self._trained))

    def _heard(self, event: Progress) -> None:
        """From the thread of a training: so far it has come, shown every so often."""
        if time.monotonic() - self._shown_at > TELL:
            self._shown_at = time.monotonic()
            self._told(self._show_progress)(event)

    def _show_progress(self, event: Progress) -> None:
        if self._stop is not None:
            self._progress.value = round(100 * event.done / event.total)
            self._say("training", f"Epoch {event.done:,} of {event.total:,}: loss {event.train:.4g}")

    def _trained(self, outcome: Any) -> None:
        self._stop, self._train.name, self._progress.visible = None, "Train this", False
        if isinstance(outcome, Curve):
            self._draw()
        else:
            self._say("training", "Stopped." if isinstance(outcome, Stopped) else f"Not trained: {outcome}")
