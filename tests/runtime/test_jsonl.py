"""JSON Lines: every line is whole JSON and says what the frame held."""

from __future__ import annotations

import json

import numpy as np
import pytest

from runtime import Tracks
from runtime.counting import Counter, Line, Zone
from runtime.sinks import JsonLinesWriter
from tests.runtime.results import result


def written(path, results, classes=("person",), counter=None) -> list[dict]:
    def refuse(text):
        raise AssertionError(f"{text} is not JSON")

    with JsonLinesWriter(path, 'a "grey" one', 29.97, (160, 120), classes, counter) as writer:
        for one in results:
            if counter is not None:
                counter.update(one.tracks, one.timestamp)
            writer.write(one)
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_without_frames_there_is_a_header(tmp_path):
    assert written(tmp_path / "t.jsonl", []) == [
        {
            "format": "kd-mot tracks",
            "version": 1,
            "source": 'a "grey" one',
            "fps": 29.97,
            "size_wh": [160, 120],
            "classes": ["person"],
            "lines": [],
            "zones": [],
        }
    ]


def test_lines_say_what_the_frames_held(tmp_path):
    tracks = Tracks([3, 12], [[1.234, -2, 30, 40.5], [0, 0, 9, 9]], [0.5, 1 / 3], [1, 0])
    tracks.velocities_xy[:] = [[-1.5, 2.25], [0, 1000]]
    first, second = written(
        tmp_path / "t.jsonl", [result(0, Tracks()), result(7, tracks)], ["person", "c%d\n"]
    )[1:]
    assert first == {"frame": 1, "timestamp": 0.0, "tracks": []}
    assert second == {
        "frame": 8,
        "timestamp": 0.7,
        "tracks": [
            {
                "id": 3,
                "class": "c%d\n",
                "score": 0.5,
                "box_xyxy": [1.23, -2.0, 30.0, 40.5],
                "velocity_xy": [-1.5, 2.25],
            },
            {
                "id": 12,
                "class": "person",
                "score": 0.3333,
                "box_xyxy": [0, 0, 9, 9],
                "velocity_xy": [0, 1000],
            },
        ],
    }


def test_a_class_without_a_name_has_its_number(tmp_path):
    line = written(tmp_path / "t.jsonl", [result(0, Tracks([1], [[0, 0, 1, 1]], [1], [4]))])[1]
    assert line["tracks"][0]["class"] == "class 4"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_track_that_is_not_finite_is_left_out(tmp_path, value):
    tracks = Tracks([1, 2, 3], [[0, 0, 1, 1]] * 3, [0.5] * 3, [0, 1, 0])
    tracks.boxes_xyxy[0, 2] = value
    tracks.velocities_xy[2, 1] = value
    line = written(tmp_path / "t.jsonl", [result(0, tracks)], ["a", "b"])[1]
    assert [(one["id"], one["class"]) for one in line["tracks"]] == [(2, "b")]


def test_the_tallies_come_with_every_line(tmp_path):
    counter = Counter(
        [Line("door", (0, 50), (160, 50))], [Zone("yard", ((0, 60), (160, 60), (160, 120)))]
    )
    moves = [Tracks([1], [[80, y - 20, 90, y]], [0.9], [0]) for y in (30, 64)]
    header, *lines = written(
        tmp_path / "t.jsonl", [result(i, one) for i, one in enumerate(moves)], ["cat"], counter
    )
    assert header["lines"] == [{"name": "door", "start_xy": [0, 50], "end_xy": [160, 50]}]
    assert header["zones"] == [{"name": "yard", "points_xy": [[0, 60], [160, 60], [160, 120]]}]
    assert [line["lines"]["door"] for line in lines] == [
        {"in": {}, "out": {}},
        {"in": {"class 0": 1}, "out": {}},
    ]
    assert set(lines[1]["zones"]["yard"]) == {
        *("present", "entered", "left", "mean_dwell_seconds", "longest_dwell_seconds")
    }
