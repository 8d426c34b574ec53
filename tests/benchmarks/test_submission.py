"""``kd-bench submit``: TrackEval reads what is written, and nothing is missing."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.cli import cli
from benchmarks.scoring.submission import BENCHMARKS, required_names, submit
from runtime.errors import UserError
from tests.benchmarks.mot_folders import BOXES, Parrot, write_sequence
from tests.benchmarks.oracle import trackeval_module
from tests.stub_model import write_stub_model


def test_no_sequences(tmp_path):
    with pytest.raises(UserError, match="has no sequence with img1/"):
        submit(Parrot(), tmp_path, tmp_path / "out", partly=True)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_benchmark_has_as_many_files_as_it_demands(benchmark):
    counts = {"MOT15": (11, 11), "MOT16": (7, 7), "MOT17": (21, 21), "MOT20": (4, 4)}
    splits = [set(required_names(benchmark, split)) for split in ("train", "test")]
    assert tuple(map(len, splits)) == counts[benchmark]
    assert not splits[0] & splits[1]


def test_trackeval_reads_the_zip(tmp_path):
    trackeval = trackeval_module()
    root = tmp_path / "MOT17"
    required = required_names("MOT17", "train")
    for number, name in enumerate(required[1::3]):
        write_sequence(root / "train" / name, frames=2 + number)
    contender = Parrot(classes=(0, 0))
    out = tmp_path / "out"
    files = submit(contender, root, out, "MOT17", "train", zipped=True)
    assert [file.name for file in files] == [*(f"{n}.txt" for n in required), "MOT17-train.zip"]
    # Each scene once, the other detectors' are copies.
    assert list(map(len, contender.seen)) == [2, 3, 4, 5, 6, 7, 8]
    # TrackEval wants ground truth and results in zips of these names.
    trackers = tmp_path / "trackers" / "ours"
    trackers.mkdir(parents=True)
    (out / "MOT17-train.zip").rename(trackers / "data.zip")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name in required:
            archive.write(next(root.glob(f"train/{name[:8]}*/gt/gt.txt")), f"{name}.txt")
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(tmp_path),
            "TRACKERS_FOLDER": str(tmp_path / "trackers"),
            "SKIP_SPLIT_FOL": True,
            "INPUT_AS_ZIP": True,
            "SEQ_INFO": {name: 2 + index // 3 for index, name in enumerate(required)},
            "PRINT_CONFIG": False,
        }
    )
    for index, name in enumerate(required):
        read = dataset.get_raw_seq_data("ours", name)
        assert read["num_timesteps"] == 2 + index // 3
        for ids, boxes in zip(read["tracker_ids"], read["tracker_dets"], strict=True):
            assert ids.tolist() == [1, 2]
            # As in the ground truth, which the network learned from.
            np.testing.assert_array_equal(boxes, BOXES)


def test_missing_sequences(tmp_path):
    root, out = tmp_path / "MOT20", tmp_path / "out"
    for name in ("MOT20-04", "MOT20-06", "MOT20-07"):
        write_sequence(root / "test" / name, labelled=False)
    with pytest.raises(UserError, match="MOT20 test, MOT20-08: add them, or give --partial"):
        submit(Parrot(), root, out, "MOT20")
    assert not out.exists()
    files = submit(Parrot(classes=(0, 0)), root, out, "MOT20", partly=True)
    assert [file.name for file in files] == ["MOT20-04.txt", "MOT20-06.txt", "MOT20-07.txt"]
    assert all(len(row.split(",")) == 10 for row in files[0].read_text().splitlines())
    with pytest.raises(UserError, match="lacks sequences of MOT17 test"):
        submit(Parrot(), root, out, "MOT17", partly=True)


def test_other_files_would_be_handed_in(tmp_path):
    write_sequence(tmp_path / "data" / "MOT20-04", labelled=False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "MOT20-01.txt").touch()
    with pytest.raises(UserError, match=r"holds MOT20-01\.txt as well"):
        submit(Parrot(), tmp_path / "data", tmp_path / "out", "MOT20", partly=True)


def test_command(tmp_path):
    pytest.importorskip("onnxruntime")
    write_stub_model(tmp_path / "model.onnx", size_wh=(64, 32))
    write_sequence(tmp_path / "data" / "test" / "MOT17-03-SDP", labelled=False)
    arguments = ["submit", "--data", tmp_path / "data", "--model", tmp_path / "model.onnx"]
    arguments += ["--out", tmp_path / "out", "--partial", "--zip"]
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    assert "wrote 4 files" in done.output
    with zipfile.ZipFile(tmp_path / "out" / "MOT17-test.zip") as archive:
        assert archive.namelist() == [f"MOT17-03-{name}.txt" for name in ("DPM", "FRCNN", "SDP")]
