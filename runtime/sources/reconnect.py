"""How a live source comes back after an outage, and how much it says about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from runtime.errors import UserError

LONGEST_SILENCE = 3600.0


@dataclass(frozen=True)
class LiveSettings:
    """How a live source connects and decodes. All times are in seconds.

    Attributes:
        attempts: How often the first connection is tried before the source cannot be opened.
        connect_seconds: How long one attempt may take.
        read_seconds: After how long without a frame the source counts as lost.
        first_delay: Wait before the first attempt to come back; every further one waits twice as
            long as the one before.
        longest_delay: But no longer than this.
        steady_seconds: After an outage, how long frames must flow until the waits start anew.
        quiet_seconds: Outages that begin sooner than this after one that was told are not told, and
            an outage that lasts is told again after this time, then after twice the time, and so on
            up to once in an hour.
        reconnect_seconds: How long an outage may last until the source ends; None for ever.
        decode_threads: Threads that decode the stream of a URL. Every one beyond the first holds
            a frame back, and an outage is noticed that many times ``read_seconds`` later; pictures
            that one thread does not decode in time need them all the same.

    Raises:
        UserError: ``reconnect_seconds`` is negative or not a number.
    """

    attempts: int = 3
    connect_seconds: float = 5.0
    read_seconds: float = 5.0
    first_delay: float = 0.5
    longest_delay: float = 30.0
    steady_seconds: float = 5.0
    quiet_seconds: float = 60.0
    reconnect_seconds: float | None = None
    decode_threads: int = 1

    def __post_init__(self) -> None:
        limit = self.reconnect_seconds
        if limit is not None and not (math.isfinite(limit) and limit >= 0):
            raise UserError(f"{limit:g} s to reconnect cannot be: give 0 or more, or leave it out")


class Backoff:
    """Waits that double.

    Args:
        first: The first wait in seconds.
        longest: The longest one.

    Examples:
        >>> backoff = Backoff(0.5, 3.0)
        >>> [backoff.next() for _ in range(5)]
        [0.5, 1.0, 2.0, 3.0, 3.0]
        >>> backoff.reset()
        >>> backoff.next()
        0.5
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        """Return the next wait in seconds."""
        delay = min(self._next, self._longest)
        self._next = 2 * delay
        return delay

    def reset(self) -> None:
        """Start with the first wait again."""
        self._next = self._first


class OutageReport:
    """Tells the user about outages, in few lines however often the source fails.

    Args:
        name: Name of the source, without credentials.
        tell: Takes one line of text.
        quiet_seconds: See ``LiveSettings``.

    Attributes:
        outages: How many there were so far.
        lost_seconds: How long those that are over lasted, all together.
    """

    def __init__(self, name: str, tell: Callable[[str], None], quiet_seconds: float) -> None:
        self.outages = 0
        self.lost_seconds = 0.0
        self._name = name
        self._tell = tell
        self._quiet = quiet_seconds
        self._since = 0.0
        self._told = False
        self._told_at = -math.inf
        self._remind_at = 0.0
        self._remind_after = quiet_seconds

    def waiting(self, since: float, now: float, delay: float) -> None:
        """Note that the source is lost and is tried again after a wait.

        Args:
            since: When the outage began; another time than before means another outage.
            now: The present.
            delay: The wait.
        """
        retry = f"trying again in {delay:.3g} s"
        if self.outages == 0 or since != self._since:
            self._since = since
            self.outages += 1
            self._told = now - self._told_at >= self._quiet
            self._remind_after = self._quiet
            self._remind_at = since + self._remind_after
            if self._told:
                self._told_at = now
                silent = now - since
                what = f"no frame for {silent:.0f} s" if silent >= 1 else "the stream broke off"
                count = f", outage {self.outages}" if self.outages > 1 else ""
                self._tell(f"{self._name} is lost ({what}{count}): {retry}")
        elif now >= self._remind_at:
            self._told = True
            self._told_at = now
            self._remind_after = min(2 * self._remind_after, LONGEST_SILENCE)
            self._remind_at = now + self._remind_after
            self._tell(f"{self._name} is still lost after {now - since:.0f} s: {retry}")

    def back(self, now: float) -> None:
        """Note that the source gives frames again."""
        lasted = now - self._since
        self.lost_seconds += lasted
        if self._told:
            self._tell(f"{self._name} is back after {lasted:.0f} s")
