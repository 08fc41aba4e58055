"""Moments + Settings → the problem that gradient descent solves: a quadratic loss and its spectrum."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from idjax.moments.moments import MomentSet
from idjax.moments.normalize import Normalizer, encode_moments, fit, lost_variance, zca_to_pca
from idjax.moments.spectrum import largest_eigenvalue, spectrum_of
from idjax.settings import Settings
from idjax.theory import quadratic
from idjax.types import IdjaxError, Moments, Spectrum, Weights


@dataclasses.dataclass(frozen=True, eq=False)
class QuadraticProblem:
    """A run as gradient descent sees it: a quadratic loss on moments of normalised rows.

    train, validation: moments whose loss is descended and reported, with output weights ω (q,).
    judged:            moments and output weights whose loss is the squared error in original units, of the rows
                       that the explained variance is about; variance is that of their targets.
    shape_moments:     the same rows' moments for the shape correlation, with what folds the normaliser into weights.
    spectrum:          of train.  reference: an optimum of train, from which errors are counted.
    penalty:           constant part of the L2 activity penalty on train and validation.
    lost:              squared error in original units that no weights change: what the judged rows have where the
                       training rows have nothing.
    reachable:         explained variance of the judged rows by the training rows' least squares.
    separable:         whether a plane separates classes, so that their cross-entropy has no least value.
    turned:            whether this is zca seen along the axes of pca: weights are turned on their way in and out.
    """

    train: Moments
    validation: Moments | None
    output_weights: np.ndarray
    judged: Moments
    judged_weights: np.ndarray
    variance: float
    shape_moments: Moments
    fold_with: Normalizer | None
    spectrum: Spectrum
    reference: Weights
    penalty: tuple[float, float]
    lost: float = 0.0
    reachable: float = 1.0
    turned: bool = False
    separable: bool = False
    _known: dict[bytes, tuple[Weights, np.ndarray]] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def normalizer(self) -> Normalizer:
        """The statistics that the model normalises with: none where each row brings its own."""
        return self.fold_with or fit("none", self.shape_moments)

    def left_at(self, level: float) -> float:
        """The judged squared error, above what is lost, at this explained variance."""
        return (1 - level) * self.variance - self.lost

    def enter(self, weights: Weights) -> Weights:
        """The model's weights in the coordinates of this problem."""
        return zca_to_pca(self.fold_with, weights) if self.turned and self.fold_with else weights

    def leave(self, weights: Weights) -> Weights:
        """Weights in the coordinates of this problem, in the model's."""
        return zca_to_pca(self.fold_with, weights, back=True) if self.turned and self.fold_with else weights

    @property
    def groups(self) -> int:
        """1 if all outputs learn at the same rates, else one group per output."""
        return 1 if np.all(self.output_weights == self.output_weights[0]) else len(self.output_weights)

    @property
    def output_groups(self) -> list[slice]:
        """The outputs of each group, as slices of all."""
        return [slice(None)] if self.groups == 1 else [slice(j, j + 1) for j in range(self.groups)]

    @property
    def output_shares(self) -> np.ndarray:
        """ω/q, (q,): what each output's squared error counts in the loss."""
        return self.output_weights / len(self.output_weights)

    @property
    def judged_shares(self) -> np.ndarray:
        """The share of each output in the squared error that is judged, (q,)."""
        return self.judged_weights / len(self.judged_weights)

    @property
    def mean(self) -> np.ndarray:
        """μ = √w̄ [m; 1] in the eigenbasis."""
        return np.sqrt(self.train.weight) * (self.spectrum.eigenvectors.T @ np.append(self.train.mean_x, 1.0))

    @property
    def rates(self) -> np.ndarray:
        """h = (2/q) ω λ, (g, n)."""
        return 2 * self.output_shares[: self.groups, None] * self.spectrum.eigenvalues

    @property
    def condition_number(self) -> float:
        """The largest rate over the smallest that is not 0."""
        positive = self.rates[self.rates > 0]
        return float(positive.max() / positive.min()) if len(positive) else float("nan")

    @functools.cached_property
    def on_train(self) -> quadratic.Projected:
        """Moments of the training rows around the reference, in the eigenbasis."""
        return quadratic.project(self.train, self.reference, self.spectrum.eigenvectors, self.spectrum.eigenvalues)

    @functools.cached_property
    def on_validation(self) -> quadratic.Projected | None:
        """Moments of the validation rows around the reference, if there is a split."""
        return self.validation and self._project(self.validation)

    @functools.cached_property
    def on_judged(self) -> quadratic.Projected:
        """Moments of the rows that are judged around the reference."""
        if self.judged is self.validation and self.on_validation is not None:
            return self.on_validation
        return self.on_train if self.judged is self.train else self._project(self.judged)

    def _project(self, moments: Moments) -> quadratic.Projected:
        return quadratic.project(moments, self.reference, self.spectrum.eigenvectors)

    @functools.cached_property
    def mode_groups(self) -> list[tuple[str, np.ndarray]]:
        """The modes by what they are, as masks (n,): the mean of the inputs, the slow ones, the bias, and null ones.

        The mean has a mode of its own only where it is larger than any deviation; the bias is the mode that turns most
        towards the constant 1, if one does by half.
        """
        eigenvalues, vectors = self.spectrum.eigenvalues, self.spectrum.eigenvectors
        kind = np.full(len(eigenvalues), "slow")
        kind[eigenvalues == 0] = "null"
        moving = np.flatnonzero(eigenvalues > 0)
        mean = self.train.mean_x
        if len(moving) and float(mean @ mean) > largest_eigenvalue(self.train.covariance_xx):
            kind[moving[0]] = "mean"
        constant = vectors[-1] ** 2 * (kind == "slow")
        if constant.max(initial=0.0) > 0.5 * (1 - (vectors[-1] ** 2)[kind == "mean"].sum()):
            kind[np.argmax(constant)] = "bias"
        named = ((name, (kind == name).astype(np.float64)) for name in ("mean", "slow", "bias", "null"))
        return [(name, mask) for name, mask in named if mask.any()]

    @property
    def marked_modes(self) -> dict[str, int]:
        """The modes that are the mean's and the bias's own, by these names, as far as there are any."""
        return {name: int(np.argmax(mask)) for name, mask in self.mode_groups if name in ("mean", "bias")}

    def coefficients(self, start: Weights) -> np.ndarray:
        """Vᵀ(Θ_0 - Θ_ref), (n, q); of the last start they are known."""
        return self._once(start, b"", lambda: self.spectrum.eigenvectors.T @ (start.stacked - self.reference.stacked))

    def second(self, start: Weights, outputs: slice, shares: np.ndarray) -> np.ndarray:
        """Σ_j s_j e_j e_jᵀ of some outputs with shares s, e the coefficients of the start, (n, n)."""
        errors, share = self.coefficients(start)[:, outputs], shares[outputs]
        key = repr((outputs.start, outputs.stop)).encode() + share.tobytes()
        return self._once(start, key, lambda: (errors * share) @ errors.T)

    def _once(self, start: Weights, key: bytes, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """A number array of a start, computed once: searches and diagnoses predict many runs from one start."""
        if any(known is not start for known, _ in self._known.values()):
            self._known.clear()
        if key not in self._known:
            self._known[key] = start, compute()
        return self._known[key][1]


def quadratic_problem(train: MomentSet, validation: MomentSet | None, settings: Settings) -> QuadraticProblem:
    """Chooses the moments and output weights that the normaliser and the units of the loss imply (theory §6).

    Raises:
      IdjaxError: weights too large to be squared.
    """
    turned = settings.normalize == "zca"
    fitted = fit("pca" if turned else settings.normalize, train.raw)
    original = settings.loss_space == "original"
    scale = fitted.targets.scale
    ones = np.ones_like(scale)

    def seen(moments: MomentSet, in_original: bool) -> Moments:
        if settings.normalize == "sample":
            return moments.sample_weighted if in_original else moments.sample
        return encode_moments(fitted, moments.raw)

    judged_set = validation or train
    seen_train = seen(train, original)
    seen_validation = seen(validation, original) if validation else None
    alike = original or settings.normalize != "sample"
    judged = (seen_validation or seen_train) if alike else seen(judged_set, True)
    penalty = (0.0, 0.0)
    if settings.activity_l2:
        seen_train, constant = _penalized(seen_train, settings.activity_l2)
        penalty = (constant, 0.0)
        if seen_validation:
            seen_validation, constant = _penalized(seen_validation, settings.activity_l2)
            penalty = (penalty[0], constant)
    reference = quadratic.optimum(seen_train)
    with np.errstate(over="ignore"):
        if not np.isfinite(np.sum(reference.stacked**2)):
            raise IdjaxError("squares of the best weights for these numbers overflow float64: scale the inputs up")
    affine = settings.normalize != "sample"
    lost = 0.0
    if affine and validation and not scale.all():
        raw = validation.raw
        lost = lost_variance(fitted.targets, raw.mean_y, raw.covariance_yy) / raw.outputs
    return QuadraticProblem(
        train=seen_train,
        validation=seen_validation,
        output_weights=scale**2 if original and affine else ones,
        judged=judged,
        judged_weights=scale**2 if affine else ones,
        variance=float(np.mean(np.diagonal(judged_set.raw.covariance_yy))),
        shape_moments=judged_set.raw if affine else judged_set.sample_weighted,
        fold_with=fitted if affine else None,
        spectrum=spectrum_of(seen_train),
        reference=reference,
        penalty=(penalty[0], penalty[1] + lost * original),
        lost=lost,
        reachable=quadratic.reachable(train.raw, judged_set.raw),
        turned=turned,
    )


def _penalized(moments: Moments, l2: float) -> tuple[Moments, float]:
    """E|y - ŷ|²/q + l2 E|ŷ|² as a plain squared error with weight k = 1 + l2 q and targets y/k, plus a constant."""
    k = 1 + l2 * moments.outputs
    with np.errstate(over="ignore"):
        power = float(np.trace(moments.covariance_yy) + moments.mean_y @ moments.mean_y)
    if not np.isfinite(power):
        raise IdjaxError("the squares of the targets overflow float64: scale them down")
    scaled = dataclasses.replace(
        moments,
        weight=moments.weight * k,
        mean_y=moments.mean_y / k,
        covariance_xy=moments.covariance_xy / k,
        covariance_yy=moments.covariance_yy / k**2,
        autoencoder=False,
    )
    return scaled, moments.weight * power / moments.outputs * (1 - 1 / k)
