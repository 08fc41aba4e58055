"""The failing run: numbers that wander a little around 1.1, a random start, and a loss that looks good."""

from idjax.published.experiments import Claim, Experiment, Run
from idjax.settings import Settings

experiment = Experiment(
    name="narrow_normal",
    title="Started at random: the published failure",
    question="Why does it not learn, when the loss falls to a few millionths?",
    answer="The loss falls to a few millionths because the numbers themselves vary by little more than a thousandth. "
    "The layer has learned their mean; for the rest it answers each row with a random mixture of its features, "
    "which is worse than no mixture at all.",
    data="narrow-normal",
    runs=(
        Run(
            label="glorot start",
            settings=Settings(learning_rate=0.01, batch_size=8, epochs=200),
            claims=(
                Claim("validation_loss", 2.5e-6, 3.5e-6),
                Claim("explained_variance", -1.15, -0.85),
                Claim("shape_correlation", -0.05, 0.05),
                Claim("prediction_error", high=0.01),
            ),
            draw_samples=True,
        ),
    ),
    published_words="loss falls to 1e-6, outputs look nothing like the data",
)
