"""idjax: how fast will this dense layer learn? Predicted before training, then trained and compared.

    import idjax

    x = idjax.load("narrow-normal")
    settings = idjax.Settings(learning_rate=0.01, batch_size=8, epochs=3)
    print(idjax.predict(x, settings).explained_variance)
    print(idjax.train(x, settings).explained_variance)

`predict` and `train` are twins: the same data and settings in, the same kind of `Curve` out. Importing idjax
changes no JAX setting and does not import JAX; names are loaded when they are first used.
"""

import ast
import importlib
import inspect
import sys
import typing

__version__ = "0.1.0"

if typing.TYPE_CHECKING:  # the one list of public names: editors read it, and so does the code below
    from idjax.data import Dataset as Dataset
    from idjax.data import load as load
    from idjax.diagnosis.data import diagnose as diagnose
    from idjax.diagnosis.explore import explore as explore
    from idjax.diagnosis.program.check_step import check_step as check_step
    from idjax.diagnosis.program.diagnose import diagnose_model as diagnose_model
    from idjax.diagnosis.program.diagnose_loss import diagnose_loss as diagnose_loss
    from idjax.diagnosis.program.keras import from_keras as from_keras
    from idjax.moments.moments import moments_of as moments_of
    from idjax.moments.spectrum import spectrum_of as spectrum_of
    from idjax.nn.inspect import Model as Model
    from idjax.prediction.compare import what_differs as what_differs
    from idjax.prediction.grid import predict_grid as predict_grid
    from idjax.prediction.predict import predict as predict
    from idjax.results.curve import Curve as Curve
    from idjax.results.diagnosis import Diagnosis as Diagnosis
    from idjax.results.program import ProgramDiagnosis as ProgramDiagnosis
    from idjax.settings import DiagnosisSettings as DiagnosisSettings
    from idjax.settings import Schedule as Schedule
    from idjax.settings import Settings as Settings
    from idjax.training.many import train_many as train_many
    from idjax.training.train import train as train
    from idjax.types import IdjaxError as IdjaxError
    from idjax.types import Moments as Moments
    from idjax.types import Spectrum as Spectrum

_HOMES = {
    alias.name: node.module
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[__name__])))
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
}

__all__ = ["__version__", *sorted(_HOMES)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> typing.Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'idjax' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
