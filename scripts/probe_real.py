"""Linear probes, prescribed from the features and then trained over a fine sweep: `python scripts/probe_real.py`.

Of every set a quarter is kept for validation, which the prescription never sees. Trained is softmax regression on all
the other rows at 17 rates a factor of 2^(1/4) apart, three orders each, and nine
at the prescribed rate; the target is 98% of what the converged probe
has on the validation rows. Results: docs/probes.md.
"""

import argparse
import importlib
import importlib.util
import pathlib
import time
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn import datasets

from idjax.moments.moments import moments_of
from idjax.moments.normalize import encode, fit
from idjax.prediction.probe import predict_probe, softmax
from idjax.prediction.probe.flow import flow_to
from idjax.prediction.probe.predict import MOST_JUDGED, SHARE, features
from idjax.prediction.probe.race import LabelledRows, Race, race
from idjax.results.diagnosis import ProbeRun

RATES = 2.0 ** (np.arange(-8, 9) / 4)


class Set(NamedTuple):
    """Features, labels, the batch that they are trained with, and what is done to them first."""

    x: Float[np.ndarray, "N p"]
    labels: Int[np.ndarray, " N"]
    batch_size: int
    normalize: str = "none"


def clusters(rows: int, inputs: int = 64, classes: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normal classes that overlap, variances falling as i^-1.2, what tells them apart spread over all directions."""
    rng = np.random.default_rng(seed)
    deviation = np.arange(1, inputs + 1) ** -0.6
    labels = rng.integers(classes, size=rows)
    centres = 0.25 * rng.normal(size=(classes, inputs))
    return (centres[labels] + rng.normal(size=(rows, inputs))) * deviation, labels


def planted() -> dict[str, Set]:
    """The six that are made."""
    x, labels = clusters(24_000)
    rng = np.random.default_rng(1)
    many, many_labels = clusters(100_000, seed=2)
    return {
        "small scale": Set(0.25 * x, labels, 256),
        "unit norm": Set(x / np.linalg.norm(x, axis=1, keepdims=True), labels, 256),
        "large mean": Set(x + 0.8 * rng.normal(size=x.shape[1]), labels, 256),
        "heavy tails": Set(x * np.sqrt(3 / rng.chisquare(3, size=(len(x), 1))), labels, 256),
        "whitened": Set(x, labels, 256, "pca"),
        "100,000 rows": Set(many, many_labels, 256),
    }


def real() -> dict[str, Set]:
    """Features of the digits that come with scikit-learn."""
    pixels, labels = (np.asarray(part) for part in datasets.load_digits(return_X_y=True))
    pixels = pixels / 16
    rng = np.random.default_rng(0)
    waves = np.cos(0.35 * pixels @ rng.normal(size=(64, 512)) + rng.uniform(0, 2 * np.pi, 512)) * np.sqrt(2 / 512)
    sets = {"digits, pixels": Set(pixels, labels, 64), "digits, random Fourier": Set(waves, labels, 64)}
    read = pretrained(pixels)
    if read is not None:
        sets |= {"digits, pretrained": Set(read, labels, 64), "the same, batch norm": Set(read, labels, 64, "feature")}
    return sets


def pretrained(pixels: Float[np.ndarray, "N 64"]) -> np.ndarray | None:
    """What a text recogniser (PP-OCRv4) makes of the digits, 120 numbers each, mean over positions.

    Its weights come with `pip install rapidocr-onnxruntime onnx`; None without them.
    """
    try:
        onnx, onnxruntime = map(importlib.import_module, ("onnx", "onnxruntime"))
    except ImportError:
        return None
    found = importlib.util.find_spec("rapidocr_onnxruntime")
    if found is None or found.origin is None:
        return None
    model = onnx.load(pathlib.Path(found.origin).parent / "models" / "ch_PP-OCRv4_rec_infer.onnx")
    last = next(node for node in reversed(model.graph.node) if node.op_type == "MatMul")
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.input[0]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = np.kron(1 - 2 * pixels.reshape(-1, 8, 8), np.ones((1, 6, 6))).astype(np.float32)
    images = np.repeat(images[:, None], 3, axis=1)
    parts = np.array_split(images, 30)
    return np.concatenate([session.run([last.input[0]], {"x": part})[0].mean(axis=1) for part in parts]).astype(float)


class Trained(NamedTuple):
    """Epochs to the target at the prescribed rate, and the fewest of the sweep, at which rate; and the accuracy on the
    validation rows at the prescribed rate after the predicted epochs, over that of the converged probe.
    """

    prescribed: float
    fewest: float
    fewest_rate: float
    validation: float


def train(data: Set, classes: int, run: ProbeRun, validation: np.ndarray, others: np.ndarray) -> Trained:
    """The sweep, the prescribed rate in its middle."""
    labels = data.labels[others]
    whitened, ready = (features(data.x[others], labels, classes, kind) for kind in ("pca", run.normalize))
    ended = softmax.converged_weights(whitened.training.a, whitened.codes)
    rates = run.learning_rate * RATES
    per_epoch = -(-len(others) // data.batch_size)

    def raced(judged: LabelledRows, rates: np.ndarray, target: float, most: int, orders: int) -> Race:
        return race(ready.training, judged, classes, rates, target, batch_size=data.batch_size, orders=orders, seed=7,
                    most_steps=most, extra=1.05)  # fmt: skip

    # Other rows than the prescription is judged by.
    some = np.random.default_rng(9).permutation(len(others))[:MOST_JUDGED]
    target = SHARE * softmax.accuracy(whitened.training.a[some] @ ended, labels[some])
    judged = LabelledRows(ready.training.a[some], labels[some])
    swept = raced(judged, rates, target, 40_000, 3).steps / per_epoch
    prescribed = float(raced(judged, rates[8:9], target, 40_000, 9).steps[0]) / per_epoch
    held = held_out(data, run.normalize, validation, others)
    best = softmax.accuracy(held_out(data, "pca", validation, others).a @ ended, data.labels[validation])
    looked = raced(held, rates[8:9], 2.0, max(1, round(run.epochs * per_epoch)), 9)
    then = float(np.interp(run.epochs * per_epoch, looked.looks, looked.accuracy[:, 0])) / best
    return Trained(prescribed, float(np.min(swept)), float(rates[np.argmin(swept)]), then)


def held_out(data: Set, normalize: str, validation: np.ndarray, others: np.ndarray) -> LabelledRows:
    """The validation rows, normalised and turned as the others are."""
    fitted = fit(normalize, moments_of(data.x[others]))
    a, b = (softmax.with_bias(np.asarray(encode(normalize, fitted, data.x[part], None)[0])) for part in
            (others, validation))  # fmt: skip
    return LabelledRows(b @ softmax.principal_axes(a).vectors, data.labels[validation])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="sets whose name contains this")
    arguments = parser.parse_args()
    print("| features | λ₁ | 4/λ₁ | 4/ρ | rate | epochs predicted | trained | fewest of the sweep | at rate | "
          "trained/predicted | prescribed/fewest | flow/trained | linearised/trained | validation | CPU seconds |\n|"
          + "---|" * 15)  # fmt: skip
    for name, data in (planted() | real()).items():
        if arguments.only not in name:
            continue
        classes = int(data.labels.max()) + 1
        order = np.random.default_rng(5).permutation(len(data.x))
        validation, others = np.split(order, [len(order) // 4])
        sample = others[:: -(-len(others) // 20_000)]
        begin = time.process_time()
        probe = predict_probe(
            data.x[sample], data.labels[sample], classes, batch_size=data.batch_size, total=len(others),
            normalizers=(data.normalize,),
        )  # fmt: skip
        seconds = time.process_time() - begin
        run = probe.runs[0]
        trained = train(data, classes, run, validation, others)
        ready = features(data.x[sample], data.labels[sample], classes, data.normalize)
        clock, _ = flow_to(ready.training, ready.judged, classes, probe.target)
        flow = clock / run.learning_rate / -(-len(others) // data.batch_size)
        cells = (
            f"{run.largest:.3g}", f"{run.always_limit:.3g}", f"{run.minibatch_limit:.3g}", f"{run.learning_rate:.3g}",
            f"{run.epochs:.3g}", f"{trained.prescribed:.3g}", f"{trained.fewest:.3g}", f"{trained.fewest_rate:.3g}",
            f"{trained.prescribed / run.epochs:.2f}", f"{trained.prescribed / trained.fewest:.2f}",
            f"{flow / trained.prescribed:.2f}", f"{run.linearised / run.learning_rate / trained.prescribed:.2f}",
            f"{trained.validation:.3f}", f"{seconds:.1f}",
        )  # fmt: skip
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    with warnings.catch_warnings():
        main()
