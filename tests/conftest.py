"""What holds for every test."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

# Quiets OpenCV, which listens at its first import only; some tests import it by itself.
import runtime.opencv  # noqa: F401


@pytest.fixture(autouse=True, scope="module")
def _no_thread_outlives_a_module() -> Iterator[None]:
    """A progress bar that is never stopped draws on for ever, and slows all that follows."""
    yield
    for thread in threading.enumerate():
        if "Refresh" in type(thread).__name__:
            # A stopped one ends when its pause between two frames is over.
            thread.join(timeout=2)
            assert not thread.is_alive()
