"""Public faulty programs, trained as given and cured, both with Adam at the best rate of a race: a table in Markdown.

Where a cure can be built in it is `found.cured`; elsewhere the program is corrected by hand, as the finding says.

python scripts/bench_cases.py [words that the names have to contain]
"""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

from loss_faults import (  # pyright: ignore[reportMissingImports]
    LABELS,
    LOSS_FAULTS,
    ONE_HOT,
    TRUE,
    FaultyLoss,
    Net,
    X,
    Y,
    binary,
    integer_labels,
    of,
)

from idjax import IdjaxError, diagnose_loss

STEPS = 256
BYTES = 255 * abs(X) / abs(X).max()


def logs(outputs: Any, targets: Any) -> Any:
    return optax.softmax_cross_entropy(outputs, targets).mean()


WAVE = np.arange(200.0, dtype=np.float32)[:, None]
CASES: dict[str, tuple[Callable[[], FaultyLoss], Callable[[], FaultyLoss] | None]] = {
    name: (LOSS_FAULTS[name], corrected)
    for name, corrected in {
        "P1, outputs (100, 1), targets (100,)": of("", nn.Dense(1), X, Y[:, None]),
        "P2, without log_softmax": of("", Net(4), X, ONE_HOT, logs),
        "P2, squares maximised": of("", Net(), X, Y[:, None]),
        "P2, cross-entropy maximised": of("", Net(4), X, LABELS, integer_labels),
        "P3, ReLU at the output": of("", Net(), X, Y[:, None]),
        "P3, softmax of one unit": of("", Net(last=nn.sigmoid), X, TRUE),
        "P3, dead hidden layer": of("", Net(4), X, LABELS, integer_labels),
        "P3, stop_gradient": of("", Net(), X, Y[:, None]),
        "healthy, P4, a network that pools": None,
        "P5, targets to a million": None,
        "P10, LSTM on inputs of 500": None,
        "P11, a constant start": None,
        "P12, softmax twice": of("", Net(4), X, LABELS, integer_labels),
        "P14, gain 16 before a sigmoid": of("", Net(activation=nn.sigmoid), X, Y[:, None]),
        "P16, log of what is below 0": of("", Net(4), X, ONE_HOT, logs),
    }.items()
} | {
    "P6, bytes into a cross-entropy autoencoder": (
        of("unreachable-output", Net(2), BYTES, BYTES, binary), of("", Net(2), BYTES / 255, BYTES / 255, binary)
    ),
    "P7, sine over 0..199": (of("layer-mean", Net(activation=nn.tanh), WAVE, np.sin(WAVE / 20)), None),
    "P9, 0..255 at a small rate": (of("layer-scale", Net(4), BYTES, LABELS, integer_labels), None),
    "P13, two layers without an activation": (
        of("only-linear", Net(activation=lambda h: h), X, np.cos(2 * X[:, :1])), of("", Net(), X, np.cos(2 * X[:, :1]))
    ),
}  # fmt: skip
RATES = {"P8, SGD at 4e-7": ("sgd", 4e-7), "P8, Adam at 1e-6": ("adam", 1e-6), "P8, Adam at 0.3": ("adam", 0.3)}
"""Healthy but for the rate, whose cure is that of the race."""


def trained(found: Any, program: Any, rate: float | None = None) -> tuple[Any, Any]:
    """The run of so many steps, at the best rate if not at this one, and the parameters after it."""
    shop = found.workshop
    descents = shop.descents(program)
    running = descents.advance(descents.start([shop.factor(rate or shop.raced(program).rate)]), STEPS)
    return running, shop.context.given.nested(running.states[0][0])


def named(found: Any) -> str:
    """The codes of the causes."""
    return ", ".join(dict.fromkeys(finding.code for finding in found.causes)) or "nothing"


def settled(running: Any) -> float:
    """The loss at the end of a run."""
    return float(jnp.mean(running.losses[0, -8:]))


def main(*words: str) -> None:
    """Prints a row for each case: the right loss of what training as given and cured makes."""
    print("| case | named | cure | loss as given | loss cured |\n| --- | --- | --- | --- | --- |", flush=True)
    for name, (make, by_hand) in CASES.items():
        if not all(word in name for word in words):
            continue
        made = make()
        found = diagnose_loss(made.loss, made.params, *made.args, optimizer="adam", learning_rate=1e-3)
        running, params = trained(found, found.workshop.as_given)
        try:
            program = found.cured
            cure, (after, cured) = "built in: " + ", ".join(program.codes), trained(found, program)
            ends = [settled(running), settled(after)]
        except IdjaxError:
            cure, cured, ends = "none that is a gain", None, [float(running.losses[0, -1]), float("nan")]
        if by_hand is not None:
            right = by_hand()
            if cured is None:
                again = diagnose_loss(right.loss, right.params, *right.args, optimizer="adam")
                cure, (_, cured) = "by hand", trained(again, again.workshop.as_given)
            ends = [float(right.loss(each, *right.args)) for each in (params, cured)]
        print(f"| {name} | {named(found)} | {cure} | {ends[0]:.4g} | {ends[1]:.4g} |", flush=True)
        jax.clear_caches()
    for name, (optimizer, rate) in RATES.items():
        if not all(word in name for word in words):
            continue
        made = of("", Net(), X, Y[:, None])()
        found = diagnose_loss(made.loss, made.params, *made.args, optimizer=optimizer, learning_rate=rate)
        ends = [settled(trained(found, found.workshop.as_given, at)[0]) for at in (rate, None)]
        print(
            f"| {name} | {named(found)} | rate {found.learning_rate:.3g} | {ends[0]:.4g} | {ends[1]:.4g} |", flush=True
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
