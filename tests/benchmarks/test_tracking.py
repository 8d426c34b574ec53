"""Contenders over sequences: the files they leave and their figures."""

from __future__ import annotations

import json

import pytest

from benchmarks.scoring.accuracy import Scheme, score_folder
from benchmarks.scoring.sequences import find_sequences
from benchmarks.scoring.tracking import measure_accuracy, track
from runtime.errors import UserError
from tests.benchmarks.mot_folders import Parrot, write_sequence
from train.data.prepare.base import Options
from train.data.prepare.building import prepare


def test_nobody_to_measure(tmp_path):
    write_sequence(tmp_path / "A")
    assert measure_accuracy([], find_sequences(tmp_path)) == {}


def test_files_and_figures_of_each_contender(tmp_path):
    for name in ("A", "B"):
        write_sequence(tmp_path / "data" / name, columns=10)
    sequences, out = find_sequences(tmp_path / "data"), tmp_path / "out"
    contenders = [Parrot("blind", (0, 0)), Parrot("a/half", (0, 1))]
    measured = measure_accuracy(contenders, sequences, out)
    assert contenders[0].seen == [[1, 2, 3, 4, 5, 6]] * 2
    assert contenders[0].rates == [10.0, 10.0]
    assert list(measured) == ["blind", "a/half"]
    assert [measured[name]["MOTA"] for name in measured] == [1.0, 0.5]
    whole = measured["blind"]
    assert whole["sequence"] == "A, B"
    assert [one["sequence"] for one in whole["sequences"]] == ["A", "B"]
    assert [one["frames"] for one in whole["sequences"]] == [6, 6]
    assert whole["frames"] == 12
    assert whole["fps"] > 0 and all(one["fps"] > 0 for one in whole["sequences"])
    assert json.loads((out / "a-half" / "accuracy.json").read_text()) == measured["a/half"]
    rows = (out / "blind" / "tracks" / "B.txt").read_text().splitlines()
    assert len(rows) == 12
    assert rows[0] == "1,1,4.00,4.00,8.00,16.00,0.9000,-1,-1,-1"
    # The same from the files alone.
    again = score_folder(tmp_path / "data", out / "blind" / "tracks")
    assert {key: whole[key] for key in again if key != "sequences"} == {
        key: value for key, value in again.items() if key != "sequences"
    }


def test_one_sequence_has_its_figures_at_the_top(tmp_path):
    write_sequence(tmp_path / "A", columns=10)
    figures = measure_accuracy([Parrot(classes=(0, 0))], find_sequences(tmp_path))["parrot"]
    assert (figures["sequence"], "sequences" in figures) == ("A", False)


def test_tracks_of_other_classes(tmp_path, capsys):
    write_sequence(tmp_path / "A")
    sequences = find_sequences(tmp_path)
    plain = measure_accuracy([Parrot()], sequences)["parrot"]
    assert (plain["MOTA"], plain["TP"], plain["FP"]) == (1.0, 6, 0)
    assert "6 boxes of other classes than the first are left out" in capsys.readouterr().err
    figures = measure_accuracy([Parrot()], sequences, tmp_path / "out", Scheme((1, 2)))["parrot"]
    assert "left out" not in capsys.readouterr().err
    assert [one["TP"] for one in figures["classes"]] == [6, 6]
    rows = (tmp_path / "out" / "parrot" / "tracks" / "A.txt").read_text().splitlines()
    assert rows[1] == "1,2,20.00,4.00,8.00,16.00,0.8000,2,-1"


def test_a_half_is_tracked_and_scored_alone(tmp_path):
    root = tmp_path / "MOT17"
    write_sequence(root / "train" / "MOT17-02-SDP", frames=5)
    prepare(root, root, Options("mot17", halves=True))
    contender = Parrot(classes=(0, 2))
    figures = measure_accuracy([contender], find_sequences(root, "val_half"), tmp_path)["parrot"]
    assert contender.seen == [[3, 4, 5]]
    assert (figures["frames"], figures["TP"], figures["FN"]) == (3, 3, 0)
    tracks = tmp_path / "parrot" / "tracks"
    assert (tracks / "MOT17-02-SDP.txt").read_text().startswith("3,1,")
    assert score_folder(root, tracks, "val_half")["TP"] == 3
    with pytest.raises(UserError, match="row for frame 3, but 1 to 2 are scored"):
        score_folder(root, tracks, "train_half")


def test_two_contenders_of_one_folder(tmp_path):
    write_sequence(tmp_path / "A")
    with pytest.raises(UserError, match="two models would write to"):
        measure_accuracy([Parrot("a/b"), Parrot("a-b")], find_sequences(tmp_path), tmp_path)


def test_a_sequence_cut_short_leaves_no_file(tmp_path):
    folder = write_sequence(tmp_path / "A")
    (folder / "img1" / "000006.png").write_bytes(b"no picture")
    (sequence,) = find_sequences(folder)
    with pytest.raises(UserError, match=r"000006\.png cannot be read"):
        track(Parrot(), sequence, tmp_path / "tracks.txt")
    assert list(tmp_path.glob("*.txt")) == []
