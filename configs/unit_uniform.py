"""The published success: the same layer on numbers that are uniform between 0 and 1."""

from idjax.published.experiments import Claim, Experiment, PublishedLoss, Run
from idjax.settings import Settings

experiment = Experiment(
    name="unit_uniform",
    title="The same layer on uniform numbers",
    question="Why did it work in the answer that was published?",
    answer="Numbers from 0 to 1 vary by 0.29 around a mean of 0.5, not by 0.001 around 1.1: their slow directions are "
    "learned 54,000 times faster. Even so the published run was not finished after its 100 epochs.",
    data="unit-uniform",
    runs=(
        Run(
            label="uniform, 84 inputs",
            settings=Settings(learning_rate=0.01, batch_size=80, epochs=100),
            claims=(
                Claim("published_outside_band", 0.0, 0.0),
                Claim("first_band_width", high=0.14),
                Claim("band_width", high=0.08),
                Claim("prediction_error", high=0.01),
                Claim("columns_off_diagonal", 0.0, 0.0),
                Claim("smallest_column_maximum", 0.78, 0.80),
                Claim("largest_column_maximum", 0.845, 0.87),
            ),
        ),
    ),
    published=(
        PublishedLoss(1, 0.2092, 0.1564),
        PublishedLoss(2, 0.1536, 0.1510),
        PublishedLoss(3, 0.1484, 0.1459),
        PublishedLoss(98, 0.0055, 0.0054),
        PublishedLoss(99, 0.0053, 0.0053),
        PublishedLoss(100, 0.0051, 0.0051),
    ),
    published_words="loss 0.0051, column maxima 0.791 to 0.858, all on the diagonal",
)
