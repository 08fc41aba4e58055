"""Predicted and measured loss on data that people use, in float64: `python scripts/real_data.py`.

One start, many shuffles: the mean over runs is held against five theories, at steps spaced evenly in their logarithm
until 90% of what can be learned is learned. Errors are of the logarithm of the loss, the floor included. The data come
with scikit-learn and statsmodels; nothing is downloaded. See docs/measured_real_data.md.
"""

import argparse
import functools
import time
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import datasets
from statsmodels.datasets import elnino

from idjax.nn.starts import start_weights
from idjax.theory.sgd import fourth_moment, mean_square, minibatch
from idjax.theory.sgd.fourth_moment import EmpiricalRows, LinearUpdate, MomentState

RUNS = 400
POINTS = 60
LEARNED = 0.1
MOST_STEPS = 20_000
THEORIES = ("no noise", "Gaussian", "Gaussian, (49)", "own, fresh", "own, shuffled")


class Data(NamedTuple):
    """Rows; y is None for an autoencoder."""

    name: str
    x: np.ndarray
    y: np.ndarray | None


class Case(NamedTuple):
    """A training: the share is of the learning rate that is stable in mean square for Gaussian rows."""

    data: Data
    batch_size: int
    share: float
    momentum: float


class Result(NamedTuple):
    """Errors of log loss of each theory at the points, the standard error of the runs' mean, how far training went, and
    what the noise of the first batch adds to the loss over what it would for Gaussian rows.
    """

    errors: dict[str, np.ndarray]
    standard_error: np.ndarray
    epochs: int
    left: float
    noise: float


def data_sets() -> list[Data]:
    """Bundled with scikit-learn and statsmodels."""

    def standardised(x: np.ndarray) -> np.ndarray:
        return (x - x.mean(axis=0)) / x.std(axis=0)

    loaders = (datasets.load_digits, datasets.load_breast_cancer, datasets.load_wine, datasets.load_diabetes)
    tables = [tuple(map(np.asarray, load(return_X_y=True))) for load in loaders]
    (digits, digit), (cancer, malignant), (wine, cultivar), (diabetes, progression) = tables
    pixels = digits[:, digits.std(axis=0) > 0] / 16
    wine, diabetes, cancer = standardised(wine), standardised(diabetes), standardised(cancer)
    months = np.asarray(elnino.load_pandas().data, dtype=np.float64)[:, 1:].ravel()
    windows = np.lib.stride_tricks.sliding_window_view(months, 13)
    past, following = windows[:, :12].copy(), windows[:, 12:].copy()
    return [
        Data("wine", wine, None),
        Data("wine, class", wine, np.eye(3)[cultivar]),
        Data("diabetes", diabetes, None),
        Data("diabetes, progression", diabetes, standardised(progression[:, None])),
        Data("breast cancer", cancer, None),
        Data("breast cancer, class", cancer, malignant[:, None].astype(np.float64)),
        Data("sea temperature, 12 months", past, None),
        Data("sea temperature, next month", past - past.mean(), following - past.mean()),
        Data("digits", pixels, None),
        Data("digits, class", pixels, np.eye(10)[digit]),
    ]


def prepare(case: Case) -> tuple[EmpiricalRows, jax.Array, float]:
    """Rows and start in the eigenbasis, and the rate η' = 2 η/q."""
    x, y = case.data.x, case.data.y
    rows, error = fourth_moment.rows_of(x, y, start_weights("glorot", x.shape[1], (x if y is None else y).shape[1], 0))
    modes = np.asarray(rows.eigenvalues)
    rule = minibatch.updates(modes, np.asarray(rows.inputs.mean(axis=0)), case.batch_size, 1.0, case.momentum)
    limit = mean_square.max_rate(rule, 2 * (1 + case.momentum) / modes[0])
    return rows, error, case.share * limit


def of_gaussians(rows: EmpiricalRows, state: MomentState) -> jax.Array:
    """That of Gaussian inputs with the same mean and covariance, and independent label noise: docs/theory.md (25)."""
    modes, mean, error = rows.eigenvalues, jnp.mean(rows.inputs, axis=0), state.second[0, 0]
    level = modes @ jnp.diagonal(error) + jnp.sum(rows.residuals**2) / len(rows.inputs)
    through = modes[:, None] * error * modes
    return 2 * through + jnp.diag(level * modes) - 2 * (mean @ error @ mean) * jnp.outer(mean, mean)


def epochs_to_learn(rows: EmpiricalRows, rule: LinearUpdate, error: jax.Array, case: Case) -> int:
    """Whole epochs in which the expected loss of fresh batches falls to LEARNED of its way to the floor."""
    steps = -(-len(rows.inputs) // case.batch_size)
    losses = np.asarray(fourth_moment.fresh(rows, rule, error, 0.0, MOST_STEPS, of_gaussians))
    reached = np.flatnonzero(losses < LEARNED * losses[0])
    return -(-int(reached[0]) // steps) if len(reached) else MOST_STEPS // steps


@functools.partial(jax.jit, static_argnames=("batch_size", "epochs", "runs"))
def train(
    rows: EmpiricalRows, rule: LinearUpdate, error: jax.Array, batch_size: int, epochs: int, runs: int, seed: int = 0
) -> jax.Array:
    """The excess loss Σ_j e_jᵀ M e_j before each step, (runs, steps): shuffled epochs, the last batch kept."""
    inputs, residuals, modes = rows
    count = len(inputs)
    steps = -(-count // batch_size)
    inside = (jnp.arange(steps * batch_size) < count).reshape(steps, batch_size)

    def step(state: jax.Array, batch: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        chosen, kept = batch
        a = inputs[chosen]
        gradient = a.T @ ((a @ state[0] - residuals[chosen]) * kept[:, None]) / kept.sum()
        new = jnp.einsum("ab,bnq->anq", rule.keep, state) + rule.push[:, None, None] * gradient
        return new, modes @ jnp.sum(state[0] ** 2, axis=1)

    def epoch(state: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        order = jnp.pad(jax.random.permutation(key, count), (0, steps * batch_size - count))
        return jax.lax.scan(step, state, (order.reshape(steps, batch_size), inside))

    def run(key: jax.Array) -> jax.Array:
        start = jnp.zeros((len(rule.push), *error.shape)).at[0].set(error)
        return jax.lax.scan(epoch, start, jax.random.split(key, epochs))[1].reshape(-1)

    return jax.vmap(run)(jax.random.split(jax.random.key(seed), runs))


def predict(
    rows: EmpiricalRows, rule: LinearUpdate, error: jax.Array, rate: float, case: Case, epochs: int
) -> dict[str, np.ndarray]:
    """The expected excess loss before each step, by every theory."""
    steps = -(-len(rows.inputs) // case.batch_size)
    count = epochs * steps
    batch = case.batch_size
    modes = np.asarray(rows.eigenvalues)
    shuffled_gaussian = minibatch.updates(
        modes, np.asarray(rows.inputs.mean(axis=0)), batch, rate, case.momentum, False, float(steps)
    )
    noise = float(jnp.sum(rows.residuals**2) / len(rows.inputs))
    _, by_predict = minibatch.expected(
        shuffled_gaussian, minibatch.at_start(np.asarray(error @ error.T)), noise, np.diag(modes)[None], count
    )
    return {
        "no noise": np.asarray(fourth_moment.fresh(rows, rule, error, 0.0, count)),
        "Gaussian": np.asarray(fourth_moment.fresh(rows, rule, error, 1 / batch, count, of_gaussians)),
        "Gaussian, (49)": by_predict[:, 0],
        "own, fresh": np.asarray(fourth_moment.fresh(rows, rule, error, 1 / batch, count)),
        "own, shuffled": np.asarray(fourth_moment.shuffled(rows, rule, error, batch, epochs).excess).ravel(),
    }


def compare(case: Case, runs: int) -> Result:
    """Trains, predicts and compares."""
    rows, error, rate = prepare(case)
    rule = fourth_moment.rule_of(rate, case.momentum)
    epochs = epochs_to_learn(rows, rule, error, case)
    floor = float(jnp.sum(rows.residuals**2) / len(rows.inputs))
    trained = np.asarray(train(rows, rule, error, case.batch_size, epochs, runs))
    mean = trained.mean(axis=0)
    points = np.unique(np.round(np.geomspace(1, len(mean) - 1, POINTS)).astype(int))
    predicted = predict(rows, rule, error, rate, case, epochs)
    errors = {name: np.abs(np.log((p + floor) / (mean + floor)))[points] for name, p in predicted.items()}
    deviation = (trained.std(axis=0, ddof=1) / np.sqrt(runs) / (mean + floor))[points]
    return Result(errors, deviation, epochs, float(mean[-1] / mean[0]), noise_over_gaussian(rows, rule, error))


def noise_over_gaussian(rows: EmpiricalRows, rule: LinearUpdate, error: jax.Array) -> float:
    """tr(M Cov g) of a row's gradient at the start, over the same with the fourth moment of Gaussian rows."""
    modes, state = rows.eigenvalues, fourth_moment.at_start(error, rule)
    of_mean = modes**3 @ jnp.diagonal(state.second[0, 0])
    own, gaussian = (
        float(modes @ jnp.diagonal(fourth(rows, state)) - of_mean) for fourth in (fourth_moment.of_rows, of_gaussians)
    )
    return own / gaussian


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="data sets whose name contains this")
    parser.add_argument("--runs", type=int, default=RUNS)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="statsmodels")
    head = "".join(f"{name:>17}" for name in ("s.e.", *THEORIES))
    print(f"{'data':<29}{'noise':>6}{'B':>4}{'share':>7}{'beta':>6}{'epochs':>7}{'left':>6}{head}  (median / worst, %)")
    for data in data_sets():
        if args.only not in data.name:
            continue
        for momentum in (0.0, 0.9):
            for batch_size, share in ((8, 0.05), (16, 0.2)):
                case = Case(data, batch_size, share, momentum)
                begin = time.perf_counter()
                result = compare(case, args.runs)
                columns = (result.standard_error, *(result.errors[name] for name in THEORIES))
                cells = "".join(f"{100 * np.median(column):>9.1f} /{100 * column.max():>6.1f}" for column in columns)
                print(
                    f"{data.name:<29}{result.noise:>6.2f}{batch_size:>4}{share:>7}{momentum:>6}{result.epochs:>7}"
                    f"{result.left:>6.2f}{cells}  {time.perf_counter() - begin:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
