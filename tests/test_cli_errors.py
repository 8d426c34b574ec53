"""Wrong input to every command line: one clear line, a non-zero exit, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.stub_model import write_stub_model

MODULES = {
    "kd-data": "train.data.cli",
    "kd-train": "train.cli",
    "kd-export": "export.cli",
    "kd-run": "runtime.cli",
    "kd-bench": "benchmarks.cli",
}
ROOT = Path(__file__).resolve().parents[1]


def run(command: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = f"from {MODULES[command]} import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )


def assert_one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode not in (0, None)
    assert "Traceback" not in result.stdout + result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    for word in words:
        assert word in errors[0], errors[0]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with every kind of bad input, and one good model and video."""
    write_stub_model(tmp_path / "good.onnx")
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    (tmp_path / "text.onnx").write_text("this is not a model\n")
    (tmp_path / "text.safetensors").write_text("this is not a checkpoint\n")
    (tmp_path / "broken.yaml").write_text("model: [nano\n")
    (tmp_path / "unknown.yaml").write_text("modle: {name: nano}\ndata: []\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("a file where a folder is wanted\n")
    (tmp_path / "bad.txt").write_text("1,2,three,4,5,6\n")
    (tmp_path / "good.txt").write_text("1,1,10,10,20,40,1,-1,-1,-1\n")
    video = cv2.VideoWriter(
        str(tmp_path / "good.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64)
    )
    for index in range(40):
        frame = np.random.default_rng(index).integers(0, 256, (64, 96, 3))
        video.write(frame.astype(np.uint8))
    video.release()
    whole = (tmp_path / "good.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    return tmp_path


@pytest.mark.parametrize(
    ("command", "arguments", "word"),
    [
        ("kd-run", ("missing.mp4", "--model", "good.onnx", "--out", "o"), "missing.mp4"),
        ("kd-run", ("text.mp4", "--model", "good.onnx", "--out", "o"), "text.mp4"),
        ("kd-run", ("empty", "--model", "good.onnx", "--out", "o"), "empty"),
        ("kd-run", ("good.avi", "--model", "missing.onnx", "--out", "o"), "missing.onnx"),
        ("kd-run", ("good.avi", "--model", "text.onnx", "--out", "o"), "text.onnx"),
        ("kd-run", ("good.avi", "--model", "good.onnx", "--out", "file"), "file"),
        ("kd-run", ("good.avi",), "--out"),
        ("kd-export", ("missing.safetensors", "-o", "o"), "missing.safetensors"),
        ("kd-export", ("text.safetensors", "-o", "o"), "text.safetensors"),
        ("kd-export", ("empty", "-o", "o"), "empty"),
        ("kd-export", ("text.safetensors", "-o", "file"), "file"),
        ("kd-export", ("text.safetensors", "-o", "o", "--size", "wide"), "wide"),
        ("kd-train", ("missing.yaml", "--out", "o"), "missing.yaml"),
        ("kd-train", ("broken.yaml", "--out", "o"), "not YAML"),
        ("kd-train", ("unknown.yaml", "--out", "o"), "modle"),
        ("kd-train", ("broken.yaml",), "--out"),
        ("kd-data", ("synth", "file"), "file"),
        ("kd-data", ("synth", "o", "--size", "7"), "7"),
        ("kd-data", ("synth", "o", "--frames", "0"), "0 frames"),
        ("kd-bench", ("accuracy", "missing.txt", "good.txt"), "missing.txt"),
        ("kd-bench", ("accuracy", "good.txt", "bad.txt"), "line 1"),
        ("kd-bench", ("accuracy", "empty", "good.txt"), "empty"),
        ("kd-bench", ("accuracy", "good.txt", "good.txt", "--json", "file/x.json"), "file"),
        ("kd-bench", ("latency", "missing.onnx"), "missing.onnx"),
        ("kd-bench", ("latency", "text.onnx"), "text.onnx"),
        ("kd-bench", ("report", "empty", "-o", "r.html"), "empty"),
    ],
)
def test_bad_input(command: str, arguments: tuple[str, ...], word: str, here: Path) -> None:
    result = run(command, *arguments, cwd=here)
    assert_one_line(result, word)
    assert not list(here.rglob("*.part*"))
    if (here / "o").exists():
        assert not list((here / "o").iterdir())


def test_a_cut_video_keeps_what_was_tracked(here: Path) -> None:
    result = run("kd-run", "cut.avi", "--model", "good.onnx", "--out", "o", cwd=here)
    assert_one_line(result, "cut.avi", "of 40 frames")
    assert (here / "o" / "tracks.txt").exists()


@pytest.mark.parametrize(
    ("command", "arguments", "missing", "extra"),
    [
        ("kd-train", ("--list-models",), "torch", "kd-mot[train]"),
        ("kd-export", ("text.safetensors", "-o", "o"), "torch", "kd-mot[train]"),
        (
            "kd-run",
            ("good.avi", "--model", "good.onnx", "--out", "o"),
            "onnxruntime",
            "kd-mot[cpu]",
        ),
    ],
)
def test_a_missing_extra_is_named(
    command: str, arguments: tuple[str, ...], missing: str, extra: str, here: Path
) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\n"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}from {MODULES[command]} import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert_one_line(result, extra)


@pytest.mark.parametrize("command", MODULES)
def test_help_loads_nothing_heavy(command: str, tmp_path: Path) -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'cv2', 'numpy', 'matplotlib', 'pydantic'}"
    code = (
        f"import sys; from {MODULES[command]} import cli; sys.argv = ['x', '--help']\n"
        f"try: cli()\nexcept SystemExit: pass\nassert not {heavy} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout
