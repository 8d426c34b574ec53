"""``kd-bench distil``: what distillation is worth over several seeds, and against its teachers.

Trains the teacher of the family, then the student without a teacher and with each kind of teacher
(``kd-train compare``), exports every model, tracks a camera that none was trained on, and times all
of them in turns. Each step is printed as a command; finished ones are not repeated.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from benchmarks.contenders import Step
from benchmarks.records.steps import imagenet_weights, run_step
from benchmarks.scoring.accuracy import score_file
from benchmarks.timing.environment import environment
from benchmarks.timing.frames import first_frames
from benchmarks.timing.latency import round_medians, time_in_turns
from runtime.console import markdown_table, print_table
from runtime.detector import load
from runtime.errors import UserError
from runtime.files import atomic_path, output_directory
from runtime.pipeline import make_tracker
from runtime.sinks import MotWriter
from runtime.sources import open_source
from runtime.tracking.config import TrackerConfig
from runtime.tracking.tracker import Tracker
from runtime.types import Detections
from train.compare.config import CompareConfig, merge
from train.compare.summary import mean_and_spread, spread_text
from train.settings import read_yaml
from train.teachers.config import DistillConfig, OnnxTeacherConfig
from train.teachers.onnx import OnnxTeacherModel

# The configurations name it.
OUT = Path("out/distil")
CONFIGS = Path(__file__).parents[1] / "configs" / "distil"
TEACHER_FOLDER = "teacher-fairmot"
METRICS = ("MOTA", "IDF1", "HOTA", "recall", "precision")
COLUMNS = ("setting", "MOTA", "IDF1", "HOTA", "recall", "precision", "parameters", "ms per frame")
# ByteTrack's thresholds (arXiv 2110.06864), about the score at which YOLOX-nano is best cut.
ONNX_TEACHER_TRACKER = {
    "high_threshold": 0.45,
    "low_threshold": 0.1,
    "new_track_threshold": 0.55,
}
ROUNDS = 8
FRAMES_PER_ROUND = 40

Frame = npt.NDArray[np.uint8]


@dataclass
class Contender:
    """A model that is scored and timed.

    Attributes:
        setting: What it stands for in the table.
        seed: Of its training; None where it is not ours.
        parameters: Number of learned parameters.
        detect: From a frame to detections.
        tracker: Makes a fresh tracker for a frame rate.
        scores: Its figures, once it is scored.
        medians: Median time per frame of each round, in ms.
    """

    setting: str
    seed: int | None
    parameters: int
    detect: Callable[[Frame], Detections]
    tracker: Callable[[float], Tracker]
    scores: dict[str, Any] = field(default_factory=dict)
    medians: list[float] = field(default_factory=list)

    def begin(self, fps: float) -> None:
        """Start a sequence; see ``benchmarks.contenders.Contender``."""
        self._tracker = self.tracker(fps)

    def step(self, frame: Frame) -> Step:
        """Track the next frame; the network's time is that of all detection."""
        start = time.perf_counter_ns()
        detections = self.detect(frame)
        detected = time.perf_counter_ns()
        tracks = self._tracker.update(detections)
        end = time.perf_counter_ns()
        return Step(tracks, (0, detected - start, 0, end - detected))

    def to_row(self, sequence: str) -> dict[str, Any]:
        """Return the contender's entry in the record."""
        return {
            "setting": self.setting,
            "seed": self.seed,
            "sequence": sequence,
            **{metric: round(self.scores[metric], 5) for metric in METRICS},
            "params": self.parameters,
            "ms": round(statistics.median(self.medians), 3),
        }


def measure(threads: int | None = None, out: Path = OUT, configs: Path = CONFIGS) -> dict[str, Any]:
    """Train, export, track, score and time everything.

    Args:
        threads: Threads of the engines; their own choice when None.
        out: Folder for the runs; what is finished there is not made again.
        configs: Folder of ``teacher.yaml`` and ``compare.yaml``.

    Returns:
        ``rows`` with setting, seed, sequence, figures, parameters and ms per frame of every model,
        their ``summary`` per setting, ``settings``, ``command`` and ``environment``.

    Raises:
        UserError: The data or a teacher is missing.
    """
    output_directory(out)
    config = write_comparison(configs, out)
    sequence = config.test[0]
    teacher = train_teacher(configs, out)
    run_step("kd-train", "compare", out / "compare.yaml", "--out", out / "runs")
    surroundings = environment(threads)
    contenders = [open_exported("teacher-fairmot", None, teacher, sequence, threads)]
    contenders += open_onnx_teachers(config, threads)
    for name in config.settings:
        for seed in config.seeds:
            folder = out / "runs" / name / f"seed-{seed}"
            contenders.append(open_exported(name, seed, folder, sequence, threads))
    for contender in contenders:
        score(contender, sequence, out / "tracks")
    frames, fps = first_frames(sequence, FRAMES_PER_ROUND)
    timings = time_in_turns(contenders, frames, fps, ROUNDS)
    for contender, ms in zip(contenders, timings.ms, strict=True):
        contender.medians = round_medians(ms).tolist()
    rows = [contender.to_row(sequence.name) for contender in contenders]
    return {
        "rows": rows,
        "summary": summarise(rows),
        "settings": {
            "frames_per_round": FRAMES_PER_ROUND,
            "rounds": ROUNDS,
            "threads": threads,
            "onnx_teacher_tracker": ONNX_TEACHER_TRACKER,
        },
        "command": "kd-bench distil",
        "environment": surroundings,
    }


def write_comparison(configs: Path, out: Path) -> CompareConfig:
    """Write the comparison with the ImageNet weights' place on this machine, and return it."""
    comparison = read_yaml(configs / "compare.yaml", "comparison")
    student = read_yaml(configs / "student.yaml")
    weights = {"model": {"body_weights": str(imagenet_weights())}}
    comparison["base"] = merge(student, weights)
    with atomic_path(out / "compare.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(comparison, sort_keys=False), encoding="utf-8")
    config = CompareConfig.model_validate(comparison)
    if len(config.test) != 1:
        raise UserError(f"{configs / 'compare.yaml'}: the record is of one test sequence, name one")
    return config


def train_teacher(configs: Path, out: Path) -> Path:
    """Train the teacher of the family, unless that is done; return its folder."""
    folder = out / TEACHER_FOLDER
    done = folder / "done"
    if not done.exists():
        resume = ["--resume"] if (folder / "state.pt").exists() else []
        weights = f"model.body_weights={imagenet_weights()}"
        run_step("kd-train", configs / "teacher.yaml", "--out", folder, "--set", weights, *resume)
        done.touch()
    return folder


def open_exported(
    setting: str, seed: int | None, folder: Path, sequence: Path, threads: int | None
) -> Contender:
    """Export a trained model, with the parity gate, and load it."""
    model = folder / "model.onnx"
    if not model.exists():
        run_step("kd-export", folder, "-o", folder, "--name", "model", "--parity-source", sequence)
    detector = load(model, threads=threads)
    return Contender(
        setting,
        seed,
        detector.info.parameters,
        detector,
        lambda fps: make_tracker(detector, fps),
    )


def open_onnx_teachers(config: CompareConfig, threads: int | None) -> list[Contender]:
    """Load the label-free teacher of the settings as a tracker of its own.

    Twice: with its embeddings, and by motion alone, which is ByteTrack's way.
    """
    assert isinstance(config.base, dict)
    settings = TrackerConfig.for_model(ONNX_TEACHER_TRACKER)
    for overrides in config.settings.values():
        entries = merge(config.base, overrides).get("distill")
        for teacher in DistillConfig.model_validate(entries).teachers if entries else ():
            if isinstance(teacher, OnnxTeacherConfig) and teacher.detector is not None:
                by_motion = teacher.model_copy(update={"embedder": None})
                return [
                    Contender(
                        name,
                        None,
                        count_parameters(kind),
                        OnnxTeacherModel(kind, threads).detect,
                        lambda fps: Tracker(fps=fps, config=settings),
                    )
                    for name, kind in {
                        "teacher-onnx": teacher,
                        "teacher-onnx-by-motion": by_motion,
                    }.items()
                ]
    return []


def count_parameters(config: OnnxTeacherConfig) -> int:
    """Count the numbers in the weights of a teacher's ONNX files."""
    import onnx

    total = 0
    for part in (config.detector, config.embedder):
        if part is not None:
            weights = onnx.load(str(part.path)).graph.initializer
            total += sum(int(np.prod(one.dims)) for one in weights)
    return total


def score(contender: Contender, sequence: Path, folder: Path) -> None:
    """Track the sequence and score the tracks."""
    output_directory(folder)
    seed = "" if contender.seed is None else f"-{contender.seed}"
    file = folder / f"{contender.setting}{seed}.txt"
    with open_source(sequence) as source, MotWriter(file) as writer:
        contender.begin(source.fps)
        for number, frame in enumerate(source, 1):
            writer.write_tracks(number, contender.step(frame).tracks)
    contender.scores = score_file(sequence, file)


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and standard deviation over the seeds of each setting, in the rows' order."""
    summary = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        own = [row for row in rows if row["setting"] == setting]
        entry: dict[str, Any] = {"setting": setting, "seeds": len(own), "params": own[0]["params"]}
        for figure in (*METRICS, "ms"):
            entry[figure] = mean_and_spread([row[figure] for row in own])
        summary.append(entry)
    return summary


def summary_cells(entry: dict[str, Any]) -> tuple[str, ...]:
    """Format one setting's row of the table."""
    return (
        entry["setting"],
        *(spread_text(entry[metric]) for metric in METRICS),
        f"{entry['params'] / 1e6:.2f} M",
        f"{entry['ms']['mean']:.1f}",
    )


def summary_markdown(record: dict[str, Any]) -> str:
    """Render the summary as a Markdown table, which the README quotes."""
    return markdown_table(COLUMNS, [summary_cells(entry) for entry in record["summary"]])


def print_record(record: dict[str, Any]) -> None:
    """Print the summary as a table."""
    sequence = record["rows"][0]["sequence"]
    title = f"{sequence}: mean ± standard deviation over the seeds"
    print_table(title, COLUMNS, [summary_cells(entry) for entry in record["summary"]])
