"""Caltech Pedestrians: boxes in video from a car (Dollar et al., CVPR 2009 and PAMI 2012).

As published: ``annotations/setXX/VYYY.vbb`` (or ``annotations/annotations/...``) and videos
``setXX/VYYY.seq``, which must be unpacked: to ``images/setXX/VYYY/I00000.jpg`` or
``images/setXX_VYYY_I00000.jpg`` as ``dbExtract`` of Dollar's toolbox does, or to
``images/setXX_VYYY_0.png`` as in FairMOT's picture lists. Frames count from 0 in all of these; not
all need be there.

A ``.vbb`` is a MATLAB file with a struct ``A``: ``objLists`` holds a struct array for each frame
(``id``, ``pos`` = left, top, width, height of the full box, ...), ``objLbl`` the label of each id.
Objects labelled ``person`` are taken; ``people`` (groups) and ``person?`` (perhaps none) are not.
Identities are unknown unless asked for; ids are those of a track in one video. Sets 00 to 05 are
the training set, the others the test set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.errors import UserError
from train.data.labels import UNKNOWN_ID
from train.data.prepare.base import Collection, Options, in_processes, wrong_layout
from train.data.prepare.mat import numbers, read_mat, structs, texts, variable
from train.data.prepare.photos import Annotated, Photos, chosen_labels, collect_photos
from train.data.prepare.ready import collect_ready

LABELS = ("person", "people", "person?", "person-fa")
LABELS_TAKEN = ("person",)
SETS, VIDEOS = "set[0-9][0-9]", "V[0-9][0-9][0-9]"
FIRST_TEST_SET = 6
SECONDS_PER_VIDEO = 0.1
FRAME = re.compile(r"(?:set(?P<set>\d\d)_V(?P<video>\d\d\d)_)?I?(?P<frame>\d+)")


def collect(root: Path, options: Options) -> Collection:
    """Read Caltech Pedestrians.

    Args:
        root: Folder with ``annotations`` and ``images``.
        options: ``classes`` chooses labels (default ``person``); ``identities`` set to True takes
            the ids.

    Raises:
        UserError: The folder is laid out in another way, the videos are not unpacked, or an
            annotation is damaged.
    """
    videos = sorted(root.glob(f"annotations/{SETS}/{VIDEOS}.vbb")) or sorted(
        root.glob(f"annotations/annotations/{SETS}/{VIDEOS}.vbb")
    )
    if not videos:
        ready = collect_ready(root, options)
        if ready is not None:
            return ready
        raise wrong_layout("caltech", root, ["annotations/set00/V000.vbb"])
    frames = _find_frames(root)
    if not frames:
        raise UserError(_nothing_unpacked(root))
    labels = chosen_labels(options, LABELS, LABELS_TAKEN)
    wanted = [(file, labels, options.identities is True) for file in videos]
    wanted = [job for job in wanted if _video_name(job[0]) in frames]
    annotated = in_processes(
        read_vbb,
        wanted,
        "reading annotations",
        options.workers,
        SECONDS_PER_VIDEO * len(wanted),
    )
    photos = []
    for (file, *_), entries in zip(wanted, annotated, strict=True):
        video = _video_name(file)
        photos.append(_sequence(video, frames[video], entries))
    collection = collect_photos(photos)
    absent = len(videos) - len(wanted)
    if absent:
        collection.notes.append(f"{absent} of {len(videos)} annotated videos have no frames")
    return collection


def read_vbb(file: Path, labels: Sequence[str], identities: bool) -> list[Annotated]:
    """Read the annotations of one video.

    Args:
        file: ``VYYY.vbb``.
        labels: Labels to take.
        identities: Whether to take the ids, which are unique in the video.

    Returns:
        One per frame, from frame 0 on, named by the frame's number.

    Raises:
        UserError: It is not of the published form.
    """
    content = variable(read_mat(file), ("A",), file)
    try:
        (video,) = structs(content)
        names = texts(video["objLbl"])
        frames = [
            _read_frame(number, structs(objects), names, labels, identities)
            for number, objects in enumerate(video["objLists"])
        ]
        length = int(numbers(video["nFrame"], 1)[0, 0])
        if length != len(frames):
            raise ValueError(f"nFrame is {length}, objLists has {len(frames)} entries")
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{file}: expected a struct A with nFrame, objLists and objLbl ({error}): copy the "
            "annotations again"
        ) from error
    return frames


def _read_frame(
    number: int,
    objects: Sequence[dict[str, object]],
    names: Sequence[str],
    labels: Sequence[str],
    identities: bool,
) -> Annotated:
    boxes = np.zeros((len(objects), 4))
    ids = np.zeros(len(objects), np.int64)
    for place, item in enumerate(objects):
        boxes[place] = numbers(item["pos"], 4)[0]
        ids[place] = int(numbers(item["id"], 1)[0, 0])
    if ids.size and not 1 <= ids.min() <= ids.max() <= len(names):
        raise ValueError(f"frame {number} has an id outside of 1..{len(names)}")
    entry = Annotated(str(number), boxes, ids)
    # Ids count from 1, as MATLAB does.
    found = np.array([names[identity - 1] for identity in ids], object)
    for label in sorted(set(found) - set(labels)):
        entry = entry.keep(found != label, label)
        found = found[found != label]
    if not identities:
        entry.ids = np.full(len(entry.ids), UNKNOWN_ID, np.int64)
    return entry


def _video_name(file: Path) -> str:
    return f"{file.parent.name}_{file.stem}"


def _find_frames(root: Path) -> dict[str, dict[int, Path]]:
    """Return the picture of each frame, by video (``set00_V000``) and number from 0."""
    images = root / "images"
    found: dict[str, dict[int, Path]] = {}
    if not images.is_dir():
        return found
    # Folders called train and test are those that an earlier run may have made here.
    for folder in [images, *sorted(images.glob(f"{SETS}/{VIDEOS}"))]:
        for file in folder.iterdir():
            match = FRAME.fullmatch(file.stem)
            if match is None or file.suffix.lower() not in (".jpg", ".jpeg", ".png"):
                continue
            if match["set"] is not None:
                video = f"set{match['set']}_V{match['video']}"
            elif folder.name.startswith("V"):
                video = f"{folder.parent.name}_{folder.name}"
            else:
                continue
            found.setdefault(video, {})[int(match["frame"])] = file
    return found


def _sequence(video: str, frames: dict[int, Path], entries: Sequence[Annotated]) -> Photos:
    """Return the frames of a video that are there and annotated, in order."""
    annotated = []
    for number in sorted(frames):
        if number < len(entries):
            entries[number].picture = frames[number].name
            annotated.append(entries[number])
    folders = {file.parent for file in frames.values()}
    if len(folders) > 1:
        raise UserError(
            f"frames of {video} are in {' and '.join(map(str, sorted(folders)))}: keep one"
        )
    (folder,) = folders
    split = "train" if int(video[3:5]) < FIRST_TEST_SET else "test"
    return Photos(
        split,
        f"images/{split}/{video}",
        folder,
        annotated,
        is_sequence=True,
        linked_singly=not folder.name.startswith("V"),
    )


def _nothing_unpacked(root: Path) -> str:
    packed = next(iter(sorted(root.glob("**/*.seq"))), None)
    where = f"{root / 'images'} has no frames"
    if packed is not None:
        where += f" (found {packed.relative_to(root)}, a video in Norpix's format)"
    return (
        f"{where}: unpack each setXX/VYYY.seq to images/setXX/VYYY/I00000.jpg and on, counted from "
        "0, with dbExtract of Piotr Dollar's MATLAB toolbox, or to images/setXX_VYYY_0.png and on "
        "with github.com/mitmul/caltech-pedestrian-dataset-converter"
    )
