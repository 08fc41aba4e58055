"""The graph of a loss in any library: its value, its layers with their inputs, its rows and its lines."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from library_programs import LIBRARY_PROGRAMS, ROWS, X, linen_scanned

from idjax import IdjaxError
from idjax.diagnosis.trace import measure
from idjax.diagnosis.trace.given import given_loss
from idjax.diagnosis.trace.inlining import graph_of
from idjax.diagnosis.trace.layers import find_layers, input_rows
from idjax.diagnosis.trace.traced import trace
from idjax.diagnosis.trace.walk import Edits, evaluate


@functools.cache
def of_library(name):
    """A program of a library and its graph, which cost seconds and are asked for twice."""
    made = LIBRARY_PROGRAMS[name]()
    return made, traced(made)


def traced(made):
    return trace(given_loss(made.loss, made.params, made.args, has_aux="batch" in made.loss.__code__.co_varnames))


@pytest.mark.quick(3)
@pytest.mark.parametrize("library", LIBRARY_PROGRAMS)
def test_the_walk_is_the_program_and_every_layer_is_found(library):
    made, program = of_library(library)
    given, graph = program.given, program.graph
    layers = find_layers(graph, given.names)

    def sizes(layer):
        if layer.kind == "embed":
            return lambda ins, outs: jnp.mean(outs[0] ** 2)
        return lambda ins, outs: jnp.mean(input_rows(layer, ins[layer.rows], 10**6)[0] ** 2)

    values = [*given.params, *program.cut(np.arange(ROWS))]
    outs, seen = jax.jit(lambda *values: evaluate(graph, values, {layer.node: sizes(layer) for layer in layers}))(
        *values
    )
    assert outs[0] == pytest.approx(float(given.loss(given.params, given.args)), rel=1e-6)
    named = {}
    for layer in layers:
        steps = [f"{layer.name}[{step}]" for step in range(layer.steps)] or [layer.name]
        named |= dict.fromkeys(steps, layer.inputs)
        assert np.shape(seen[layer.node])[:1] == tuple(filter(None, (layer.steps,))) or layer.repeats > 1
        assert np.ravel(seen[layer.node])[-1] > 0
        assert layer.node.where.startswith("library_programs.py:" if library != "keras" else "")
    assert named == made.layers
    assert program.rows == ROWS


@pytest.mark.parametrize("library", LIBRARY_PROGRAMS)
def test_every_parameter_belongs_to_a_layer_or_is_a_scale(library):
    _, program = of_library(library)
    used = {leaf for layer in find_layers(program.graph, program.given.names) for leaf in (*layer.leaves, *layer.bias)}
    left = [name for index, name in enumerate(program.given.names) if index not in used]
    assert all(any(word in name.lower() for word in ("norm", "w2")) for name in left), left


def test_rows_are_the_axes_that_grow_with_them():
    made = linen_scanned()
    program = traced(made)
    (tokens,) = program.graph.program.ins[-1:]
    assert program.rows_of(tokens) == (0,)
    assert all(program.rows_of(atom) == () for atom in program.graph.program.ins[:-1])
    wrong = trace(given_loss(lambda w, x, y: jnp.mean((x @ w - y) ** 2), jnp.ones((6, 1)), (X, X[:, 0])))
    twice = [out for node in wrong.graph.program.nodes for out in node.outs if len(wrong.rows_of(out)) == 2]
    assert twice


def test_numbers_count_every_step_of_a_scan_and_passes_agree_however_they_are_compiled(monkeypatch):
    def loss(w, x, steps):
        return jnp.mean(jax.lax.scan(lambda h, _: (jnp.tanh(h @ w), None), x, None, length=steps)[0] ** 2)

    def of(steps):
        return trace(given_loss(lambda w, x: loss(w, x, steps), jnp.eye(6), (X[:, :6],)))

    few, many = of(10), of(30)
    block = few.block
    each = [measure.numbers(program.graph, program.graph.program) for program in (few, many)]
    assert each[1] - each[0] == 20 * 2 * block * 6  # a product and its tanh a step
    found = []
    for most in (0, 2**40):
        monkeypatch.setattr(measure, "FEW_NUMBERS", most)
        found.append(measure.runner(few, {}, [])(next(iter(few.blocks()))))
    np.testing.assert_allclose(found[0].loss, found[1].loss, rtol=1e-6)
    np.testing.assert_allclose(found[0].gradient[0], found[1].gradient[0], rtol=1e-4, atol=1e-7)
    assert np.abs(found[0].gradient[0]).max() > 1e-3


def test_the_host_reads_of_a_layer_what_the_compiled_program_does():
    """In a scan, too: rows that are kept, and the statistics of all of them."""
    made = linen_scanned()
    program = traced(made)
    layers, found = find_layers(program.graph, program.given.names), []
    for on_host in (True, False):
        watches = {layer.node: measure.look_at_layer(program.graph, layer, 1, on_host) for layer in layers}
        seen = measure.runner(program, watches, [])(next(program.blocks())).seen
        found.append({node: watch.read(jax.tree.map(np.asarray, seen[node])) for node, watch in watches.items()})
    for node, told in found[0].items():
        assert told.keys() == found[1][node].keys()
        for name, value in told.items():
            assert value.shape == found[1][node][name].shape
            np.testing.assert_allclose(value, found[1][node][name], rtol=2e-5, atol=1e-6)


def test_many_rows_come_in_blocks_of_all_of_them():
    x = np.arange(1000.0, dtype=np.float32)[:, None]
    program = trace(given_loss(lambda w, x: jnp.mean(x @ w), jnp.ones((1, 1)), (x,)))
    blocks = [block[0][:, 0] for block in program.blocks()]
    assert {len(block) for block in blocks} == {program.block}
    seen = np.concatenate(blocks)
    assert len(np.unique(seen)) == len(seen) > 850
    assert np.ptp(blocks[0]) > 800


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "options", [{}, {"strides": 2}, {"padding": "VALID"}, {"kernel_dilation": 2}, {"padding": "CIRCULAR"},
                {"padding": ((0, 1), (2, 0))}, {"feature_group_count": 3}], ids=str
)  # fmt: skip
@pytest.mark.parametrize("kind", [nn.Conv, nn.ConvTranspose])
def test_a_convolution_multiplies_its_patches(kind, options):
    if kind is nn.ConvTranspose and "feature_group_count" in options:
        options = {"strides": (3, 1)}  # Flax has no grouped transposed convolution
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
    options = {**options, "strides": (2, 2)} if options.get("strides") == 2 and kind is nn.ConvTranspose else options
    module = kind(6, (3, 2), use_bias=False, **options)
    params = module.init(jax.random.key(1), x)
    program = trace(given_loss(lambda params, x: jnp.sum(module.apply(params, x)), params, (x,)))
    (layer,) = find_layers(program.graph, program.given.names)
    kernel = params["params"]["kernel"]
    _, seen = evaluate(
        program.graph,
        [kernel, x],
        {layer.node: lambda ins, outs: (*input_rows(layer, ins[layer.rows], 10**6), outs[0], ins[layer.kernel])},
    )
    rows, channels, outputs, used = seen[layer.node]
    numbers = layer.node.params["dimension_numbers"]
    outputs = jnp.moveaxis(jnp.transpose(outputs, numbers.out_spec), 1, -1)
    weights = jnp.transpose(used, numbers.rhs_spec).reshape(6, -1)
    groups = layer.node.params["feature_group_count"]
    expected = jnp.einsum(
        "ngp,gqp->ngq", rows.reshape(-1, groups, layer.inputs), weights.reshape(groups, 6 // groups, -1)
    )
    np.testing.assert_allclose(expected.reshape(-1, 6), outputs.reshape(-1, 6), atol=1e-5)
    assert channels.shape[-1] == 3


def test_an_edit_replaces_what_goes_into_a_layer_of_a_scan():
    made = linen_scanned()
    program = traced(made)
    layer = next(layer for layer in find_layers(program.graph, program.given.names) if layer.steps)

    def edit(ins, given):
        ins[layer.rows] = ins[layer.rows] - given
        return ins, jnp.mean(ins[layer.rows])

    def run(numbers):
        values = [*program.given.params, *program.given.args]
        return evaluate(program.graph, values, {}, Edits({layer.node: edit}, {layer.node: numbers}))

    same, seen = run(jnp.zeros(3))
    assert same[0] == pytest.approx(float(made.loss(made.params, *made.args)), rel=1e-6)
    moved, shifted = run(jnp.array([0.0, 0.0, 5.0]))
    assert moved[0] != pytest.approx(float(same[0]), rel=1e-4)
    np.testing.assert_allclose(seen[layer.node] - shifted[layer.node], [0, 0, 5], atol=1e-4)


def test_derivative_rules_are_kept():
    @jax.custom_vjp
    def straight_through(x):
        return jnp.round(x)

    straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))

    def loss(w, x):
        return jnp.sum(straight_through(jnp.sin(x @ w)))

    w = jnp.ones((6, 2))
    graph = graph_of(jax.make_jaxpr(loss)(w, X), 1, [True])
    walked = jax.grad(lambda w: evaluate(graph, [w, X])[0][0])(w)
    np.testing.assert_allclose(walked, jax.grad(loss)(w, X), rtol=1e-5)
    assert np.abs(walked).max() > 0.1


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: given_loss(None, X, ()), "give the function that you differentiate"),
        (lambda: given_loss(lambda p: 0.0, {"n": 3}, ()), "params hold no real numbers"),
        (lambda: given_loss(lambda p: 0.0, nnx.Linear, ()), "is the class Linear: make one"),
        (lambda: given_loss(lambda p, x: 0.0, X, (X.astype(str),)), "x is of type <U32: give numbers"),
        (lambda: given_loss(lambda p: 0.0, X * np.nan, ()), "params is not finite"),
        (lambda: trace(given_loss(lambda p, x: x @ p.T, X, (X,))), r"of shape \(24, 24\): return the mean"),
        (lambda: trace(given_loss(lambda p, x: (x.sum(), p), X, (X,))), "return one number, or"),
        (lambda: trace(given_loss(lambda p, x: p.sum(), X, (X,), has_aux=True)), "has_aux: the loss returned a"),
        (lambda: trace(given_loss(lambda p, x: p.sum() if x.sum() > 0 else 0.0, X, (X,))), "jnp.where in place of if"),
        (lambda: trace(given_loss(lambda p, x, y: p.sum(), X, (X,))), "exactly as to jax.value_and_grad"),
        (lambda: trace(given_loss(lambda p, x: nn.Dropout(0.5, deterministic=False).apply({}, x).sum() + p.sum(), X,
                                  (X,))), "pass rngs to the model"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_call_is_told(call, line):
    with pytest.raises(IdjaxError, match=line) as error:
        call()
    assert "\n" not in str(error.value)
