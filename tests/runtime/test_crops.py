"""Cut-outs of identities: few, good, apart in time, whole files."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from runtime import Tracks, UserError
from runtime.opencv import cv2
from runtime.sinks import CropWriter
from runtime.sinks.crops import clip_boxes, crop_quality
from tests.runtime.results import result

BOX = [[20, 20, 60, 100]]


def seen(index: int, score: float = 0.8, boxes=BOX, ids=(3,), fps: float = 10.0):
    """Return a result whose frame is noise, so that every cut-out is about as sharp."""
    count = len(ids)
    one = result(index, Tracks(list(ids), boxes, [score] * count, [0] * count), fps=fps)
    one.frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    return one


def write(folder, results, **options) -> list[int]:
    """Write and return the frame numbers kept of identity 3."""
    with CropWriter(folder, **options) as writer:
        for one in results:
            writer.write(one)
    return numbers(folder)


def numbers(folder: Path) -> list[int]:
    return sorted(int(file.stem) for file in (folder / "3").glob("*.jpg"))


def test_nobody_leaves_no_folder(tmp_path):
    write(tmp_path / "crops", [result(0, Tracks())])
    assert list(tmp_path.iterdir()) == []


def test_a_cut_out_shows_what_the_box_holds(tmp_path):
    one = seen(0)
    one.frame[:] = 30
    one.frame[20:100, 20:60] = (40, 90, 200)
    assert write(tmp_path / "crops", [one]) == [1]
    picture = cv2.imread(str(tmp_path / "crops/3/000001.jpg"))
    assert picture.shape == (80, 40, 3)
    np.testing.assert_allclose(picture.mean(axis=(0, 1)), (40, 90, 200), atol=3)


def test_they_are_few_and_apart(tmp_path):
    kept = write(tmp_path / "crops", (seen(i) for i in range(300)), most=4, spacing_seconds=2.0)
    assert kept == [1, 21, 41, 61]


def test_a_clearly_better_one_replaces_its_neighbour_or_the_worst(tmp_path):
    scores = {0: 0.3, 5: 0.31, 10: 0.6, 30: 0.5, 50: 0.9, 70: 0.4, 90: 0.7}
    kept = write(tmp_path / "crops", (seen(i, score) for i, score in scores.items()), most=3)
    # 11 replaced 1, which was half as good; then 91 replaced 31, the worst of three.
    assert kept == [11, 51, 91]


@pytest.mark.parametrize("seed", range(3))
def test_random_scores_keep_the_rules(tmp_path, seed):
    random = np.random.default_rng(seed)
    results = [
        seen(i, float(random.uniform(0.1, 1)), BOX * 2, (3, 4))
        for i in range(600)
        if random.random() < 0.7
    ]
    kept = write(tmp_path / "crops", results, most=5, spacing_seconds=1.5)
    assert len(kept) == 5
    assert min(b - a for a, b in itertools.pairwise(kept)) >= 15
    assert len(list((tmp_path / "crops/4").iterdir())) == 5


def test_boxes_are_clipped_and_slivers_skipped():
    boxes = np.array(
        [
            [-10, -10, 60, 60],
            [-60, 0, 20, 60],
            [10, 10, 20, 90],
            [10, 10, 30, 140],
            [150, 10, 190, 60],
            [10, 10, 158, 30],
            [np.nan, 0, 50, 50],
            [0.4, 0.4, 50.6, 60],
        ],
        np.float32,
    )
    clipped, usable = clip_boxes(boxes, (120, 160))
    assert usable.tolist() == [True, False, False, True, False, False, True, True]
    assert clipped[0].tolist() == [0, 0, 60, 60] and clipped[3].tolist() == [10, 10, 30, 120]
    assert clip_boxes(np.zeros((0, 4), np.float32), (120, 160))[1].tolist() == []


def test_sharp_and_large_is_better():
    noise = np.random.default_rng(0).integers(0, 256, (100, 60, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 4)
    assert crop_quality(noise) > 1.5 * crop_quality(blurred) > 0
    assert crop_quality(noise) > 1.2 * crop_quality(noise[:50, :30])


def test_an_earlier_runs_cut_outs_are_kept_apart(tmp_path):
    for _ in range(3):
        write(tmp_path / "crops", [seen(0)])
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        *("crops", "crops.earlier-1", "crops.earlier-2")
    ]
    assert all((folder / "3/000001.jpg").exists() for folder in tmp_path.iterdir())


def test_two_runs_do_not_share_a_folder(tmp_path):
    with CropWriter(tmp_path / "crops") as first:
        first.write(seen(0))
        with pytest.raises(UserError, match=r"another run is writing .*crops"):
            write(tmp_path / "crops", [])
        first.write(seen(30))
    assert numbers(tmp_path / "crops") == [1, 31]


def test_a_full_disk_leaves_the_cut_outs_before(tmp_path, monkeypatch):
    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(UserError, match=r"cannot write .*000031\.jpg \(No space left"),
        CropWriter(tmp_path / "crops") as writer,
    ):
        writer.write(seen(0))
        monkeypatch.setattr(Path, "write_bytes", full)
        writer.write(seen(30))
    assert [file.name for file in (tmp_path / "crops/3").iterdir()] == ["000001.jpg"]


def test_memory_stays_flat(tmp_path):
    with CropWriter(tmp_path / "crops") as writer:
        for index in range(40):
            writer.write(seen(index, ids=(index,), fps=0.02))
        assert len(writer._identities) < 20
