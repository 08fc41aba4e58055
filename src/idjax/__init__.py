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
    from idjax.data import Dataset, load
    from idjax.diagnosis.data import diagnose
    from idjax.diagnosis.program import diagnose_model
    from idjax.moments.moments import moments_of
    from idjax.moments.spectrum import spectrum_of
    from idjax.nn.inspect import Model
    from idjax.prediction.compare import what_differs
    from idjax.prediction.grid import predict_grid
    from idjax.prediction.predict import predict
    from idjax.results.diagnosis import Diagnosis
    from idjax.results.program import ModelDiagnosis
    from idjax.settings import DiagnosisSettings, Settings
    from idjax.training.many import train_many
    from idjax.training.train import train
    from idjax.types import Curve, IdjaxError, Moments, Spectrum

_HOMES = {
    "Curve": "types",
    "Dataset": "data",
    "Diagnosis": "results.diagnosis",
    "DiagnosisSettings": "settings",
    "IdjaxError": "types",
    "Model": "nn.inspect",
    "ModelDiagnosis": "results.program",
    "Moments": "types",
    "Settings": "settings",
    "Spectrum": "types",
    "diagnose": "diagnosis.data",
    "diagnose_model": "diagnosis.program",
    "load": "data",
    "moments_of": "moments.moments",
    "predict": "prediction.predict",
    "predict_grid": "prediction.grid",
    "spectrum_of": "moments.spectrum",
    "train": "training.train",
    "train_many": "training.many",
    "what_differs": "prediction.compare",
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
