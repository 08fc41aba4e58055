"""The context of a diagnosis: a loss, its graph, and what was measured in one pass over the rows."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from idjax.diagnosis.trace.given import GivenLoss
from idjax.diagnosis.trace.graph import Atom, Graph, Node, number
from idjax.diagnosis.trace.layers import Layer
from idjax.diagnosis.trace.learning import LEARNED, learned
from idjax.diagnosis.trace.measure import MeasuredLoss, Runner
from idjax.diagnosis.trace.outputs import Comparison, Ending
from idjax.diagnosis.trace.rule import UpdateRule
from idjax.diagnosis.trace.traced import Traced
from idjax.diagnosis.trace.trials import reached, trials
from idjax.diagnosis.trace.units import FLAT, Unit

NO_GRADIENT = 1e-14
"""Largest gradient that rounding can make of 0."""


@dataclasses.dataclass(frozen=True, eq=False)
class LossContext:
    """The program that findings ask about: graph, layers, units and ending, and what they were measured to be."""

    traced: Traced
    layers: tuple[Layer, ...]
    units: tuple[Unit, ...]
    end: Ending
    run: Runner
    measured: MeasuredLoss
    rule: UpdateRule

    @property
    def given(self) -> GivenLoss:
        """The loss as it was given."""
        return self.traced.given

    @property
    def graph(self) -> Graph:
        """Its graph."""
        return self.traced.graph

    @functools.cached_property
    def args(self) -> list[Any]:
        """The arguments of the first block."""
        return next(iter(self.traced.blocks()))

    @functools.cached_property
    def kernels(self) -> tuple[int, ...]:
        """The parameters that kernels are made of."""
        return tuple(dict.fromkeys(leaf for layer in self.layers for leaf in layer.leaves))

    @functools.cached_property
    def inner(self) -> tuple[Layer, ...]:
        """The layers that take what others give out."""
        return tuple(layer for layer in self.layers if self.graph.is_learned(layer.node.ins[layer.rows]))

    @functools.cached_property
    def finite(self) -> bool:
        """Whether loss and gradient are."""
        slopes = [np.asarray(slope) for slope in self.measured.gradient]
        return bool(np.isfinite(self.measured.loss)) and all(np.isfinite(slope).all() for slope in slopes)

    @functools.cached_property
    def flat(self) -> dict[Unit, float]:
        """The tanh and sigmoids that are saturated, with their mean slope over the steepest; none if not finite."""
        bent = [unit for unit in self.units if unit.kind != "relu" and self.finite]
        slopes = {unit: float(np.mean(np.stack(self.measured.seen[unit.node]))) for unit in bent}
        return {unit: slope for unit, slope in slopes.items() if slope < FLAT}

    @functools.cached_property
    def trial_start(self) -> float:
        """The loss of the first block, where trials begin."""
        return float(self.measured.first.loss)

    @functools.cached_property
    def _trained(self) -> Any:
        return trials(self.rule, self.given.loss), {}

    def losses(self, factor: float) -> np.ndarray:
        """The losses of 30 steps on the first block, with this multiple of the user's own rate."""
        run, known = self._trained
        if factor not in known:
            known[factor] = run(self.given.params, self.args, (self.rule.rate or 1.0) * factor)
        return known[factor]

    def trial(self, factor: float) -> float:
        """The loss that they end at."""
        return reached(self.losses(factor))

    @functools.cached_property
    def learns(self) -> bool:
        """Whether the program learns well at the rate that was given; False where that is not known."""
        return self.learned_at(1.0) >= LEARNED

    def learned_at(self, factor: float) -> float:
        """The share of what is to be learned that it learns at this multiple of the rate; 0 if not known."""
        rate = self.rule.rate
        return 0.0 if rate is None else learned(self.traced, self.end.comparisons, self.rule, rate * factor)

    def is_still(self, leaf: int) -> bool:
        """Whether a parameter has no gradient in any row."""
        return float(np.abs(np.asarray(self.measured.gradient[leaf])).max(initial=0.0)) <= NO_GRADIENT

    def layer_names(self, leaves: Sequence[int]) -> tuple[str, ...]:
        """The layers whose kernels these parameters are."""
        return tuple(layer.name for layer in self.layers if set(layer.leaves) & set(leaves))

    @functools.cached_property
    def between_all_rows(self) -> Comparison | None:
        """The first comparison in which each output meets every target, whatever the order of these."""
        return next(
            (each for each in self.end.comparisons if self._is_crossed(each) and self._is_unordered(each)), None
        )

    def _is_crossed(self, comparison: Comparison) -> bool:
        """Whether outputs have their rows in one axis and targets in another."""
        rows = self.traced.rows_of
        a, b = rows(comparison.output), rows(comparison.target)
        together = rows(comparison.node.outs[0])
        return comparison.kind != "index" and len(a) == len(b) == 1 and a != b and len(together) == 2

    def _is_unordered(self, comparison: Comparison) -> bool:
        """Whether the loss stays as it is when the rows of the targets change places."""
        leaves = self.argument_leaves(comparison.target)
        if set(leaves) & set(self.input_leaves) or not self.finite:
            return True  # they are inputs too, and cannot be permuted alone
        args = list(self.args)
        order = np.random.default_rng(0).permutation(self.traced.block)
        for leaf in leaves:
            args[leaf] = args[leaf][order]
        before, after = float(self.measured.first.loss), float(self.run(args).loss)
        return math.isclose(before, after, rel_tol=1e-4, abs_tol=1e-12)

    def argument_leaves(self, atom: Atom) -> list[int]:
        """Which of the arguments with rows a value depends on."""
        return self._leaves(self.graph.bits(atom) & self.graph.data)

    @functools.cached_property
    def input_leaves(self) -> list[int]:
        """Which of the arguments with rows go into layers."""
        return self._leaves(self.end.inputs)

    def _leaves(self, bits: int) -> list[int]:
        first = len(self.given.params)
        return [index for index in range(len(self.given.args)) if bits >> (first + index) & 1]

    @functools.cached_property
    def _compared(self) -> dict[Node, tuple[np.ndarray, np.ndarray]]:
        kept = {}
        for comparison in self.end.comparisons:
            blocks = self.measured.seen.get(comparison.node)
            if blocks is not None:
                pairs = zip(*((np.atleast_1d(np.asarray(value)) for value in block) for block in blocks), strict=True)
                outputs, targets = (np.concatenate(list(values)) for values in pairs)
                kept[comparison.node] = outputs, -targets if self._is_negated(comparison) else targets
        return kept

    def _is_negated(self, comparison: Comparison) -> bool:
        """Whether the targets of a product come with the minus sign of the loss."""
        maker = self.graph.program.makers.get(comparison.target)
        if comparison.kind != "product" or maker is None:
            return False
        factors = [number(given) for given in maker.ins] if maker.primitive == "mul" else []
        return maker.primitive == "neg" or any(factor is not None and factor < 0 for factor in factors)

    def compared(self, comparison: Comparison) -> tuple[np.ndarray, np.ndarray]:
        """The outputs and the targets that are compared in a node, of all blocks; empty where they are too many."""
        nothing = np.zeros((0, 1), np.float32)
        outputs, targets = self._compared.get(comparison.node, (nothing, nothing))
        return outputs.astype(np.float64), targets.astype(np.float64)

    def size_of(self, comparison: Comparison) -> tuple[float, float]:
        """Root mean square of outputs and of targets."""
        outputs, targets = (values[np.isfinite(values)] for values in self.compared(comparison))
        if not outputs.size or not targets.size:
            return 1.0, 1.0
        return float(np.sqrt(np.mean(outputs**2))), float(np.sqrt(np.mean(targets**2)))

    def label_values(self, comparison: Comparison) -> np.ndarray | None:
        """The labels that an index picks by, as they were given: one argument of whole numbers."""
        leaves = self.argument_leaves(comparison.target)
        labels = np.asarray(self.given.args[leaves[0]]) if len(leaves) == 1 else None
        if labels is None or labels.dtype.kind not in "iu" or leaves[0] in self.argument_leaves(comparison.output):
            return None
        return labels

    def told_shape(self, atom: Atom) -> str:
        """A shape in words, with the user's own number of rows."""
        rows = self.traced.rows_of(atom)
        sizes = [self.traced.rows if axis in rows else size for axis, size in enumerate(self.graph.shape(atom))]
        return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"

    def names_of(self, node: Node) -> str:
        """The name of an operation, as its user knows it."""
        known = {"div": "a division", "log": "a logarithm", "exp": "an exponential", "sqrt": "a root"}
        return known.get(node.primitive, node.calls[-1] if node.calls else node.primitive)
