"""The fix: each sample standardised inside the model and restored at its output. What the step size must be then."""

from idjax.published.experiments import Claim, Experiment, Run
from idjax.settings import Settings

LEARNED = (Claim("explained_variance", low=0.9999), Claim("shape_correlation", low=0.9999))

experiment = Experiment(
    name="fixed",
    title="The fix",
    question="Does standardising each sample inside the model cure it?",
    answer="Standardising gives every direction the same size, so one learning rate suits all. It must fit the units "
    "in which the loss is measured: in original units gradients are 650,000 times smaller.",
    data="narrow-normal",
    runs=(
        Run(
            label="loss in normalised units, SGD 0.01",
            settings=Settings(learning_rate=0.01, batch_size=8, epochs=20, normalize="sample"),
            claims=LEARNED,
            note="It ends where float32 rounds the rows' means: exact arithmetic would go on.",
            draw_samples=True,
        ),
        Run(
            label="loss in original units, SGD 0.01",
            settings=Settings(learning_rate=0.01, batch_size=8, epochs=20, normalize="sample", loss_space="original"),
            claims=(Claim("explained_variance", high=0.0), Claim("prediction_error", high=0.01)),
            note="Conditioning is cured, the step size is not: the gradient carries the data's variance, 1.5e-6.",
        ),
        Run(
            label="loss in original units, SGD at the predicted best rate",
            settings=Settings(batch_size=8, epochs=20, normalize="sample", loss_space="original"),
            claims=LEARNED,
            best_learning_rate=True,
        ),
        Run(
            label="loss in original units, Adam",
            settings=Settings(optimizer="adam", batch_size=8, epochs=20, normalize="sample", loss_space="original"),
            claims=LEARNED,
            note="Adam divides by the size of the gradient, so that the units of the loss do not matter to it.",
        ),
    ),
    published_words="standardising each sample fixed it",
)
