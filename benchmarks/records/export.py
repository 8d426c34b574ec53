"""``kd-bench export``: what the fused graph and its precisions are worth, with parity.

Trains each model for as long as it takes to give sharp peaks, exports it in every precision at two
sizes, and times all forms in turns from frame to detections: PyTorch, the export that everybody
writes first, and the fused graphs. What is finished is not made again.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.records.steps import run_step
from benchmarks.records.variants import (
    PLAIN,
    ROUNDS,
    TOPK,
    Frame,
    Variant,
    fused_form,
    plain_form,
    time_in_turns,
    torch_forms,
)
from benchmarks.timing.environment import environment
from benchmarks.timing.statistics import paired_ratio
from export.exporter import ExportConfig, Precision, export_model
from export.parity import Reference
from export.reference import torch_reference
from runtime.console import console, markdown_table, print_table
from runtime.engines.onnx_runtime import CUDA, choose_providers, import_runtime
from runtime.errors import UserError
from runtime.files import atomic_path, file_sha256, output_directory
from runtime.onnx_metadata import read_model_info
from runtime.opencv import cv2
from runtime.sources import open_source
from runtime.version import __version__
from train.models import TrackingModel, load_model

OUT = Path("out/export")
CONFIG = Path(__file__).parents[1] / "configs" / "export" / "model.yaml"
VIDEO = Path("../shared/data/PETS09-S2L1/vtest.avi")
# Pictures to train on, as many as a few minutes allow; from scratch a small model needs more.
MODELS = {"dla_34": 800, "hrnet_18": 800, "yolov5s": 3000, "nano": 30000}
SIZES = ((1088, 608), (576, 320))
# Trained and calibrated on the frames before; parity is about those after.
HELD_OUT_FROM = 600
PARITY_FRAMES = 32
CALIBRATE_EVERY = 20
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
COLUMNS = ("model", "input", "PyTorch", "straightforward", "fused", "int8")
PARITY_COLUMNS = ("model", "input", "precision", "matched", "box px", "cosine", "identities")


def measure(
    threads: int | None = None,
    backend: str = "auto",
    models: Sequence[str] = tuple(MODELS),
    out: Path = OUT,
) -> dict[str, Any]:
    """Train, export, compare and time everything.

    Args:
        threads: CPU threads; the engines' own choice when None.
        backend: Of the fused graphs, see ``runtime.load``.
        models: Some of ``MODELS``.
        out: Folder for the files; what is finished there is not made again.

    Returns:
        ``rows`` of model, size, form, ms per frame, parity and ratios; ``settings``, ``command``
        and ``environment``.

    Raises:
        UserError: The footage is missing, or an export fails.
    """
    output_directory(out)
    if threads is not None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    for name in models:
        train(name, out, MODELS[name])
    surroundings = environment(threads)
    calibration = write_calibration(out)
    rows = []
    for name, size_wh in itertools.product(models, SIZES):
        console().print(f"\n{name} at {size_wh[0]}x{size_wh[1]}", style="bold")
        rows += measure_model(name, size_wh, out, calibration, threads, backend)
    named = "".join(f" --model {name}" for name in models) if len(models) < len(MODELS) else ""
    return {
        "rows": rows,
        "settings": {
            "topk": TOPK,
            "parity_frames": PARITY_FRAMES,
            "rounds": ROUNDS,
            "threads": threads,
            "backend": backend,
            "pictures_trained_on": {name: MODELS[name] for name in models},
        },
        "command": "kd-bench export" + (f" --threads {threads}" if threads else "") + named,
        "environment": surroundings,
    }


def with_other_models(record: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """Add the rows of models that only an earlier record has.

    Measuring all takes hours on a small machine; a model can be measured again alone. ``earlier``
    of the result holds the settings, command and environment of the rows taken over, by model.

    Args:
        record: What ``measure`` returned.
        earlier: The same of another run, or an earlier result of this function.

    Returns:
        A record with the rows of both, in the order of ``MODELS``.
    """
    measured = {row["model"] for row in record["rows"]}
    kept = [row for row in earlier["rows"] if row["model"] not in measured]
    origin = {key: value for key, value in earlier.items() if key not in ("rows", "earlier")}
    origins = earlier.get("earlier", {})
    taken = {row["model"]: origins.get(row["model"], origin) for row in kept}
    rows = sorted(
        record["rows"] + kept,
        key=lambda row: (list(MODELS).index(row["model"]), SIZES.index(tuple(row["size_wh"]))),
    )
    return {**record, "rows": rows, **({"earlier": taken} if taken else {})}


def train(name: str, out: Path, pictures: int) -> None:
    """Train a model on so many pictures, unless that is done."""
    folder = out / name
    if not (folder / "model.safetensors").exists():
        run_step(
            *("kd-train", CONFIG, "--out", folder, "--overwrite", "--set", f"model.name={name}"),
            *("--set", f"schedule.images_per_epoch={pictures}"),
        )


def write_calibration(out: Path) -> Path:
    """Write the frames to calibrate on as a folder of images."""
    folder = output_directory(out / "calibration")
    with open_source(VIDEO) as source:
        for index, frame in enumerate(itertools.islice(iter(source), HELD_OUT_FROM)):
            if index % CALIBRATE_EVERY == 0:
                cv2.imwrite(str(folder / f"{index:06d}.png"), frame)
    return folder


def measure_model(
    name: str,
    size_wh: tuple[int, int],
    out: Path,
    calibration: Path,
    threads: int | None,
    backend: str,
) -> list[dict[str, Any]]:
    """Export a model at one size in all forms, compare and time them; return their rows."""
    checkpoint = out / name / "model.safetensors"
    folder = output_directory(out / name / f"{size_wh[0]}x{size_wh[1]}")
    done = folder / "rows.json"
    state = {"threads": threads, "backend": backend, "sha256": file_sha256(checkpoint)}
    if done.exists():
        measured = json.loads(done.read_text())
        if measured["state"] == state:
            return list(measured["rows"])
    model = load_model(checkpoint, strict=True)
    frames = held_out_frames()
    reference = torch_reference(model, frames, VIDEO.name, size_wh, TOPK)
    with ExitStack() as stack:
        forms = torch_forms(model, size_wh)
        forms.append(plain_form(model, size_wh, folder, threads))
        for precision in precisions_at(size_wh, backend):
            file = folder / f"{precision}.onnx"
            export_once(file, checkpoint, size_wh, precision, calibration, reference)
            forms.append(fused_form(file, reference, threads, backend, stack))
        time_in_turns(forms, frames[:8])
    rows = [row_of(form, forms, name, size_wh, model) for form in forms]
    with atomic_path(done) as temporary:
        temporary.write_text(json.dumps({"state": state, "rows": rows}))
    return rows


def precisions_at(size_wh: tuple[int, int], backend: str) -> tuple[Precision, ...]:
    """Return the precisions to export in.

    Finding what to keep in fp32 takes minutes for a large graph: where no GPU is there to time half
    precision, one size shows what it costs.
    """
    has_gpu = CUDA in choose_providers(import_runtime(), backend)
    if has_gpu or size_wh == min(SIZES):
        return PRECISIONS
    return tuple(precision for precision in PRECISIONS if precision != "fp16")


def held_out_frames() -> list[Frame]:
    """Return the frames that parity is about."""
    with open_source(VIDEO) as source:
        frames = [
            frame.copy()
            for frame in itertools.islice(
                iter(source), HELD_OUT_FROM, HELD_OUT_FROM + PARITY_FRAMES
            )
        ]
    if len(frames) < PARITY_FRAMES:
        raise UserError(f"{VIDEO} ends before frame {HELD_OUT_FROM + PARITY_FRAMES}: fetch it anew")
    return frames


def export_once(
    file: Path,
    checkpoint: Path,
    size_wh: tuple[int, int],
    precision: Precision,
    calibration: Path,
    reference: Reference,
) -> None:
    """Export a checkpoint, unless this version has done so already."""
    if file.exists():
        info = read_model_info(file)
        same = info.source_sha256 == file_sha256(checkpoint)
        if same and info.tool_version == __version__:
            return
    config = ExportConfig(
        checkpoint=checkpoint,
        out=output_directory(file.parent / precision),
        name=file.stem,
        size_wh=size_wh,
        topk=TOPK,
        precision=precision,
        calibrate=calibration if precision == "int8" else None,
        allow_mismatch=True,
    )
    export_model(config, reference).file.replace(file)


def row_of(
    form: Variant,
    forms: Sequence[Variant],
    name: str,
    size_wh: tuple[int, int],
    model: TrackingModel,
) -> dict[str, Any]:
    """Return a form's entry in the record, with how many times as long the others take."""
    row: dict[str, Any] = {
        "model": name,
        "size_wh": list(size_wh),
        "form": form.name,
        "parameters": model.parameter_count(),
        "ms": None,
        **form.facts,
    }
    if form.medians:
        row["ms"] = round(statistics.median(form.medians), 3)
        if form.network:
            row["network_ms"] = round(statistics.median(form.network), 3)
        row["times_as_fast_as"] = {
            other.name: {
                key: round(value, 4)
                for key, value in vars(paired_ratio(other.medians, form.medians)).items()
            }
            for other in forms
            if other is not form and other.medians
        }
    return row


def latency_cells(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Format the times of one model at one size, the fused ones with what they gain."""
    by_form = {row["form"]: row for row in rows}

    def gain(form: str, other: str) -> str:
        row = by_form[form]
        return f"{row['ms']:.1f} ms ({row['times_as_fast_as'][other]['ratio']:.2f}x)"

    published = by_form.get("pytorch-operator", by_form["pytorch"])
    width, height = rows[0]["size_wh"]
    return (
        rows[0]["model"],
        f"{width}x{height}",
        f"{published['ms']:.1f} ms",
        f"{by_form[PLAIN]['ms']:.1f} ms",
        gain("fp32", PLAIN),
        gain("int8", "fp32"),
    )


def parity_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Format how near one graph is to PyTorch."""
    figures = row["parity"]
    width, height = row["size_wh"]
    return (
        row["model"],
        f"{width}x{height}",
        row["form"] if row["passed"] else f"{row['form']}, FAILED",
        f"{figures['matched']:.4f}",
        f"{figures['box_error_px_median']:.4f}",
        f"{figures['embedding_cosine_median']:.6f}",
        f"{figures['identity_agreement']:.4f}",
    )


def tables(record: dict[str, Any]) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Return the cells of both tables, times and parity."""
    rows = record["rows"]
    places = dict.fromkeys((row["model"], tuple(row["size_wh"])) for row in rows)
    times = [
        latency_cells([row for row in rows if (row["model"], tuple(row["size_wh"])) == place])
        for place in places
    ]
    return times, [parity_cells(row) for row in rows if "parity" in row]


def latency_markdown(record: dict[str, Any]) -> str:
    """Render the times as a Markdown table, which the README quotes."""
    return markdown_table(COLUMNS, tables(record)[0])


def print_record(record: dict[str, Any]) -> None:
    """Print both tables on standard output."""
    times, parity = tables(record)
    print_table(
        "ms per frame, from frame to detections; gain over the column before", COLUMNS, times
    )
    print_table("parity with PyTorch, medians", PARITY_COLUMNS, parity)
