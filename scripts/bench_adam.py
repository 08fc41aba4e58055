"""Times Adam's recursion, fast forward included, where the mean does not dominate: 84 outputs, 2.4 million steps.

    OPENBLAS_NUM_THREADS=1 python scripts/bench_adam.py [--inputs 84] [--steps 2438400]

A spectrum of two decades in a random basis, a mean of 3 deviations of its largest direction in each input, batch 8,
Adam's defaults, an autoencoder's start. Small matrices: threads of the linear algebra that share cores with other work
can take 20 times longer than one.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from idjax.theory.adam import jumps as adam_fast
from idjax.theory.adam import recursion as adam


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=84)
    parser.add_argument("--steps", type=int, default=200 * 12_192)
    arguments = parser.parse_args()
    d, rng = arguments.inputs, np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    mean = np.append(np.full(d, 3.0), 1.0)
    second = np.outer(mean, mean)
    second[:d, :d] += (basis * np.logspace(0, -2, d)) @ basis.T
    limit = np.sqrt(6 / (2 * d))
    start = np.concatenate([rng.uniform(-limit, limit, (d, d)) - np.eye(d), np.zeros((1, d))])
    records = np.linspace(0, arguments.steps, 201)[1:].round()
    with jax.enable_x64(True):
        inputs = adam.Inputs(jnp.asarray(second), jnp.asarray(mean), 8.0, jnp.full(d, 2 / d), jnp.zeros(d))
        begin, processor = time.perf_counter(), time.process_time()
        found = adam_fast.follow(
            adam.Rule(),
            inputs,
            jnp.asarray(start),
            1e-3,
            records,
            second[None],
            np.full((1, d), 1 / d),
            np.zeros((1, d + 1, d)),
        )
    print(
        f"{time.perf_counter() - begin:.0f} s, of the processor {time.process_time() - processor:.0f} s; "
        f"loss {found.mean[0]:.4g} to {found.mean[-1]:.4g}; {found.verdict or 'in range'}"
    )


if __name__ == "__main__":
    main()
