"""Things fixed to a scene: found where they stay, and left out of what a teacher teaches."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from runtime.errors import UserError
from tests.train.test_adapt import camera, settings  # noqa: F401
from tests.train.test_lessons import FakeTeacher, Pictures
from tests.train.tiny_onnx import answering
from train.adapt import adapt
from train.config import load_config
from train.data.unlabelled import WithoutLabels
from train.teachers.cache import TeacherCache
from train.teachers.fixtures import LEAST_FRAMES, find_fixtures, is_object
from train.teachers.lessons import TaughtSource, teach

POST = np.array([10.0, 20.0, 30.0, 80.0])


def film(
    frames=100, score=0.5, share=1.0, shiver=1.0, speed=0.0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """A post that shivers, or somebody who walks at a speed, and three others who walk."""
    random = np.random.default_rng(0)
    seen = []
    for number in range(frames):
        post = POST + random.normal(0, shiver, 4) + np.array([speed * number, 0] * 2)
        walkers = random.uniform(0, 400, (3, 2)) + np.array([200, 0])
        boxes = np.concatenate([walkers, walkers + np.array([20, 60])], axis=1)
        there = number % 10 < share * 10
        seen.append(
            (
                np.concatenate([boxes, post[None]]) if there else boxes,
                np.array([0.9, 0.5, 0.2] + [score + random.normal(0, 0.02)] * there),
            )
        )
    return seen


def test_a_film_where_nothing_is_seen_has_no_fixtures():
    nothing = (np.zeros((0, 4)), np.zeros(0))
    assert find_fixtures([], 0.6).shape == (0, 4)
    assert find_fixtures([nothing] * 100, 0.6).shape == (0, 4)
    assert is_object(*nothing, [POST], 0.6).shape == (0,)


@pytest.mark.parametrize("share", [1.0, 0.8, 0.5])
def test_what_stays_and_is_never_sure_is_a_fixture(share):
    found = find_fixtures(film(share=share), 0.6)
    assert found.dtype == np.float32 and len(found) == 1
    np.testing.assert_allclose(found[0], POST, atol=0.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"score": 0.7},  # somebody who stands there, well seen
        {"share": 0.4},  # somebody who stands there for a while
        {"speed": 1.0},  # somebody who walks slowly
        {"frames": LEAST_FRAMES - 1},
    ],
    ids=str,
)
def test_people_are_no_fixtures(changes):
    assert not len(find_fixtures(film(**changes), 0.6))


def test_two_boxes_of_one_frame_are_two_things():
    twice = (np.array([POST, POST + 1]), np.array([0.5, 0.4]))
    assert len(find_fixtures([twice] * 50, 0.6)) == 2


def test_the_score_tells_somebody_before_a_fixture_from_it():
    boxes = [POST, POST + 2, POST + np.array([40, 0, 40, 0])]
    assert is_object(boxes, [0.7, 0.59, 0.1], [POST], 0.6).tolist() == [True, False, True]
    assert is_object(boxes, [0.0, 0.0, 0.0], [], 0.6).all()


def test_lessons_leave_out_what_is_seen_at_a_fixture(tmp_path):
    """The teacher sees one box in the first picture, two on each other in the second..."""

    class Boxes(FakeTeacher):
        def __call__(self, image, boxes_xyxy=None, classes=None):
            seen = super().__call__(image, boxes_xyxy, classes)
            seen.boxes_xyxy = seen.boxes_xyxy + np.array([0, 0, 8, 8], np.float32)
            return seen

    def lessons(fixtures, sure_score):
        source = WithoutLabels(Pictures([1, 2, 3]))
        source.fixtures_xyxy = fixtures
        with TeacherCache(tmp_path, "boxes", 8) as cache:
            return source, teach([source], Boxes(), cache, sure_score=sure_score)

    fixture = [(3.0, 3.0, 11.0, 11.0)]

    def counts(got):
        return np.diff(got[1].starts[0]).tolist()

    # Scores fall: 1, 1/2, 1/3. Boxes of the second picture overlap the fixture by 0.62.
    assert counts(lessons([], 0.6)) == [1, 2, 3]
    assert counts(lessons(fixture, 0.6)) == [1, 1, 1]
    assert counts(lessons(fixture, 0.4)) == [1, 2, 2]
    assert counts(lessons(fixture, 0.0)) == [1, 2, 3]
    source, taught = lessons(fixture, 0.6)
    assert taught.computed == 0, "what the teacher saw is kept whole"
    assert len(TaughtSource(source, taught, 0, 0.0)[2].boxes_xyxy) == 1


def test_adapting_tells_what_it_takes_for_a_fixture(camera, tmp_path, capsys):  # noqa: F811
    """Somebody well seen, and a post: of 70 frames that are learned from, in all."""
    boxes = np.array([[[4, 4, 20, 28], [40, 2, 52, 30]]], np.float32)
    answering(tmp_path / "d.onnx", boxes=boxes, scores=np.array([[0.9, 0.5]], np.float32))
    detector = {"path": str(tmp_path / "d.onnx"), "output": "boxes", "fit": "stretch"}
    told = {"kind": "onnx", "detector": detector}
    record = adapt(settings(camera, teacher=told), tmp_path / "out")
    ((post,),) = record["fixtures"]
    assert post == json.loads((tmp_path / "out" / "adapt.json").read_text())["fixtures"][0][0]
    assert "throughout, the teacher never being sure of it" in capsys.readouterr().err
    config = load_config(tmp_path / "out" / "training.yaml")
    assert [list(each.fixtures[0]) for each in config.data + config.validation] == [post, post]

    believing = told | {"sure_score": 0.0}
    record = adapt(settings(camera, teacher=believing), tmp_path / "believing")
    assert record["fixtures"] == [[]]


def test_a_fixture_turned_round_is_refused(tmp_path):
    entry = {"kind": "unlabelled", "path": "v.avi", "fixtures": [[30, 20, 10, 80]]}
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({"model": {"name": "nano"}, "data": [entry]}))
    with pytest.raises(UserError, match="left, top, right, bottom"):
        load_config(file)
