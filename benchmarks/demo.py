"""``make demo``: the whole way from footage to a report, by the commands a user would type.

Run as ``python -m benchmarks.demo``. Each step is printed as a command before it runs, so that it
can be repeated or changed by hand.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from runtime.console import console, print_table, run_command

# Pictures each model is trained on, chosen so that everything fits in ten minutes on two cores.
# Both students get the same; the teacher is four times their size.
TEACHER_IMAGES = 5600
STUDENT_IMAGES = 4000
IMAGES_PER_EPOCH = 800
# A machine too slow for that many is given this long instead.
TEACHER_MINUTES = 3.6
STUDENT_MINUTES = 1.6

SCENES = 16
SCENE_FRAMES = 36
TEST_SCENE_SEED = 9
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
    Contender("teacher", "teacher (small)", "teacher", "small", TEACHER_IMAGES, TEACHER_MINUTES),
    Contender(
        "undistilled",
        "student (nano), not distilled",
        "undistilled",
        "nano",
        STUDENT_IMAGES,
        STUDENT_MINUTES,
    ),
    Contender(
        "distilled",
        "student (nano), distilled",
        "distilled",
        "nano",
        STUDENT_IMAGES,
        STUDENT_MINUTES,
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
    compare(out, test)
    collect_student(out)
    show(out, time.monotonic() - started)


def run_step(*arguments: object) -> None:
    """Print a command and run it; stop the demo if it fails."""
    command = [str(argument) for argument in arguments]
    console().print(f"\n$ {shlex.join(command)}", style="bold", markup=False, soft_wrap=True)
    program = Path(sys.executable).parent / command[0]
    status = subprocess.run([str(program), *command[1:]], check=False).returncode
    if status:
        sys.exit(status)


def prepare_data(data: Path, out: Path, quick: bool) -> Path:
    """Generate the scenes and return the sequence to test on, which no model is trained on."""
    scenes, frames = (3, 10) if quick else (SCENES, SCENE_FRAMES)
    size = ("--size", "512x384", "--overwrite")
    # A low frame rate shows each walker in many poses in few frames.
    rate = ("--frames", frames, "--fps", 3, "--seed", TRAINING_SCENE_SEED)
    run_step("kd-data", "synth", out / "scenes", "--scenes", scenes, *rate, *size)
    if has_footage(data):
        return data / "TUD-Stadtmitte"
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

    preset = Path(__file__).parents[1] / "train" / "presets" / "demo.yaml"
    config: dict[str, Any] = yaml.safe_load(preset.read_text(encoding="utf-8"))
    scenes = {"kind": "mot", "path": str(out / "scenes"), "weight": 2.0}
    config["model"] = {"name": contender.arch}
    if has_footage(data):
        photos = {"kind": "photos", "path": str(data / "street-people"), "collage": [2, 4]}
        camera = {"kind": "mot", "path": str(data / "PETS09-S2L1"), "every": 2}
        config["data"] = [camera, photos | {"weight": 2.0}, scenes]
        config["validation"] = [photos | {"split": "val"}]
    else:
        config["data"] = [scenes]
        config["validation"] = [scenes]
    per_epoch = 16 if quick else IMAGES_PER_EPOCH
    config["schedule"] |= {
        "epochs": 1 if quick else contender.images // IMAGES_PER_EPOCH,
        "images_per_epoch": per_epoch,
        "max_minutes": contender.minutes,
    }
    if contender.role == "distilled":
        config["teacher"] = {"checkpoint": str(out / "teacher")}
    file = out / f"{contender.folder}.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def make_model(contender: Contender, out: Path, test: Path) -> None:
    """Train one model, export it, track the test sequence with it, and score the tracks."""
    folder = out / contender.folder
    config = out / f"{contender.folder}.yaml"
    run_step("kd-train", config, "--out", folder, "--overwrite")
    export = ("--name", contender.folder, "--parity-source", test)
    run_step("kd-export", folder, "-o", folder, *export)
    model = folder / f"{contender.folder}.onnx"
    overlay = "--overlay" if contender.role == "distilled" else "--no-overlay"
    run_step("kd-run", test, "--model", model, "--out", folder, overlay)
    scores = folder / "accuracy.json"
    run_step("kd-bench", "accuracy", test, folder / "tracks.txt", "--json", scores)
    details = {
        "name": contender.name,
        "role": contender.role,
        "command": f"kd-train {config} --out {folder}",
    }
    (folder / "run.json").write_text(json.dumps(details, indent=2) + "\n", encoding="utf-8")


def compare(out: Path, test: Path) -> None:
    """Time the three models in one run, in turns, and put everything on one page."""
    models = [out / entry.folder / f"{entry.folder}.onnx" for entry in CONTENDERS]
    timing = out / "latency.json"
    run_step("kd-bench", "latency", *models, "--source", test, "--json", timing)
    for contender in CONTENDERS:
        shutil.copyfile(timing, out / contender.folder / "latency.json")
    folders = [out / entry.folder for entry in CONTENDERS]
    title = "From teacher to student: kd-mot demo"
    page = out / "report.html"
    run_step("kd-bench", "report", *folders, "-o", page, "--title", title, "--source", test)


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


def show(out: Path, seconds: float) -> None:
    """Print where everything is, and the table."""
    timing = json.loads((out / "latency.json").read_text(encoding="utf-8"))
    rows = []
    for contender, timed in zip(CONTENDERS, timing["models"], strict=True):
        scores = json.loads((out / contender.folder / "accuracy.json").read_text(encoding="utf-8"))
        rows.append(
            (
                contender.name,
                scores["MOTA"],
                scores["IDF1"],
                scores["HOTA"],
                f"{timed['parameters'] / 1e6:.2f} M",
                f"{timed['stages']['total']['median_ms']:.1f}",
            )
        )
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
        f"measured in this run, {seconds / 60:.1f} minutes, on a sequence no model was trained on",
        ("model", "MOTA", "IDF1", "HOTA", "parameters", "ms per frame"),
        rows,
    )


main = run_command(cli, "python -m benchmarks.demo")

if __name__ == "__main__":
    main()
