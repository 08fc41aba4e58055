"""Sums Σ w/(d - c) over very many points c of the line, at points d of the plane, by their moments in narrow bins.

In a bin of centre m and half width h, with u = (c - m)/h, 1/(d - c) = Σ_j u^j h^j/(d - m)^(j+1). Bins are as wide as an
eighth of their distance from 0, for it is there that d comes near: so the series gains a digit or more with every two
terms, where d is no nearer to a point than a third of the point's own distance from 0. The windows of
`inverse_z_transform` are so where they count. Source: the fast multipole method in one dimension; Dutt, Gu and Rokhlin
1996, "Fast algorithms for polynomial interpolation, integration, and differentiation".
"""

import numpy as np
from jaxtyping import Complex, Float

FEW = 8192
"""Points up to which every term is added by itself."""
WIDTH = 1 / np.log(1.25)
"""Bins for a factor of e."""
TERMS = 24


class CauchySums:
    """Σ_P w/(d - c) of some weights w (k, P) at points c (P,), at as many d as are asked for, P paid once."""

    def __init__(self, weights: Float[np.ndarray, "k P"], points: Float[np.ndarray, " P"]):
        self._few = (weights, points) if len(points) <= FEW else None
        if self._few:
            return
        number = np.floor(WIDTH * np.log(np.maximum(np.abs(points), 1e-300))).astype(np.int16)
        number = np.where(points > 0, 4096 + number, number).astype(np.int16)
        order = np.argsort(number, kind="stable")
        points, number = points[order], number[order]
        first = np.flatnonzero(np.append(True, np.diff(number) != 0))
        count = np.diff(np.append(first, len(points)))
        least, most = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
        self._centre, self._half = (least + most) / 2, (most - least) / 2
        scaled = (points - np.repeat(self._centre, count)) / np.repeat(np.where(self._half > 0, self._half, 1.0), count)
        power, self._moments = weights[:, order], []
        for _ in range(TERMS):
            self._moments.append(np.add.reduceat(power, first, axis=1))
            power *= scaled

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
