"""The house keeps its limits: sizes of files and functions, packages, names, contexts of 64-bit arithmetic."""

import ast
import collections
import importlib.util
import pathlib

import pytest

SRC = pathlib.Path(__file__).parents[2] / "src" / "idjax"
FILES = sorted(SRC.rglob("*.py"))
TREES = {file: ast.parse(file.read_text()) for file in FILES}

MOST_LINES_OF_FILE, MOST_LINES_OF_FUNCTION = 300, 60


def name_of(file):
    return str(file.relative_to(SRC))


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def first_lines(tree):
    """The first docstring lines of a module, its public classes and functions."""
    nodes = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef))]
    texts = [ast.get_docstring(node) for node in nodes]
    return [text.splitlines()[0] for text in texts if text]


def test_at_most_twelve_packages_and_five_modules():
    packages = [path for path in SRC.iterdir() if (path / "__init__.py").exists()]
    assert len(packages) <= 12
    assert len(list(SRC.glob("*.py"))) <= 5


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_and_functions_are_short(file):
    assert len(file.read_text().splitlines()) <= MOST_LINES_OF_FILE
    long = [node.name for node in functions(TREES[file]) if node.end_lineno - node.lineno >= MOST_LINES_OF_FUNCTION]
    assert not long


def test_no_name_is_used_for_two_types():
    homes = collections.defaultdict(list)
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name.lstrip("_")].append(name_of(file))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_64_bit_arithmetic_is_entered_in_few_places():
    entered = [
        f"{name_of(file)}:{node.lineno}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "enable_x64"
    ]
    assert len(entered) <= 4, entered


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_first_lines_stand_alone(file):
    poor = [line for line in first_lines(TREES[file]) if line.startswith(("What ", "The same", "The other way"))]
    assert not poor


def test_the_picture_of_the_packages_is_that_of_the_imports():
    script = SRC.parents[1] / "scripts" / "draw_architecture.py"
    spec = importlib.util.spec_from_file_location("draw_architecture", script)
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    assert drawing.picture() == drawing.PICTURE.read_text()
