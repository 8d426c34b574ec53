"""Generated sequences on disk, and the command that writes them."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from runtime.errors import UserError
from runtime.mot import read_mot, read_sequence_info
from train.data.cli import cli
from train.data.synth import Scene, SceneConfig, write_sequence

CONFIG = SceneConfig(frames=6, size_wh=(200, 150), people=6, seed=2)


def tree(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_scene_without_people_has_an_empty_ground_truth(tmp_path):
    folder = write_sequence(
        tmp_path / "empty", SceneConfig(frames=2, size_wh=(96, 64), people=0), show_progress=False
    )
    assert len(read_mot(folder / "gt" / "gt.txt")) == 0
    assert read_sequence_info(folder / "seqinfo.ini").length == 2


def test_images_read_back(tmp_path):
    folder = write_sequence(tmp_path / "walk", CONFIG, show_progress=False)
    info = read_sequence_info(folder / "seqinfo.ini")
    assert (info.name, info.fps, info.length, info.size_wh) == ("walk", 25, 6, (200, 150))
    names = sorted(file.name for file in (folder / "img1").iterdir())
    assert names == [f"{number:06d}.jpg" for number in range(1, 7)]
    rows, scene = read_mot(folder / "gt" / "gt.txt"), Scene(CONFIG)
    assert set(rows.classes) == {1} and set(rows.marks) == {1.0}
    for index in range(6):
        frame, of_frame = scene.render(index), rows[rows.frames == index + 1]
        np.testing.assert_array_equal(of_frame.ids, frame.ids)
        np.testing.assert_array_equal(of_frame.boxes_ltwh, frame.boxes_ltwh)
        np.testing.assert_allclose(of_frame.visibility, frame.visibility, atol=1e-5)
        stored = cv2.imread(str(folder / "img1" / names[index]))
        assert np.abs(stored.astype(int) - frame.image).mean() < 6


def test_video_reads_back_frame_by_frame(tmp_path):
    folder = write_sequence(tmp_path / "walk", CONFIG, "video", "stroll", show_progress=False)
    capture = cv2.VideoCapture(str(folder / "stroll.avi"))
    scene, count = Scene(CONFIG), 0
    while True:
        found, image = capture.read()
        if not found:
            break
        assert np.abs(image.astype(int) - scene.render(count).image).mean() < 8
        count += 1
    assert count == 6
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    assert read_sequence_info(folder / "seqinfo.ini").name == "stroll"


def test_workers_do_not_change_a_byte(tmp_path):
    one = write_sequence(tmp_path / "a" / "s", CONFIG, workers=1, show_progress=False)
    two = write_sequence(tmp_path / "b" / "s", CONFIG, workers=2, show_progress=False)
    assert tree(one) == tree(two)
    other = write_sequence(
        tmp_path / "c" / "s",
        SceneConfig(frames=6, size_wh=(200, 150), people=6, seed=3),
        show_progress=False,
    )
    assert tree(one)["gt/gt.txt"] != tree(other)["gt/gt.txt"]


def test_existing_folders_are_respected(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    write_sequence(folder, CONFIG, show_progress=False)  # an empty folder is fine
    before = tree(folder)
    with pytest.raises(UserError, match="not empty"):
        write_sequence(folder, CONFIG, show_progress=False)
    assert tree(folder) == before
    write_sequence(folder, CONFIG, "video", overwrite=True, show_progress=False)
    assert not (folder / "img1").exists() and (folder / "out.avi").exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a sequence"):
        write_sequence(precious, CONFIG, overwrite=True, show_progress=False)
    with pytest.raises(UserError, match="is a file"):
        write_sequence(precious / "thesis.txt", CONFIG, show_progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "precious"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(self, index):
        raise RuntimeError("lamp went out")

    monkeypatch.setattr(Scene, "render", fail)
    with pytest.raises(RuntimeError, match="lamp"):
        write_sequence(tmp_path / "out", CONFIG, show_progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"image_format": "gif"}, "gif"),
        ({"workers": 0}, "0 workers"),
        ({"name": "a/b"}, "a/b"),
        ({"name": ""}, "sequence name"),
    ],
)
def test_bad_arguments_are_explained(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        write_sequence(tmp_path / "out", CONFIG, show_progress=False, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_video_of_odd_size_is_refused(tmp_path):
    config = SceneConfig(frames=2, size_wh=(201, 150))
    with pytest.raises(UserError, match="even sides"):
        write_sequence(tmp_path / "out", config, "video", show_progress=False)
    assert list(tmp_path.iterdir()) == []


def test_command_writes_a_sequence(tmp_path):
    out = tmp_path / "demo"
    options = ["--frames", "3", "--size", "160x120", "--people", "3", "--format", "video"]
    result = CliRunner().invoke(cli, ["synth", str(out), *options], catch_exceptions=False)
    assert result.exit_code == 0
    assert read_sequence_info(out / "seqinfo.ini").length == 3
    assert (out / "demo.avi").stat().st_size > 1000


def test_command_reports_in_one_line(tmp_path):
    script = "from train.data.cli import main; main()"
    for options, status in ((["--size", "big"], 1), (["--frames", "0"], 1), (["--frames", "x"], 2)):
        run = subprocess.run(
            [sys.executable, "-c", script, "synth", str(tmp_path / "out"), *options],
            capture_output=True,
            text=True,
        )
        assert run.returncode == status
        assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_imports_nothing_heavy():
    script = (
        "import sys\nfrom train.data.cli import cli\n"
        "cli.main(['synth', '--help'], standalone_mode=False)\n"
        "print(sorted({'numpy', 'cv2', 'torch'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout.strip().endswith("[]"), run.stderr
