"""The Gauss-Newton matrix of a model on some of the rows: the ends of its spectrum, and what each layer has of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from idjax.diagnosis.program.batch import cut
from idjax.diagnosis.program.context import ProgramContext
from idjax.diagnosis.program.functional import Functional, Listener, Params, explained
from idjax.diagnosis.program.gauss_newton import extremes
from idjax.diagnosis.program.observe import full
from idjax.results.program import Curvature, Eigenvalue, LayerFacts

CURVATURE_ROWS = 128
"""CallInput, evenly spaced, that the curvature is of: a product takes as long as three gradients of them."""
PRODUCTS = 16
"""Products of the Krylov space, each of which holds a vector as long as the parameters."""
MOST_VALUES = 2**28
"""Numbers in those vectors together, 1 GiB."""

Parts = dict[tuple, float]
"""A number for each parameter, by its path."""


def curvature_of(
    whole: Functional, batch: tuple[Any, Any], loss: Callable, rows: int
) -> tuple[Curvature, Parts, Parts]:
    """The ends of H on some rows; of each parameter, its part of the top eigenvector and the trace of its block."""
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, CURVATURE_ROWS)).astype(int))
    inputs, targets = cut(batch, chosen)
    params = full(whole.params)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    products = max(1, min(PRODUCTS, size, MOST_VALUES // size))
    with explained():
        found = extremes(whole.run, loss, params, inputs, targets, jax.random.key(0), products)
    pairs = [Eigenvalue(float(v), float(r)) for v, r in zip(found.values, found.residuals, strict=True)]
    curvature = Curvature(len(chosen), products, size, tuple(pairs[:-1]) or (pairs[0],), pairs[-1])
    return curvature, _by_path(found.top_shares), _by_path(found.traces)


def with_curvature(
    context: ProgramContext, listener: Listener, curvature: Curvature, shares: Parts, traces: Parts
) -> ProgramContext:
    """The context with the curvature, of which each layer has what its parameters have, bias included."""

    def total(parts: Parts, layer: LayerFacts) -> float:
        return sum(value for path, value in parts.items() if path[:-1] == tuple(listener.layers[layer.path].key))

    layers = tuple(
        dataclasses.replace(layer, curvature=total(traces, layer), top_share=total(shares, layer))
        for layer in context.layers
    )
    return dataclasses.replace(context, layers=layers, curvature=curvature)


def _by_path(tree: Params) -> Parts:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(entry.key for entry in path): float(leaf) for path, leaf in leaves}
