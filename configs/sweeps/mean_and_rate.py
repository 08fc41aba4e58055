"""Is it the mean or the learning rate? Time to learn over both, with and without a normaliser, theory and training."""

from idjax.settings import Settings
from idjax.sweeps.axes import Gaussian, Grid, LogGrid, Sweep

sweep = Sweep(
    name="mean_and_rate",
    title="How far the inputs vary, and the learning rate",
    question="Can a learning rate make up for inputs that vary little around a large mean?",
    data=Gaussian(mean=1.0, inputs=12, rows=768, exact=True),
    settings=Settings(batch_size=16, epochs=40, validation_split=0.0, dtype="float64"),
    axes=(
        Grid("normalize", ("none", "center", "sample")),
        Grid("deviation", (0.01, 0.1, 1.0)),
        LogGrid("learning_rate", 1e-3, 1.0, 7),
    ),
    tolerance=0.2,
)
