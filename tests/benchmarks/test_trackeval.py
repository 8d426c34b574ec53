"""The figures equal TrackEval's, on random sequences, real ground truth and whole files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics import (
    Rules,
    combine,
    evaluate,
    sequence_from_frames,
    sequence_from_rows,
)
from benchmarks.scoring.accuracy import Scheme, load_sequence, score_file, score_folder
from benchmarks.scoring.trackeval_peer import under_our_names
from runtime.mot import MotRows, read_mot
from tests.benchmarks.mot_folders import write_sequence
from tests.benchmarks.oracle import (
    DATA,
    assert_same,
    oracle_combined,
    oracle_metrics,
    oracle_scores,
    random_sequence,
    trackeval_module,
)

SEQUENCES = ("PETS09-S2L1", "TUD-Stadtmitte")


@pytest.mark.parametrize(
    ("gt", "tracks", "similarity"),
    [
        ([], [], []),
        ([[]], [[]], [[]]),
        ([[1, 2]], [[]], [[]]),
        ([[]], [[5]], [[]]),
        ([[1]], [[5]], [[[0.7]]]),
        ([[1]], [[5]], [[[0.2]]]),
        ([[1], [], [1]], [[], [5], [5]], [[], [], [[0.5]]]),
    ],
)
def test_small_cases(gt, tracks, similarity):
    data = sequence_from_frames(gt, tracks, similarity)
    assert_same(evaluate(data).to_dict(), oracle_scores(data))


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 7), st.integers(0, 8))
def test_random_sequences(seed, frames, objects, tracks):
    data = random_sequence(seed, frames, objects, tracks)
    assert_same(evaluate(data).to_dict(), oracle_scores(data))


def test_nothing_cannot_be_combined():
    with pytest.raises(ValueError, match="no scores"):
        combine([])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), st.integers(1, 7))
def test_random_sequences_combined(seeds, objects):
    # Lengths 0 to 8, so that some sequences have no boxes on a side, or no frames.
    parts = [random_sequence(seed, seed % 9, objects, seed % 7) for seed in seeds]
    ours, theirs = combine([evaluate(part) for part in parts]).to_dict(), oracle_combined(parts)
    if not sum(part.gt_box_count for part in parts):
        # Without any ground truth TrackEval's MOTA is 0 for a sequence and -FP for several.
        assert ours["MOTA"] == 0
        theirs["MOTA"] = 0.0
    assert_same(ours, theirs)
    assert ours["frames"] == sum(map(len, parts))


def test_one_sequence_combined_is_itself():
    alone = evaluate(random_sequence(3, 12, 5, 6)).to_dict()
    assert_same(combine([evaluate(random_sequence(3, 12, 5, 6))]).to_dict(), alone)


def test_similarities_on_the_thresholds():
    values = np.arange(1, 20) / 20
    data = sequence_from_frames([[1]] * 19, [[5]] * 19, values.reshape(19, 1, 1))
    assert_same(evaluate(data).to_dict(), oracle_scores(data))


def perturbed_results(gt_file: Path, seed: int) -> list[str]:
    """Turn ground truth into the results of a tracker that errs in every way."""
    random = np.random.default_rng(seed)
    rows = read_mot(gt_file)
    kept = random.random(len(rows)) < 0.85
    ids = rows.ids + 100 * (rows.frames // 60) * (random.random(len(rows)) < 0.9)
    noise = random.normal(0, 0.08, (len(rows), 4)) * rows.boxes_ltwh[:, [2, 3, 2, 3]]
    boxes = np.round(rows.boxes_ltwh + noise, 2)
    lines = [
        f"{frame},{identity},{','.join(map(str, box))},0.9,-1,-1,-1"
        for frame, identity, box in zip(
            rows.frames[kept], ids[kept], boxes[kept].tolist(), strict=True
        )
    ]
    for number in range(len(rows) // 20):
        frame = random.integers(1, rows.frames[-1] + 1)
        left, top = np.round(random.random(2) * 400, 2)
        lines.append(f"{frame},{9000 + number},{left},{top},30,80,0.3,-1,-1,-1")
    return lines


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")
@pytest.mark.parametrize("name", SEQUENCES)
def test_real_ground_truth(name, tmp_path):
    results = tmp_path / "results.txt"
    results.write_text("\n".join(perturbed_results(DATA / name / "gt" / "gt.txt", 5)))
    ours = score_file(DATA / name, results)
    assert 0.3 < ours["MOTA"] < 0.95
    assert ours["IDSW"] > 0
    assert_same(ours, oracle_scores(load_sequence(DATA / name / "gt" / "gt.txt", results)))


def write_mot17(folder: Path, seed: int, columns: int) -> list[str]:
    """Write random ground truth with classes, marks and distractors; return result rows."""
    random = np.random.default_rng(seed)
    truth, results = [], []
    for frame in range(1, 31):
        for identity in range(1, 9):
            if random.random() < 0.2:
                continue
            box = np.round([90 * identity, 40 + frame, 50 + 4 * random.random(), 110], 3)
            label = [1, 1, 1, 6, 2, 7, 8, 12][identity - 1] if columns == 9 else -1
            mark = int(random.random() < 0.9 and label in (1, -1))
            tail = [mark, label, 0.8] if columns == 9 else [mark, -1, -1, -1]
            truth.append(",".join(map(str, [frame, identity, *box, *tail])))
            if random.random() < 0.8:
                box = np.round(box + random.normal(0, 8, 4), 2)
                track = identity + 20 * (frame > 12 + identity)
                results.append(",".join(map(str, [frame, track, *box, 0.9, -1, -1, -1])))
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text("\n".join(truth) + "\n")
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate=25\nseqLength=30\n"
        "imWidth=900\nimHeight=400\nimExt=.jpg\n"
    )
    return results


@pytest.mark.parametrize(
    ("name", "told", "benchmark", "columns"),
    [
        ("SEQ-01", "", "MOT15", 10),
        ("SEQ-01", "", "MOT17", 9),
        ("MOT20-01", "", "MOT20", 9),
        ("MOT20-01", "MOT16", "MOT16", 9),
        ("SEQ-01", "MOT20", "MOT20", 9),
    ],
)
def test_whole_files_with_marks_classes_and_distractors(name, told, benchmark, columns, tmp_path):
    trackeval = trackeval_module()
    sequence = tmp_path / "gt" / name
    results = tmp_path / "trackers" / "ours" / "data" / f"{name}.txt"
    results.parent.mkdir(parents=True)
    results.write_text("\n".join(write_mot17(sequence, 11, columns)) + "\n")
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(tmp_path / "gt"),
            "TRACKERS_FOLDER": str(tmp_path / "trackers"),
            "BENCHMARK": benchmark,
            "SKIP_SPLIT_FOL": True,
            "SEQ_INFO": {name: 30},
            "PRINT_CONFIG": False,
        }
    )
    data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("ours", name), "pedestrian")
    theirs = under_our_names(*(metric.eval_sequence(data) for metric in oracle_metrics().values()))
    ours = score_file(sequence, results, Scheme(benchmark=told))
    assert ours["ids"] == (3 if columns == 9 else 8)
    assert_same(ours, theirs)


def test_the_rules_of_mot20_differ(tmp_path):
    results = tmp_path / "results.txt"
    results.write_text("\n".join(write_mot17(tmp_path / "MOT20-01", 11, 9)) + "\n")
    figures = [
        score_file(tmp_path / "MOT20-01", results, Scheme(benchmark=benchmark))
        for benchmark in ("MOT17", "MOT20")
    ]
    assert figures[0]["FP"] > figures[1]["FP"]


def random_rows(seed: int, frames: int, columns: tuple[int, ...]) -> tuple[MotRows, MotRows]:
    """Make ground truth and results of the given classes, many of them on top of each other."""
    random = np.random.default_rng(seed)
    sides = []
    for count in random.integers(0, 9, 2):
        numbers = np.repeat(np.arange(1, frames + 1), count)
        boxes = 20 * random.integers(0, 4, (len(numbers), 4)) + random.normal(0, 3, (1, 4))
        # No two alike: which of two equal boxes is matched, the definitions leave open.
        boxes += random.uniform(-1, 1, boxes.shape)
        boxes[:, 2:] = np.abs(boxes[:, 2:]) + 20
        # An identity keeps its class, as trackers do.
        classes = np.tile(random.choice(columns, count), frames)
        ids = np.tile(np.arange(count), frames)
        ones = np.ones(len(numbers))
        rows = MotRows(numbers, ids, boxes.round(2), ones, classes.astype(np.int64), ones)
        sides.append(rows[random.random(len(numbers)) < 0.8])
    return sides[0], sides[1]


def raw_data(truth: MotRows, found: MotRows, frames: int, region: int) -> dict:
    """Bring rows into the form that TrackEval's preprocessing takes, boxes as corners."""
    raw: dict = {"num_timesteps": frames, "seq": "SEQ", "gt_crowd_ignore_regions": []}
    keys = [f"{side}_{name}" for side in ("gt", "tracker") for name in ("ids", "classes", "dets")]
    raw |= {key: [] for key in [*keys, "tracker_confidences", "gt_extras", "similarity_scores"]}
    for frame in range(1, frames + 1):
        for side, rows in (("gt", truth), ("tracker", found)):
            corners = rows.boxes_ltwh.copy()
            corners[:, 2:] += corners[:, :2]
            here = rows.frames == frame
            if side == "gt":
                raw["gt_crowd_ignore_regions"].append(corners[here & (rows.classes == region)])
                here &= rows.classes != region
            raw[f"{side}_ids"].append(rows.ids[here])
            raw[f"{side}_classes"].append(rows.classes[here])
            raw[f"{side}_dets"].append(corners[here])
        raw["tracker_confidences"].append(np.ones(len(raw["tracker_ids"][-1])))
        nothing = np.zeros(len(raw["gt_ids"][-1]))
        raw["gt_extras"].append({"occlusion": nothing, "truncation": nothing})
    return raw


def preprocessed(dataset, truth: MotRows, found: MotRows, frames: int, region: int, name: str):
    raw = raw_data(truth, found, frames, region)
    raw["similarity_scores"] = [
        dataset._calculate_similarities(gt, tracker)
        for gt, tracker in zip(raw["gt_dets"], raw["tracker_dets"], strict=True)
    ]
    return dataset.get_preprocessed_seq_data(raw, name)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 7))
def test_distractors_and_regions_as_in_kitti(seed, frames):
    trackeval = trackeval_module()
    kitti = object.__new__(trackeval.datasets.Kitti2DBox)
    kitti.class_name_to_class_id = {"pedestrian": 1, "person": 2}
    kitti.max_occlusion, kitti.max_truncation, kitti.min_height = 2, 0, -np.inf
    truth, found = random_rows(seed, frames, (1, 2, 3))
    found.classes[:] = 1
    data = preprocessed(kitti, truth, found, frames, 3, "pedestrian")
    theirs = under_our_names(*(metric.eval_sequence(data) for metric in oracle_metrics().values()))
    ours = evaluate(sequence_from_rows(truth, found, frames, Rules(1, (2,), (3,)))).to_dict()
    assert_same(ours, theirs)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_whole_files_of_several_classes(seed, tmp_path):
    trackeval = trackeval_module()
    bdd = object.__new__(trackeval.datasets.BDD100K)
    bdd.class_name_to_class_id = {"a": 1, "b": 2, "c": 5}
    by_class: dict = {name: {} for name in bdd.class_name_to_class_id}
    (tmp_path / "tracks").mkdir()
    for part in range(3):
        truth, found = random_rows(100 + 3 * seed + part, 8, (1, 2, 3, 4, 5))
        write_rows(tmp_path / "data" / f"S{part}" / "gt" / "gt.txt", truth)
        write_rows(tmp_path / "tracks" / f"S{part}.txt", found)
        (tmp_path / "data" / f"S{part}" / "img1").symlink_to(pictures(tmp_path, 8))
        for name in by_class:
            data = preprocessed(bdd, truth, found, 8, 4, name)
            by_class[name][str(part)] = {
                kind: metric.eval_sequence(data) for kind, metric in oracle_metrics().items()
            }
    ours = score_folder(tmp_path / "data", tmp_path / "tracks", scheme=Scheme((1, 2, 5), (4,)))
    together, averages, each = {}, {}, {name: {} for name in by_class}
    for kind, metric in oracle_metrics().items():
        combined = {
            name: metric.combine_sequences({part: one[kind] for part, one in parts.items()})
            for name, parts in by_class.items()
        }
        for name, figures in combined.items():
            each[name][kind] = figures
        together[kind] = metric.combine_classes_det_averaged(combined)
        averages[kind] = metric.combine_classes_class_averaged(combined)
    assert all(one["CLEAR"]["CLR_TP"] + one["CLEAR"]["CLR_FN"] for one in each.values())
    assert_same(ours, under_our_names(*together.values()))
    assert_same(ours["cls_comb_cls_av"], under_our_names(*averages.values()))
    for mine, theirs in zip(ours["classes"], each.values(), strict=True):
        assert_same(mine, under_our_names(*theirs.values()))
    assert (ours["frames"], ours["sequence"]) == (24, "S0, S1, S2")
    assert [len(one["classes"]) for one in ours["sequences"]] == [3, 3, 3]


def write_rows(file: Path, rows: MotRows) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{frame},{identity},{','.join(map(str, box))},1,{label},1"
        for frame, identity, box, label in zip(
            rows.frames, rows.ids, rows.boxes_ltwh.tolist(), rows.classes, strict=True
        )
    ]
    file.write_text("".join(f"{line}\n" for line in lines))


def pictures(folder: Path, count: int) -> Path:
    """Return a folder of so many images, which tell how long a sequence is."""
    if not (folder / "pictures").is_dir():
        write_sequence(folder / "pictures", count)
    return folder / "pictures" / "img1"
