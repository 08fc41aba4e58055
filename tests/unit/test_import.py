"""What importing costs: no JAX before a command runs, and no reader of files or plotting before it is needed."""

import json
import os
import subprocess
import sys

HEAVY = {"jax", "flax", "optax", "matfree", "matplotlib", "scipy.stats"}
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
    "idjax.cli.app as app; app.predict(ROWS, quiet=True)": HEAVY,
    "idjax.cli.app as app; assert app.diagnose(ROWS, settings=HEALTHY, quiet=True) == 0": HEAVY,
    "idjax.published.page": {"jax", "matplotlib.pyplot"},
    "jax": {"jax"},
}
"""One after the other in one process, lightest first, and what must not be loaded after each; the last must fail."""


def test_imports_are_light(tmp_path):
    heavy = sorted(set().union(*STAGES.values()))
    lines = ["import json, sys, numpy", "from idjax import DiagnosisSettings", "seen = []"]
    lines += ["ROWS = 'rows.npy'; numpy.save(ROWS, numpy.random.default_rng(0).normal(size=(100, 3)))"]
    lines += ["HEALTHY = DiagnosisSettings(learning_rate=0.1, epochs=200)"]
    for stage in STAGES:
        lines += [f"import {stage}", f"seen.append([name for name in {heavy} if name in sys.modules])"]
    code = "\n".join([*lines, "print(json.dumps(seen))"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    *help_text, seen = answer.stdout.splitlines()
    assert any("predict" in line for line in help_text)
    loaded = {
        stage: forbidden & set(names)
        for (stage, forbidden), names in zip(STAGES.items(), json.loads(seen), strict=True)
    }
    assert loaded.pop("jax") == {"jax"}  # the control
    assert not any(loaded.values()), loaded
