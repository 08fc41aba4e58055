"""Why Adam does not learn the failing data either: it stalls whatever their variance. What would help, and does."""

import dataclasses

from idjax.published.experiments import Claim, Experiment, Run
from idjax.settings import Schedule, Settings

BASE = Settings(optimizer="adam", batch_size=8, epochs=10)
LONG = 2000
STALL = Claim("long_run_loss", 5.8e-6, 6.6e-6)
FAILS = Claim("explained_variance", high=0.0)


def change(
    label: str, note: str, *claims: Claim, spread: float = 1.0, long_run: int | None = LONG, **changes: object
) -> Run:
    """What is changed from Adam's defaults."""
    agrees = Claim("training_error", high=0.05)
    settings = dataclasses.replace(BASE, **changes)
    return Run(label, settings, (*claims, agrees), note, spread=spread, long_run=long_run)


experiment = Experiment(
    name="adam",
    title="Why Adam fails too, and what helps it",
    question="Does it help that the data vary so little? A smaller learning rate, larger batches, a decay?",
    answer="Adam divides each gradient by its usual size. Here nearly all of a gradient is that of the mean, and is "
    "the same for all weights into an output. So Adam moves these weights together, by steps that do not get "
    "smaller as their common error does: they overshoot the mean, and the loss stalls where the gradients of "
    "the overshoot hold it. In the long run this is at (η |μ|₁ (1 - β₁) ⁄ (2 (1 + β₁)))², η the learning rate, "
    "|μ|₁ the sum of the means: neither how little the data vary nor the batch size is in it. All other "
    "directions learn at a speed of 2 (1 + β₁) ⁄ ((1 - β₁) |μ|₁) times the variance along them: the learning "
    "rate is not in it. So a smaller rate lowers the stall and speeds nothing up; a rate that decays to 0 takes "
    "the stall away at its end; a β₁ nearer to 1 lowers it and learns faster as well.",
    data="narrow-normal",
    runs=(
        change("Adam's defaults", "In the long run the loss comes down to the stall, not below.", STALL, FAILS),
        change(
            "inputs that vary a tenth as much",
            "The stall is the same, and now hundreds of times the variance.",
            STALL,
            FAILS,
            spread=0.1,
        ),
        change(
            "a tenth of the learning rate",
            "The stall is a hundred times lower. The way there is no shorter.",
            Claim("long_run_loss", 5.8e-8, 6.6e-8),
            FAILS,
            learning_rate=1e-4,
        ),
        change(
            "batches of 64 rows", "The stall is the same, the steps of an epoch are fewer.", STALL, FAILS, batch_size=64
        ),
        change(
            "a cosine decay",
            "The stall goes with the learning rate. The slow directions are not learned so soon.",
            FAILS,
            schedule=Schedule("cosine"),
            long_run=None,
        ),
        change(
            "β₁ = 0.99",
            "The stall is a hundred times lower, and the slow directions are faster.",
            Claim("long_run_loss", 5e-8, 6e-8),
            FAILS,
            beta_1=0.99,
        ),
        change(
            "β₁ = 0.99, rate 0.01, cosine decay",
            "Larger steps make the noise of the batches count less, so that the slow directions have their full speed.",
            Claim("explained_variance", low=0.99),
            beta_1=0.99,
            learning_rate=0.01,
            schedule=Schedule("cosine"),
            epochs=100,
            long_run=None,
        ),
    ),
)
