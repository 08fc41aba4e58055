"""`ProgramContext` of a loss: facts and moments of each of its layers, for the findings about layers."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from idjax.diagnosis.trace.facts import Kernel, embedding_facts, facts_of
from idjax.diagnosis.trace.layer_moments import Ends, InputMoments
from idjax.diagnosis.trace.layers import Layer
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.moments.columns import ColumnStats
from idjax.results.program import LayerFacts
from idjax.settings import Settings


@dataclasses.dataclass(frozen=True)
class ProgramContext:
    """The layers of one loss in the order of their calls, and the settings of the run.

    moments: by path, of all layers but embeddings.
    """

    layers: tuple[LayerFacts, ...]
    moments: dict[str, InputMoments]
    settings: Settings

    def ends(self, layer: LayerFacts) -> Ends:
        """The ends of a layer's M, as they were measured."""
        return Ends(layer.top, layer.bottom, -1)

    def shown_by(self, test: Callable[[LayerFacts], bool]) -> list[tuple[LayerFacts, ...]]:
        """The layers for which the test holds, those that share an input (as query, key and value do) together."""
        groups: list[tuple[LayerFacts, ...]] = []
        for layer in self.layers:
            if layer.path not in self.moments or not test(layer):
                continue
            mine = self.moments[layer.path]
            for index, group in enumerate(groups):
                other = self.moments[group[0].path]
                if mine.mean.shape == other.mean.shape and np.array_equal(mine.mean, other.mean):
                    groups[index] = (*group, layer)
                    break
            else:
                groups.append((layer,))
        return groups


def named(layers: tuple[LayerFacts, ...]) -> tuple[str, ...]:
    """The paths of some layers."""
    return tuple(layer.path for layer in layers)


def layer_context(context: LossContext, settings: Settings) -> ProgramContext:
    """Facts and moments of all layers; one of a scan is several where each step has a kernel of its own."""
    facts: list[LayerFacts] = []
    moments: dict[str, InputMoments] = {}
    for layer in context.layers:
        if not context.graph.is_data(layer.node.ins[layer.rows]):
            continue  # of a boundary condition, the same for all rows
        blocks = context.measured.seen[layer.node]
        for step, name in enumerate(layer.names):
            kernel = _kernel(context, layer, step)
            seen = [{of: told[step] for of, told in block.items()} if layer.steps else block for block in blocks]
            if layer.kind == "embed":
                counts = sum(part["counts"].reshape(-1, layer.inputs).sum(0) for part in seen)
                facts.append(embedding_facts(name, layer, np.asarray(counts), kernel, settings))
                continue
            if not all(np.isfinite(part[what]).all() for part in seen for what in ("rows", "second")):
                continue
            moments[name] = _moments(layer, seen)
            facts.append(facts_of(name, layer, moments[name], kernel, settings))
    return ProgramContext(tuple(facts), moments, settings)


def _kernel(context: LossContext, layer: Layer, step: int) -> Kernel:
    """Weights and gradient of a layer: of several parameters one after another."""
    parts = [
        [np.asarray(values[leaf])[step] if layer.steps else np.asarray(values[leaf]) for leaf in layer.leaves]
        for values in (context.given.params, context.measured.gradient)
    ]
    weights, slopes = (part[0] if len(part) == 1 else np.concatenate([v.ravel() for v in part]) for part in parts)
    return Kernel(weights, slopes.astype(np.float32))


def _moments(layer: Layer, blocks: list[dict[str, Any]]) -> InputMoments:
    rows = np.concatenate([block["rows"].reshape(-1, layer.inputs) for block in blocks]).astype(np.float64)
    mean = rows.mean(0)
    centre = rows - mean
    low, high, means, seconds = (
        np.concatenate([block[name].reshape(-1, layer.channels) for block in blocks]).astype(np.float64)
        for name in ("low", "high", "mean", "second")
    )
    channels = ColumnStats(
        len(rows), low.min(0), high.max(0), means.mean(0), seconds.mean(0) + means.var(0),
        np.zeros(layer.channels), np.zeros(layer.channels),
    )  # fmt: skip
    covariance = centre.T @ centre / len(rows)
    sample = rows[np.linspace(0, len(rows) - 1, min(512, len(rows))).astype(int)]
    return InputMoments(len(rows), bool(layer.bias), layer.epsilon, mean, covariance, channels, sample)


def by_name(context: LossContext, name: str) -> Layer:
    """The layer of this name, or the one of a scan that it is a step of."""
    return next(layer for layer in context.layers if name in layer.names)
