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


def jitter(milliseconds: FloatArray) -> float:
    """Return how much the time of a frame differs from that of the frame before, on average.

    The mean absolute difference of successive delays, the quantity that RFC 3550 (6.4.1) smooths
    for packets. Unlike a percentile it tells a stutter from a slow change.

    Args:
        milliseconds: ``[rounds, frames]``; the last frame of a round and the first of the next are
            no neighbours.

    Returns:
        Milliseconds, 0 where rounds have one frame.

    Examples:
        >>> jitter(np.array([[1.0, 3.0, 2.0], [9.0, 9.0, 9.0]]))
        0.75
    """
    if milliseconds.shape[1] < 2:
        return 0.0
    return float(np.abs(np.diff(milliseconds, axis=1)).mean())


@dataclass(frozen=True)
class Ratio:
    """How many times as long one takes as the other, with a confidence interval."""

    ratio: float
    low: float
    high: float
    confidence: float

    def to_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


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
    random = np.random.default_rng(seed)
    return _ratio(logs.mean(), _resampled_means(logs, resamples, random), confidence)


def ratio_of_ratios(
    now: npt.ArrayLike,
    then: npt.ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Ratio:
    """Compare the ratios of one run's rounds with those of another run.

    The rounds of two runs do not pair, so each run is resampled on its own.

    Args:
        now: ``[R]`` positive ratios, one per round.
        then: ``[S]`` ratios of the earlier run.
        confidence: Share of the bootstrap distribution the interval covers.
        resamples: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: A series is empty.

    Examples:
        >>> round(ratio_of_ratios([3.0, 3.0], [2.0, 2.0, 2.0]).low, 6)
        1.5
    """
    now, then = np.log(np.asarray(now, np.float64)), np.log(np.asarray(then, np.float64))
    if not (now.size and then.size):
        raise ValueError(f"series of {now.size} and {then.size} values do not compare")
    random = np.random.default_rng(seed)
    means = _resampled_means(now, resamples, random) - _resampled_means(then, resamples, random)
    return _ratio(now.mean() - then.mean(), means, confidence)


def _resampled_means(values: FloatArray, resamples: int, random: np.random.Generator) -> FloatArray:
    chosen = random.integers(0, len(values), (resamples, len(values)))
    means: FloatArray = values[chosen].mean(axis=1)
    return means


def _ratio(mean: float, means: FloatArray, confidence: float) -> Ratio:
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Ratio(float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)), confidence)
