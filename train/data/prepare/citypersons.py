"""CityPersons: full boxes of the people in Cityscapes (arXiv 1702.05693).

As published: ``annotations/anno_train.mat`` and ``anno_val.mat``, and Cityscapes' pictures in
``leftImg8bit/SPLIT/CITY``. The distribution that FairMOT uses has them in ``images/SPLIT/CITY``.

A row is ``label, x, y, w, h, instance, x_vis, y_vis, w_vis, h_vis``. Pedestrians, riders, sitting
persons and persons in unusual postures are taken, all as persons. Ignore regions (posters,
reflections) and boxes around groups, whose people cannot be told apart, are left out. FairMOT's
picture lists are exactly the pictures with a box of label 1 to 5, so its labels have the groups:
give ``pedestrian, rider, sitting, unusual, group`` for them. There are no identities.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.errors import UserError
from train.data.prepare.base import Collection, Options, wrong_layout
from train.data.prepare.mat import numbers, read_mat, structs, texts, variable
from train.data.prepare.photos import Annotated, Photos, chosen_labels, collect_photos, is_file_name
from train.data.prepare.ready import collect_ready

LABEL_NUMBERS = {
    "ignore": 0,
    "pedestrian": 1,
    "rider": 2,
    "sitting": 3,
    "unusual": 4,
    "group": 5,
}
PERSONS = ("pedestrian", "rider", "sitting", "unusual")
SPLITS = ("train", "val")
COLUMNS = 10


def collect(root: Path, options: Options) -> Collection:
    """Read CityPersons.

    Args:
        root: Folder with ``annotations`` and the pictures.
        options: ``classes`` chooses among ``LABEL_NUMBERS``.

    Raises:
        UserError: The folder is laid out in another way, or an annotation is damaged.
    """
    names = chosen_labels(options, list(LABEL_NUMBERS), PERSONS)
    persons = frozenset(LABEL_NUMBERS[name] for name in names)
    files = {split: root / "annotations" / f"anno_{split}.mat" for split in SPLITS}
    files = {split: file for split, file in files.items() if file.is_file()}
    if not files:
        ready = collect_ready(root, options)
        if ready is not None:
            return ready
        raise wrong_layout(
            "citypersons", root, ["annotations/anno_train.mat", "annotations/anno_val.mat"]
        )
    photos = []
    for split, file in files.items():
        pictures = _picture_folder(root, split)
        photos += [
            Photos(split, f"images/{split}/{city}", pictures / city, annotated)
            for city, annotated in read_annotations(file, split, persons).items()
        ]
    return collect_photos(photos)


def read_annotations(file: Path, split: str, persons: frozenset[int]) -> dict[str, list[Annotated]]:
    """Read an annotation file.

    Args:
        file: ``anno_SPLIT.mat``.
        split: The split.
        persons: Labels to take.

    Returns:
        The pictures of each city.

    Raises:
        UserError: It is not of the published form.
    """
    cells = variable(read_mat(file), (f"anno_{split}_aligned", f"anno_{split}"), file)
    cities: dict[str, list[Annotated]] = {}
    try:
        pictures = structs(cells)
    except ValueError as error:
        raise UserError(f"{file}: {error}: copy the annotations again") from error
    for number, picture in enumerate(pictures, 1):
        try:
            (city,), (name,) = texts(picture["cityname"]), texts(picture["im_name"])
            if not is_file_name(city):
                raise ValueError(f"{city!r} is not the name of a city")
            cities.setdefault(city, []).append(_read_rows(name, picture["bbs"], persons))
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{file}, picture {number}: expected cityname, im_name and bbs with {COLUMNS} "
                f"columns ({error}): copy the annotations again"
            ) from error
    return cities


def _read_rows(picture: str, value: object, persons: frozenset[int]) -> Annotated:
    rows = numbers(value, COLUMNS)
    labels = rows[:, 0].astype(np.int64)
    keep = np.isin(labels, sorted(persons))
    entry = Annotated.without_ids(picture, rows[keep, 1:5])
    names = {number: name for name, number in LABEL_NUMBERS.items()}
    entry.dropped.update(names.get(label, f"label {label}") for label in labels[~keep].tolist())
    return entry


def _picture_folder(root: Path, split: str) -> Path:
    published = root / "leftImg8bit" / split
    return published if published.is_dir() else root / "images" / split
