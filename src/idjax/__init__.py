"""idjax: how fast will this dense layer learn? Predicted before training, then trained and compared.

    import idjax

    x = idjax.load("narrow-normal")
    settings = idjax.Settings(learning_rate=0.01, batch_size=8, epochs=3)
    print(idjax.predict(x, settings).explained_variance)
    print(idjax.train(x, settings).explained_variance)

`predict` and `train` are twins: the same data and settings in, the same kind of `Curve` out. Importing idjax
changes no JAX setting and does not import JAX; names are loaded when they are first used.
"""

import importlib
import typing

__version__ = "0.1.0"

if typing.TYPE_CHECKING:
    from idjax.anatomy import Model
    from idjax.data import Dataset, load
    from idjax.diagnosis import diagnose
    from idjax.differences import what_differs
    from idjax.model_outcomes import ModelDiagnosis
    from idjax.models import diagnose_model
    from idjax.moments import moments_of
    from idjax.outcomes import Diagnosis
    from idjax.prediction import predict
    from idjax.prediction_grid import predict_grid
    from idjax.settings import DiagnosisSettings, Settings
    from idjax.spectrum import spectrum_of
    from idjax.stacked import train_many
    from idjax.training import train
    from idjax.types import Curve, IdjaxError, Moments, Spectrum

_HOMES = {
    "Curve": "types",
    "Diagnosis": "outcomes",
    "DiagnosisSettings": "settings",
    "Dataset": "data",
    "IdjaxError": "types",
    "Model": "anatomy",
    "ModelDiagnosis": "model_outcomes",
    "Moments": "types",
    "Settings": "settings",
    "Spectrum": "types",
    "diagnose": "diagnosis",
    "diagnose_model": "models",
    "load": "data",
    "moments_of": "moments",
    "predict": "prediction",
    "predict_grid": "prediction_grid",
    "spectrum_of": "spectrum",
    "train": "training",
    "train_many": "stacked",
    "what_differs": "differences",
}

__all__ = [
    "Curve",
    "Dataset",
    "Diagnosis",
    "DiagnosisSettings",
    "IdjaxError",
    "Model",
    "ModelDiagnosis",
    "Moments",
    "Settings",
    "Spectrum",
    "__version__",
    "diagnose",
    "diagnose_model",
    "load",
    "moments_of",
    "predict",
    "predict_grid",
    "spectrum_of",
    "train",
    "train_many",
    "what_differs",
]


def __getattr__(name: str) -> typing.Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'idjax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"idjax.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
