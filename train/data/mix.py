"""Mixes: one file that names several prepared datasets.

Two kinds are read. FairMOT's data JSON gives a root and, for each section such as ``train``, list
files by name; every picture of all lists is drawn equally often, as FairMOT does. A YAML file of
our own gives a weight per dataset::

    datasets:
      - {root: data/MOT17, split: train, weight: 2}
      - {root: data/CrowdHuman, split: train, every: 2}

Identities are numbered on from dataset to dataset, each taking as many numbers as its largest
identity plus one, so none collide. A dataset listed twice counts as two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from runtime.errors import UserError
from runtime.files import existing_file
from train.data.config import MixDataConfig
from train.data.index import read_list
from train.data.prepared import PreparedSource, open_dataset
from train.settings import NonNegative, Positive, Settings, in_words, one_line

YAML_SUFFIXES = {".yaml", ".yml"}


class _MixEntry(Settings):
    """A dataset of a YAML mix; see ``train.data.config.DatasetDataConfig``."""

    root: Path
    split: str | None = None
    weight: NonNegative = 1.0
    every: Positive = 1


class _Mix(Settings):
    """The YAML file."""

    datasets: list[_MixEntry] = Field(min_length=1)


@dataclass(frozen=True)
class MixPart:
    """A dataset of a mix.

    Attributes:
        source: Its pictures.
        weight: Share of pictures drawn from it, relative to the other parts.
    """

    source: PreparedSource
    weight: float


def open_mix(entry: MixDataConfig) -> list[MixPart]:
    """Open the datasets of a mix.

    Args:
        entry: The configuration entry.

    Raises:
        UserError: The file or a dataset in it cannot be read; or all weights are 0.
    """
    file = existing_file(entry.path, "mix")
    try:
        text = file.read_text(encoding="utf-8")
        is_yaml = file.suffix.lower() in YAML_SUFFIXES
        content = yaml.safe_load(text) if is_yaml else json.loads(text)
    except (yaml.YAMLError, ValueError) as error:
        kind = "YAML" if file.suffix.lower() in YAML_SUFFIXES else "JSON"
        raise UserError(f"mix {file} is not {kind}: {one_line(error)}") from error
    parts = _open_yaml(file, content, entry) if is_yaml else _open_json(file, content, entry)
    if not sum(part.weight for part in parts):
        raise UserError(f"mix {file}: all weights are 0, give one dataset a weight")
    return parts


def _open_yaml(file: Path, content: Any, entry: MixDataConfig) -> list[MixPart]:
    try:
        mix = _Mix.model_validate(content)
    except ValidationError as error:
        raise UserError(f"mix {file}: {in_words(error)}") from error
    parts = []
    for dataset in mix.datasets:
        root = _first_existing(dataset.root, (Path(), file.parent), f"mix {file}: dataset")
        every = dataset.every * entry.every
        source = open_dataset(root, dataset.split or entry.split, every, entry.video_cache_mb)
        parts.append(MixPart(source, dataset.weight))
    return parts


def _open_json(file: Path, content: Any, entry: MixDataConfig) -> list[MixPart]:
    lists = content.get(entry.split) if isinstance(content, dict) else None
    named = isinstance(content, dict) and isinstance(content.get("root"), str)
    if not named or not isinstance(lists, dict) or not lists:
        raise UserError(
            f"mix {file} is no data JSON with 'root' and lists under {entry.split!r}: give "
            "FairMOT's form, or a YAML file with datasets:"
        )
    root = _find_root(file, content["root"], entry.root)
    parts = []
    for name, given in lists.items():
        if not isinstance(given, str):
            raise UserError(f"mix {file}: {entry.split}.{name} is not the path of a list file")
        places = (Path(), file.parent, root)
        list_file = _first_existing(Path(given), places, f"mix {file}: list of {name}")
        pictures = read_list(list_file)[:: entry.every]
        source = PreparedSource(name, root, pictures, entry.video_cache_mb)
        parts.append(MixPart(source, len(source)))
    return parts


def _find_root(file: Path, written: str, given: Path | None) -> Path:
    if given is not None:
        if not given.is_dir():
            raise UserError(f"root {given} for mix {file} is not a folder: check the path")
        return given
    for place in (Path(), file.parent):
        if (place / written).is_dir():
            return place / written
    raise UserError(
        f"mix {file} names the root {written}, which is not a folder here: give another with "
        "root: in the configuration's entry"
    )


def _first_existing(path: Path, places: Sequence[Path], what: str) -> Path:
    """Return the first of ``place / path`` that exists."""
    for place in places:
        if (place / path).exists():
            return place / path
    tried = ", ".join(str(place) for place in places)
    raise UserError(f"{what} {path} does not exist; looked below {tried}: check the path")
