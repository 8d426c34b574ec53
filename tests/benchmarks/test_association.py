"""The association benchmark: what is measured and how it is put together, not how fast it is."""

from __future__ import annotations

import importlib.util
import json
import sys
import types

import numpy as np
import pytest

from benchmarks.association import measure as measuring
from benchmarks.association import peers
from benchmarks.association.crowd import make_crowd, score
from benchmarks.association.entries import Entry, entries
from benchmarks.association.measure import (
    association_markdown,
    association_summary,
    measure_association,
    print_association,
)
from benchmarks.association.original import OriginalTracker, overlaps_inclusive
from benchmarks.association.peers import Contender
from runtime.errors import UserError
from runtime.types import Detections, Tracks


def test_crowd_repeats_and_a_perfect_tracker_scores_one():
    crowd, again = make_crowd(12, 30, 8), make_crowd(12, 30, 8)
    for one, other in zip(crowd.detections, again.detections, strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
        np.testing.assert_array_equal(one.embeddings, other.embeddings)
        assert (np.diff(one.scores) <= 0).all()
        np.testing.assert_allclose(np.linalg.norm(one.embeddings, axis=1), 1, atol=1e-6)
    scores = score(crowd.truth, crowd.truth).to_dict()
    assert (scores["MOTA"], scores["IDF1"]) == (1, 1)
    assert score([Tracks()] * 30, crowd.truth).to_dict()["MOTA"] == 0


def test_crowd_has_misses_low_scores_clutter_and_people_who_hide():
    crowd = make_crowd(60, 60, 32)
    truth = np.array([len(frame) for frame in crowd.truth])
    assert (truth < 60).any(), "nobody is ever hidden"
    low = sum(int((frame.scores < 0.4).sum()) for frame in crowd.detections)
    assert low > 60
    # A detection with nobody near it is clutter, a person with no detection near is missed.
    clutter = missed = 0
    for detections, people in zip(crowd.detections, crowd.truth, strict=True):
        overlap = overlaps_inclusive(
            detections.boxes_xyxy.astype(float), people.boxes_xyxy.astype(float)
        )
        clutter += int((overlap.max(axis=1) < 0.3).sum())
        missed += int((overlap.max(axis=0) < 0.3).sum())
    assert clutter > 20 and missed > 20


class Echo(Contender):
    """Gives every person of the crowd's first detections the number of its row."""

    def prepare(self, detections):
        return detections

    def update(self, prepared):
        return prepared.boxes_xyxy

    def read(self, found):
        count = len(found)
        return Tracks(np.arange(count), found, np.ones(count), np.zeros(count))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(measuring, "WARM_UP_FRAMES", 2)
    monkeypatch.setattr(measuring, "ROUND_FRAMES", 2)
    monkeypatch.setattr(measuring, "EMBEDDING_DIM", 4)


def test_record_has_a_row_for_each_tracker_and_crowd(quick, capsys):
    trackers = [
        *entries()[:3],
        Entry("echo", False, Echo),
        Entry("looks", True, Echo),
        Entry("absent", False, Echo, "no-such-package", "no_such_module"),
    ]
    record = measure_association((4, 6), frames=8, trackers=trackers)
    json.dumps(record)
    assert [(row["objects"], row["tracker"]) for row in record["rows"]] == [
        (count, entry.name) for count in (4, 6) for entry in trackers[:-1]
    ]
    compared = {
        row["tracker"]: row["times_ours"]["compared_with"]
        for row in record["rows"]
        if "times_ours" in row
    }
    assert compared == {"echo": "kd-mot, motion only", "looks": "kd-mot, default"}
    assert record["missing"] == {"absent": "not installed: pip install --no-deps no-such-package"}
    rows = {row["tracker"]: row for row in record["rows"] if row["objects"] == 6}
    # Numbers by the order of scores follow nobody.
    assert rows["kd-mot, default"]["IDF1"] > rows["echo"]["IDF1"]
    assert len(association_markdown(record).splitlines()) == 2 + 2 * 5
    summary = association_summary(record).splitlines()
    assert summary[0] == "| tracker | embeddings | 4 objects | 6 objects | IDF1 |"
    assert len(summary) == 2 + 5
    print_association(record)
    shown = capsys.readouterr().out
    assert "Association of 6 people" in shown and "no-such-package" in shown


def test_rounds_begin_with_another_tracker_each_time_and_the_warm_up_is_not_timed(quick):
    order = []

    class Marked(Echo):
        def __init__(self, name):
            self.name = name

        def timed_update(self, prepared):
            order.append(self.name)
            return prepared.boxes_xyxy, 1.0 if len(order) > 4 else 1000.0

    trackers = [Entry(name, False, lambda name=name: Marked(name)) for name in "ab"]
    record = measure_association((3,), frames=6, trackers=trackers)
    assert "".join(order) == "aabb" + "bbaa" + "aabb"
    assert [row["p99_ms"] for row in record["rows"]] == [1000.0, 1000.0]


def test_too_few_frames_are_refused():
    with pytest.raises(UserError, match="too few: give 50 or more"):
        measure_association((3,), frames=20)


def test_original_must_be_a_checkout(tmp_path):
    with pytest.raises(UserError, match="not a clone of"):
        OriginalTracker(tmp_path)


CHECKOUT = """
import cv2, torch
from cython_bbox import bbox_overlaps
from models import *
from models.decode import mot_decode
from models.model import create_model, load_model
from models.utils import _tranpose_and_gather_feat
from utils.post_process import ctdet_post_process

class Track:
    def __init__(self, number, row, feature):
        self.track_id, self.tlbr, self.score, self.feature = number, row[:4], row[4], feature

class JDETracker:
    def __init__(self, opt, frame_rate):
        self.model = load_model(create_model("", {}, 0), "").to(torch.device("cpu"))
    def update(self, blob, picture):
        with torch.no_grad():
            heat = self.model(blob)[-1]["hm"].sigmoid_()
        dets, inds = mot_decode(heat, None, reg=None, ltrb=True, K=1)
        features = _tranpose_and_gather_feat(None, inds).squeeze(0).cpu().numpy()
        rows = ctdet_post_process(dets.detach().cpu().numpy(), [], [], 1, 1, 1)[0][1]
        features *= 2
        return [Track(i + 5, row, f) for i, (row, f) in enumerate(zip(rows, features))]
"""


def test_original_gets_the_detections_untouched_and_leaves_no_stand_in_behind(tmp_path):
    pytest.importorskip("scipy")
    file = tmp_path / "src" / "lib" / "tracker" / "multitracker.py"
    file.parent.mkdir(parents=True)
    file.write_text(CHECKOUT, encoding="utf-8")
    before, path = {name: sys.modules.get(name) for name in ("cv2", "torch")}, list(sys.path)
    tracker = OriginalTracker(tmp_path)
    assert {name: sys.modules.get(name) for name in before} == before
    assert not {"models", "utils", "tracker", "tracker.multitracker"} & sys.modules.keys()
    assert sys.path == path
    embeddings = DETECTIONS.embeddings.copy()
    tracks = tracker.update(DETECTIONS)
    assert tracks.ids.tolist() == [5, 6]
    np.testing.assert_array_equal(tracks.boxes_xyxy, DETECTIONS.boxes_xyxy)
    np.testing.assert_array_equal(tracks.scores, DETECTIONS.scores)
    np.testing.assert_array_equal(DETECTIONS.embeddings, embeddings)
    assert 0 < tracker.association_seconds < 60
    many = Detections(np.zeros((501, 4)), np.zeros(501))
    with pytest.raises(ValueError, match="501 detections"):
        tracker.update(many)


def test_every_peer_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for entry in entries()[3:]:
        assert entry.missing == f"not installed: pip install --no-deps {entry.package}"


def test_inclusive_overlap_counts_the_border_pixels():
    boxes = np.array([[0.0, 0.0, 9.0, 9.0]])
    others = np.array([[0.0, 0.0, 9.0, 9.0], [5.0, 0.0, 14.0, 9.0], [10.0, 0.0, 19.0, 9.0]])
    np.testing.assert_allclose(overlaps_inclusive(boxes, others), [[1, 1 / 3, 0]])


DETECTIONS = Detections(
    np.array([[10, 20, 30, 60], [50, 20, 70, 60]]),
    np.array([0.9, 0.2]),
    np.eye(2),
)


def fake_rows(seen):
    class Fake:
        def __init__(self, **settings):
            pass

        def update(self, rows, return_all=False):
            seen.append(rows)
            return [[*row[:4], 7 + index] for index, row in enumerate(rows)]

    return Fake


@pytest.mark.parametrize(
    ("adapter", "kind", "rows"),
    [
        (peers.Pyx, "Sort", 1),
        (peers.Pyx, "OCSort", 1),
        (peers.Pyx, "BYTETracker", 2),
        (peers.IouTrack, "Sort", 1),
        (peers.IouTrack, "ByteTrack", 2),
    ],
)
def test_adapters_of_rows(monkeypatch, adapter, kind, rows):
    seen = []
    module = types.SimpleNamespace(**{kind: fake_rows(seen)})
    monkeypatch.setitem(sys.modules, adapter.__name__.lower(), module)
    monkeypatch.setitem(sys.modules, "pyxtrackers", module)
    contender = adapter(kind)
    tracks = contender.read(contender.timed_update(contender.prepare(DETECTIONS))[0])
    np.testing.assert_allclose(seen[0][0], [10, 20, 30, 60, 0.9], atol=1e-6)
    assert tracks.ids.tolist() == [7, 8][:rows]
    np.testing.assert_array_equal(tracks.boxes_xyxy, DETECTIONS.boxes_xyxy[:rows])


def test_adapter_of_roboflow_leaves_away_what_has_no_track(monkeypatch):
    class Fake:
        def __init__(self, lost_track_buffer, frame_rate, **settings):
            self.settings = settings

        def update(self, detections):
            detections.tracker_id = np.array([3, -1])
            return detections

    monkeypatch.setitem(
        sys.modules, "supervision", types.SimpleNamespace(Detections=types.SimpleNamespace)
    )
    monkeypatch.setitem(
        sys.modules, "trackers", types.SimpleNamespace(BoTSORTTracker=Fake, SORTTracker=Fake)
    )
    contender = peers.Roboflow("BoTSORTTracker")
    tracks = contender.read(contender.update(contender.prepare(DETECTIONS)))
    assert tracks.ids.tolist() == [3]
    assert contender._tracker.settings["enable_cmc"] is False
    assert len(peers.Roboflow("SORTTracker").prepare(DETECTIONS).xyxy) == 1


class FakeBox:
    @classmethod
    def new_with_confidence(cls, left, top, width, height, confidence):
        box = cls()
        box.left, box.top, box.width, box.height = left, top, width, height
        return box

    def as_xyaah(self):
        return self

    as_ltwh = as_xyaah


class FakeSimilari:
    BoundingBox = FakeBox
    PositionalMetricType = VisualSortMetricType = types.SimpleNamespace(
        iou=lambda threshold: None, maha=lambda: None, cosine=lambda threshold: None
    )

    class VisualSortOptions:
        def __getattr__(self, name):
            return lambda value: None

    class VisualSortObservationSet(list):
        add = list.append

    @staticmethod
    def VisualSortObservation(feature, quality, box, number):
        assert len(feature) == 2
        return box, number

    class Sort:
        def __init__(self, **settings):
            pass

        def predict(self, boxes):
            big = 2**64 - 1
            return [types.SimpleNamespace(id=big, predicted_bbox=box) for box, _ in boxes]

        def wasted(self):
            return []

    VisualSort = Sort


@pytest.mark.parametrize("adapter", [peers.SimilariSort, peers.SimilariVisual])
def test_adapter_of_similari_numbers_its_tracks(monkeypatch, adapter):
    monkeypatch.setitem(sys.modules, "similari", FakeSimilari)
    contender = adapter()
    for _ in range(2):
        tracks = contender.read(contender.update(contender.prepare(DETECTIONS)))
        assert tracks.ids.tolist() == [1]
        np.testing.assert_array_equal(tracks.boxes_xyxy, DETECTIONS.boxes_xyxy[:1])
