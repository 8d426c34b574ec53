"""Mixes: FairMOT's data JSON as it is, our YAML, and identities that stay apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runtime.errors import UserError
from tests.train.conftest import make_prepared
from train.config import TrainConfig
from train.data.config import MixDataConfig
from train.data.loader import TrainingSet
from train.data.mix import open_mix
from train.data.sources import open_pictures, open_weighted


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """Two datasets below one root, and their lists relative to it, as FairMOT has them."""
    (tmp_path / "data").mkdir()
    for name, first_id in (("A", 0), ("B", 5)):
        root = make_prepared(tmp_path / "root" / name, first_id)
        lines = [f"{name}/{line}" for line in (root / "d.train").read_text().split()]
        lines = lines[: 14 if name == "A" else 4]
        (tmp_path / "data" / f"{name}.train").write_text("\n".join(lines) + "\n\n")
    return tmp_path


def write_json(folder: Path, root: str) -> Path:
    lists = {"first": "./data/A.train", "second": "./data/B.train"}
    content = {"root": root, "train": lists, "test": {"first": "./data/A.train"}}
    (folder / "mix.json").write_text(json.dumps(content))
    return folder / "mix.json"


def mix(path: Path, **more: Any) -> MixDataConfig:
    return MixDataConfig(kind="mix", path=path, **more)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "", "is not JSON"),
        ("a.json", "{}", "no data JSON with 'root' and lists under 'train'"),
        ("a.json", '{"root": "/nowhere", "train": {"a": "b"}}', "names the root /nowhere"),
        ("a.json", '{"root": ".", "train": {"a": 3}}', "train.a is not the path"),
        ("a.json", '{"root": ".", "train": {"a": "none.train"}}', "list of a none.train does not"),
        ("a.yaml", "", "Input should be a valid dictionary"),
        ("a.yaml", "datasets: []", "datasets: List should have at least 1 item"),
        ("a.yaml", "datasets: [{root: a, folder: b}]", "datasets.0.folder: there is no such key"),
        ("a.yaml", "datasets: [{root: nowhere}]", "dataset nowhere does not exist"),
        ("a.yaml", "{", "is not YAML"),
    ],
)
def test_what_is_no_mix_is_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        open_mix(mix(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_fairmots_json_is_read_as_it_is(roots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_json(roots, str(roots / "root"))
    parts = open_mix(mix(file))
    assert [(part.source.name, len(part.source), part.weight) for part in parts] == [
        ("first", 14, 14),
        ("second", 4, 4),
    ]
    # FairMOT's offsets: the largest identity plus one of each list, in order.
    assert [part.source.num_ids for part in parts] == [3, 6]
    assert [len(part.source) for part in open_mix(mix(file, split="test"))] == [14]
    assert [len(part.source) for part in open_mix(mix(file, every=2))] == [7, 2]
    # Lists relative to where the command runs come first, as when FairMOT runs in src/.
    elsewhere = roots / "elsewhere"
    (elsewhere / "data").mkdir(parents=True)
    (elsewhere / "data" / "A.train").write_text("A/images/train/S1/img1/000001.png\n")
    monkeypatch.chdir(elsewhere)
    assert [len(part.source) for part in open_mix(mix(file))] == [1, 4]


def test_the_root_can_be_replaced(roots: Path) -> None:
    file = write_json(roots, "/home/somebody/dataset")
    with pytest.raises(UserError, match="give another with root:"):
        open_mix(mix(file))
    assert len(open_mix(mix(file, root=roots / "root"))) == 2
    with pytest.raises(UserError, match="is not a folder"):
        open_mix(mix(file, root=roots / "none"))


def test_a_root_relative_to_the_file(roots: Path) -> None:
    assert len(open_mix(mix(write_json(roots, "root")))) == 2


def test_lists_may_lie_in_the_root(roots: Path) -> None:
    (roots / "data").rename(roots / "root" / "data")
    assert len(open_mix(mix(write_json(roots, str(roots / "root"))))) == 2


def test_a_list_that_leaves_the_root(roots: Path) -> None:
    (roots / "data" / "A.train").write_text("../secret/images/a.jpg\n")
    with pytest.raises(UserError, match=r"A\.train, line 1: .* leads out of"):
        open_mix(mix(write_json(roots, str(roots / "root"))))


def write_yaml(folder: Path, datasets: list[dict[str, Any]]) -> Path:
    (folder / "mix.yaml").write_text(yaml.safe_dump({"datasets": datasets}))
    return folder / "mix.yaml"


def test_our_own_mix_has_weights(roots: Path) -> None:
    entries = [{"root": "root/A", "weight": 3}, {"root": str(roots / "root/B"), "every": 7}]
    file = write_yaml(roots, entries)
    parts = open_mix(mix(file))
    assert [(len(part.source), part.weight) for part in parts] == [(14, 3), (2, 1)]
    assert [share for _, share in open_weighted(mix(file, weight=8))] == [6, 2]
    for entry in entries:
        entry["weight"] = 0
    with pytest.raises(UserError, match="all weights are 0"):
        open_mix(mix(write_yaml(roots, entries)))


def test_identities_do_not_collide(roots: Path) -> None:
    file = write_json(roots, str(roots / "root"))
    source = open_pictures(mix(file))
    assert (len(source), source.num_ids, source.num_classes) == (18, 9, 2)
    seen = [source[index].ids for index in range(len(source))]
    known = {int(identity) for ids in seen for identity in ids if identity >= 0}
    assert known == {0, 2, 3 + 5}
    assert any((ids == -1).any() for ids in seen)


def test_a_mix_among_other_sources(roots: Path, tiny_config: dict[str, Any]) -> None:
    file = write_json(roots, str(roots / "root"))
    content = {
        **tiny_config,
        "model": {"name": "nano", "embedding_dim": 8, "num_classes": 2},
        "classes": ["person", "bicycle"],
        "data": [*tiny_config["data"], {"kind": "mix", "path": str(file), "weight": 2}],
    }
    dataset = TrainingSet(TrainConfig.model_validate(content), 8)
    assert dataset.describe() == [("tiny", 12, 3), ("first", 14, 3), ("second", 4, 6)]
    assert dataset.num_ids == 12
    ids = np.concatenate([dataset[index]["ids"] for index in range(60)])
    assert set(ids.tolist()) <= {-1, 0, 1, 2, 3, 5, 6 + 5}
    assert (ids > 5).any() and (ids == 1).any()
