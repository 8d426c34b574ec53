"""CUHK-SYSU (arXiv 1604.01850) and PRW (arXiv 1604.02531): pictures for person search.

CUHK-SYSU, as published: pictures ``Image/SSM/*.jpg``; ``annotation/Images.mat`` with the boxes of
every picture, ``annotation/Person.mat`` with the pictures and boxes of every identity, and
``annotation/pool.mat`` with the names of the test pictures. Where ``Person.mat`` is missing,
identities come from ``annotation/test/train_test/Train.mat`` and ``TestG50.mat``.

PRW, as published: pictures ``frames/*.jpg``; ``annotations/NAME.jpg.mat`` with rows
``identity, x, y, w, h``, identity -2 where unknown; ``frame_train.mat`` and ``frame_test.mat`` with
the names of the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from runtime.console import progress
from runtime.errors import UserError
from train.data.labels import UNKNOWN_ID
from train.data.prepare.base import Collection, Options, wrong_layout
from train.data.prepare.mat import Struct, numbers, read_mat, structs, texts, variable
from train.data.prepare.photos import Annotated, Photos, collect_photos
from train.data.prepare.ready import collect_ready

# A box of a picture: file name, left, top, width, height.
Place = tuple[str, int, int, int, int]

PRW_BOXES = ("box_new", "anno_file", "anno_previous")
# Reading them takes a tenth of a second, or some seconds where the disk has to be asked.
MANY_FILES = 1000


def collect_cuhksysu(root: Path, options: Options) -> Collection:
    """Read CUHK-SYSU; pictures that are not in the pool are the training set.

    Args:
        root: Folder with ``Image`` and ``annotation``.
        options: ``identities`` set to False makes every identity unknown.

    Raises:
        UserError: The folder is laid out in another way, or an annotation is damaged.
    """
    folder, pictures = root / "annotation", root / "Image" / "SSM"
    if not (folder / "Images.mat").is_file() or not pictures.is_dir():
        ready = collect_ready(root, options)
        if ready is not None:
            return ready
        raise wrong_layout("cuhksysu", root, ["annotation/Images.mat with Image/SSM"])
    pool = frozenset(_names(folder / "pool.mat", "pool"))
    known = {} if options.identities is False else _known_places(folder)
    splits: dict[str, list[Annotated]] = {"train": [], "test": []}
    met = 0
    for entry in _cuhk_pictures(folder / "Images.mat"):
        places = [(entry.picture, *box) for box in np.rint(entry.boxes_ltwh).astype(int).tolist()]
        entry.ids = np.array([known.get(place, UNKNOWN_ID) for place in places], np.int64)
        met += int((entry.ids >= 0).sum())
        splits["test" if entry.picture in pool else "train"].append(entry)
    collection = collect_photos(
        [
            Photos(split, f"images/{split}", pictures, annotated, scope="cuhksysu")
            for split, annotated in splits.items()
        ]
    )
    if met < len(known):
        collection.notes.append(
            f"{len(known) - met} of {len(known)} boxes with an identity are not among the boxes of "
            "Images.mat and were left out"
        )
    return collection


def _cuhk_pictures(file: Path) -> Iterator[Annotated]:
    """Yield every picture with its boxes; the identities come from elsewhere."""
    for number, picture in enumerate(_structs(file, "Img"), 1):
        try:
            (name,) = texts(picture["imname"])
            boxes = [numbers(box["idlocate"], 4) for box in structs(picture["box"])]
            entry = Annotated.without_ids(name, np.concatenate([np.zeros((0, 4)), *boxes]))
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{file}, picture {number}: expected imname and box with idlocate ({error}): copy "
                "the annotations again"
            ) from error
        yield entry


def _known_places(folder: Path) -> dict[Place, int]:
    """Return the identity of each box that has one, numbered in the order of the files."""
    persons = folder / "Person.mat"
    protocols = folder / "test" / "train_test"
    if persons.is_file():
        appearances = list(_appearances(persons, "Person"))
    else:
        if not (protocols / "Train.mat").is_file():
            raise UserError(
                f"{folder} has neither Person.mat nor test/train_test/Train.mat, which know the "
                "identities: copy the annotations again, or give --no-identities"
            )
        appearances = list(_appearances(protocols / "Train.mat", "Train"))
        if (protocols / "TestG50.mat").is_file():
            appearances += _appearances(protocols / "TestG50.mat", "TestG50")
    known: dict[Place, int] = {}
    for identity, places in enumerate(appearances):
        for place in places:
            known.setdefault(place, identity)
    return known


def _appearances(file: Path, name: str) -> Iterator[list[Place]]:
    """Yield the boxes of each identity of a file."""
    for number, person in enumerate(_structs(file, name), 1):
        try:
            if name == "TestG50":
                scenes = [*structs(person["Query"]), *structs(person["Gallery"])]
            else:
                scenes = structs(person["scene"])
            places = [place for scene in scenes for place in _places(scene)]
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{file}, person {number}: expected scenes with imname and idlocate ({error}): "
                "copy the annotations again"
            ) from error
        yield places


def _places(scene: Struct) -> Iterator[Place]:
    # The pictures of a gallery that do not show the person have an empty box.
    (name,) = texts(scene["imname"])
    for left, top, width, height in np.rint(numbers(scene["idlocate"], 4)).astype(int).tolist():
        yield name, left, top, width, height


def collect_prw(root: Path, options: Options) -> Collection:
    """Read PRW.

    Args:
        root: Folder with ``frames``, ``annotations``, ``frame_train.mat`` and ``frame_test.mat``.
        options: ``identities`` set to False makes every identity unknown.

    Raises:
        UserError: The folder is laid out in another way, or an annotation is damaged.
    """
    lists = {split: root / f"frame_{split}.mat" for split in ("train", "test")}
    lists = {split: file for split, file in lists.items() if file.is_file()}
    if not lists or not (root / "annotations").is_dir():
        ready = collect_ready(root, options)
        if ready is not None:
            return ready
        raise wrong_layout(
            "prw", root, ["frames with annotations and frame_train.mat, frame_test.mat"]
        )
    photos = []
    for split, file in lists.items():
        names = [f"{name.removesuffix('.jpg')}.jpg" for name in _names(file, f"img_index_{split}")]
        annotated = read_prw(root / "annotations", names)
        if options.identities is False:
            for entry in annotated:
                entry.ids = np.full_like(entry.ids, UNKNOWN_ID)
        photos.append(Photos(split, f"images/{split}", root / "frames", annotated, scope="prw"))
    return collect_photos(photos)


def read_prw(folder: Path, names: Sequence[str]) -> list[Annotated]:
    """Read the annotations of some pictures.

    Args:
        folder: ``annotations``.
        names: File names of the pictures.

    Raises:
        UserError: A file is missing or not of the published form.
    """
    found = []
    with progress(shown=len(names) >= MANY_FILES) as bar:
        for name in bar.track(names, description="reading annotations"):
            file = folder / f"{name}.mat"
            try:
                rows = numbers(variable(read_mat(file), PRW_BOXES, file), 5)
                ids = rows[:, 0].astype(np.int64)
                found.append(Annotated(name, rows[:, 1:], np.where(ids < 0, UNKNOWN_ID, ids)))
            except ValueError as error:
                raise UserError(
                    f"{file}: expected rows of identity, x, y, w, h ({error}): copy the "
                    "annotations again"
                ) from error
    return found


def _structs(file: Path, name: str) -> list[Struct]:
    try:
        return structs(variable(read_mat(file), (name,), file))
    except ValueError as error:
        raise UserError(f"{file}, {name}: {error}: copy the annotations again") from error


def _names(file: Path, name: str) -> list[str]:
    try:
        return texts(variable(read_mat(file), (name,), file))
    except ValueError as error:
        raise UserError(
            f"{file}: expected a cell array of file names ({error}): copy the annotations again"
        ) from error
