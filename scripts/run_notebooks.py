"""Runs the tutorials, each in a fresh kernel, and keeps their outputs: python scripts/run_notebooks.py [--check].

With --check nothing is written: it is enough that they run.
"""

import pathlib
import sys
import time

import nbformat  # pyright: ignore[reportMissingImports]
from nbclient import NotebookClient  # pyright: ignore[reportMissingImports]

TUTORIALS = sorted((pathlib.Path(__file__).parents[1] / "docs" / "tutorials").glob("*.ipynb"))


def run(path: pathlib.Path, *, keep: bool) -> float:
    """The seconds that the notebook took; raises where one of its cells does."""
    notebook = nbformat.read(path, as_version=4)
    begin = time.perf_counter()
    NotebookClient(notebook, timeout=170, kernel_name="python3", record_timing=False).execute()
    seconds = time.perf_counter() - begin
    for cell in notebook.cells:
        cell.metadata.clear()
    notebook.metadata.pop("language_info", None)
    if keep:
        nbformat.write(notebook, path)
    return seconds


if __name__ == "__main__":
    for tutorial in TUTORIALS:
        print(f"{tutorial.name}: {run(tutorial, keep='--check' not in sys.argv):.1f} s", flush=True)
