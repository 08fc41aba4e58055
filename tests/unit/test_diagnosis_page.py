"""What a diagnosis looks like on a page, in a notebook and in JSON, from hand-made diagnoses."""

import base64
import dataclasses
import html
import io
import json
import re

import matplotlib.image
import pytest
from made_diagnoses import (
    EVERY,
    HOSTILE,
    PROVENANCE,
    SHOWN,
    diagnosis,
    healthy,
    hostile,
    printed,
    proof,
    said,
    unpredicted,
)
from pages import Page

from idjax.data.dataset import printable
from idjax.report import formatting as words
from idjax.report.notebook import Shown
from idjax.report.pages import notebook_html, render
from idjax.results import store
from idjax.results.diagnosis import Diagnosis


@pytest.mark.parametrize("make", EVERY)
def test_the_page_is_self_contained_and_harmless(make):
    text, pictures = render(make(), PROVENANCE)
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert {value.split(",")[0] for value in links} == {"data:", "data:image/png;base64"}
    assert "url(" not in text
    assert "@import" not in text
    assert page.tags.count("img") == len(pictures)
    embedded = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    assert sorted(base64.b64decode(data) for data in embedded) == sorted(pictures.values())
    for data in pictures.values():
        assert matplotlib.image.imread(io.BytesIO(data))[..., :3].std() > 0.01
    assert [v for n, v in page.attributes if n == "name" and v == "viewport"]
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_the_page_says_everything():
    told = said(diagnosis())
    assert told.index("These data will not be learned") < told.index("What is found")
    assert told.index("mean-dominated") < told.index("slow-directions") < told.index("rounding")
    assert "consequence, because of mean-dominated" in told
    assert "training takes 54,321 times as long" in told
    assert "not learned in time while it lasts" in told
    assert told.count("Cost:") == 2
    assert "idjax explain mean-dominated" in told
    assert "column_11 and 18 more" in told
    assert "7.14 billion" in told
    assert "--normalize feature" in told
    assert "standardised per sample, loss in original units, SGD with momentum 0.9" in told
    assert "optax.sgd(12.3456)" in told
    assert "keras.optimizers.SGD(300000.0, momentum=0.9)" in told
    assert "not trained" in told
    assert "No prediction" not in told


def test_code_is_as_it_is_run():
    page = render(diagnosis(), PROVENANCE)[0]
    blocks = [re.sub("<[^>]+>", "", block) for block in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]
    assert [html.unescape(block) for block in blocks[:2]] == [
        diagnosis().prescriptions[0].flax_code, diagnosis().prescriptions[0].keras_code,
    ]  # fmt: skip
    assert len(blocks) == 6


def test_nothing_found_is_said():
    for told in (said(healthy()), Page(notebook_html(healthy())).said, printed(healthy())):
        assert "Nothing found: predicted to be learned in 3.2 epochs of 20." in told
    trained = dataclasses.replace(healthy(), proof=proof(4.0))
    assert "Nothing found: learned in 4 epochs of 20." in said(trained)
    assert words.nothing_words(unpredicted()) == "nothing found"
    assert "No settings were found" not in said(healthy())
    assert "What learns these data" not in said(healthy())


def test_no_prediction_has_its_reason():
    for told in (said(unpredicted()), Page(notebook_html(unpredicted())).said, printed(unpredicted())):
        assert "No prediction: relu outputs have no theory yet." in told
    assert set(render(unpredicted(), {})[1]) == {"spectrum.png"}
    with_proof = dataclasses.replace(unpredicted(), proof=proof(4.0))
    assert set(render(with_proof, {})[1]) == {"spectrum.png", "proof.png"}


def test_a_cause_without_a_cure_is_said():
    bad = diagnosis(prescriptions=())
    assert "No settings were found that learn these data" in said(bad)
    assert "No settings were found that learn these data" in printed(bad)
    data = dataclasses.replace(bad, findings=(dataclasses.replace(bad.findings[0], code="null-modes", kind="cause"),))
    for told in (said(data), printed(data)):
        assert "No settings change that: it is in the data." in told


def test_names_show_themselves_and_do_nothing():
    page = Page(render(hostile(), {HOSTILE: HOSTILE})[0])
    assert SHOWN in page.said
    assert not any(c in page.said for c in "\u202e\x1b")
    assert SHOWN in Page(notebook_html(hostile())).said
    assert "script" not in Page(notebook_html(hostile())).tags
    text = printed(hostile(), 400)
    assert SHOWN in text
    assert not any(c in text for c in "\u202e\x1b")
    assert printable("שלום ünïcödé") == "שלום ünïcödé"
    assert printable("a\nb\x00\ud800") == r"a\nb\x00\ud800"


def test_a_notebook_shows_it():
    fields = {field.name: getattr(diagnosis(), field.name) for field in dataclasses.fields(Diagnosis)}
    shown = Shown(**fields)
    assert isinstance(shown, Diagnosis)
    page = Page(shown._repr_html_())
    assert shown._repr_html_() == notebook_html(diagnosis())
    assert not {"html", "body", "script", "img"} & set(page.tags)
    assert page.attributes[0] == ("class", "idjax-diagnosis")
    assert "These data will not be learned" in page.said
    assert "optax.sgd(12.3456)" in page.said
    style = re.search("<style>(.*)</style>", shown._repr_html_(), re.DOTALL)
    rules = [line for line in style.group(1).strip().splitlines() if "{" in line]
    assert all(rule.startswith(".idjax-diagnosis ") for rule in rules)


def test_json_is_one_object_best_first():
    found = json.loads(store.to_json(store.diagnosis_object(diagnosis())))
    assert found["verdict"].startswith("These data will not")
    assert (found["source"], found["rows"], found["budget"], found["level"]) == ("narrow.csv", 12_192, 20.0, 0.99)
    assert found["predicted_epochs"] == pytest.approx(597_894.2)
    assert found["measured_epochs"] is None
    assert [sorted(finding) for finding in found["findings"]] == [
        ["causes", "changes", "code", "cost", "evidence", "fix", "fixed", "kind", "message"]
    ] * 3
    assert found["findings"][1]["causes"] == ["mean-dominated"]
    assert found["findings"][1]["cost"] is None
    first, _, last = found["prescriptions"]
    assert first == {
        "normalize": "feature", "loss_space": "normalized", "optimizer": "sgd", "learning_rate": 12.3456,
        "momentum": 0.0, "batch_size": 32, "predicted_epochs": 1.04, "predicted_runs": 0, "role": None,
        "measured_epochs": 1.1, "explained_variance": pytest.approx(1.0),
    }  # fmt: skip
    assert "measured_epochs" not in last
    nothing = json.loads(store.to_json(store.diagnosis_object(unpredicted())))
    assert nothing["predicted_epochs"] is None
    assert nothing["no_prediction"] == "relu outputs have no theory yet"
    assert nothing["prescriptions"] == []
    assert "measured_epochs" not in nothing


def test_bytes_repeat():
    assert render(diagnosis(), PROVENANCE) == render(diagnosis(), PROVENANCE)


def test_what_was_left_out_is_said_on_the_page_and_in_json():
    wide = dataclasses.replace(diagnosis(), left_out="left out for their cost: momentum")
    assert "Left out for their cost: momentum." in render(wide, PROVENANCE)[0]
    assert store.diagnosis_object(wide)["left_out"] == "left out for their cost: momentum"
    assert "Left out for their cost" not in render(diagnosis(), PROVENANCE)[0]
    assert store.diagnosis_object(diagnosis())["left_out"] is None
