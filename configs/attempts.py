"""What was tried next on the failing data, one change at a time. Nothing helps."""

import dataclasses

from idjax.published.experiments import Claim, Experiment, Run
from idjax.settings import Settings

# As many epochs as a run that no theory predicts is followed for: both columns then tell of the same one.
BASE = Settings(learning_rate=0.01, batch_size=8, epochs=12)
FAILS = (Claim("explained_variance", high=0.5),)
UNREACHABLE = "Its output cannot exceed 1, and the data sit at 1.1: no weights reach them."
DEAD = "An output that starts below 0 for every row has no gradient: it stays at 0 for good."


def attempt(label: str, note: str = "", **changes: object) -> Run:
    """One change from the base."""
    return Run(label, dataclasses.replace(BASE, **changes), FAILS, note)


experiment = Experiment(
    name="attempts",
    title="What was tried next",
    question="Does another optimizer, loss, penalty or activation help?",
    answer="None of the changes touches the cause, which is in the data.",
    data="narrow-normal",
    runs=(
        *(
            attempt(name, optimizer=name, learning_rate=None)
            for name in ("rmsprop", "adagrad", "adadelta", "adam", "adamax", "nadam")
        ),
        *(attempt(name, loss=name) for name in ("mae", "huber", "log-cosh")),
        attempt("L1 activity penalty", activity_l1=1e-4),
        attempt("L2 activity penalty", activity_l2=1e-4),
        attempt("relu", DEAD, activation="relu"),
        attempt("tanh", UNREACHABLE, activation="tanh"),
        attempt("sigmoid", UNREACHABLE, activation="sigmoid"),
    ),
    published_words="none of them learns",
    full_epochs=200,
)
