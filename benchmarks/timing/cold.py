"""What a contender needs in a process of its own: time to start, and memory.

The network's file is likely to be in the system's cache already; a disk is not measured.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.contenders import Recipe
from runtime.errors import UserError
from runtime.sources.base import Frame

STATUS = Path("/proc/self/status")
STARTS = 3
STEPS = 30
# Few frames: they are part of the process's memory.
HELD_FRAMES = 4
PATIENCE_SECONDS = 600.0


def cold_start(
    recipe: Recipe | None,
    frames: Sequence[Frame],
    fps: float,
    threads: int | None = None,
    backend: str = "auto",
) -> dict[str, float]:
    """Open a contender in fresh processes, and let it track some frames.

    Args:
        recipe: The contender; None for a process without one, which tells what the interpreter,
            NumPy, OpenCV and the frames need.
        frames: uint8 BGR ``[H, W, 3]``; the first few are used again and again.
        fps: Frames per second of the sequence.
        threads: CPU threads; its own choice when None.
        backend: Backend for ``runtime.load``.

    Returns:
        ``load_ms``, from a network's libraries not being imported to the contender being open, and
        ``first_frame_ms``, both the median of several processes; and ``memory_mb``, the highest
        resident memory of a process in MB of 1e6 bytes, a GPU's own memory not included. Without a
        recipe only the memory; without Linux no memory.

    Raises:
        UserError: The contender cannot be opened or used, a process died, or it is stuck.
    """
    starts = [
        start_once(recipe, frames, fps, threads, backend, steps)
        for steps in (STEPS, *[1] * (STARTS - 1))
    ]
    medians = {name: statistics.median(one[name] for one in starts) for name in starts[0]}
    return medians | {name: starts[0][name] for name in ("memory_mb",) if name in medians}


def start_once(
    recipe: Recipe | None,
    frames: Sequence[Frame],
    fps: float,
    threads: int | None,
    backend: str,
    steps: int,
    patience: float = PATIENCE_SECONDS,
) -> dict[str, float]:
    """Do in one process what ``cold_start`` does in several.

    Args:
        recipe: See ``cold_start``, as for all that is not named here.
        frames: See there.
        fps: See there.
        threads: See there.
        backend: See there.
        steps: Number of frames to track.
        patience: Seconds after which the process counts as stuck.

    Raises:
        UserError: As ``cold_start``.
    """
    name = "a process without a model" if recipe is None else recipe.name
    # A fork would inherit what is loaded here.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (sender, recipe, frames[:HELD_FRAMES], fps, threads, backend, steps)
    process = context.Process(target=_child, args=arguments, daemon=True)
    process.start()
    # From here on the child alone holds the other end, so its death ends the wait.
    sender.close()
    try:
        if not receiver.poll(patience):
            raise UserError(f"{name} did not start in {patience:g} s: try it with kd-run")
        answer = receiver.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"{name} ended its process with status {process.exitcode}: try it with kd-run, and see "
            "whether memory is short"
        ) from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(answer, str):
        raise UserError(f"{name} in a process of its own: {answer}")
    figures: dict[str, float] = answer
    return figures


def _child(
    sender: Connection,
    recipe: Recipe | None,
    frames: Sequence[Frame],
    fps: float,
    threads: int | None,
    backend: str,
    steps: int,
) -> None:
    # Ctrl-C reaches all processes; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer: dict[str, float] | str
    try:
        answer = _start(recipe, frames, fps, threads, backend, steps)
    except Exception as error:
        answer = str(error) if isinstance(error, UserError) else repr(error)
    sender.send(answer)


def _start(
    recipe: Recipe | None,
    frames: Sequence[Frame],
    fps: float,
    threads: int | None,
    backend: str,
    steps: int,
) -> dict[str, float]:
    found: dict[str, float] = {}
    if recipe is not None:
        clock = time.perf_counter
        start = clock()
        with recipe.open(backend, threads) as contender:
            found["load_ms"] = 1000 * (clock() - start)
            contender.begin(fps)
            for number, frame in enumerate(itertools.islice(itertools.cycle(frames), steps)):
                start = clock()
                contender.step(frame)
                if number == 0:
                    found["first_frame_ms"] = 1000 * (clock() - start)
    return {**found, **peak_memory()}


def peak_memory(status: Path = STATUS) -> dict[str, float]:
    """Return the highest resident memory of this process as ``memory_mb``.

    ``getrusage`` would not do: on Linux its figure begins with that of the parent process.

    Args:
        status: The file in which Linux tells of the process.

    Returns:
        Nothing where that file is missing.
    """
    try:
        lines = status.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    return {} if peak is None else {"memory_mb": round(1024 * peak / 1e6, 1)}
