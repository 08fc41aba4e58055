"""The only writer of results: whole files or none, with the settings and versions that made them."""

import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from idjax.results.curve import Curve
from idjax.results.diagnosis import Diagnosis, Prescription, Proof
from idjax.results.plain import plain
from idjax.settings import Settings
from idjax.types import IdjaxError


def check_folder(path: str | os.PathLike[str]) -> pathlib.Path:
    """The path, if results could be written into a folder there; makes nothing yet.

    Raises:
      IdjaxError: if a file is in the way or the folder may not be written to.
    """
    folder = pathlib.Path(path)
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise IdjaxError(f"--out {folder}: {nearest} is a file; give a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise IdjaxError(f"--out {folder}: no permission to write in {nearest}")
    return folder


def write(folder: pathlib.Path, files: Mapping[str, bytes | str]) -> None:
    """Writes the files into the folder, each whole or not at all.

    Every file is first written and synced under a temporary name on the same file system; only when all are safe
    are they renamed. A full disk therefore leaves earlier results as they were.

    Raises:
      IdjaxError: if the system refuses, with its reason.
    """
    ready: list[tuple[str, pathlib.Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
            ready.append((temporary, target))
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
        for temporary, target in ready:
            os.replace(temporary, target)
    except OSError as error:
        raise IdjaxError(
            f"--out {folder}: cannot write {error.filename or folder}: {error.strerror}; nothing was replaced"
        ) from None
    finally:
        for temporary, _ in ready:
            pathlib.Path(temporary).unlink(missing_ok=True)


def to_json(value: Any) -> str:
    """JSON text; NumPy arrays become lists, dataclasses objects, and what is not finite null."""
    return json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"


_RATES = {
    "max_learning_rate": "max",
    "best_learning_rate": "best",
    "full_batch_max_learning_rate": "full_batch_max",
    "full_batch_best_learning_rate": "full_batch_best",
    "critical_batch_size": "critical_batch",
}
"""Names in JSON of the fields of `LearningRates`."""


def _fields(value: Any, names: str) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names.split()}


def curve_object(curve: Curve) -> dict[str, Any]:
    """A curve as the JSON that `predict --json` prints and `train --json` holds twice."""
    rates = curve.learning_rates
    return {
        **_fields(
            curve,
            "how no_theory status notes kernel_drift steps_per_epoch steps_to_learn epochs_to_learn known_until "
            "reachable",
        ),
        "condition_number": curve.condition_number,
        **{name: getattr(rates, field) if rates else None for name, field in _RATES.items()},
        "fastest": curve.fastest and curve.fastest._asdict(),
        "best_momentum": {"momentum": rates.momentum, "learning_rate": rates.momentum_rate} if rates else None,
        **_fields(curve, "mode_groups stall shape_correlation"),
        "loss": _fields(curve, "epoch train validation explained_variance accuracy"),
        "band": {"train": curve.train_band, "validation": curve.validation_band},
        "seconds": curve.seconds,
    }


def diagnosis_object(diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as the JSON that `diagnose --json` prints; prescriptions are best first.

    Epochs are null where the level is not reached within `known_epochs`, which is null where the prediction is one for
    ever; `measured_epochs` is there only where training proved it.
    """
    before = diagnosis.before
    return {
        **_fields(
            diagnosis,
            "source rows inputs outputs autoencoder settings notes budget level reachable verdict outputs_explained",
        ),
        "labels": diagnosis.labels or None,
        "probe": diagnosis.probe,
        "status": before.status if before else None,
        "predicted_epochs": before.epochs_to_learn if before else None,
        "known_epochs": before.known_until / before.steps_per_epoch if before else None,
        "no_prediction": diagnosis.no_prediction or None,
        **_proof_object(diagnosis.proof),
        "findings": [
            _fields(each, "code kind message evidence fix changes fixed causes cost") for each in diagnosis.findings
        ],
        "prescriptions": [_prescription_object(prescription) for prescription in diagnosis.prescriptions],
        "left_out": diagnosis.left_out or None,
        "seconds": diagnosis.seconds,
    }


def _prescription_object(prescription: Prescription) -> dict[str, Any]:
    settings = prescription.settings
    return {
        **_fields(settings, "normalize loss_space optimizer"),
        "learning_rate": settings.step_size,
        **_fields(settings, "momentum batch_size"),
        "predicted_epochs": prescription.predicted_epochs,
        "predicted_runs": prescription.runs,
        "role": prescription.role or None,
        **_proof_object(prescription.proof),
    }


def _proof_object(proof: Proof | None) -> dict[str, float]:
    return {"measured_epochs": proof.epochs, "explained_variance": proof.explained_variance} if proof else {}


def provenance() -> dict[str, str]:
    """Versions, machine and git revision: what a reader needs to make the results again."""
    versions = {name: importlib.metadata.version(name) for name in ("idjax", "jax", "flax", "optax", "numpy")}
    return {
        **versions,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "git": _git_revision(),
    }


def _git_revision() -> str:
    """The revision of the checkout that this package runs from, or "none" for an installed one."""
    here = pathlib.Path(__file__).resolve().parents[3]
    if not (here / ".git").exists():
        return "none"
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "none"
    return answer.stdout.strip()


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return _plain(plain(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
