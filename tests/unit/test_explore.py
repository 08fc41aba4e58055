"""The live page without its browser: what it shows is what the library says, and what is copied does the same."""

import contextlib
import dataclasses
import importlib.util
import re
import shlex

import numpy as np
import pytest

import idjax
from idjax.cli.app import app
from idjax.diagnosis.data.recipes import command_line
from idjax.diagnosis.explore import words
from idjax.diagnosis.explore.study import Study
from idjax.settings import DiagnosisSettings, Settings
from idjax.types import IdjaxError

ROWS = 3 + np.random.default_rng(0).normal(size=(300, 5))
CHANGES = [
    {},
    {"learning_rate": 0.02, "momentum": 0.9},
    {"normalize": "feature", "loss_space": "original", "batch_size": 64},
    {"start": "identity", "epochs": 7},
    {"learning_rate": 5.0},
]


@pytest.fixture(scope="module")
def study():
    with contextlib.closing(Study(ROWS, None, DiagnosisSettings(batch_size=10))) as made:
        yield made


@pytest.mark.parametrize("changes", CHANGES[1:4])
def test_a_view_is_what_predict_says(study, changes):
    settings = dataclasses.replace(study.given, **changes)
    view, told = study.view(settings), idjax.predict(ROWS, settings, band=False)
    seen = view.curve
    np.testing.assert_allclose(seen.train, told.train, rtol=1e-7)
    np.testing.assert_allclose(seen.explained_variance, told.explained_variance, rtol=0, atol=1e-7)
    assert seen.epochs_to_learn == pytest.approx(told.epochs_to_learn, rel=1e-7)
    assert view.stable == pytest.approx((told.learning_rates.max, told.learning_rates.full_batch_max), rel=1e-7)
    groups = study.groups(settings)
    assert [group.name for group in groups] == [group.name for group in told.mode_groups]
    assert [group.steps for group in groups] == [group.steps for group in told.mode_groups]


def test_wide_momentum_is_sketched_by_its_mean_and_drawn_whole_in_a_moment(monkeypatch):
    """The first picture is the mean's, which is below the loss; findings bring the curve that predict has."""
    settings = DiagnosisSettings(batch_size=10, learning_rate=0.002, momentum=0.9, epochs=4)
    with contextlib.closing(Study(ROWS, None, settings)) as study:
        whole = study.view(settings)
    monkeypatch.setattr("idjax.diagnosis.explore.view.WIDEST", 4)
    study = Study(ROWS, None, settings)
    sketch = study.view(settings)
    assert (sketch.sketched, whole.sketched) == (True, False)
    assert (sketch.curve.train < whole.curve.train).all()
    np.testing.assert_allclose(sketch.curve.train, whole.curve.train, rtol=0.3)
    assert words.SKETCHED in words.headline(sketch)
    assert words.SKETCHED in words.loss_words(sketch, None)
    study.judge(settings)
    drawn = study.view(settings)
    assert not drawn.sketched
    np.testing.assert_allclose(drawn.curve.train, whole.curve.train, rtol=1e-9)
    assert words.headline(drawn) == words.headline(whole)
    # Plain SGD of this width is drawn whole at once.
    assert not study.view(dataclasses.replace(settings, momentum=0.0)).sketched
    study.close()


def _timeless(finding):
    """The message without the milliseconds that least squares took."""
    return finding.code, re.sub(r"in [\d.]+ ms", "", finding.message)


@pytest.mark.parametrize("changes", CHANGES[2:3])
def test_findings_are_those_of_diagnose(study, changes):
    settings = dataclasses.replace(study.given, **changes)
    judged, told = study.judge(settings), idjax.diagnose(ROWS, settings, prescriptions=False)
    assert judged.verdict == told.verdict
    assert list(map(_timeless, judged.findings)) == list(map(_timeless, told.findings))


def test_another_start_is_not_taken_for_the_first(study):
    """The context keeps starts that it has drawn, by name and seed."""
    identity = dataclasses.replace(study.given, start="identity")
    assert study.view(identity).curve.train[0] < 1e-20 < study.view(study.given).curve.train[0]


@pytest.mark.parametrize("changes", CHANGES)
def test_the_command_line_gives_the_settings_back(changes):
    settings = Settings(**changes)
    _, bound, _ = app.parse_args(shlex.split(command_line("rows of mine.csv", "price", settings))[1:])
    assert bound.arguments["data"] == "rows of mine.csv"
    parsed = bound.arguments.get("settings", Settings())
    assert {f.name: getattr(parsed, f.name) for f in dataclasses.fields(Settings)} == dataclasses.asdict(
        settings, dict_factory=dict
    ) | {"schedule": settings.schedule}


@pytest.mark.parametrize(
    "changes", [{"optimizer": "nadam"}, {"loss": "huber", "normalize": "sample", "loss_space": "original"}]
)
def test_settings_without_a_keras_program_are_told_to_have_none(study, changes):
    code = study.code(dataclasses.replace(study.given, **changes))
    assert code["Keras"].startswith("# No recipe")
    assert code["Command line"].startswith("idjax train")


def test_what_comes_from_the_data_is_escaped(study):
    judged = study.judge(study.given)
    evil = dataclasses.replace(judged.findings[0], message="<img src=x onerror=alert(1)>")
    html = words.findings_html((), (evil,))
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_findings_come_and_go(study):
    found = study.judge(study.given).findings
    assert "<mark>new</mark>" in words.findings_html((), found)
    assert f"<del><code>{found[0].code}</code></del>" in words.findings_html(found, ())
    assert "<mark>" not in words.findings_html(found, found)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(IdjaxError, match=r'pip install "idjax\[explore\]"'):
        idjax.explore(ROWS)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # Panel's names of before version 2
def test_controls_tell_a_change_at_once(study):
    pytest.importorskip("panel")
    from panel.reactive import Syncable  # pyright: ignore[reportMissingImports]

    from idjax.diagnosis.explore.controls import Controls

    assert Syncable._debounce > 1  # still the name of the time that Panel waits
    widgets = Controls(study.given, idjax.moments_of(ROWS), {}).widgets
    assert {widget._debounce for widget in widgets.values()} == {1}
