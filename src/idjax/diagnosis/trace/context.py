"""The context of a diagnosis: layers in the order of their calls, their moments, and the settings of the run."""

import dataclasses
from collections.abc import Callable

import numpy as np

from idjax.diagnosis.trace.layer_moments import Ends, InputMoments
from idjax.results.program import LayerFacts
from idjax.settings import Settings


@dataclasses.dataclass(frozen=True)
class ProgramContext:
    """One model on one batch; moments are by path, of all layers but embeddings."""

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
