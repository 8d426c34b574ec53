"""Finding sequences in every layout, and reading their frames."""

from __future__ import annotations

import pytest

from benchmarks.scoring.sequences import find_sequences, read_sequence, take_once
from runtime.errors import UserError
from tests.benchmarks.mot_folders import write_sequence
from train.data.prepare.base import Options
from train.data.prepare.building import prepare


def names(sequences):
    return [sequence.name for sequence in sequences]


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"has no sequence with gt/gt\.txt"):
        find_sequences(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        find_sequences(tmp_path / "nowhere")


def test_a_sequence_and_a_folder_of_sequences(tmp_path):
    write_sequence(tmp_path / "B")
    write_sequence(tmp_path / "A")
    write_sequence(tmp_path / "unlabelled", labelled=False)
    (tmp_path / "pictures").mkdir()
    assert names(find_sequences(tmp_path)) == ["A", "B"]
    (alone,) = find_sequences(tmp_path / "B")
    assert (alone.name, alone.fps, alone.first, alone.last, len(alone)) == ("B", 10.0, 1, 6, 6)
    assert alone.gt_file == tmp_path / "B" / "gt" / "gt.txt"
    with pytest.raises(UserError, match="has no split 'val': leave out --split"):
        find_sequences(tmp_path, "val")


@pytest.mark.parametrize("below", ["", "images"])
def test_splits(tmp_path, below):
    write_sequence(tmp_path / below / "train" / "A")
    write_sequence(tmp_path / below / "val" / "B")
    write_sequence(tmp_path / below / "test" / "C", labelled=False)
    assert names(find_sequences(tmp_path)) == ["A", "B"]
    assert names(find_sequences(tmp_path, "val")) == ["B"]
    assert names(find_sequences(tmp_path, "test", labelled=False)) == ["C"]
    with pytest.raises(UserError, match="split test, has no sequence"):
        find_sequences(tmp_path, "test")
    with pytest.raises(UserError, match="no split 'half': choose from train, val, test"):
        find_sequences(tmp_path, "half")


def test_two_sequences_of_one_name(tmp_path):
    write_sequence(tmp_path / "train" / "A")
    write_sequence(tmp_path / "val" / "A")
    with pytest.raises(UserError, match="has 2 sequences called A"):
        find_sequences(tmp_path)


def test_a_name_that_leads_elsewhere(tmp_path):
    folder = write_sequence(tmp_path / "A")
    text = (folder / "seqinfo.ini").read_text()
    (folder / "seqinfo.ini").write_text(text.replace("name=A", "name=../../A"))
    with pytest.raises(UserError, match="is no name of a file"):
        find_sequences(tmp_path)


def test_copies_for_public_detectors(tmp_path):
    for name in ("MOT17-02-DPM", "MOT17-02-SDP", "MOT17-04-FRCNN"):
        write_sequence(tmp_path / name, pictures=False)
    assert len(find_sequences(tmp_path)) == 3
    assert names(take_once(find_sequences(tmp_path))) == ["MOT17-02-SDP", "MOT17-04-FRCNN"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_prepared_dataset_and_its_halves(tmp_path, elsewhere):
    root = tmp_path / "MOT17"
    write_sequence(root / "train" / "MOT17-02-SDP", frames=5)
    write_sequence(root / "train" / "MOT17-02-DPM", frames=5)
    write_sequence(root / "test" / "MOT17-01-SDP", labelled=False)
    out = tmp_path / "prepared" if elsewhere else root
    prepare(root, out, Options("mot17", halves=True))
    (whole,) = find_sequences(out)
    (first,) = find_sequences(out, "train_half")
    (second,) = find_sequences(out, "val_half")
    parts = [(one.name, one.first, one.last) for one in (whole, first, second)]
    assert parts == [("MOT17-02-SDP", 1, 5), ("MOT17-02-SDP", 1, 2), ("MOT17-02-SDP", 3, 5)]
    assert [int(frame[0, 0, 0]) for frame in second.frames()] == [30, 40, 50]
    assert second.gt_file and second.gt_file.read_text().startswith("1,1,")
    with pytest.raises(UserError, match="no split 'val': choose from train, train_half, val_half"):
        find_sequences(out, "val")
    if not elsewhere:
        assert names(find_sequences(out, "test", labelled=False)) == ["MOT17-01-SDP"]


def test_a_prepared_video(tmp_path, clip):
    folder = write_sequence(tmp_path / "data" / "A", frames=12, columns=10, pictures=False)
    (folder / "clip.avi").write_bytes(clip.read_bytes())
    prepare(tmp_path / "data", tmp_path / "out", Options("mot15", halves=True))
    (half,) = find_sequences(tmp_path / "out", "val_half")
    assert (half.name, half.first, half.last) == ("A", 7, 12)
    assert len(list(half.frames())) == 6


@pytest.fixture
def clip(tmp_path):
    import cv2
    import numpy as np

    file = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 24))
    for number in range(12):
        writer.write(np.full((24, 32, 3), 10 * number, np.uint8))
    writer.release()
    return file


def test_without_a_description(tmp_path, clip):
    images = write_sequence(tmp_path / "A", frames=4)
    video = write_sequence(tmp_path / "B", frames=5, columns=10, pictures=False)
    (video / "clip.avi").write_bytes(clip.read_bytes())
    for folder in (images, video):
        (folder / "seqinfo.ini").unlink()
    assert (read_sequence(images).last, read_sequence(images).fps) == (4, 30.0)
    # As long as its ground truth, whatever the container promises.
    assert (read_sequence(video).last, read_sequence(video).fps) == (5, 10.0)
    assert len(list(read_sequence(video).frames())) == 5
    (video / "clip.avi").unlink()
    with pytest.raises(UserError, match="neither img1/ nor exactly one video"):
        read_sequence(video)


def test_fewer_frames_than_promised(tmp_path, clip):
    folder = write_sequence(tmp_path / "A", frames=14, columns=10, pictures=False)
    (folder / "clip.avi").write_bytes(clip.read_bytes())
    with pytest.raises(UserError, match="has frames up to 12, not to 14"):
        list(read_sequence(folder).frames())
