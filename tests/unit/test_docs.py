"""The documentation holds together: public names have pages, links lead somewhere, commands exist, and it builds."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import idjax
from idjax.cli import app as cli

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
COMMANDS = sorted(
    {
        line.removeprefix("idjax ")
        for page in PAGES
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(), re.S)
        for line in block.splitlines()
        if line.startswith("idjax ") and "..." not in line
    }
)


def test_every_public_name_has_a_page():
    documented = [name for page in (DOCS / "reference").glob("*.md") for name in _documented(page)]
    assert sorted(documented) == sorted(set(idjax.__all__) - {"__version__"})


def _documented(page):
    return re.findall(r"^::: idjax\.(\w+)$", page.read_text(), re.M)


def test_links_between_pages_lead_somewhere():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command):
    words = shlex.split(command, comments=True)
    function, _, _ = cli.app.parse_args(words, exit_on_error=False, print_error=False)
    assert callable(function)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_names_no_other_host(tmp_path):
    pytest.importorskip("mkdocs")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (built.returncode, built.stderr) == (0, "")
    pages = {page.name: page.read_text() for page in (tmp_path / "site").rglob("*.html")}
    for name in set(idjax.__all__) - {"__version__"}:
        assert any(f'id="idjax.{name}"' in text for text in pages.values()), name
    assert pages["theory.html"].count("<math") > 400
    assert not any("arithmatex" in text for text in pages.values())
    fetched = r'<(?:script|img|iframe)[^>]*src="https?:|<link[^>]*rel="stylesheet"[^>]*href="https?:'
    assert not [name for name, text in pages.items() if re.search(fetched, text)]


@pytest.mark.slow
def test_the_tutorials_run():
    pytest.importorskip("nbclient")
    ran = subprocess.run(
        [sys.executable, "scripts/run_notebooks.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == len(list((DOCS / "tutorials").glob("*.ipynb"))) == 4


def test_tutorials_hold_no_paths_of_a_machine():
    texts = [path.read_text() for path in (DOCS / "tutorials").glob("*.ipynb")]
    assert not any(re.search(r"/(?:tmp|home|root|work)/", text) for text in texts)
