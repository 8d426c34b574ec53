"""Watching a build, and ending it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Result = TypeVar("Result")


def make_monitor(library: Any, bars: Progress, cancelled: threading.Event) -> Any:
    """Return a monitor that shows each phase of a build as a bar while it lasts.

    Args:
        library: TensorRT or TensorRT-RTX.
        bars: Where to show them.
        cancelled: Once set, the build ends after its current step.

    Returns:
        What the build's configuration takes as ``progress_monitor``; None if the library has no
        such thing.
    """
    if not hasattr(library, "IProgressMonitor"):
        return None

    class Monitor(library.IProgressMonitor):  # type: ignore[misc, name-defined]
        # The library calls from several threads; each change of the dictionary is one operation.
        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)
            self._tasks: dict[str, TaskID] = {}

        def phase_start(self, name: str, parent: str | None, num_steps: int) -> None:
            indent = "  " if parent else ""
            self._tasks[name] = bars.add_task(indent + name, total=num_steps)

        def step_complete(self, name: str, step: int) -> bool:
            task = self._tasks.get(name)
            if task is not None:
                bars.update(task, completed=step + 1)
            return not cancelled.is_set()

        def phase_finish(self, name: str) -> None:
            task = self._tasks.pop(name, None)
            if task is not None:
                bars.remove_task(task)

    return Monitor()


def interruptible(work: Callable[[], Result], cancelled: threading.Event) -> Result:
    """Call a function so that Ctrl-C reaches Python while the function stays in the library.

    Python acts on signals in the main thread alone, and not while that is inside a library; so the
    work goes to another thread, and the main thread waits.

    Args:
        work: What to do.
        cancelled: Set on Ctrl-C; the work is expected to end soon after.

    Raises:
        KeyboardInterrupt: After the work has ended.
    """
    outcome: Future[Result] = Future()
    started = threading.Event()

    def run() -> None:
        started.wait()
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    # Starting a thread can be interrupted too, and then there must be nothing to wait for. As a
    # daemon it does not hold up a second Ctrl-C.
    threading.Thread(target=run, daemon=True).start()
    try:
        started.set()
        return outcome.result()
    except KeyboardInterrupt:
        cancelled.set()
        started.set()
        wait([outcome])
        raise
