"""The loop against the network alone, on the stub model."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.association.crowd import make_crowd
from benchmarks.records import loop
from runtime.detector import Detector, load
from runtime.errors import UserError
from tests.runtime.conftest import write_video
from tests.stub_model import write_stub_model


@pytest.fixture
def model(tmp_path):
    write_stub_model(tmp_path / "m.onnx", size_wh=(192, 128), topk=40, embedding_dim=8)
    return tmp_path / "m.onnx"


@pytest.fixture
def short(monkeypatch):
    for name in ("ROUNDS", "WARM_UP"):
        monkeypatch.setattr(loop, name, 2)
    for name in ("SHARE_FRAMES", "THROUGHPUT_FRAMES"):
        monkeypatch.setattr(loop, name, 6)


def test_a_short_video_is_refused(tmp_path):
    with pytest.raises(UserError, match="fewer than 5 frames"):
        loop.read_frames(write_video(tmp_path / "v.avi", frames=3), 5)


def test_a_crowd_stands_in_the_place_of_what_the_network_found(model):
    crowd = make_crowd(30, 3, embedding_dim=8).detections
    frame = np.zeros((1080, 1920, 3), np.uint8)
    with load(model, threads=1) as detector:
        crowded = Detector(loop.CrowdEngine(detector.engine, crowd, loop.FULL_HD), 0.05)
        for expected in crowd:
            found = crowded(frame)
            wanted = expected[expected.scores > 0.05]
            np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=0.01)
            np.testing.assert_allclose(found.embeddings, wanted.embeddings, atol=1e-6)


def test_shares_are_those_of_the_stages(model, tmp_path, short):
    video = write_video(tmp_path / "v.avi", frames=10)
    rows = loop.measure_share(model, video, [1])
    assert [row["frames"] for row in rows] == ["v.avi", "100 people, 1920x1080"]
    for row in rows:
        means = {stage: row[stage]["mean_ms"] for stage in loop.STAGES}
        assert row["outside"] == pytest.approx(1 - means["network"] / sum(means.values()))
        assert row["tracks_per_frame"] > 1
    assert "v.avi" in loop.share_markdown(rows)


def test_every_way_is_compared_with_the_network_alone(model, tmp_path, short):
    rows = loop.measure_throughput(model, write_video(tmp_path / "v.avi", frames=10), [1])
    assert rows[0]["way"] == loop.ALONE
    assert rows[0]["of_network"]["ratio"] == 1 and len(rows) == 4
    assert all(row["fps"] > 0 for row in rows)
    loop.print_loop([], rows)
    assert loop.throughput_markdown(rows).count("\n") == 5
