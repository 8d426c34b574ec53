"""The figures equal TrackEval's, on random sequences, real ground truth and whole files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.accuracy import load_sequence, score_file
from benchmarks.metrics import combine, evaluate, sequence_from_frames
from benchmarks.trackeval_peer import under_our_names
from runtime.mot import read_mot
from tests.benchmarks.oracle import (
    DATA,
    assert_same,
    oracle_combined,
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
            label = [1, 1, 1, 1, 2, 7, 8, 12][identity - 1] if columns == 9 else -1
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


@pytest.mark.parametrize(("benchmark", "columns"), [("MOT15", 10), ("MOT17", 9)])
def test_whole_files_with_marks_classes_and_distractors(benchmark, columns, tmp_path):
    trackeval = trackeval_module()
    sequence = tmp_path / "gt" / "SEQ-01"
    results = tmp_path / "trackers" / "ours" / "data" / "SEQ-01.txt"
    results.parent.mkdir(parents=True)
    results.write_text("\n".join(write_mot17(sequence, 11, columns)) + "\n")
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(tmp_path / "gt"),
            "TRACKERS_FOLDER": str(tmp_path / "trackers"),
            "BENCHMARK": benchmark,
            "SKIP_SPLIT_FOL": True,
            "SEQ_INFO": {"SEQ-01": 30},
            "PRINT_CONFIG": False,
        }
    )
    data = dataset.get_preprocessed_seq_data(
        dataset.get_raw_seq_data("ours", "SEQ-01"), "pedestrian"
    )
    quiet = {"PRINT_CONFIG": False}
    theirs = under_our_names(
        trackeval.metrics.CLEAR(quiet).eval_sequence(data),
        trackeval.metrics.Identity(quiet).eval_sequence(data),
        trackeval.metrics.HOTA().eval_sequence(data),
    )
    ours = score_file(sequence, results)
    assert ours["ids"] == (4 if columns == 9 else 8)
    assert_same(ours, theirs)
