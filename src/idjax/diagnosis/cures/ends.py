"""Cures of the end of a program: its targets, and the loss that was meant in place of the one that was given."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.trace.endless import endless_fall
from idjax.diagnosis.trace.graph import Node
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.outputs import Comparison, is_logarithm, second_softmax
from idjax.diagnosis.trace.walk import Edit, Edits, Outs, changing

Minimum = tuple[Node, Edit] | float
"""What gives an unbounded loss a minimum: an edit, or the sign -1."""


def own_rows(context: LossContext) -> tuple[Node, Edit]:
    """The comparison of every output with every target, with targets turned so that each output meets its own alone."""
    comparison = context.between_all_rows
    assert comparison is not None
    place = comparison.node.ins.index(comparison.target)
    (own,), (other,) = map(context.traced.rows_of, (comparison.output, comparison.target))

    def edit(ins: list[Any], _: Any) -> tuple[list[Any], Any]:
        # In the shape that they had together, over which the loss takes its mean.
        shape = jnp.broadcast_shapes(*(value.shape for value in ins))
        turned = [jnp.swapaxes(value, own, other) if i == place else value for i, value in enumerate(ins)]
        return [jnp.broadcast_to(value, shape) for value in turned], ()

    return comparison.node, edit


def once(context: LossContext) -> tuple[Node, Edit]:
    """The first of two softmaxes or sigmoids, which gives on the logits: those of a softmax less their largest."""
    twice = second_softmax(context.graph, context.end)
    assert twice is not None

    def edit(ins: list[Any], _: Any) -> tuple[Outs, Any]:
        if twice.first.primitive != "div":
            return Outs([ins[0]]), ()
        return Outs([jnp.log(jnp.maximum(ins[0], jnp.finfo(ins[0].dtype).tiny))]), ()

    return twice.first, edit


def target_edits(context: LossContext) -> tuple[Node, Edit, Edit]:
    """The comparison of outputs of another size than the targets: with targets standardised, or outputs restored."""
    comparison = next(each for each in context.end.comparisons if each.kind == "difference")
    targets = context.compared(comparison)[1]
    mean, scale = float(targets.mean()), float(targets.std()) or 1.0
    output, target = (comparison.node.ins.index(atom) for atom in (comparison.output, comparison.target))
    return (
        comparison.node,
        changing(target, lambda value: (value - mean) / scale),
        changing(output, lambda value: value * scale + mean),
    )


def minimum_of(context: LossContext) -> Minimum | None:
    """The change that gives an unbounded loss a minimum; None where it is not known what was meant.

    Labels that multiply or pick the outputs meet log_softmax of them, and of a difference the square is taken.
    """
    fall = endless_fall(context, context.args)
    if fall is None:
        return None
    if not fall.linear:
        return -1.0
    comparison, *others = context.end.comparisons
    if others or (comparison.kind != "difference" and not _is_of_classes(context, comparison)):
        return None
    if comparison.kind == "difference":
        return comparison.node, lambda ins, _: (Outs([(ins[0] - ins[1]) ** 2]), ())
    return comparison.node, changing(comparison.node.ins.index(comparison.output), jax.nn.log_softmax)


def fitted(context: LossContext) -> Edits | None:
    """The loss with outputs that are all that they can be; None where it is not known what that is.

    That is their target in a difference, and 0 for the logarithm of a probability that labels of 0 and 1 choose.
    """
    comparisons = context.end.comparisons
    if not comparisons or not all(_has_best(context, comparison) for comparison in comparisons):
        return None

    def edit(comparison: Comparison) -> Edit:
        output, target = (comparison.node.ins.index(atom) for atom in (comparison.output, comparison.target))

        def edited(ins: list[Any], _: Any) -> tuple[list[Any], Any]:
            best = ins[target] if comparison.kind == "difference" else jnp.zeros_like(ins[output])
            return [best.astype(value.dtype) if i == output else value for i, value in enumerate(ins)], ()

        return edited

    return Edits({comparison.node: edit(comparison) for comparison in comparisons}, {})


def _has_best(context: LossContext, comparison: Comparison) -> bool:
    if comparison.kind == "difference":
        return True
    alone = comparison.kind == "index" or bool(np.isin(context.compared(comparison)[1], (0, 1)).all())
    return alone and is_logarithm(context.graph, comparison.output)


def _is_of_classes(context: LossContext, comparison: Comparison) -> bool:
    """Whether labels choose among the outputs of the last axis."""
    outputs, targets = context.compared(comparison)
    if context.traced.classes_of(comparison.output) == 1:
        return False
    if comparison.kind == "index":
        return True
    summed = outputs.shape == targets.shape and targets.size > 0 and np.allclose(targets.sum(-1), 1, atol=1e-3)
    return bool(summed) and targets.min() >= 0
