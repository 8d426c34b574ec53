"""Summaries of timings."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """One stage's time per frame, in milliseconds."""

    median_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float

    def to_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def summarise(milliseconds: npt.ArrayLike) -> Summary:
    """Summarise timings; percentiles are interpolated linearly.

    Args:
        milliseconds: ``[N]``, at least one.

    Raises:
        ValueError: There are none.

    Examples:
        >>> summarise([1.0, 2.0, 3.0]).median_ms
        2.0
    """
    values = np.asarray(milliseconds, np.float64).reshape(-1)
    if len(values) == 0:
        raise ValueError("no timings to summarise")
    median, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
    return Summary(median, p95, p99, float(values.mean()))


@dataclass(frozen=True)
class Ratio:
    """How many times as long one takes as the other, with a confidence interval."""

    ratio: float
    low: float
    high: float
    confidence: float


def paired_ratio(
    first: npt.ArrayLike,
    other: npt.ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Ratio:
    """Compare two series that were measured in pairs.

    The ratio is the geometric mean of the pairs' ratios; its interval is the percentile bootstrap
    over the pairs (Efron 1979). Noise that hits both halves of a pair cancels.

    Args:
        first: ``[R]`` positive values, one per round.
        other: ``[R]`` values of the same rounds.
        confidence: Share of the bootstrap distribution the interval covers.
        resamples: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: The series are empty or differ in length.

    Examples:
        >>> paired_ratio([2.0, 4.0], [1.0, 2.0]).ratio
        2.0
    """
    first, other = np.asarray(first, np.float64), np.asarray(other, np.float64)
    if first.shape != other.shape or first.size == 0:
        raise ValueError(f"series of {first.size} and {other.size} values do not pair")
    logs = np.log(first / other)
    chosen = np.random.default_rng(seed).integers(0, len(logs), (resamples, len(logs)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(logs[chosen].mean(axis=1), [tail, 100 - tail])
    return Ratio(float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high)), confidence)
