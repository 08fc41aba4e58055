"""A sample of rows that pass by in blocks: evenly spaced, and never more than so many."""

import numpy as np
from jaxtyping import Float


class Thinned:
    """At most `most` rows (x, y), evenly spaced over all that are added; y is x where there is no target."""

    def __init__(self, most: int):
        self._most, self._stride, self._seen, self._count = most, 1, 0, 0
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"] | None) -> None:
        """Takes in a block of rows."""
        first = -self._seen % self._stride
        kept = x[first :: self._stride].astype(np.float64)
        self._kept.append((kept, kept if y is None else y[first :: self._stride].astype(np.float64)))
        self._seen, self._count = self._seen + len(x), self._count + len(kept)
        while self._count > self._most:
            x, y = self.rows()
            self._kept, self._stride = [(x[::2], y[::2])], 2 * self._stride
            self._count = len(self._kept[0][0])

    def rows(self) -> tuple[Float[np.ndarray, "k p"], Float[np.ndarray, "k q"]]:
        """The rows that were kept."""
        x, y = (np.concatenate(part) for part in zip(*self._kept, strict=True))
        return x, y
