"""Times a million predictions over learning rate, deviation and batch size, 84 inputs, in one call of predict_grid.

    python scripts/bench_predict_grid.py [--points 1000000]

The first call, which compiles, is timed by itself; then the least and the most of five.
"""

import argparse
import time

import jax
import numpy as np

import idjax


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    count = parser.parse_args().points
    draws = np.random.default_rng(0)
    rates, deviations = 10 ** draws.uniform(-4, 0, count), 10 ** draws.uniform(-3, 0, count)
    batches = 2.0 ** draws.integers(0, 8, count)
    seconds, steps = [], np.zeros(0)
    for _ in range(6):
        begin = time.perf_counter()
        steps = idjax.predict_grid(
            mean=1.0, deviation=deviations, learning_rate=rates, batch_size=batches, inputs=84, rows=100_000
        ).steps_to_learn
        seconds.append(time.perf_counter() - begin)
    never = np.mean(np.isinf(steps))
    print(f"{count:,} points on {len(jax.local_devices())} {jax.default_backend()} device(s); {never:.2%} never learn")
    print(f"first call {seconds[0]:.1f} s, then {min(seconds[1:]):.1f} to {max(seconds[1:]):.1f} s")


if __name__ == "__main__":
    main()
