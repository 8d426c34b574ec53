"""``kd-bench submit``: what the MOTChallenge server takes.

Source: https://motchallenge.net/instructions: one zip, in its root a text file for each sequence,
named exactly like it, with ten columns.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.scoring.sequences import (
    DETECTORS,
    IMAGES,
    Sequence,
    find_sequences,
    scene_of,
    take_once,
)
from benchmarks.scoring.tracking import track
from runtime.console import progress
from runtime.errors import UserError
from runtime.files import atomic_path, output_directory

# Numbers of the scenes of MOT16, MOT17 and MOT20, names of MOT15's.
SCENES: dict[str, dict[str, tuple[str, ...]]] = {
    "MOT15": {
        "train": (
            *("ADL-Rundle-6", "ADL-Rundle-8", "ETH-Bahnhof", "ETH-Pedcross2", "ETH-Sunnyday"),
            *("KITTI-13", "KITTI-17", "PETS09-S2L1", "TUD-Campus", "TUD-Stadtmitte", "Venice-2"),
        ),
        "test": (
            *("ADL-Rundle-1", "ADL-Rundle-3", "AVG-TownCentre", "ETH-Crossing", "ETH-Jelmoli"),
            *("ETH-Linthescher", "KITTI-16", "KITTI-19", "PETS09-S2L2", "TUD-Crossing", "Venice-1"),
        ),
    },
    "MOT16": {
        "train": ("02", "04", "05", "09", "10", "11", "13"),
        "test": ("01", "03", "06", "07", "08", "12", "14"),
    },
    "MOT20": {"train": ("01", "02", "03", "05"), "test": ("04", "06", "07", "08")},
}
SCENES["MOT17"] = SCENES["MOT16"]
BENCHMARKS = tuple(sorted(SCENES))


def required_names(benchmark: str, split: str) -> list[str]:
    """Return the names of the sequences that a submission must hold.

    Args:
        benchmark: One of ``BENCHMARKS``.
        split: ``train`` or ``test``.

    Examples:
        >>> len(required_names("MOT17", "test")), required_names("MOT17", "test")[:2]
        (21, ['MOT17-01-DPM', 'MOT17-01-FRCNN'])
        >>> required_names("MOT20", "train")[0]
        'MOT20-01'
    """
    scenes = SCENES[benchmark][split]
    if benchmark == "MOT15":
        return list(scenes)
    names = [f"{benchmark}-{scene}" for scene in scenes]
    if benchmark == "MOT17":
        return [f"{name}-{detector}" for name in names for detector in DETECTORS]
    return names


def submit(
    contender: Contender,
    root: Path,
    out: Path,
    benchmark: str = "MOT17",
    split: str = "test",
    *,
    partly: bool = False,
    zipped: bool = False,
) -> list[Path]:
    """Track a split of a benchmark and write the result files to hand in.

    MOT17 has each scene three times, with the boxes of three public detectors. A tracker with a
    detector of its own sees the same pictures three times, so it runs over one and the results are
    copied. Boxes are as the tracker gives them: it has learned from ground truth as the files hold
    it, so its pixels count as those of the benchmark do, and are not shifted.

    Args:
        contender: Opened.
        root: The benchmark's folder with ``train/`` and ``test/``, or a folder of the sequences.
        out: Folder for the ``SEQUENCE.txt``; nothing else may be in it, but what this wrote before.
        benchmark: One of ``BENCHMARKS``.
        split: ``train`` or ``test``.
        partly: Whether sequences may be missing.
        zipped: Whether to pack the files as ``BENCHMARK-SPLIT.zip`` beside them as well.

    Returns:
        The files written.

    Raises:
        UserError: Sequences are missing, or ``out`` holds other files, or as ``track``.
    """
    names = required_names(benchmark, split)
    scenes = _find_scenes(root, split, names)
    missing = [name for name in names if scene_of(name) not in scenes]
    if missing and not (partly and scenes):
        hint = "add them" if not scenes else "add them, or give --partial"
        raise UserError(
            f"{root} lacks sequences of {benchmark} {split}, {', '.join(missing)}: {hint}"
        )
    packed = out / f"{benchmark}-{split}.zip"
    present = [name for name in names if name not in missing]
    _check_alone(output_directory(out), {f"{name}.txt" for name in present} | {packed.name})
    files = [out / f"{name}.txt" for name in present]
    with progress("fps", transient=True) as bar:
        task = bar.add_task("frames", total=sum(map(len, scenes.values())), fps="")
        for scene, sequence in scenes.items():
            first, *copies = [file for file in files if scene_of(file.stem) == scene]
            fps = track(contender, sequence, first, advance=partial(bar.advance, task))
            bar.update(task, fps=f"{fps:.1f} fps")
            for copy in copies:
                with atomic_path(copy) as temporary:
                    shutil.copyfile(first, temporary)
    if zipped:
        with (
            atomic_path(packed) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for file in files:
                archive.write(file, file.name)
        files.append(packed)
    return files


def _find_scenes(root: Path, split: str, names: Iterable[str]) -> dict[str, Sequence]:
    """Return one sequence for each scene that is there."""
    has_split = any((base / split).is_dir() for base in (root, root / IMAGES))
    found = find_sequences(root, split if has_split else None, labelled=False)
    wanted = {scene_of(name) for name in names}
    return {
        scene: sequence
        for sequence in take_once(found)
        if (scene := scene_of(sequence.name)) in wanted
    }


def _check_alone(out: Path, names: set[str]) -> None:
    """Refuse a folder whose other files would be handed in with ours."""
    for file in sorted(out.iterdir()):
        if file.suffix in (".txt", ".zip") and file.name not in names:
            raise UserError(f"{out} holds {file.name} as well: give another folder for --out")
