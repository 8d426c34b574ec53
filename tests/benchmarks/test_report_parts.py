"""The parts of the report: what is wrong where, ratios, precisions, machines, labels, colours."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from benchmarks.metrics import sequence_from_frames
from benchmarks.report.curves import hota_over_alpha
from benchmarks.report.footage import find_footage, tracked
from benchmarks.report.formats import short
from benchmarks.report.moments import Moment, find_moments, worst_moments
from benchmarks.report.page import TEMPLATES
from benchmarks.report.precision import precision_groups, precision_table
from benchmarks.report.runs import read_runs
from benchmarks.report.scatter import place_labels
from benchmarks.report.strip import strips
from benchmarks.report.tables import comparisons, headline_table, machines, sequence_tables
from benchmarks.report.timeline import coverage, draw_timeline
from benchmarks.report.timing import _bar_limit
from benchmarks.report.verdict import choice
from runtime.errors import UserError
from tests.benchmarks.reports import (
    compared_run,
    compared_runs,
    make_run,
    make_sequence,
    walk,
    whole_run,
)


def test_moments_tell_switches_misses_and_false_tracks():
    data = sequence_from_frames(
        [[1, 2], [1, 2], [1]],
        [[5], [6, 9], []],
        [[[0.9], [0.0]], [[0.9, 0.0], [0.0, 0.1]], np.zeros((1, 0))],
    )
    assert find_moments(data) == [
        Moment(1, missed=(2,)),
        Moment(2, switches=((5, 6),), missed=(2,), false=(9,)),
        Moment(3, missed=(1,)),
    ]


def test_a_switch_after_a_gap_names_the_track_before_it():
    data = sequence_from_frames(
        [[1], [1], [1]], [[5], [], [7]], [[[0.9]], np.zeros((1, 0)), [[0.9]]]
    )
    assert find_moments(data)[2].switches == ((5, 7),)


def test_worst_moments_keep_apart():
    moments = [Moment(frame, missed=(1,) * (frame % 10)) for frame in range(1, 91)]
    chosen = [moment.frame for moment in worst_moments(moments, 3)]
    assert len(chosen) == 3
    assert all(moments[frame - 1].count == 9 for frame in chosen)
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(chosen))
    assert worst_moments([Moment(1), Moment(2)], 3) == []


def test_errors_are_drawn_in_shapes_of_their_own(tmp_path):
    sequence = make_sequence(tmp_path / "SEQ")
    runs = {
        "right": walk([1] * 6),
        "missed": walk([1, 1, 0, 1, 1, 1]),
        "false": walk([1] * 6) + "3,8,60,4,20,40,1,-1,-1,-1\n",
        "switched": walk([1, 1, 2, 2, 2, 2]),
    }
    folders = [make_run(tmp_path / name, name, "x", tracks_txt=rows) for name, rows in runs.items()]
    drawn = strips(tracked(read_runs(folders), find_footage([sequence])))
    captions = {strip.run.name: [still.caption for still in strip.stills] for strip in drawn}
    assert captions == {
        "right": ["no error"] * 3,
        "missed": ["1 missed"],
        "false": ["1 false"],
        "switched": ["1 switch"],
    }
    pictures = {strip.run.name: strip.stills[0] for strip in drawn}
    assert {still.frame for name, still in pictures.items() if name != "right"} == {3}
    assert len({still.uri for still in pictures.values()}) == 4


def test_rows_beyond_all_bounds_are_drawn(tmp_path):
    sequence = make_sequence(tmp_path / "SEQ")
    rows = "1,1,-1e12,-1e12,3e12,3e12,1,-1,-1,-1\n"
    run = make_run(tmp_path / "run", "x", "x", tracks_txt=rows)
    (strip,) = strips(tracked(read_runs([run]), find_footage([sequence])))
    assert strip.stills[0].caption == "1 missed, 1 false"


def test_tracks_longer_than_the_source(tmp_path):
    sequence = make_sequence(tmp_path / "SEQ", gt=False)
    run = make_run(tmp_path / "run", "x", "x", tracks_txt="90,1,4,10,20,40,1,-1,-1,-1\n")
    with pytest.raises(UserError, match=r"ends before frame 7.*reach frame 90"):
        strips(tracked(read_runs([run]), find_footage([sequence])))


def test_footage_is_found_in_a_data_root(tmp_path):
    for name in ("B", "A"):
        make_sequence(tmp_path / "data" / name, gt=name == "A")
    (tmp_path / "data" / "other").mkdir()
    found = find_footage([tmp_path / "data"])
    assert [(one.name, one.gt_file is not None) for one in found] == [("A", True), ("B", False)]
    with pytest.raises(UserError, match="missing does not exist"):
        find_footage([tmp_path / "missing"])


def test_tracks_belong_to_their_sequence(tmp_path):
    for name in ("ONE", "SEQ"):
        make_sequence(tmp_path / name)
    new = compared_run(tmp_path / "new", "new", 0)
    old = make_run(tmp_path / "old", "old", "x", tracks_txt=walk([1]))
    runs = read_runs([new, old])
    footage = find_footage([tmp_path / "ONE", tmp_path / "SEQ"])
    found = [(entry.run.name, entry.footage.name) for entry in tracked(runs, footage)]
    assert found == [("new", "ONE"), ("old", "SEQ")]
    assert runs[0].tracks("../tracks/ONE", alone=True) is None
    # The only footage is taken as that of an old folder's tracks, whatever it is called.
    assert [entry.run.name for entry in tracked(runs, footage[:1])] == ["new", "old"]


def test_timelines_need_objects(tmp_path):
    data = sequence_from_frames(
        [[1], [1], [1], [], [1]], [[5], [6], [], [], [6]], [[[0.9]], [[0.9]], [], [], [[0.9]]]
    )
    tracks, switches = coverage(data)
    assert tracks.tolist() == [[0, 1, -1, -2, 1]]
    assert switches.tolist() == [[False, True, False, False, False]]
    sequence = make_sequence(tmp_path / "SEQ")
    run = make_run(tmp_path / "run", "x", "x", tracks_txt=walk([1, 1, 1, 2, 2, 2]))
    (entry,) = tracked(read_runs([run]), find_footage([sequence]))
    timeline = draw_timeline(entry, "t")
    assert (timeline.switches, timeline.shown, timeline.objects) == (1, 1, 1)
    (sequence / "gt" / "gt.txt").write_text("")
    (entry,) = tracked(read_runs([run]), find_footage([sequence]))
    assert draw_timeline(entry, "t") is None


def test_rivals_come_last_and_every_run_has_a_colour_of_its_own(tmp_path):
    roles = ("rival", "teacher", "rival", "", "distilled", "undistilled", "", "", "", "")
    folders = [
        make_run(tmp_path / str(number), f"run {number}", role) for number, role in enumerate(roles)
    ]
    runs = read_runs(folders)
    assert [run.name for run in runs[-2:]] == ["run 0", "run 2"]
    assert sorted(run.colour for run in runs) == list(range(10))


def test_the_best_of_a_column_is_marked_unless_all_look_alike(tmp_path):
    spec = (("a", 0.40001, 0.5), ("b", 0.40002, 0.6))
    folders = [
        make_run(tmp_path / name, name, "x", hota, accuracy={"MOTA": mota})
        for name, hota, mota in spec
    ]
    table = headline_table(read_runs(folders))
    assert table.columns[:3] == ("MOTA", "IDF1", "HOTA")
    assert [sorted(row.best) for row in table.rows] == [[], [0]]
    none = make_run(tmp_path / "c", "c", "x", accuracy={"sequences": [{"IDSW": 0}]})
    with pytest.raises(UserError, match=r"accuracy.json tells of sequences without MOTA"):
        read_runs([none])


def test_no_switches_are_the_fewest(tmp_path):
    folders = [compared_run(tmp_path / str(number), f"run {number}", number) for number in (0, 1)]
    (name, table), (other, _) = sequence_tables(read_runs(folders))
    assert (name, other) == ("ONE", "TWO")
    switches = table.columns.index("IDSW")
    assert [row.cells[switches] for row in table.rows] == ["0", "1"]
    assert [switches in row.best for row in table.rows] == [True, False]


def test_ratios_of_models_on_the_page(tmp_path):
    folders = compared_runs(tmp_path, ["a", "b", "c"])
    found = comparisons(read_runs(folders))
    assert [(entry.first, entry.other, entry.words) for entry in found] == [
        ("a", "b", "1.50 (1.40 to 1.60)"),
        ("a", "c", "1.50 (1.40 to 1.60)"),
    ]
    assert found[0].confidence == 0.9
    assert [entry.other for entry in comparisons(read_runs(folders[:2]))] == ["b"]
    content = json.loads((folders[0] / "latency.json").read_text())
    content["comparisons"] = ["?", {"first": "a", "other": "b", "ratio": "x"}, {}]
    (folders[0] / "latency.json").write_text(json.dumps(content))
    assert comparisons(read_runs(folders[:1])) == []


def precision_runs(tmp_path):
    entries = (("net", "fp32", "net"), ("net int8", "int8", "net"), ("net-FP16", "fp16", "net"))
    folders = [
        compared_run(tmp_path / name, name, number, arch=arch, precision=precision)
        for number, (name, precision, arch) in enumerate(entries)
    ]
    folders.append(compared_run(tmp_path / "x", "other fp16", 3, arch="net", precision="fp16"))
    return folders


def test_precisions_stand_side_by_side(tmp_path):
    folders = precision_runs(tmp_path)
    told = json.loads((folders[0] / "latency.json").read_text())
    # The ratio is how many times as long the first takes: int8 takes half of fp32's time.
    told["models"] += json.loads((folders[1] / "latency.json").read_text())["models"]
    told["comparisons"] = [
        {"first": "net", "other": "net int8", "ratio": 2.0, "low": 1.6, "high": 2.5}
    ]
    (folders[0] / "latency.json").write_text(json.dumps(told))
    runs = read_runs(folders)
    (group,) = precision_groups(runs)
    assert [run.name for run in group] == ["net", "net-FP16", "net int8"]
    table = precision_table(group, comparisons(runs))
    assert table.titles == ("fp32", "fp16", "int8")
    rows = dict(table.rows)
    assert rows["HOTA"] == (("0.400", ""), ("0.420", "+2.0 points"), ("0.410", "+1.0 points"))
    assert [words for _, words in rows["ms per frame"]] == [
        "",
        "1.20 times, of the medians",
        "0.500 times (0.400 to 0.625)",
    ]
    assert rows["size"][1] == ("14.0 MB", "100%")
    assert rows["net"] == (("0.25", "limit 0.5"), ("–", ""), ("–", ""))
    assert table.verdicts == (False, False, False)


def test_a_lone_precision_is_no_group(tmp_path):
    folders = precision_runs(tmp_path)
    assert precision_groups(read_runs([folders[0], folders[3]])) == []


def test_machines_with_clocks_and_warnings(tmp_path):
    folders = compared_runs(tmp_path, ["a", "b"])
    first, second = machines(read_runs(folders))
    assert (first.names, second.names) == ("a", "b")
    assert first.clocks == [("cpu mhz", "2400", "1800")]
    assert len(first.warnings) == 1
    assert ("cores", "2") in first.facts
    assert not {"clocks", "warnings"} & dict(first.facts).keys()


def test_the_choice_is_told_in_words(tmp_path):
    folders = compared_runs(tmp_path, ["a", "b", "c"])
    assert choice(read_runs(folders)) == (
        "The fastest is a (10.0 ms, HOTA 0.400), the most accurate c (12.0 ms, HOTA 0.420). "
        "Worth a look between them: b (11.0 ms, HOTA 0.410)."
    )
    assert choice(read_runs(folders[:1])) == ""
    slow = compared_run(tmp_path / "slow", "slow", -1)
    told = json.loads((slow / "latency.json").read_text())
    told["models"][0]["stages"]["total"]["median_ms"] = 99.0
    (slow / "latency.json").write_text(json.dumps(told))
    found = choice(read_runs([folders[0], slow]))
    assert found == "The fastest is also the most accurate: a (10.0 ms, HOTA 0.400)."


def test_long_bars_are_cut_only_where_they_would_hide_the_others():
    assert _bar_limit(np.array([10.0, 12.0, 20.0])) == 20
    assert _bar_limit(np.array([10.0, 600.0, 12.0])) == 15
    # Most are slow: the short ones are the exception.
    assert _bar_limit(np.array([1.0, 600.0, 610.0, 620.0])) == 620


def test_every_curve_is_named(tmp_path):
    names = ["_quiet", "a name that is long enough to be cut when two stand side by side"]
    folders = [whole_run(tmp_path / str(n), name, "x", 0.4) for n, name in enumerate(names)]
    image = hota_over_alpha(read_runs(folders)).image
    assert re.search(r">\W*_quiet<", image)
    assert f"{short(names[1])}<" in image


@pytest.mark.parametrize("spread", [0.0, 4.0, 60.0, 300.0])
def test_labels_cover_neither_each_other_nor_points(spread):
    random = np.random.default_rng(int(spread))
    points = 40 + 150 + spread * (random.random((10, 2)) - 0.5)
    sizes = np.stack([random.uniform(30, 170, 10), np.full(10, 15.0)], axis=1)
    area = np.array([30.0, 40.0, 410.0, 340.0])
    boxes = place_labels(points, sizes, area, points[:2])
    assert np.allclose(boxes[:, 2:] - boxes[:, :2], sizes)
    assert (boxes[:, :2] >= area[:2] - 1e-6).all()
    assert (boxes[:, 2:] <= area[2:] + 1e-6).all()
    for first, second in itertools.combinations(boxes, 2):
        assert (np.maximum(first[:2], second[:2]) >= np.minimum(first[2:], second[2:])).any()
    covered = (points[None] > boxes[:, None, :2]) & (points[None] < boxes[:, None, 2:])
    assert not covered.all(axis=2).any()


def colours(scheme: str) -> dict[str, str]:
    """Return the CSS variables of a colour scheme."""
    text = (TEMPLATES / "report.css").read_text()
    dark = text.index("@media (prefers-color-scheme: dark)")
    end = text.index("* {", dark)
    found = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", text[:dark]))
    return found | dict(
        re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", text[dark:end]) if scheme == "dark" else []
    )


def luminance(colour: str) -> float:
    """Return the relative luminance as WCAG 2 defines it."""
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(scheme):
    found = colours(scheme)
    grounds = ("paper", "card", "same-bg", "up-bg", "down-bg")
    pairs = list(itertools.product(("ink", "muted"), grounds))
    pairs += [("up", "up-bg"), ("down", "down-bg"), ("accent", "paper"), ("accent", "card")]
    identities = [name for name in found if name.startswith("id-")]
    assert len(identities) == 12
    pairs += [("on-id", name) for name in identities]
    weak = {pair: contrast(*(found[name] for name in pair)) for pair in pairs}
    assert not {pair: ratio for pair, ratio in weak.items() if ratio < 4.5}
    # Marks need not be read, but seen (WCAG 1.4.11).
    marks = [name for name in found if name.startswith("series-")]
    marks += ["switched", "missed", "false"]
    assert len(marks) == 13
    assert not [name for name in marks if contrast(found[name], found["card"]) < 3]
