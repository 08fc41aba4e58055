"""What the README says runs: its Python, and its commands' flags exist."""

import pathlib
import re
import shlex

import pytest

from idjax.cli import app as cli

README = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
COMMANDS = [
    line.removeprefix("idjax ")
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.startswith("idjax ")
]


def test_the_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert PYTHON
    names: dict[str, object] = {}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)
    assert "663,400 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_parse(command):
    words = shlex.split(command, comments=True)
    function, bound, _ = cli.app.parse_args(words, exit_on_error=False, print_error=False)
    assert callable(function)
    assert bound is not None
