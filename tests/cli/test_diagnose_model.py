"""idjax diagnose --model: the page, the exit status, factories that fail."""

import json

import jax
import numpy as np
import pytest
from flax import linen as nn
from planted_models import cross_entropy, planted_model

from idjax.diagnosis.program.diagnose import diagnose_model
from idjax.diagnosis.program.diagnose_loss import EXPLANATIONS, MODULES
from idjax.report.pages import render_program


def factory():
    planted = planted_model("mlp", "bytes", 0)
    return planted.model, planted.params, planted.batch, planted.loss


def test_the_command_line_and_the_page(command, tmp_path):
    status, out, _ = command("diagnose", "--model", f"{__name__}:factory", "--quiet", "--out", str(tmp_path))
    assert status == 1
    assert out.startswith("planted_models.py:")
    assert "dense1: the inputs are of size" in out
    assert "idjax explain layer-scale" in out
    assert json.loads((tmp_path / "diagnosis.json").read_text())["layers"][0]["path"] == "dense1"
    page = (tmp_path / "report.html").read_text()
    for part in ("dense1", "dense3", 'class="is-cause"', "layer-scale", "planted_models.py:", "Looked at"):
        assert part in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["diagnose"], "give DATA, or --model or --program"),
        (["diagnose", "--model", "nowhere"], "give package.module:factory"),
        (["diagnose", "--model", "not_there_at_all:factory"], "there is no module"),
        (["diagnose", "--model", "json:nothing"], "json has no function nothing"),
        (["diagnose", "--model", "no_such.py:factory"], "give no_such:factory"),
        (["diagnose", "--model", "operator:neg"], "the factory failed: TypeError"),
        (["diagnose", "--model", "os:getcwd"], "the factory returned a str"),
    ],
)
def test_bad_factories_are_told(command, argv, line):
    status, _, err = command(*argv)
    assert status == 2
    assert line in err


def test_every_code_is_explained(command):
    assert [module.EXPLANATION.code for module in MODULES] == list(EXPLANATIONS)
    status, out, _ = command("explain", "layer-mean")
    assert status == 0
    assert "λ_max(M)" in out
    assert "layer-init" in command("explain")[1]


def test_names_of_layers_show_themselves_and_do_nothing():
    hostile = "<script>\x1b"
    x, y = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32), np.zeros(16, int)
    model = nn.Dense(3, name=None)
    found = diagnose_model(model, model.init(jax.random.key(0), x), (x, y), cross_entropy, source=hostile)
    page, _ = render_program(found, {hostile: hostile})
    assert "<script>" not in page
    assert "\x1b" not in page
