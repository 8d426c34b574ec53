"""Bounded queues between the threads of a pipeline."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """A bounded queue from one thread to another.

    Args:
        size: Largest number of items in it.

    Examples:
        >>> channel = Channel(2)
        >>> channel.put("a"), channel.put("b"), channel.close()
        (True, True, None)
        >>> list(channel)
        ['a', 'b']
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = self._cancelled = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Append an item, waiting for room.

        Returns:
            False where nobody takes items any more.
        """
        with self._changed:
            while len(self._items) >= self._size and not self._cancelled:
                self._changed.wait()
            if self._cancelled:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def close(self, error: BaseException | None = None) -> None:
        """Say that no more items come, and why if that is an error."""
        with self._changed:
            self._closed = True
            self._error = error
            self._changed.notify_all()

    def cancel(self) -> None:
        """Say that no more items are taken."""
        with self._changed:
            self._cancelled = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Yield the items until the channel is closed and empty.

        Raises:
            BaseException: What it was closed with, after the last item.
        """
        while True:
            with self._changed:
                while not self._items and not self._closed and not self._cancelled:
                    self._changed.wait()
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


@dataclass
class End:
    """What comes after the last frame of a source.

    Attributes:
        error: Why it ended before its time, or None.
    """

    error: BaseException | None = None


class Inbox(Generic[T]):
    """Items of several sources, a bounded queue for each, taken by one thread.

    Args:
        sources: Number of sources.
        size: Largest number of items of one source.

    Attributes:
        dropped: Items of each source that were dropped for newer ones.
    """

    def __init__(self, sources: int, size: int) -> None:
        self._size = size
        self._queues: list[deque[T | End]] = [deque() for _ in range(sources)]
        self._open = [True] * sources
        self._changed = threading.Condition()
        self._cancelled = False
        self.dropped = [0] * sources

    def put(self, source: int, item: T, drop_oldest: bool = False) -> bool:
        """Append an item of a source, waiting for room or dropping the oldest one.

        Returns:
            False where no items of this source are taken any more.
        """
        queue = self._queues[source]
        with self._changed:
            while len(queue) >= self._size and self._open[source] and not drop_oldest:
                self._changed.wait()
            if not self._open[source]:
                return False
            if len(queue) >= self._size:
                queue.popleft()
                self.dropped[source] += 1
            queue.append(item)
            self._changed.notify_all()
            return True

    def end(self, source: int, error: BaseException | None = None) -> None:
        """Say that no more items of a source come; what is queued is still taken."""
        with self._changed:
            if self._open[source]:
                self._open[source] = False
                self._queues[source].append(End(error))
                self._changed.notify_all()

    def end_all(self) -> None:
        """Say that no more items are wanted; what is queued is still taken."""
        for source in range(len(self._queues)):
            self.end(source)

    def cancel(self) -> None:
        """Say that no more items are taken."""
        with self._changed:
            self._cancelled = True
            self._open = [False] * len(self._open)
            self._changed.notify_all()

    def take(self) -> list[tuple[int, T | End]]:
        """Wait for items and take the oldest one of each source that has any.

        Returns:
            Pairs of source and item; none when all sources have ended and nothing is left.
        """
        with self._changed:
            while not any(self._queues) and any(self._open) and not self._cancelled:
                self._changed.wait()
            if self._cancelled:
                return []
            taken = [
                (source, queue.popleft()) for source, queue in enumerate(self._queues) if queue
            ]
            self._changed.notify_all()
            return taken
