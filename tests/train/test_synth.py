"""The generated scene: exact, reproducible ground truth."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from train.data.synth import Scene, SceneConfig
from train.data.synth.camera import Camera, sample_camera
from train.data.synth.pose import Motion, make_pose

SMALL = (240, 180)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(SceneConfig(frames=200, size_wh=SMALL, fps=8, people=8, seed=3))


def test_nobody_there():
    empty = Scene(SceneConfig(frames=3, size_wh=SMALL, people=0))
    frame = empty.render(2)
    assert frame.image.shape == (180, 240, 3)
    assert frame.boxes_ltwh.shape == (0, 4)
    assert len(frame.ids) == len(frame.visibility) == empty.identities == 0
    assert not frame.id_map.any()


@pytest.mark.parametrize("view", ["street", "elevated"])
@pytest.mark.parametrize("camera", ["static", "jitter"])
def test_boxes_and_visibility_agree_with_brute_force(view, camera):
    """Compose the frame's silhouettes again, pixel by pixel and without the scene's own code."""
    scene = Scene(SceneConfig(frames=4, size_wh=SMALL, people=12, seed=5, view=view, camera=camera))
    frame, figures = scene.render(3), scene.figures(3)
    assert len(frame.ids) > 3
    for identity, box, share in zip(frame.ids, frame.boxes_ltwh, frame.visibility, strict=True):
        _, sprite = figures[identity]
        solid = sprite.bgra[..., 3] >= 128
        rows, columns = np.nonzero(solid)
        left, top, width, height = box
        assert (left, top) == (columns.min() + sprite.left, rows.min() + sprite.top)
        assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
        seen = sum(
            frame.id_map[y, x] == identity
            for y, x in zip(rows + sprite.top, columns + sprite.left, strict=True)
            if 0 <= x < SMALL[0] and 0 <= y < SMALL[1]
        )
        assert share == pytest.approx(seen / len(rows), abs=1e-12)
        assert seen == np.count_nonzero(frame.id_map == identity)


def test_nearer_people_hide_farther_ones():
    """Where two silhouettes overlap, the pixel never belongs to the one farther away."""
    scene = Scene(SceneConfig(frames=30, size_wh=SMALL, people=16, seed=9, view="street"))
    overlaps = 0
    for index in (0, 15, 29):
        frame, figures = scene.render(index), scene.figures(index)
        nearest = np.full(frame.id_map.shape, np.inf)
        for distance, sprite in figures.values():
            rows, columns = np.nonzero(sprite.mask)
            rows, columns = rows + sprite.top, columns + sprite.left
            inside = (rows >= 0) & (rows < SMALL[1]) & (columns >= 0) & (columns < SMALL[0])
            rows, columns = rows[inside], columns[inside]
            overlaps += np.count_nonzero(np.isfinite(nearest[rows, columns]))
            nearest[rows, columns] = np.minimum(nearest[rows, columns], distance)
        for identity in np.unique(frame.id_map)[1:]:
            assert (nearest[frame.id_map == identity] == figures[identity][0]).all()
    assert overlaps > 0


def test_an_unhidden_person_is_what_the_picture_shows(scene):
    """The box is where the picture differs from the background."""
    empty = Scene(SceneConfig(frames=200, size_wh=SMALL, fps=8, people=0, seed=3))
    frame = scene.render(0)
    alone = np.flatnonzero(frame.visibility == 1)
    assert len(alone)
    difference = np.abs(frame.image.astype(int) - empty.render(0).image).max(2)
    for index in alone:
        mask = frame.id_map == frame.ids[index]
        assert difference[mask].mean() > 15
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        assert (x, y, w, h) == tuple(frame.boxes_ltwh[index])


def test_same_seed_same_frames_other_seed_other_frames():
    first = Scene(SceneConfig(frames=6, size_wh=SMALL, seed=11))
    again = Scene(SceneConfig(frames=6, size_wh=SMALL, seed=11))
    other = Scene(SceneConfig(frames=6, size_wh=SMALL, seed=12))
    again.render(0)  # the order in which frames are asked for does not matter
    one, two = first.render(5), again.render(5)
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.boxes_ltwh, two.boxes_ltwh)
    np.testing.assert_array_equal(one.visibility, two.visibility)
    assert (one.image != other.render(5).image).mean() > 0.5


def test_longer_sequence_begins_like_the_shorter():
    short = Scene(SceneConfig(frames=3, size_wh=SMALL, seed=4)).render(2)
    longer = Scene(SceneConfig(frames=30, size_wh=SMALL, seed=4)).render(2)
    np.testing.assert_array_equal(short.image, longer.image)


def test_people_come_go_walk_and_hide(scene):
    frames = [scene.render(index) for index in range(0, 200, 4)]
    present = [set(frame.ids.tolist()) for frame in frames]
    assert present[0] - present[-1], "somebody left"
    assert present[-1] - present[0], "somebody came"
    for identity in set.union(*present):
        seen = [index for index, ids in enumerate(present) if identity in ids]
        # Nobody who left for long comes back under the old number.
        assert max(np.diff(seen), default=1) <= 12
    visibility = np.concatenate([frame.visibility for frame in frames])
    assert visibility.min() >= 0 and visibility.max() == 1
    assert 0.02 < (visibility < 0.9).mean() < 0.9
    centres = {}
    for frame in frames:
        assert len(set(frame.ids.tolist())) == len(frame.ids)
        for identity, (left, top, width, height) in zip(
            frame.ids.tolist(), frame.boxes_ltwh.tolist(), strict=True
        ):
            centres.setdefault(identity, []).append(left + width / 2)
            assert left < SMALL[0] and left + width > 0
            assert top < SMALL[1] and top + height > 0
    assert max(np.ptp(track) for track in centres.values()) > SMALL[0] / 3


def test_an_identity_keeps_its_looks(scene):
    """Torso colour of one person varies less over time than between people."""
    means: dict[int, list[np.ndarray]] = {}
    for index in range(0, 24, 6):
        for identity, (_, sprite) in scene.figures(index).items():
            height, width = sprite.mask.shape
            middle = sprite.bgra[int(0.2 * height) : int(0.45 * height), width // 3 : -(width // 3)]
            solid = middle[middle[..., 3] == 255][:, :3]
            if len(solid):
                means.setdefault(identity, []).append(solid.mean(0))
    tracks = [np.array(track) for track in means.values() if len(track) > 2]
    within = np.mean([track.std(0).mean() for track in tracks])
    between = np.array([track.mean(0) for track in tracks]).std(0).mean()
    assert len(tracks) > 3 and within < 0.5 * between


@pytest.mark.parametrize("view,low,high", [("street", 0.12, 0.62), ("elevated", 0.05, 0.25)])
def test_people_have_the_size_of_their_view(view, low, high):
    for seed in range(20):
        config = SceneConfig(size_wh=(768, 576), seed=seed, view=view)
        camera = sample_camera(config, np.random.default_rng(seed))
        for y in (camera.near_m, camera.far_m):
            uv, _ = camera.project(np.array([[0, y, 0], [0, y, 1.75]], float))
            assert low < (uv[0, 1] - uv[1, 1]) / 576 < high


def test_projection_and_ground_are_inverse():
    camera = Camera((640, 480), 600.0, 5.0, 0.3, 0.02, 5.0, 30.0, True)
    points = np.array([[0.0, 8.0, 0.0], [-3.0, 20.0, 0.0], [4.0, 12.0, 0.0]])
    uv, depth = camera.project(points)
    ground, ground_depth = camera.ground(uv)
    np.testing.assert_allclose(ground, points[:, :2], atol=1e-9)
    np.testing.assert_allclose(ground_depth, depth)
    assert math.isinf(float(camera.ground(np.array([320.0, -900.0]))[1]))


def test_feet_touch_the_ground_and_do_not_slide():
    """Through a cycle the lower sole stays at height 0 while the body moves on."""
    phase = np.linspace(0, 2 * np.pi, 24)
    ones = np.ones(24)
    motion = Motion(
        np.zeros((24, 2)), 0 * ones, 1.35 * ones, phase, 1.75 * ones, ones,
        np.zeros((24, 2)), np.ones((24, 2)),
    )  # fmt: skip
    pose = make_pose(motion)
    soles = np.minimum(pose.starts[:, :2, 2], pose.ends[:, :2, 2]) - 0.018 * 1.75
    np.testing.assert_allclose(soles.min(1), 0, atol=1e-9)
    spread = np.ptp(pose.starts[:, 0, 0] - pose.starts[:, 1, 0])
    assert 0.7 < spread / 1.75 < 1.1  # the feet pass each other twice a stride


def test_pose_of_nobody():
    none, pairs = np.zeros(0), np.zeros((0, 2))
    assert make_pose(Motion(pairs, none, none, none, none, none, pairs, pairs)).starts.shape[0] == 0


def test_frames_outside_the_sequence(scene):
    with pytest.raises(IndexError, match="frame 200 of a scene of 200"):
        scene.render(200)
    with pytest.raises(IndexError):
        scene.figures(-1)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"frames": 0}, "at least 1"),
        ({"size_wh": (10, 480)}, "10x480"),
        ({"fps": float("nan")}, "nan frames a second"),
        ({"people": -1}, "0 to 200"),
        ({"seed": -5}, "negative"),
        ({"camera": "drone"}, "drone"),
        ({"view": "top"}, "top"),
    ],
)
def test_bad_configs_are_explained(change, message):
    with pytest.raises(UserError, match=message):
        SceneConfig(**change)
