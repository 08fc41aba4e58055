"""idjax diagnose --program: terminal, JSON, page and notebook; factories that fail."""

import io
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_faults import LOSS_FAULTS
from rich.console import Console

from idjax import diagnose_loss
from idjax.report.pages import render_program
from idjax.report.terminal import program_text


def factory():
    made = LOSS_FAULTS["P1, outputs (100, 1), targets (100,)"]()
    return made.loss, made.params, *made.args


def test_the_command_line_and_the_page(command, tmp_path):
    status, out, _ = command("diagnose", "--program", f"{__name__}:factory", "--quiet", "--out", str(tmp_path))
    assert status == 1
    assert out.startswith("loss_faults.py:")
    for part in ("broadcast-loss", "idjax explain broadcast-loss", "Looked at:", "(100, 100)"):
        assert part in out
    told = json.loads((tmp_path / "diagnosis.json").read_text())
    assert told["findings"][0]["where"].startswith("loss_faults.py:")
    page = (tmp_path / "report.html").read_text()
    assert "broadcast-loss" in page
    assert "<script" not in page
    assert "(100, 100)" in diagnose_loss(*factory())._repr_html_()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--program", "nowhere"], "--program nowhere: give package.module:factory"),
        (["--program", "os:getcwd"], "return (loss, params, *args)"),
        (["--program", "not_there_at_all:factory"], "there is no module"),
    ],
)
def test_bad_factories_are_told(command, argv, line):
    status, _, err = command("diagnose", *argv)
    assert status == 2
    assert line in err


@pytest.mark.parametrize("code", ["broadcast-loss", "softmax-twice", "no-gradient"])
def test_codes_of_losses_are_explained(command, code):
    status, out, _ = command("explain", code)
    assert status == 0
    for head in ("Decided by", "Fix", "Example"):
        assert head in out


def test_control_flow_is_named_as_not_looked_at_with_its_line_and_its_parameters():
    def loss(params, x, y):
        h = jnp.tanh(x @ params["body"])
        out = jax.lax.cond(h.sum() > 0, lambda h: h @ params["head"], lambda h: h @ params["other"], h)  # the cond
        grown = jax.lax.while_loop(lambda pair: pair[0] < 3, lambda pair: (pair[0] + 1, 2 * pair[1]), (0, x))[1]
        return jnp.mean((out - y) ** 2) + 0 * jnp.sum(params["scale"] * jax.lax.stop_gradient(grown).mean())

    rng = np.random.default_rng(0)
    sizes = {"body": (3, 8), "head": (8, 1), "other": (8, 1), "scale": (1,)}
    params = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    x = rng.normal(size=(40, 3)).astype(np.float32)
    found = diagnose_loss(loss, params, x, x[:, :1])
    lines = pathlib.Path(__file__).read_text().splitlines()
    line = next(index for index, text in enumerate(lines, 1) if text.endswith("# the cond"))
    here = f"test_diagnose_program.py:{line}"
    assert [layer.path for layer in found.layers] == ["body"]
    assert found.unseen == (f"cond ({here}) with head, other", f"while ({here[: -len(str(line))]}{line + 1})", "scale")
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(program_text(found))
    page, _ = render_program(found, {})
    for shown in (console.export_text(), page, found._repr_html_()):
        assert f"Not looked at: cond ({here}) with head, other" in shown.replace("<bdi>", "")
    for part in ("From input to output", "<strong><bdi>body</bdi></strong>", "dense 3 → 8", "condition number"):
        assert part in page
