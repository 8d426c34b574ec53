"""Writes frames into all sinks and kills itself at a counted moment; run by test_sink_kill.py.

A moment is just before or just after a call that changes something on the disk, or the end of a
frame. Prints the number of frames that were handed over whole, one line each.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.counting import Counter, Line
from runtime.sinks import open_sinks
from tests.runtime.results import GreySource, result

FRAMES = 30


class Moments:
    """Counts moments and ends the process at one of them; 0 for never."""

    def __init__(self, last: int) -> None:
        self.last, self.passed = last, 0

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any) -> Any:
            self()
            done = function(*arguments)
            self()
            return done

        return watched


def main(folder: Path, last: int) -> None:
    moments = Moments(last)
    for owner, name in ((os, "pwrite"), (os, "fsync"), (Path, "replace"), (Path, "write_bytes")):
        setattr(owner, name, moments.around(getattr(owner, name)))
    counter = Counter([Line("door", (0, 60), (160, 60))], [], ["person"])
    names = ["mot", "jsonl", "overlay", "crops"]
    with open_sinks(
        folder, names, source=GreySource(), classes=["person"], counter=counter
    ) as sinks:
        for index in range(FRAMES):
            sinks.write(result(index, fps=1.0))
            print(index + 1, flush=True)
            moments()
    print(f"moments {moments.passed}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
