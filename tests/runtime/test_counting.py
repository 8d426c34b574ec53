"""Counting lines and zones: the rules one by one, and against a slow reference."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import Tracks, UserError
from runtime.counting import Counter, Line, Tally, Zone, parse_shapes
from tests.runtime.reference_counter import ReferenceCounter

DOOR = Line("door", (0, 100), (200, 100))
YARD = Zone("yard", ((0, 100), (200, 100), (200, 300), (0, 300)))


def standing(*feet: tuple[int, float, float], height: float = 40, label: int = 0) -> Tracks:
    """Return tracks by id and place of the feet; clear is more than 4 pixels away."""
    boxes = [[x - 8, y - height, x + 8, y] for _, x, y in feet]
    return Tracks([one[0] for one in feet], boxes, [0.9] * len(feet), [label] * len(feet))


def walk(counter: Counter, *ys: float | None, x: float = 50) -> list[tuple[int, int]]:
    """Let one identity walk down the picture; return what went in and out by each frame."""
    counts = []
    for index, y in enumerate(ys):
        tracks = Tracks() if y is None else standing((1, x, y))
        line = counter.update(tracks, index * 0.1).lines["door"]
        counts.append((line.inward.get("person", 0), line.outward.get("person", 0)))
    return counts


def door() -> Counter:
    return Counter([DOOR], [], ["person", "car"])


def test_nothing_to_count():
    counter = Counter([], [], [])
    assert counter.tally == counter.update(standing((1, 5, 5)), 0.0) == Tally({}, {})
    assert door().update(Tracks(), 0.0).lines["door"].inward == {}


@pytest.mark.parametrize(
    ("ys", "last"),
    [
        ((50, 90, 110, 150), (1, 0)),
        ((150, 110, 90, 50), (0, 1)),
        ((50, 150, 50, 150), (2, 1)),
        # Trembling on the line counts once, however it ends.
        ((50, 99, 101, 99, 101, 99, 101, 150), (1, 0)),
        ((50, 99, 101, 99, 101, 99, 50), (1, 1)),
        # First seen on the line: only what remains when clear.
        ((99, 101, 99, 101, 99), (0, 0)),
        ((99, 101, 99, 101, 150), (1, 0)),
        ((99, 101, 99, 50), (0, 0)),
        # Touching the line from above and turning back has crossed it in both ways.
        ((50, 100, 50), (1, 1)),
        ((50, 100, 100, 100, 150), (1, 0)),
        # Gone right behind the line, as in a door at the border of the picture.
        ((50, 99, 101, None, None), (1, 0)),
        # Lost for some frames and back on the other side.
        ((50, None, None, 150), (1, 0)),
    ],
)
def test_crossings(ys, last):
    assert walk(door(), *ys)[-1] == last


def test_a_crossing_counts_at_once():
    assert walk(door(), 50, 99, 101, 150) == [(0, 0), (0, 0), (1, 0), (1, 0)]


def test_passing_beside_the_line_does_not_count():
    assert walk(door(), 50, 150, x=201)[-1] == (0, 0)
    assert walk(door(), 50, 150, x=200)[-1] == (1, 0)


def test_looking_from_start_to_end_in_is_to_the_right_hand():
    counter = Counter([Line("door", (200, 100), (0, 100))], [], ["person"])
    assert walk(counter, 50, 150)[-1] == (0, 1)


def test_classes_count_apart_and_unnamed_ones_get_a_name():
    counter = door()
    for label in (0, 1, 1, 3):
        for y in (50, 150):
            name = 10 * label + 1 + len(counter.tally.lines["door"].inward)
            counter.update(standing((name, 50, y), label=label), 0.0)
        counter.update(Tracks(), 0.0)
    assert counter.tally.lines["door"].inward == {"person": 1, "car": 2, "class 3": 1}


def test_frames_of_another_size_count_in_the_first_ones_pixels():
    counter = Counter([DOOR], [], ["person"], size_wh=(200, 300))
    counter.update(standing((1, 50, 90)), 0.0, (200, 300))
    small = standing((1, 25, 49), height=20)
    assert counter.update(small, 0.1, (100, 150)).lines["door"].inward == {}
    below = standing((1, 25, 60), height=20)
    assert counter.update(below, 0.2, (100, 150)).lines["door"].inward == {"person": 1}


def test_a_visit():
    counter = Counter([], [YARD], forget_seconds=1.0)
    for index, y in enumerate((50, 120, 150, None, 150, 99, 101, 97, 90, 50)):
        tracks = Tracks() if y is None else standing((1, 50, y))
        tally = counter.update(tracks, index * 0.5).zones["yard"]
        if y is None:
            assert (tally.present, tally.entered) == (1, 1)
    # In at 0.5; 99 and 97 are not clear of the border, 90 at 4.0 is.
    assert (tally.present, tally.entered, tally.left) == (0, 1, 1)
    assert tally.mean_dwell_seconds == tally.longest_dwell_seconds == 3.5


def test_who_vanishes_left_when_last_seen():
    counter = Counter([], [YARD], forget_seconds=1.0)
    counter.update(standing((1, 50, 150), (2, 60, 150)), 0.0)
    counter.update(standing((1, 50, 150), (2, 60, 150)), 2.0 - 1.0)
    counter.update(standing((2, 60, 150)), 2.0)
    tally = counter.update(standing((2, 60, 150)), 3.0).zones["yard"]
    assert (tally.present, tally.entered, tally.left) == (1, 2, 1)
    assert (tally.mean_dwell_seconds, tally.longest_dwell_seconds) == (2.0, 3.0)


def test_memory_stays_flat():
    counter = Counter([DOOR], [YARD], ["person"], forget_seconds=2.0)
    for index in range(2000):
        counter.update(standing((index + 1, 50, 50 + index % 200)), index * 0.1)
        assert len(counter._state) <= 22
    assert counter.tally.zones["yard"].entered == 1500


def test_a_tally_is_json():
    counter = Counter([DOOR], [YARD], ["person"])
    for time, y in ((0, 50), (1 / 3, 150), (1, 150)):
        tally = counter.update(standing((1, 50, y)), time)
    assert json.loads(json.dumps(tally.to_json())) == {
        "lines": {"door": {"in": {"person": 1}, "out": {}}},
        "zones": {
            "yard": {
                "present": 1,
                "entered": 1,
                "left": 0,
                "mean_dwell_seconds": 0.667,
                "longest_dwell_seconds": 0.667,
            }
        },
    }


# Small whole numbers, so that feet often stand on lines, corners and edges.
SPOT = st.tuples(st.integers(0, 8), st.integers(0, 8))
FRAMES = st.lists(
    st.tuples(st.integers(1, 9), st.dictionaries(st.integers(1, 4), SPOT, max_size=3)),
    max_size=25,
)
SHAPES = [
    Line("a", (0, 4), (8, 4)),
    Line("b", (1, 1), (6, 7)),
    Line("c", (4, 6), (4, 2)),
    Zone("square", ((2, 2), (6, 2), (6, 6), (2, 6))),
    Zone("hook", ((0, 0), (8, 0), (8, 8), (4, 8), (4, 3), (0, 5))),
]


@given(FRAMES, st.sampled_from([2, 14, 22]))
@settings(max_examples=250, deadline=None)
def test_it_equals_the_slow_reference(frames, height):
    lines, zones = SHAPES[:3], SHAPES[3:]
    fast = Counter(lines, zones, ["person", "car"], margin=0.125, forget_seconds=10.0)
    slow = ReferenceCounter(lines, zones, Fraction(1, 8), 10)
    time = 0
    for step, spots in frames:
        time += step
        feet = [(track_id, x, y) for track_id, (x, y) in spots.items()]
        tracks = standing(*feet, height=height)
        tracks.classes = tracks.ids % 2
        tally = fast.update(tracks, float(time))
        slow.update([(track_id, (x, y), height) for track_id, x, y in feet], time)
        slow.assert_equals(tally)


def test_pixels_and_shares():
    lines, zones = parse_shapes(
        ["door:100,200,400,200", " gate 2:0.5,0,1,1"],
        ["yard:0,0,640,0,640,480", "a:b:0,0,1,0,1,0.5,0,0"],
        (640, 480),
    )
    assert lines == (
        Line("door", (100, 200), (400, 200)),
        Line("gate 2", (320, 0), (640, 480)),
    )
    assert zones == (
        Zone("yard", ((0, 0), (640, 0), (640, 480))),
        Zone("a:b", ((0, 0), (640, 0), (640, 240))),
    )
    assert parse_shapes([], [], (640, 480)) == ((), ())


@pytest.mark.parametrize(
    ("lines", "zones", "message"),
    [
        (["1,2,3,4"], [], "no name"),
        ([":1,2,3,4"], [], "no name"),
        (["a:1,2,3"], [], "pairs of numbers"),
        (["a:1,2,3,x"], [], "pairs of numbers"),
        (["a:"], [], "pairs of numbers"),
        (["a:1,2,nan,3"], [], "pairs of numbers"),
        (["a:1,2,inf,3"], [], "pairs of numbers"),
        (["a:1,2,3,4,5,6"], [], "6 numbers instead of 4"),
        (["a:5,5,5,5"], [], "same point"),
        (["a:1,2,3,4", "a:5,6,7,8"], [], "given twice"),
        (["a:1,2,3,4"], ["a:0,0,9,0,9,9"], "given twice"),
        (["a:700,10,900,20"], [], "outside the picture of 640x480"),
        ([], ["a:-9,-9,-5,-9,-5,-5"], "outside the picture"),
        ([], ["a:0,0,9,9"], "fewer than three corners"),
        ([], ["a:0,0,9,9,0,0"], "fewer than three corners"),
        ([], ["a:0,0,100,100,100,0,0,100"], "cross or fold back"),
        ([], ["a:0,0,100,0,50,0"], "cross or fold back"),
        ([], ["a:0,0,100,0,100,100,100,0,0,90"], "cross or fold back"),
        ([], ["a:10,10,10.1,10,10.1,10.1"], "no area"),
    ],
)
def test_shapes_that_cannot_be_are_one_line(lines, zones, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_shapes(lines, zones, (640, 480))
    text = str(caught.value)
    assert "\n" not in text and text.startswith(("--line ", "--zone "))


def test_time_that_jumps_back_goes_on_from_where_it_was():
    counter = Counter([], [YARD], forget_seconds=2)
    for timestamp in (100.0, 101.0, 0.0, 1.0, 0.5):
        tally = counter.update(standing((1, 50, 200)), timestamp)
    assert tally.zones["yard"].longest_dwell_seconds == 2.0
    tally = counter.update(standing((1, 50, 50)), 1.5).zones["yard"]
    assert (tally.left, tally.mean_dwell_seconds) == (1, 3.0)
