"""``kd-data cutouts``: a folder of people cut out of the footage of static cameras."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from runtime.console import print_table
from runtime.errors import UserError
from runtime.files import atomic_path, output_directory
from runtime.opencv import cv2
from train.data.cutouts.cutting import GATES, Cut, CutoutOptions, Outcome, cut_out
from train.data.cutouts.library import INDEX_FILE, VERSION
from train.data.cutouts.watching import Scene, watch
from train.teachers.config import OnnxTeacherConfig
from train.teachers.onnx import OnnxTeacherModel


def make_cutouts(
    sources: Sequence[Path],
    out: Path,
    options: CutoutOptions,
    teacher: OnnxTeacherConfig | None = None,
) -> list[Outcome]:
    """Cut people out of footage and write them as ``out/SOURCE/IDENTITY_FRAME.png``.

    ``out/cutouts.json`` comes last: without it, nothing in the folder counts.

    Args:
        sources: MOTChallenge sequences with ground truth, or footage of static cameras.
        out: The folder.
        options: What to cut out.
        teacher: Who finds the people where there is no ground truth.

    Raises:
        UserError: The folder holds cutouts, a source cannot be used, or there is nobody in any.
    """
    if (out / INDEX_FILE).exists():
        raise UserError(f"{out} holds cutouts already: remove it or choose another folder")
    output_directory(out)
    model = OnnxTeacherModel(teacher) if teacher is not None else None
    outcomes: list[Outcome] = []
    for path in sources:
        scene = watch(path, model)
        if scene.name in {outcome.scene.name for outcome in outcomes}:
            raise UserError(f"two sources are called {scene.name}: rename one, or cut it apart")
        outcomes.append(cut_out(scene, options, model))
        _write_pictures(outcomes[-1], out)
    if not any(outcome.cuts for outcome in outcomes):
        names = ", ".join(outcome.scene.name for outcome in outcomes)
        reasons = sum((outcome.refused for outcome in outcomes), Counter()).most_common(1)
        why = "nobody was seen" if not reasons else f"most ({reasons[0][1]}) are {reasons[0][0]!r}"
        raise UserError(f"nobody could be cut out of {names}, {why}: give other footage")
    content = {
        "version": VERSION,
        "sources": [_source_entry(outcome) for outcome in outcomes],
        "cutouts": [
            {
                "file": _file_name(outcome.scene, cut),
                "source": outcome.scene.name,
                "identity": cut.identity,
                "frame": cut.frame,
                "box_wh": list(cut.box_wh),
            }
            for outcome in sorted(outcomes, key=lambda outcome: outcome.scene.name)
            for cut in outcome.cuts
        ],
    }
    with atomic_path(out / INDEX_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return outcomes


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print what came of each source, and why the rest was refused, on standard output."""
    columns = ("source", "people seen", "people cut out", "cutouts", "changed outside")
    rows = [
        (
            outcome.scene.name,
            len(set(outcome.scene.sightings.ids.tolist())),
            outcome.identities,
            len(outcome.cuts),
            f"{100 * outcome.scene.background.changed:.1f} %",
        )
        for outcome in outcomes
    ]
    print_table("Cutouts", columns, rows)
    names = [outcome.scene.name for outcome in outcomes]
    reasons = [[gate, *(outcome.refused[gate] for outcome in outcomes)] for gate in GATES]
    print_table("Sightings without a cutout", ("reason", *names), reasons)


def _source_entry(outcome: Outcome) -> dict[str, object]:
    scene = outcome.scene
    return {
        "name": scene.name,
        "frames": scene.frames,
        "size_wh": list(scene.size_wh),
        "identities": scene.identities,
        "refused": {gate: outcome.refused[gate] for gate in GATES if outcome.refused[gate]},
    }


def _file_name(scene: Scene, cut: Cut) -> str:
    return f"{scene.name}/{cut.identity:04d}_{cut.frame:06d}.png"


def _write_pictures(outcome: Outcome, out: Path) -> None:
    for cut in outcome.cuts:
        file = out / _file_name(outcome.scene, cut)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            if not cv2.imwrite(str(temporary), cut.image):
                raise UserError(f"{file} cannot be written: free space or choose another place")
