"""One run of a comparison: a ``kd-train`` process, and the model it leaves, scored."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from runtime.errors import UserError
from runtime.files import atomic_path
from train.compare.config import PlannedRun, fingerprint
from train.models import load_model
from train.settings import read_yaml
from train.state import LOG_FILE, MODEL_FILE, STATE_FILE
from train.tracking import HeldOutSequence, headline, validate_tracking

RESULT_FILE = "result.json"
LOCK_FILE = "compare.lock"
COMBINED = "combined"
PATIENCE = 10.0  # seconds that a process has to end when it is told to


@dataclass(frozen=True)
class RunResult:
    """What a finished run is worth.

    Attributes:
        fingerprint: Of the configuration it was trained with.
        test: Folders of the sequences it was scored on.
        parameters: Learned parameters of the model.
        minutes: Minutes of training.
        steps: Optimisation steps taken.
        scores: Figures by sequence; those of all together under ``combined``.
    """

    fingerprint: str
    test: list[str]
    parameters: int
    minutes: float
    steps: int
    scores: dict[str, dict[str, Any]]

    @property
    def combined(self) -> dict[str, Any]:
        """The figures of all sequences together."""
        return self.scores[COMBINED]


def saved_result(run: PlannedRun) -> RunResult | None:
    """Return what a run was worth, or None if it has not come to its end."""
    try:
        entries = json.loads((run.folder / RESULT_FILE).read_text(encoding="utf-8"))
        result = RunResult(**entries)
    except (OSError, ValueError, TypeError):
        return None
    finished = (run.folder / MODEL_FILE).is_file() and result.fingerprint == run.fingerprint
    return result if finished else None


def changed_keys(run: PlannedRun) -> list[str]:
    """Return the sections in which a run differs from the one that its folder holds."""
    if not run.config_file.exists():
        return []
    before = read_yaml(run.config_file)
    if fingerprint(before) == run.fingerprint:
        return []
    keys = sorted({*before, *run.entries}, key=str)
    return [key for key in keys if before.get(key) != run.entries.get(key)]


def forget(run: PlannedRun) -> None:
    """Take back what says that a run was begun or finished, so that it starts anew."""
    for file in (run.folder / RESULT_FILE, run.folder / STATE_FILE, run.config_file):
        file.unlink(missing_ok=True)


def train_run(run: PlannedRun, lock: int, tell: Callable[[str], None]) -> None:
    """Train a run to its end, from its checkpoint where there is one.

    Args:
        run: The run.
        lock: Descriptor that the process holds open, see ``locked``.
        tell: Called now and then with where the run stands.

    Raises:
        UserError: It failed; the message is the run's own.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(run.config_file) as temporary:
        text = yaml.safe_dump(run.entries, sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "train.cli", "run", str(run.config_file)]
    command += ["--out", str(run.folder)]
    if (run.folder / STATE_FILE).exists():
        command.append("--resume")
    with run.log_file.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(),
            pass_fds=[lock],
        )
        _note_process(lock, process.pid)
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=1)
                tell(f"{run}: {_standing(run.folder / LOG_FILE)}")
        finally:
            _end(process)
    if process.returncode:
        raise UserError(_last_words(run.log_file, process.returncode))


def score_run(run: PlannedRun, test: Sequence[HeldOutSequence]) -> RunResult:
    """Score the model that a run has left, and write down what the run is worth.

    Args:
        run: A run that was trained to its end.
        test: Sequences to track.

    Raises:
        UserError: The model cannot be used.
    """
    model = load_model(run.folder / MODEL_FILE)
    if model.input_wh is None:
        raise UserError(f"{run.folder / MODEL_FILE} does not tell its input size: train it again")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    scores = validate_tracking(model, test, model.input_wh, model.tracker)
    state = run.folder / STATE_FILE
    clock = torch.load(state, map_location="cpu", weights_only=True, mmap=True)["clock"]
    result = RunResult(
        fingerprint=run.fingerprint,
        test=[str(one.directory) for one in test],
        parameters=model.parameter_count(),
        minutes=clock["seconds"] / 60,
        steps=clock["step"],
        scores={
            _name_in(scores.sequences, index): headline(one)
            for index, (_, one) in enumerate(scores.sequences)
        }
        | {COMBINED: headline(scores.combined)},
    )
    with atomic_path(run.folder / RESULT_FILE) as temporary:
        temporary.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    return result


@contextmanager
def locked(out: Path) -> Iterator[int]:
    """Keep a folder to one comparison at a time.

    The lock belongs to whoever holds the descriptor open. The runs' processes do, so that a run
    which outlives a killed comparison is not started a second time beside itself.

    Args:
        out: Folder of the comparison.

    Yields:
        The descriptor.

    Raises:
        UserError: The folder is in use.
    """
    with (out / LOCK_FILE).open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            raise UserError(
                f"{out} is in use by process {handle.read(20).strip() or 'unknown'}, another "
                "comparison or a run that a killed one left behind: wait for its end, or end it"
            ) from error
        _note_process(handle.fileno(), os.getpid())
        yield handle.fileno()


def _note_process(lock: int, process: int) -> None:
    os.ftruncate(lock, 0)
    os.write(lock, f"{process}\n".encode())


def _environment() -> dict[str, str]:
    """Return the environment in which ``train`` is this package.

    A script ``train.py`` where the command runs would otherwise be taken for it.
    """
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _standing(log: Path) -> str:
    """Say where a run stands by the last whole row of its log."""
    try:
        header, *rows = log.read_text(encoding="utf-8").splitlines()
        row = dict(zip(header.split(","), rows[-1].split(","), strict=True))
        return f"epoch {row['epoch']}, step {row['step']}, loss {row['loss']}"
    except (OSError, ValueError, IndexError, KeyError):
        return "starting"


def _last_words(log: Path, status: int) -> str:
    """Return the one-line error of a run that failed."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").split("\n")]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1]
    if status < 0:
        return f"ended by signal {-status}, for want of memory perhaps: see {log}"
    last = next((line for line in reversed(lines) if line), "it said nothing")
    return f"ended with status {status}: {last[:200]}; see {log}"


def _name_in(sequences: Sequence[tuple[str, Any]], index: int) -> str:
    """Return a sequence's name, numbered where another one has it."""
    name = sequences[index][0]
    before = sum(other == name for other, _ in sequences[:index])
    return f"{name} ({before + 1})" if before or name == COMBINED else name
