"""The soak run: what it records, not how fast it is."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from benchmarks.records import soak
from benchmarks.records.soak import measure_soak, print_soak, resident_kib, slope, visitors
from runtime.errors import UserError
from runtime.session import Session
from runtime.tracking.tracker import Tracker

linux = pytest.mark.skipif(not soak.STATUS.is_file(), reason="memory is read as Linux tells it")


@linux
def test_record_has_every_block_and_people_come_and_go(capsys):
    record = measure_soak(frames=400, people=8, blocks=4)
    json.dumps(record)
    assert [row["frames"] for row in record["blocks"]] == [100, 200, 300, 400]
    assert all(row["resident_kib"] > 1000 and row["cpu_ms"] > 0 for row in record["blocks"])
    assert record["settings"]["warm_up_frames"] == 100
    assert record["tracks"] > 12
    assert capsys.readouterr().out == ""
    print_soak(record)
    shown = capsys.readouterr().out
    assert f"{record['tracks']} tracks in 400 frames" in shown and "bytes per frame" in shown


@linux
def test_several_sources_take_part_and_are_counted(capsys):
    alone = measure_soak(frames=60, people=4, blocks=3)
    record = measure_soak(frames=60, people=4, blocks=3, sources=3)
    assert record["tracks"] > 2 * alone["tracks"]
    print_soak(record)
    assert "60 frames of each of 3 sources" in capsys.readouterr().out


@linux
def test_everything_of_a_run_takes_part(monkeypatch):
    written = []

    class Watched(Session):
        def run(self):
            super().run()
            for track in self._tracks.values():
                written.extend(path.name for path in track.sinks.paths)
                tally = track.sinks.counter.tally
                crossings = tally.lines["middle"]
                assert sum(crossings.inward.values()) + sum(crossings.outward.values()) > 0
                assert tally.zones["corner"].entered > 0

    monkeypatch.setattr(soak, "Session", Watched)
    measure_soak(frames=300, people=10, blocks=3)
    assert written == ["tracks.txt", "tracks.jsonl"]


@linux
def test_a_leak_is_seen(monkeypatch):
    kept = []
    update = Tracker.update

    def leaking(self, detections, frame=None, timestamp=None):
        kept.append(np.ones(100_000))
        return update(self, detections, frame, timestamp)

    monkeypatch.setattr(Tracker, "update", leaking)
    record = measure_soak(frames=90, people=2, blocks=3)
    assert record["memory"]["slope_bytes_per_frame"] > 400_000
    assert record["memory"]["growth_percent"] > 1


@linux
def test_memory_is_that_of_the_process():
    before = resident_kib()
    held = np.ones(8 << 20)
    assert resident_kib() - before > held.nbytes / 1024 / 2


def test_visitors_repeat_and_are_sometimes_missed():
    one = list(itertools.islice(visitors(10, 4), 30))
    other = list(itertools.islice(visitors(10, 4), 30))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first.boxes_xyxy, second.boxes_xyxy)
    assert {len(frame) for frame in one} > {10}


def test_engine_finds_the_people_of_the_source_that_a_frame_bears():
    engine = soak.CrowdEngine(people=5, sources=2)
    frames = np.zeros((2, 192, 192, 3), np.uint8)
    frames[0] = 1
    outputs = engine.run(frames)
    for row, scene in enumerate((visitors(5, seed=1), visitors(5, seed=0))):
        expected = next(scene)
        scores = outputs["scores"][row]
        np.testing.assert_array_equal(scores[scores > 0], expected.scores)
        assert outputs["boxes"][row].max() < 220


def test_slope_is_not_moved_by_an_outlier():
    assert slope([1, 2, 3, 4, 5], [3.0, 3.0, 90.0, 3.0, 3.0]) == 0


@pytest.mark.parametrize(("frames", "blocks"), [(100, 2), (2, 3)])
def test_too_short_a_run_is_refused(frames, blocks):
    with pytest.raises(UserError, match="at least 3 blocks"):
        measure_soak(frames, blocks=blocks)


def test_without_linux_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(soak, "STATUS", tmp_path / "status")
    with pytest.raises(UserError, match="measure memory on Linux"):
        measure_soak(30)
