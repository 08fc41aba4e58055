"""What importing costs: no JAX before a command runs, and no reader of files or plotting before it is needed."""

import json
import os
import subprocess
import sys

STAGES = {
    "idjax.data": {"jax", "pyarrow", "h5py", "pandas", "polars", "matplotlib"},
    "idjax.moments.moments": {"jax", "pyarrow", "h5py", "pandas", "polars", "matplotlib"},
    "idjax.moments.normalize": {"jax", "pyarrow", "h5py", "pandas", "polars", "matplotlib"},
    "idjax.moments.spectrum": {"jax", "pyarrow", "h5py", "pandas", "polars", "matplotlib"},
    "idjax.report.terminal": {"jax", "matplotlib"},
    "idjax.report.notebook": {"jax", "matplotlib"},
    "idjax.results.program": {"jax"},
    "idjax.cli.app": {"jax"},
    "idjax.cli.app; idjax.cli.app.app(['--help'], result_action='return_value')": {"jax"},
    "idjax.published.page": {"jax", "matplotlib.pyplot"},
    "jax": {"jax"},
}
"""One after the other in one process, lightest first, and what must not be loaded after each; the last must fail."""


def test_imports_are_light():
    heavy = sorted(set().union(*STAGES.values()))
    lines = ["import json, sys", "seen = []"]
    for stage in STAGES:
        lines += [f"import {stage}", f"seen.append([name for name in {heavy} if name in sys.modules])"]
    code = "\n".join([*lines, "print(json.dumps(seen))"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    *help_text, seen = answer.stdout.splitlines()
    assert any("predict" in line for line in help_text)
    loaded = {
        stage: forbidden & set(names)
        for (stage, forbidden), names in zip(STAGES.items(), json.loads(seen), strict=True)
    }
    assert loaded.pop("jax") == {"jax"}  # the control
    assert not any(loaded.values()), loaded
