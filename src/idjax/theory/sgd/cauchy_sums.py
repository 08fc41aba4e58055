"""Sums Σ w/(d - c) over very many points c of the line, at points d of the plane, by their moments in narrow bins.

In a bin of centre m and half width h, with u = (c - m)/h, 1/(d - c) = Σ_j u^j h^j/(d - m)^(j+1). Bins are as wide as an
eighth of their distance from 0, for it is there that d comes near: so the series gains a digit or more with every two
terms, where d is no nearer to a point than a third of the point's own distance from 0. The windows of
`inverse_z_transform` are so where they count. Source: the fast multipole method in one dimension; Dutt, Gu and Rokhlin
1996, "Fast algorithms for polynomial interpolation, integration, and differentiation".
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Complex, Float, Int

FEW = 8192
"""Points up to which every term is added by itself."""
WIDTH = 1 / np.log(1.25)
"""Bins for a factor of e."""
TERMS = 24
SIGN = 4096
"""What the number of a bin of positive points is greater by, and that of negative ones less."""


class CauchySums:
    """Σ_P w/(d - c) of some weights w (k, P) at points c (P,), at as many d as are asked for, P paid once.

    more: further weights and points, where all are too many to be held.
    """

    def __init__(
        self,
        weights: Float[np.ndarray, "k P"],
        points: Float[np.ndarray, " P"],
        more: Iterable[tuple[Float[np.ndarray, "k P"], Float[np.ndarray, " P"]]] = (),
    ):
        more = iter(more)
        rest = next(more, None)
        self._few = (weights, points) if rest is None and len(points) <= FEW else None
        if self._few:
            return
        bins: dict[int, np.ndarray] = {}
        _add(bins, weights, points)
        while rest is not None:
            _add(bins, *rest)
            rest = next(more, None)
        self._centre, self._half = _bins(np.array(list(bins)))
        self._moments = list(np.stack(list(bins.values()), axis=2))

    def at(self, places: Complex[np.ndarray, " N"]) -> Complex[np.ndarray, "k N"]:
        """The sums at these points d."""
        if self._few:
            weights, points = self._few
            return weights @ (1 / (places[:, None] - points)).T
        near = 1 / (places[:, None] - self._centre)
        ratio, total = self._half * near, np.zeros((len(self._moments[0]), *near.shape), complex)
        for moments in reversed(self._moments):
            total = total * ratio + moments[:, None]
        return np.einsum("kNb,Nb->kN", total, near)


def _bins(numbers: Int[np.ndarray, " b"]) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    """Centres and half widths of the bins of these numbers."""
    least = np.exp((np.abs(numbers) - SIGN) / WIDTH)
    most = least * np.exp(1 / WIDTH)
    return np.sign(numbers) * (least + most) / 2, (most - least) / 2


def _add(bins: dict[int, np.ndarray], weights: Float[np.ndarray, "k P"], points: Float[np.ndarray, " P"]) -> None:
    """Adds the moments Σ w u^j of points, (TERMS, k), to those of their bins."""
    number = np.floor(WIDTH * np.log(np.maximum(np.abs(points), 1e-300))).astype(np.int16)
    number = np.where(points > 0, SIGN + number, -SIGN - number).astype(np.int16)
    order = np.argsort(number, kind="stable")
    number, weights = number[order], weights[:, order].T
    first = np.flatnonzero(np.append(True, np.diff(number) != 0))
    centre, half = _bins(number[first].astype(int))
    count = np.diff(np.append(first, len(points)))
    scaled = np.clip((points[order] - np.repeat(centre, count)) / np.repeat(half, count), -1, 1)
    powers = np.empty((TERMS, len(points)))
    powers[0] = 1.0
    for term in range(1, TERMS):
        np.multiply(powers[term - 1], scaled, out=powers[term])
    for begin, length in zip(first, count, strict=True):
        part, key = slice(begin, begin + length), int(number[begin])
        moments = powers[:, part] @ weights[part]
        bins[key] = bins[key] + moments if key in bins else moments
