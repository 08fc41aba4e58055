"""Started at the identity, the failing data have a loss of exactly 0: the answer is there, training must find it."""

from idjax.published.experiments import Claim, Experiment, Run
from idjax.settings import Settings

experiment = Experiment(
    name="identity_start",
    title="Started at the identity",
    question="Can the layer represent the answer at all?",
    answer="Put at the identity, the layer makes no error at all, so the answer is within its reach. What follows is "
    "about finding it.",
    data="narrow-normal",
    runs=(
        Run(
            label="identity start",
            settings=Settings(start="identity", learning_rate=0.01, batch_size=8, epochs=10),
            claims=(
                Claim("largest_train_loss", 0.0, 0.0),
                Claim("largest_validation_loss", 0.0, 0.0),
            ),
            note="The gradient is exactly 0 as well, so the layer stays where it was put.",
        ),
    ),
    published_words="loss 0.0 at every epoch",
)
