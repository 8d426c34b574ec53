"""How long things take, in memory that does not grow with the number of frames."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SHORTEST = 1e-7  # seconds; what is shorter counts as this
LONGEST = 1e4
STEP = 0.005  # relative width of a bin, so how far a percentile may be off


class Timings:
    """Durations, of which percentiles and the mean can be told at any time.

    They are counted in bins of logarithmic width, so a month of frames takes as much memory as one,
    and a percentile is off by at most half of ``STEP``.

    Examples:
        >>> timings = Timings()
        >>> timings.percentiles([50])
        [nan]
        >>> for milliseconds in range(1, 101):
        ...     timings.add(milliseconds / 1000)
        >>> len(timings), round(timings.total, 6), round(timings.percentiles([50])[0], 3)
        (100, 5.05, 0.05)
    """

    _SCALE = 1 / math.log1p(STEP)
    _BINS = math.ceil(math.log(LONGEST / SHORTEST) * _SCALE)

    def __init__(self) -> None:
        self._counts = np.zeros(self._BINS + 1, np.int64)
        self._count = 0
        self.total = 0.0

    def __len__(self) -> int:
        return self._count

    def add(self, seconds: float) -> None:
        """Take in a duration."""
        place = math.log(max(seconds, SHORTEST) / SHORTEST) * self._SCALE
        self._counts[min(int(place), self._BINS)] += 1
        self._count += 1
        self.total += seconds

    def percentiles(self, shares: Sequence[float]) -> list[float]:
        """Return percentiles in seconds, nan where nothing was added.

        Args:
            shares: In 0..100.
        """
        if not self._count:
            return [math.nan] * len(shares)
        below = self._counts.cumsum()
        places = below.searchsorted([max(share / 100 * self._count, 0.5) for share in shares])
        return [SHORTEST * math.exp((place + 0.5) / self._SCALE) for place in places.tolist()]
