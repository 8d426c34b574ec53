"""``make demo``: the whole way from footage to a report, by the commands a user would type.

Run as ``python -m benchmarks.records.demo``. Each step is printed as a command before it runs, so
that it can be repeated or changed by hand.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.records.steps import imagenet_weights, run_step
from benchmarks.records.summary import SUMMARY_COLUMNS, summary_cells
from runtime.console import print_table, run_command

# Pictures each model is trained on, chosen so that everything fits in ten minutes on two cores. All
# start from ImageNet; both students see the same pictures.
TEACHER_IMAGES = 3200
STUDENT_IMAGES = 2400
IMAGES_PER_EPOCH = 800
# A machine too slow for that many is given this long instead.
TEACHER_MINUTES = 2.8
STUDENT_MINUTES = 1.4
DISTILLED_MINUTES = 2.4  # the same pictures, each of which the teacher looks at too

SCENES = 16
SCENE_FRAMES = 36
INPUT_WH = (416, 320)
TEST_SCENE_SEED = 9
VALIDATION_SCENE_SEED = 50
TRAINING_SCENE_SEED = 100


@dataclass(frozen=True)
class Contender:
    """One of the three models.

    Attributes:
        folder: Folder under the output.
        name: Name in the report.
        role: Role in the report.
        arch: Name in the model registry.
        images: Pictures to train on.
        minutes: Bound on the training time.
    """

    folder: str
    name: str
    role: str
    arch: str
    images: int
    minutes: float


CONTENDERS = (
    Contender(
        "teacher",
        "teacher (mobilenet_v2)",
        "teacher",
        "mobilenet_v2",
        TEACHER_IMAGES,
        TEACHER_MINUTES,
    ),
    Contender(
        "undistilled",
        "student (mobile), not distilled",
        "undistilled",
        "mobile",
        STUDENT_IMAGES,
        STUDENT_MINUTES,
    ),
    Contender(
        "distilled",
        "student (mobile), distilled",
        "distilled",
        "mobile",
        STUDENT_IMAGES,
        DISTILLED_MINUTES,
    ),
)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/demo"))
@click.option("--quick", is_flag=True, help="A few steps only, to see that everything works.")
def cli(data: Path, out: Path, quick: bool) -> None:
    """Train a teacher, distil a student, export, track and report.

    Real footage is taken from --data; where that is missing, generated scenes take its place.
    """
    started = time.monotonic()
    from runtime.files import output_directory

    output_directory(out)
    test = prepare_data(data, out, quick)
    for contender in CONTENDERS:
        write_config(contender, data, out, quick)
        make_model(contender, out, test)
    student = out / "distilled"
    run_step("kd-run", test, "--model", student / "distilled.onnx", "--out", student, "--overlay")
    compare(out, test, quick)
    collect_student(out)
    show(out, summarise(out, test, time.monotonic() - started))


def prepare_data(data: Path, out: Path, quick: bool) -> Path:
    """Generate the scenes and return the sequence to test on, which no model is trained on."""
    scenes, frames = (3, 10) if quick else (SCENES, SCENE_FRAMES)
    size = ("--size", "512x384", "--overwrite")
    # A low frame rate shows each walker in many poses in few frames.
    rate = ("--frames", frames, "--fps", 3, "--seed", TRAINING_SCENE_SEED)
    run_step("kd-data", "synth", out / "scenes", "--scenes", scenes, *rate, *size)
    if has_footage(data):
        return data / "TUD-Stadtmitte"
    few = ("--frames", frames, "--fps", 3, "--seed", VALIDATION_SCENE_SEED)
    run_step("kd-data", "synth", out / "validation-scenes", "--scenes", 3, *few, *size)
    test = out / "test-scene"
    length = ("--frames", 20 if quick else 200, "--fps", 25, "--seed", TEST_SCENE_SEED)
    run_step("kd-data", "synth", test, *length, "--size", "640x480", "--overwrite")
    return test


def has_footage(data: Path) -> bool:
    """Tell whether the real sequences and photographs are there."""
    return all(
        (data / part).exists() for part in ("TUD-Stadtmitte", "PETS09-S2L1", "street-people")
    )


def write_config(contender: Contender, data: Path, out: Path, quick: bool) -> None:
    """Write the training configuration of one model."""
    import yaml

    scenes = {"kind": "mot", "path": str(out / "scenes")}
    config: dict[str, Any] = {
        "model": {"name": contender.arch, "body_weights": str(imagenet_weights())},
        "input_wh": list(INPUT_WH),
    }
    if has_footage(data):
        # The photographs were stretched to squares, mostly from wider shapes.
        photos = {
            "kind": "photos",
            "path": str(data / "street-people"),
            "collage": [1, 2],
            "pixel_aspect": [1.0, 1.5],
        }
        camera = {"kind": "mot", "path": str(data / "PETS09-S2L1")}
        config["data"] = [
            camera | {"frames": [1, 600], "every": 2},
            photos | {"weight": 2.0},
            scenes,
        ]
        config["validation"] = [
            camera | {"frames": [601, 795], "every": 4},
            photos | {"split": "val"},
        ]
    else:
        config["data"] = [scenes]
        config["validation"] = [{"kind": "mot", "path": str(out / "validation-scenes")}]
    config["augment"] = {"scale": [0.6, 1.6]}
    config["loss"] = {"wh": 0.3}
    config["schedule"] = {
        "batch": 8,
        "learning_rate": 0.002,
        "epochs": 1 if quick else contender.images // IMAGES_PER_EPOCH,
        "images_per_epoch": 16 if quick else IMAGES_PER_EPOCH,
        "max_minutes": contender.minutes,
    }
    config["log_every"] = 1 if quick else 10
    if contender.role == "distilled":
        teacher = {"kind": "fairmot", "checkpoint": str(out / "teacher")}
        config["distill"] = {"alpha": 0.5, "teachers": [teacher]}
    # The round trip makes shared lists separate ones, which YAML would write as references.
    plain = json.loads(json.dumps(config))
    text = yaml.safe_dump(plain, sort_keys=False, default_flow_style=None)
    (out / f"{contender.folder}.yaml").write_text(text, encoding="utf-8")


def make_model(contender: Contender, out: Path, test: Path) -> None:
    """Train one model and export it."""
    folder = out / contender.folder
    config = out / f"{contender.folder}.yaml"
    run_step("kd-train", config, "--out", folder, "--overwrite")
    export = ("--name", contender.folder, "--parity-source", test)
    run_step("kd-export", folder, "-o", folder, *export)


def compare(out: Path, test: Path, quick: bool) -> None:
    """Track the test sequence with all three, and put accuracy and time on one page."""
    models: list[object] = []
    for entry in CONTENDERS:
        models += ["--model", f"{entry.folder}={out / entry.folder / entry.folder}.onnx"]
    settings: list[object] = ["--title", "From teacher to student: kd-mot demo"]
    if quick:
        settings += ["--frames", 2, "--rounds", 2, "--quick"]
    run_step("kd-bench", "compare", "--data", test, *models, "-o", out, *settings)


def collect_student(out: Path) -> None:
    """Put the distilled student's files where a newcomer looks first."""
    student = out / "distilled"
    for source, name in (
        ("model.safetensors", "student.safetensors"),
        ("distilled.onnx", "student.onnx"),
        ("parity.json", "parity.json"),
        ("tracks.txt", "tracks.txt"),
        ("overlay.webm", "overlay.webm"),
    ):
        shutil.copyfile(student / source, out / name)


def summarise(out: Path, test: Path, seconds: float) -> dict[str, Any]:
    """Collect the figures of the three models and write ``summary.json``.

    Returns:
        ``rows`` with name, role, MOTA, IDF1, HOTA, parameters and ms per frame of each model, the
        ``sequence``, the ``minutes`` the demo took, its ``command`` and the ``environment``.
    """
    from runtime.files import write_json

    record = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    rows = []
    for contender, measured in zip(CONTENDERS, record["contenders"], strict=True):
        row = {"name": contender.name, "role": contender.role}
        row |= {metric: measured["accuracy"][metric] for metric in ("MOTA", "IDF1", "HOTA")}
        row["parameters"] = measured["parameters"]
        row["ms"] = measured["stages"]["total"]["median_ms"]
        rows.append(row)
    summary = {
        "sequence": test.name,
        "rows": rows,
        "minutes": round(seconds / 60, 2),
        "command": "make demo",
        "environment": record["environment"],
    }
    write_json(out / "summary.json", summary)
    return summary


def show(out: Path, summary: dict[str, Any]) -> None:
    """Print where everything is, and the table."""
    click.echo()
    for what, name in (
        ("student, PyTorch", "student.safetensors"),
        ("student, ONNX", "student.onnx"),
        ("parity report", "parity.json"),
        ("tracks", "tracks.txt"),
        ("overlay video", "overlay.webm"),
        ("report", "report.html"),
    ):
        click.echo(f"{what:<17} {out / name}")
    click.echo()
    print_table(
        f"measured in this run, {summary['minutes']:.1f} minutes, on {summary['sequence']}, "
        "which no model was trained on",
        SUMMARY_COLUMNS,
        [summary_cells(row) for row in summary["rows"]],
    )


main = run_command(cli, "python -m benchmarks.records.demo")

if __name__ == "__main__":
    main()
