"""The stages side by side against one frame after the other."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from runtime import Tracker, UserError, load
from runtime.pipeline import Pipeline, make_tracker
from runtime.sources import open_source
from runtime.sources.base import FrameSource
from tests.runtime.conftest import blob_frame, write_video
from tests.stub_model import write_stub_model


class Scripted(FrameSource):
    """A source of blob frames that a test controls."""

    def __init__(self, name, count=20, first=0, live=False, fail_after=None, gate=None):
        self.name, self.fps, self.size_wh, self.length = name, 10.0, (192, 128), count
        self.is_live = live
        self._first, self._count, self._fail_after, self._gate = first, count, fail_after, gate
        self.closed = threading.Event()

    def __iter__(self):
        for index in range(self._count):
            if index == self._fail_after:
                raise UserError(f"{self.name} is cut")
            if self._gate is not None:
                self._gate(index)
            yield blob_frame(self._first + index)

    def close(self):
        assert self.is_live, "the thread that reads a recording may be in the decoder"
        self.closed.set()


def plainly(source, detector):
    """Track one frame after the other."""
    tracker = make_tracker(detector, source.fps)
    return [
        tracker.update(detector(frame), frame, timestamp) for timestamp, frame in source.timed()
    ]


def same(results, expected):
    assert len(results) == len(expected)
    for result, tracks in zip(results, expected, strict=True):
        assert result.tracks.ids.tolist() == tracks.ids.tolist()
        np.testing.assert_allclose(result.tracks.boxes_xyxy, tracks.boxes_xyxy, atol=1e-3)


@pytest.fixture(params=[False, True], ids=["one at a time", "batches"])
def detector(request, tmp_path):
    write_stub_model(tmp_path / "m.onnx", dynamic_batch=request.param)
    with load(tmp_path / "m.onnx", threads=1) as loaded:
        yield loaded


def test_without_sources_there_is_nothing_to_do(detector):
    assert list(Pipeline([], detector, [])) == []


def test_one_source_is_tracked_as_in_a_plain_loop(detector, video):
    with open_source(video) as source:
        expected = plainly(source, detector)
        pipeline = Pipeline([source], detector, [make_tracker(detector, source.fps)])
        results = list(pipeline)
    same(results, expected)
    assert [result.index for result in results] == list(range(20))
    assert pipeline.ended == [True] and pipeline.errors == [None] and pipeline.dropped == 0


def test_each_of_several_sources_is_tracked_as_if_it_were_alone(detector, tmp_path):
    sources = [
        open_source(write_video(tmp_path / "a.avi", frames=25)),
        Scripted("b", count=9, first=15),
        Scripted("c", count=0),
        Scripted("d", count=14, first=3),
    ]
    expected = [plainly(source, detector) for source in sources]
    trackers = [make_tracker(detector, source.fps) for source in sources]
    names = ["one", "two", "three", "four"]
    results = list(Pipeline(sources, detector, trackers, names))
    for name, alone in zip(names, expected, strict=True):
        same([result for result in results if result.source == name], alone)


def test_a_source_that_breaks_leaves_the_others_alone(detector):
    sources = [Scripted("whole"), Scripted("cut", fail_after=4)]
    trackers = [make_tracker(detector, 10) for _ in sources]
    pipeline = Pipeline(sources, detector, trackers)
    results = list(pipeline)
    assert sum(result.source == "whole" for result in results) == 20
    assert sum(result.source == "cut" for result in results) == 4
    assert pipeline.errors[0] is None and str(pipeline.errors[1]) == "cut is cut"


def test_a_fault_in_a_stage_comes_out_after_what_was_done_before_it(detector, monkeypatch):
    update = Tracker.update

    def faulty(self, detections, frame=None, timestamp=None):
        if self._frame == 5:
            raise ZeroDivisionError
        return update(self, detections, frame, timestamp)

    monkeypatch.setattr(Tracker, "update", faulty)
    seen = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(Pipeline([Scripted("a", count=1000)], detector, [make_tracker(detector, 10)]))


def test_stopping_lets_out_what_was_taken(detector):
    pipeline = Pipeline([Scripted("a", count=10**6)], detector, [make_tracker(detector, 10)])
    indices = []
    for result in pipeline:
        indices.append(result.index)
        if result.index == 5:
            pipeline.stop()
    assert indices == list(range(len(indices))) and 6 <= len(indices) < 40
    assert pipeline.ended == [True] and pipeline.errors == [None]


@pytest.mark.parametrize("live", [True, False])
def test_leaving_early_ends_all_threads(detector, live):
    before = set(threading.enumerate())
    source = Scripted("a", count=10**6, live=live)
    results = iter(Pipeline([source], detector, [make_tracker(detector, 10)]))
    next(results)
    assert len(set(threading.enumerate()) - before) == 4
    results.close()
    assert source.closed.is_set() == live
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("drop_late", [True, False])
def test_only_live_sources_drop_frames_and_the_numbers_tell(detector, monkeypatch, drop_late):
    all_read = threading.Event()
    run = type(detector.engine).run

    def slow(self, frames):
        # The network waits until all frames were there, or could not be.
        if drop_late:
            all_read.wait(10)
        return run(self, frames)

    def note(index):
        if index == 29:
            all_read.set()

    monkeypatch.setattr(type(detector.engine), "run", slow)
    source = Scripted("camera", count=30, live=True, gate=note)
    tracker = make_tracker(detector, source.fps)
    pipeline = Pipeline([source], detector, [tracker], drop_late=drop_late)
    results = list(pipeline)
    indices = [result.index for result in results]
    assert indices == sorted(indices) and indices[-1] == 29
    assert len(indices) + pipeline.dropped == 30
    assert (pipeline.dropped > 10) == drop_late
    # The tracker knows how much time has passed.
    assert tracker._frame == indices[-1] - indices[0] + 1
    assert results[-1].timestamp == pytest.approx(2.9)


def test_a_recording_never_drops_however_slow_its_reader(detector):
    pipeline = Pipeline([Scripted("a", count=60)], detector, [make_tracker(detector, 10)])
    waits = threading.Event()
    count = 0
    for _ in pipeline:
        waits.wait(0.002)
        count += 1
    assert count == 60 and pipeline.dropped == 0


def test_an_engine_that_wants_more_frames_than_there_are_gets_them(tmp_path, monkeypatch, video):
    write_stub_model(tmp_path / "m.onnx", dynamic_batch=True)
    detector = load(tmp_path / "m.onnx", threads=1)
    counts = []
    run = type(detector.engine).run

    def note(self, frames):
        counts.append(len(frames))
        return run(self, frames)

    with open_source(video) as source:
        expected = plainly(source, detector)
        monkeypatch.setattr(type(detector.engine), "run", note)
        monkeypatch.setattr(detector.engine, "smallest_batch", 3)
        results = list(Pipeline([source], detector, [make_tracker(detector, source.fps)]))
    detector.close()
    same(results, expected)
    assert counts == [3] * 20
