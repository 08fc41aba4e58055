"""Runs side by side, spread over the devices of this machine."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def spread(runs: Any, count: int) -> Any:
    """Arrays with a leading axis of `count` runs, each device holding as many of them; alone on one device as they are.

    Of a number of devices that does not divide the runs, the largest power of two that does is taken. The compiled
    programs follow the arrays: what the runs share is copied to every device.
    """
    devices = jax.local_devices()
    used = 2 ** (len(devices).bit_length() - 1)
    while count % used:
        used //= 2
    if used == 1:
        return runs
    mesh = Mesh(np.array(devices[:used]), ("runs",))
    return jax.device_put(runs, NamedSharding(mesh, PartitionSpec("runs")))
