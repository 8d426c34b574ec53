"""The learning rate over a run that is bounded by steps, by time, or by both."""

from __future__ import annotations

import math

from train.config import ScheduleConfig


def run_progress(step: int, total_steps: int, minutes: float, max_minutes: float | None) -> float:
    """Return how much of the run is over, 0..1, by steps or by time, whichever is further.

    Examples:
        >>> run_progress(50, 100, 1.0, None), run_progress(50, 100, 3.0, 4.0)
        (0.5, 0.75)
    """
    by_time = minutes / max_minutes if max_minutes else 0.0
    return min(1.0, max(step / total_steps, by_time))


def learning_rate(config: ScheduleConfig, progress: float) -> float:
    """Return the rate at ``progress`` 0..1: a linear warm-up, then a cosine or steps.

    Examples:
        >>> config = ScheduleConfig(learning_rate=1.0, warmup=0.1, final=0.0)
        >>> [round(learning_rate(config, p), 3) for p in (0.05, 0.1, 0.55, 1.0)]
        [0.5, 1.0, 0.5, 0.0]
        >>> steps = ScheduleConfig(learning_rate=1.0, warmup=0.1, decay="step", milestones=[0.5])
        >>> [round(learning_rate(steps, p), 3) for p in (0.05, 0.49, 0.5, 1.0)]
        [0.5, 1.0, 0.1, 0.1]
    """
    if progress < config.warmup:
        return config.learning_rate * max(progress / config.warmup, 0.01)
    if config.decay == "step":
        passed = sum(progress >= milestone for milestone in config.milestones)
        return float(config.learning_rate * 0.1**passed)
    after = (progress - config.warmup) / max(1 - config.warmup, 1e-9)
    share = config.final + (1 - config.final) * (1 + math.cos(math.pi * after)) / 2
    return config.learning_rate * share


def _in_cycle(restarts: list[float], progress: float) -> float:
    """Return how much of the present cosine is over, 0..1."""
    start = max([0.0, *(restart for restart in restarts if restart <= progress)])
    end = min([1.0, *(restart for restart in restarts if restart > progress)])
    return (progress - start) / (end - start)
