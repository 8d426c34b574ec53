"""Contenders in processes of their own: what is told, and that a failing child is one line."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.contenders import Contender, Recipe, Step
from benchmarks.timing.cold import cold_start, peak_memory, start_once
from runtime.errors import UserError
from runtime.tracking.tracker import Tracker
from runtime.types import Detections

FRAMES = [np.zeros((48, 64, 3), np.uint8)] * 2
BALLAST_MB = 200


class Idle(Contender):
    """Tracks nothing, and holds some memory while it does."""

    def begin(self, fps: float) -> None:
        """Nothing to forget."""

    def step(self, frame: np.ndarray) -> Step:
        """Find nothing."""
        np.ones(BALLAST_MB * 125_000)
        return Step(Tracker(fps=25).update(Detections.empty()), (0, 0, 0, 0))


@dataclass(frozen=True)
class Recipes(Recipe):
    """Opens, fails, dies or sleeps, as its name says."""

    def open(self, backend: str = "auto", threads: int | None = None) -> Contender:
        """Do what the name says."""
        if self.name == "fails":
            raise UserError("no such package: install it")
        if self.name == "breaks":
            raise KeyError("weights")
        if self.name == "dies":
            os._exit(9)
        if self.name == "sleeps":
            time.sleep(60)
        return Idle()


def test_a_start_is_measured_in_a_process_of_its_own() -> None:
    found = start_once(Recipes("idle", ""), FRAMES, 25, None, "auto", 2)
    assert set(found) == {"load_ms", "first_frame_ms", "memory_mb"}
    assert found["first_frame_ms"] > 0 and found["memory_mb"] > BALLAST_MB


def test_the_parents_memory_is_not_the_childs(monkeypatch: pytest.MonkeyPatch) -> None:
    ballast = np.ones(400 * 125_000)
    monkeypatch.setattr("benchmarks.timing.cold.STARTS", 1)
    assert cold_start(None, FRAMES, 25)["memory_mb"] < ballast.nbytes / 1e6


@pytest.mark.parametrize(
    ("name", "patience", "line"),
    [
        ("fails", 60, "fails in a process of its own: no such package: install it"),
        ("breaks", 60, "breaks in a process of its own: KeyError('weights')"),
        ("dies", 60, "dies ended its process with status 9"),
        ("sleeps", 0.2, "sleeps did not start in 0.2 s"),
    ],
)
def test_a_child_that_fails_is_one_line(name: str, patience: float, line: str) -> None:
    with pytest.raises(UserError) as caught:
        start_once(Recipes(name, ""), FRAMES, 25, None, "auto", 1, patience)
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_figures_of_several_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = iter(
        {"load_ms": load, "first_frame_ms": 2.0, "memory_mb": memory}
        for load, memory in ((9.0, 50.0), (3.0, 20.0), (4.0, 20.0))
    )
    monkeypatch.setattr("benchmarks.timing.cold.start_once", lambda *_: next(starts))
    found = cold_start(Recipes("idle", ""), FRAMES, 25)
    # Only the first process ran long enough to reach its peak.
    assert found == {"load_ms": 4.0, "first_frame_ms": 2.0, "memory_mb": 50.0}


def test_no_memory_is_told_without_linux(tmp_path) -> None:
    assert peak_memory(tmp_path / "missing") == {}
    (tmp_path / "status").write_text("Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    2000 kB\n")
    assert peak_memory(tmp_path / "status") == {"memory_mb": 2.0}
