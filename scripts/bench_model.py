"""Time and memory of diagnosing a model of 10 million parameters on 1,024 samples: python scripts/bench_model.py."""

import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import idjax
from idjax.report.progress import progress_bar


class MLP(nn.Module):
    """784-2048-2048-2048-10."""

    @nn.compact
    def __call__(self, x):
        for _ in range(3):
            x = nn.relu(nn.Dense(2048)(x))
        return nn.Dense(10)(x)


def cross_entropy(logits, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1))


def main() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1024, 784)).astype(np.float32), rng.integers(0, 10, 1024)
    params = MLP().init(jax.random.key(0), x[:1])
    begin, worked = time.perf_counter(), time.process_time()
    with progress_bar() as progress:
        found = idjax.diagnose_model(MLP(), params, (x, y), cross_entropy, progress=progress)
    seconds, worked = time.perf_counter() - begin, time.process_time() - worked
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = f"{found.parameters:,} parameters, {found.rows:,} rows"
    print(f"{size}: {seconds:.1f} s, {worked:.1f} s of a core, {memory:.2f} GiB")


if __name__ == "__main__":
    main()
