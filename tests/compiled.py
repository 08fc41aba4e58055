"""How much of a process compiled programs take, and an end to it."""

import pathlib

import jax

MAPS = pathlib.Path("/proc/self/maps")
MOST_MAPS = 20_000
"""Mapped pieces of memory of which Linux lets a process have 65,530; a compiled program takes some ten of them."""


def forget_programs():
    """Forgets what JAX has compiled in this process, if it is so much that the process might soon end for it."""
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
