"""People cut out of the footage of a static camera."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from runtime.errors import UserError
from tests.train import drawn_street as street
from tests.train.tiny_onnx import answering
from train.data.cli import cli
from train.data.cutouts.background import FrameSample
from train.data.cutouts.cutting import CutoutOptions, Outcome, cut_out, cut_person
from train.data.cutouts.library import CutoutLibrary
from train.data.cutouts.making import make_cutouts
from train.data.cutouts.masks import person_mask
from train.data.cutouts.watching import Scene, watch
from train.teachers.config import OnnxTeacherConfig
from train.teachers.onnx import OnnxTeacherModel, SeenObjects


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return street.write_street(tmp_path_factory.mktemp("footage") / "street")


@pytest.fixture(scope="module")
def scene(footage: Path) -> Scene:
    return watch(footage)


@pytest.fixture(scope="module")
def outcome(scene: Scene) -> Outcome:
    return cut_out(scene, CutoutOptions(per_identity=4))


@pytest.fixture
def made(footage: Path, tmp_path: Path) -> Path:
    make_cutouts([footage], tmp_path / "cutouts", CutoutOptions(per_identity=4))
    return tmp_path / "cutouts"


def call(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_the_background_is_the_empty_scene(scene: Scene) -> None:
    difference = np.abs(scene.background.image.astype(int) - street.scene())
    assert np.percentile(difference, 99) <= 4
    assert scene.background.changed < 0.05


@pytest.mark.parametrize("frame", [2, 9, 17])
@pytest.mark.parametrize("light", [1.0, 0.8])
def test_masks_follow_the_outline_and_leave_the_shadow(frame: int, light: float) -> None:
    image = (street.picture(frame, (street.FREE,)) * light).astype(np.uint8)
    box = street.box_of(street.FREE, frame)
    mask, agreement = person_mask(image, street.scene() * np.float32(light), box)
    true = street.outline(street.FREE, frame)
    assert (mask & true).sum() / (mask | true).sum() > 0.9
    assert agreement > 0.8


def test_where_nothing_differs_there_is_nobody() -> None:
    empty = street.scene()
    mask, agreement = person_mask(empty, empty.astype(np.float32), (20, 20, 40, 80))
    assert not mask.any() and agreement == 0
    box = np.array([20, 20, 40, 80], np.float32)
    assert cut_person(empty, empty.astype(np.float32), box) == "hardly differs"


def test_only_those_who_stand_free_are_cut_out(outcome: Outcome) -> None:
    assert {cut.identity for cut in outcome.cuts} == {street.FREE, street.LEAVING}
    frames = [cut.frame for cut in outcome.cuts if cut.identity == street.FREE]
    assert len(frames) == 4 and frames == sorted(frames)
    assert frames[-1] - frames[0] > street.FRAMES / 2
    assert outcome.refused["too small"] == street.FRAMES
    assert outcome.refused["overlapped"] >= street.FRAMES
    left, _, _, speed = street.WALKS[street.LEAVING]
    outside = -left // speed  # frames in which the border cuts him
    assert min(cut.frame for cut in outcome.cuts if cut.identity == street.LEAVING) > outside
    assert outcome.refused["at the border"] >= outside
    seen = len(street.WALKS) * street.FRAMES
    assert outcome.refused.total() + len(outcome.cuts) == seen


def test_a_cutout_is_the_person_and_the_scene_behind(outcome: Outcome) -> None:
    cut = next(cut for cut in outcome.cuts if cut.identity == street.FREE)
    opaque, clear = cut.image[..., 3] > 250, cut.image[..., 3] < 5
    np.testing.assert_allclose(
        cut.image[opaque][:, :3].mean(axis=0), street.COLOURS[street.FREE], atol=6
    )
    assert np.abs(cut.image[clear][:, :3].mean(axis=0) - 140).max() < 40
    left, top, right, bottom = street.box_of(street.FREE, cut.frame - 1)
    np.testing.assert_allclose(cut.box_wh, (right - left, bottom - top), atol=2)


@pytest.mark.parametrize(
    ("box", "gate"),
    [
        ((22, 0, 42, 90), "not from top to bottom"),
        ((0, 26, 90, 94), "fills too little"),
        ((23, 40, 41, 56), "fills too much"),
        ((28, 30, 42, 90), "beyond the box"),
    ],
)
def test_masks_that_do_not_suit_their_box_are_refused(box: tuple[int, ...], gate: str) -> None:
    image = street.picture(2, (street.FREE,))
    whole = np.array(street.box_of(street.FREE, 2), np.float32)
    empty = street.scene().astype(np.float32)
    assert not isinstance(cut_person(image, empty, whole), str)
    assert cut_person(image, empty, np.array(box, np.float32)) == gate


def test_the_folder_is_the_same_every_time(footage: Path, made: Path, tmp_path: Path) -> None:
    shown = call("cutouts", footage, "--out", tmp_path / "again", "--per-identity", 4)
    assert "street" in shown and "overlapped" in shown
    files = sorted(file.relative_to(made) for file in made.rglob("*") if file.is_file())
    assert len(files) == 9
    for file in files:
        assert (made / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    index = json.loads((made / "cutouts.json").read_text())
    assert [entry["file"] for entry in index["cutouts"]] == [
        file.as_posix() for file in files if file.suffix == ".png"
    ]
    with pytest.raises(UserError, match="holds cutouts already"):
        call("cutouts", footage, "--out", made)


def test_a_detector_finds_people_where_there_is_no_ground_truth(tmp_path: Path) -> None:
    """It sees somebody in one place all the time, where nobody is."""
    footage = street.write_street(tmp_path / "street", (street.FREE,))
    boxes = np.array([[[10, 4, 20, 28]]], np.float32)
    detector = answering(tmp_path / "d.onnx", boxes=boxes, scores=np.array([[0.9]], np.float32))
    settings = {"path": detector, "output": "boxes", "fit": "stretch"}
    teacher = OnnxTeacherConfig.model_validate({"kind": "onnx", "detector": settings})
    found = watch(footage / "img1", OnnxTeacherModel(teacher, threads=1))
    assert (found.identities, found.frames) == ("tracker", street.FRAMES)
    assert set(found.sightings.ids.tolist()) == {1}
    np.testing.assert_allclose(found.sightings.boxes_xyxy[-1], [37.5, 20, 75, 140], atol=1)
    outcome = cut_out(found, CutoutOptions())
    assert not outcome.cuts
    assert outcome.refused["seen too briefly"] == len(found.sightings.ids) > 0


class ByColour:
    """Knows people again by the colour of their bodies."""

    embedding_dim = 3

    def __call__(self, image: np.ndarray, boxes_xyxy: list[list[int]]) -> SeenObjects:
        (left, top, right, bottom), *_ = boxes_xyxy
        colour = image[(top + bottom) * 2 // 5, (left + right) // 2] - np.float32(120)
        unit = (colour / np.linalg.norm(colour)).astype(np.float16)
        boxes = np.array(boxes_xyxy, np.float32)
        return SeenObjects(boxes, np.ones(1, np.float32), np.zeros(1, np.int64), unit[None])


def test_whom_a_tracker_lost_is_one_person_again(scene: Scene) -> None:
    """The tracker loses one person for good and mistakes the other one for him once."""
    ids = scene.sightings.ids.copy()
    ids[(ids == street.FREE) & (scene.sightings.frames > street.FRAMES // 2)] = 9
    stranger = np.flatnonzero(ids == street.LEAVING)[-1]
    ids[stranger] = 9
    sightings = replace(scene.sightings, ids=ids)
    tracked = replace(scene, identities="tracker", fps=1.0, sightings=sightings)
    many = CutoutOptions(per_identity=50)
    without = cut_out(tracked, many)
    assert {cut.identity for cut in without.cuts} == {street.FREE, street.LEAVING, 9}
    outcome = cut_out(tracked, many, ByColour())  # type: ignore[arg-type]
    assert outcome.identities == 2
    for cut in outcome.cuts:
        colour = cut.image[cut.image[..., 3] > 250][:, :3].mean(axis=0)
        np.testing.assert_allclose(colour, street.COLOURS[cut.identity], atol=20)
    assert outcome.refused["like somebody else"] == len(without.cuts) - len(outcome.cuts)


def test_footage_that_gives_nothing_is_refused_in_one_line(footage: Path, tmp_path: Path) -> None:
    shaking = street.write_street(tmp_path / "shaking", (street.FREE,), shake=4)
    crowded = street.write_street(tmp_path / "crowded", (street.PAIRED, street.BEHIND))
    empty = street.write_street(tmp_path / "empty", ())
    out = tmp_path / "out"
    for sources, words in (
        ([tmp_path / "missing"], "missing does not exist"),
        ([footage / "img1"], "give --detector"),
        ([shaking], "no footage of a static camera"),
        ([crowded], "nobody could be cut out of crowded, most .* are 'overlapped'"),
        ([empty], "nobody could be cut out of empty, nobody was seen"),
        ([footage, footage], "two sources are called street"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            make_cutouts(sources, out, CutoutOptions())
        assert "\n" not in str(caught.value)
        assert not (out / "cutouts.json").exists()


def test_frames_are_kept_evenly_whatever_the_length() -> None:
    sample = FrameSample(most=8)
    for number in range(1, 101):
        sample.add(number, np.zeros((2, 2, 3), np.uint8))
    assert list(sample.frames) == [1, 17, 33, 49, 65, 81, 97]


def test_a_library_numbers_people_and_knows_those_of_ground_truth(made: Path) -> None:
    library = CutoutLibrary(made)
    assert (len(library), library.num_ids, library.num_classes) == (8, 2, 1)
    assert library.members == [[0, 1, 2, 3], [4, 5, 6, 7]]
    sample = library[5]
    assert sample.ids.tolist() == [1] and sample.image.ndim == 3
    left, top, right, bottom = library.cutout(5).box_xyxy
    assert sample.boxes_xyxy.tolist() == [[left, top, right, bottom]]
    known = {("street", street.LEAVING): 2, ("elsewhere", street.FREE): 3}
    ids, new = library.numbered(known, 10)
    assert (ids.tolist(), new) == ([10, 2], 1)


def damage(folder: Path, kind: str) -> dict[str, Any]:
    """Damage a folder of cutouts and return how it is opened."""
    file = folder / "cutouts.json"
    content = json.loads(file.read_text())
    picture = folder / content["cutouts"][0]["file"]
    if kind == "no JSON":
        file.write_text("{")
    elif kind == "version":
        file.write_text(json.dumps({**content, "version": 2}))
    elif kind == "key":
        del content["cutouts"][3]["identity"]
        file.write_text(json.dumps(content))
    elif kind == "outside":
        content["cutouts"][0]["file"] = "../elsewhere.png"
        file.write_text(json.dumps(content))
    elif kind == "missing":
        picture.unlink()
    elif kind == "cut short":
        picture.write_bytes(picture.read_bytes()[:40])
    elif kind == "empty":
        picture.write_bytes(b"")
    elif kind == "no alpha":
        cv2.imwrite(str(picture), np.zeros((9, 5, 3), np.uint8))
    elif kind == "clear":
        cv2.imwrite(str(picture), np.zeros((9, 5, 4), np.uint8))
    return {
        "unknown": {"leave_out": ["stret"]},
        "none": {"leave_out": ["street"]},
    }.get(kind, {})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no JSON", "is not JSON"),
        ("version", "version 2, not 1"),
        ("key", r"cutouts\.3\.identity"),
        ("outside", "outside of the folder"),
        ("missing", "does not exist"),
        ("cut short", "no picture with transparency"),
        ("empty", "no picture with transparency"),
        ("no alpha", "no picture with transparency"),
        ("clear", "shows nobody"),
        ("unknown", "no source 'stret': choose street"),
        ("none", "leave none"),
    ],
)
def test_damaged_cutouts_are_refused_in_one_line(made: Path, kind: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        CutoutLibrary(made, **damage(made, kind))
    assert "\n" not in str(caught.value)
