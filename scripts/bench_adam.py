"""Times a step of Adam's recursion against the estimate that its budget is made of, at several numbers of inputs.

    OPENBLAS_NUM_THREADS=1 python scripts/bench_adam.py [--inputs 10 30 84] [--seconds 5]

As many outputs as inputs, a spectrum of two decades in a random basis, a mean of 3 deviations of its largest direction
in each input, batch 8, Adam's defaults, an autoencoder's start.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from idjax.prediction import budget
from idjax.theory.adam import recursion
from idjax.theory.adam.forecast import products_a_step


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, nargs="+", default=[10, 30, 84])
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    print("inputs  steps timed   ms a step  of processor   estimate   steps within the budget")
    for d in arguments.inputs:
        inputs, start = problem(d)
        estimate = 60 * products_a_step(d + 1, d) / budget.A_MINUTE
        steps = max(int(arguments.seconds / estimate), 1)
        with jax.enable_x64(True):
            state = recursion.initial_state(jnp.asarray(start))
            recursion.run(recursion.AdamRule(), inputs, state, 1e-3, 1)
            begin, processor = time.perf_counter(), time.process_time()
            recursion.run(recursion.AdamRule(), inputs, state, 1e-3, steps)
        took, busy = time.perf_counter() - begin, time.process_time() - processor
        print(
            f"{d:6d}  {steps:11,d}  {1e3 * took / steps:10.4f}  {1e3 * busy / steps:12.4f}  {1e3 * estimate:9.4f}  "
            f"{int(budget.ADAM / products_a_step(d + 1, d)):24,d}"
        )


def problem(d: int) -> tuple[recursion.AdamInputs, np.ndarray]:
    """The inputs, and the errors at the start."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    mean = np.append(np.full(d, 3.0), 1.0)
    second = np.outer(mean, mean)
    second[:d, :d] += (basis * np.logspace(0, -2, d)) @ basis.T
    limit = np.sqrt(6 / (2 * d))
    start = np.concatenate([rng.uniform(-limit, limit, (d, d)) - np.eye(d), np.zeros((1, d))])
    with jax.enable_x64(True):
        arrays = map(jnp.asarray, (second, mean, 8.0, np.full(d, 2 / d), np.zeros(d), np.zeros((d, d + 1))))
        return recursion.AdamInputs(*arrays), start


if __name__ == "__main__":
    main()
