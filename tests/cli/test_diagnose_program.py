"""idjax diagnose --program: terminal, JSON, page and notebook; factories that fail."""

import json

import pytest
from loss_faults import LOSS_FAULTS

from idjax import diagnose_loss
from idjax.cli import app as cli


def factory():
    made = LOSS_FAULTS["P1, outputs (100, 1), targets (100,)"]()
    return made.loss, made.params, *made.args


def run(capsys, *argv):
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(argv))
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def test_the_command_line_and_the_page(capsys, tmp_path):
    status, out, _ = run(capsys, "diagnose", "--program", f"{__name__}:factory", "--quiet", "--out", str(tmp_path))
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
def test_bad_factories_are_told(capsys, argv, line):
    status, _, err = run(capsys, "diagnose", *argv)
    assert status == 2
    assert line in err


@pytest.mark.parametrize("code", ["broadcast-loss", "softmax-twice", "no-gradient"])
def test_codes_of_losses_are_explained(capsys, code):
    status, out, _ = run(capsys, "explain", code)
    assert status == 0
    for head in ("Decided by", "Fix", "Example"):
        assert head in out
