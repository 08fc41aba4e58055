"""What the README says runs: its Python, and its commands' flags exist."""

import pathlib
import re
import shlex

import pytest

from idjax.cli import app as cli

README = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
COMMANDS = [
    line.removeprefix("$ ").removeprefix("idjax ")
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.startswith(("idjax ", "$ idjax "))
]


def test_the_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert PYTHON
    names: dict[str, object] = {}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)
    assert "663,400 epochs" in (said := capsys.readouterr().out)
    assert "broadcast-loss" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_parse(command):
    words = shlex.split(command, comments=True)
    function, bound, _ = cli.app.parse_args(words, exit_on_error=False, print_error=False)
    assert callable(function)
    assert bound is not None


def test_what_it_shows_of_a_stubborn_file_is_what_is_printed(tmp_path, monkeypatch, command):
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    monkeypatch.chdir(tmp_path)
    sklearn_datasets.load_wine(as_frame=True).data.to_csv("wine.csv", index=False)
    [(words, shown)] = re.findall(r"```console\n\$ idjax (.*?)\n(.*?)```", README, re.S)
    status, out, _ = command(*shlex.split(words), "--quiet")
    assert status == 1
    printed = [line.strip() for line in out.splitlines()]
    expected = [line.strip() for line in shown.splitlines() if line != "..."]
    assert [line for line in expected if line not in printed] == []


def test_the_first_screen_is_short():
    assert len(README.splitlines()) <= 90
