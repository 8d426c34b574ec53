"""``kd-bench accuracy``: files in, figures out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from benchmarks.cli import cli, main
from benchmarks.scoring.accuracy import Scheme, score_file, score_folder
from runtime.errors import UserError
from tests.benchmarks.mot_folders import write_sequence
from tests.benchmarks.oracle import trackeval_module
from tests.stub_model import write_stub_model

GT = "1,1,10,10,20,40,1,-1,-1,-1\n2,1,12,10,20,40,1,-1,-1,-1\n2,2,200,10,20,40,0,-1,-1,-1\n"


@pytest.fixture
def sequence(tmp_path):
    folder = tmp_path / "SEQ"
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text(GT)
    (folder / "seqinfo.ini").write_text(
        "[Sequence]\nname=SEQ\nframeRate=25\nseqLength=4\nimWidth=640\nimHeight=480\n"
    )
    return folder


def write(path, text):
    path.write_text(text)
    return path


def test_empty_results(sequence, tmp_path):
    scores = score_file(sequence, write(tmp_path / "r.txt", ""))
    assert (scores["FN"], scores["FP"], scores["MOTA"], scores["frames"]) == (2, 0, 0, 4)


def test_empty_ground_truth_and_results(tmp_path):
    empty = write(tmp_path / "empty.txt", "")
    assert score_file(empty, empty)["frames"] == 0


def test_rows_marked_zero_do_not_count(sequence, tmp_path):
    results = write(tmp_path / "r.txt", "1,7,10,10,20,40,0.9\n2,7,12,10,20,40,0.9\n")
    scores = score_file(sequence, results)
    assert (scores["MOTA"], scores["ids"], scores["sequence"]) == (1.0, 1, "SEQ")
    # Without the sequence description the last row of either file is the end.
    alone = write(tmp_path / "alone.txt", GT)
    assert score_file(alone, results)["frames"] == 2


def test_results_behind_the_last_ground_truth_are_false_positives(sequence, tmp_path):
    results = write(tmp_path / "r.txt", "4,7,10,10,20,40,0.9\n")
    assert score_file(sequence, results)["FP"] == 1


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ("1,7,0,0,9,9,1\n1,7,5,5,9,9,1\n", r"r\.txt, frame 1: identity 7 occurs 2 times"),
        ("5,7,0,0,9,9,1\n", r"row for frame 5, but .*seqinfo\.ini says .* 4 frames"),
        ("1,7,0,0\n", "line 1"),
    ],
)
def test_bad_results(sequence, tmp_path, results, message):
    with pytest.raises(UserError, match=message):
        score_file(sequence, write(tmp_path / "r.txt", results))


def test_duplicate_in_ground_truth(tmp_path):
    gt = write(tmp_path / "gt.txt", "3,1,0,0,9,9,1\n3,1,0,0,9,9,1\n")
    with pytest.raises(UserError, match=r"gt\.txt, frame 3: identity 1"):
        score_file(gt, write(tmp_path / "r.txt", ""))


def test_folder_without_ground_truth(tmp_path):
    with pytest.raises(UserError, match=r"no gt/gt\.txt"):
        score_file(tmp_path, write(tmp_path / "r.txt", ""))


def test_command_prints_and_writes(sequence, tmp_path):
    results = write(tmp_path / "r.txt", "1,7,10,10,20,40,0.9\n")
    target = tmp_path / "new" / "accuracy.json"
    done = CliRunner().invoke(cli, ["accuracy", str(sequence), str(results), "--json", str(target)])
    assert done.exit_code == 0, done.output
    assert "MOTA" in done.output
    scores = json.loads(target.read_text())
    assert scores["MOTA"] == 0.5
    assert len(scores["alphas"]) == len(scores["HOTA_alpha"]) == 19


def test_a_folder_of_result_files(sequence, tmp_path):
    shutil.copytree(sequence, tmp_path / "data" / "val" / "SEQ")
    other = shutil.copytree(sequence, tmp_path / "data" / "val" / "OTHER")
    info = (other / "seqinfo.ini").read_text()
    (other / "seqinfo.ini").write_text(info.replace("SEQ", "OTHER"))
    tracks = tmp_path / "tracks"
    tracks.mkdir()
    write(tracks / "SEQ.txt", "1,7,10,10,20,40,0.9\n")
    with pytest.raises(UserError, match=r"has no result file for OTHER: add OTHER\.txt"):
        score_folder(tmp_path / "data", tracks)
    write(tracks / "OTHER.txt", "")
    scores = score_folder(tmp_path / "data", tracks, "val")
    assert (scores["MOTA"], scores["frames"], scores["sequence"]) == (0.25, 8, "OTHER, SEQ")
    assert [one["MOTA"] for one in scores["sequences"]] == [0, 0.5]
    done = CliRunner().invoke(cli, ["accuracy", str(tmp_path / "data"), str(tracks)])
    assert done.exit_code == 0, done.output
    assert "OTHER " in done.output


def test_copies_of_a_sequence_without_results(sequence, tmp_path):
    for name in ("MOT17-02-DPM", "MOT17-02-SDP"):
        folder = shutil.copytree(sequence, tmp_path / "data" / name)
        info = (folder / "seqinfo.ini").read_text()
        (folder / "seqinfo.ini").write_text(info.replace("SEQ", name))
    write(tmp_path / "MOT17-02-DPM.txt", "")
    assert score_folder(tmp_path / "data", tmp_path)["sequence"] == "MOT17-02-DPM"


CLASSES = "1,1,10,10,20,40,1,1,1\n1,2,100,10,20,40,1,2,1\n1,3,200,10,90,90,0,3,1\n"


@pytest.mark.parametrize(
    ("classes", "ignore", "expected"),
    [((1,), (), (1, 0, 0)), ((2,), (), (1, 1, 0)), ((2,), (3,), (1, 0, 0)), ((4,), (), (0, 0, 0))],
)
def test_classes_of_ones_own(tmp_path, classes, ignore, expected):
    gt = write(tmp_path / "gt.txt", CLASSES)
    rows = "1,7,10,10,20,40,1,1,-1\n1,8,100,10,20,40,1,2,-1\n1,9,210,20,20,20,1,2,-1\n"
    scores = score_file(gt, write(tmp_path / "r.txt", rows), Scheme(classes, ignore))
    assert (scores["TP"], scores["FP"], scores["FN"]) == expected


def test_classes_in_a_table(tmp_path):
    gt = write(tmp_path / "gt.txt", CLASSES)
    results = write(tmp_path / "r.txt", "1,7,10,10,20,40,1,1,-1\n1,8,100,10,20,40,1,2,-1\n")
    with pytest.raises(UserError, match=r"r\.txt has tracks of class 2.* give --classes"):
        score_file(gt, results)
    arguments = ["accuracy", str(gt), str(results), "--classes", "1, 2", "--ignore", "3"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "average" in done.output


def test_classes_that_contradict():
    with pytest.raises(UserError, match="class 2 is to be scored and to be ignored"):
        Scheme((1, 2), (2,))
    with pytest.raises(UserError, match="give --classes as well"):
        Scheme(regions=(3,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give GT and RESULTS, or --data and --model"),
        (["gt"], "give GT and RESULTS"),
        (["--data", "."], "give GT and RESULTS"),
        (["gt", "results", "--out", "x"], "give GT and RESULTS"),
        (["gt", "results", "--split", "val"], "--split wants a dataset"),
        (["gt", "results", "--classes", "1,,2"], "is not of the form 1,2,3"),
        (["gt", "results", "--classes", "0"], "is not of the form 1,2,3"),
    ],
)
def test_wrong_usage(arguments, message):
    done = CliRunner().invoke(cli, ["accuracy", *arguments])
    assert done.exit_code == 2
    assert message in done.output


def test_models_over_sequences(tmp_path):
    pytest.importorskip("onnxruntime")
    stub_onnx = tmp_path / "model.onnx"
    write_stub_model(stub_onnx, size_wh=(64, 32))
    write_sequence(tmp_path / "data" / "A", columns=10)
    out, target = tmp_path / "out", tmp_path / "all.json"
    arguments = ["accuracy", "--data", tmp_path / "data", "--model", f"one={stub_onnx}"]
    arguments += ["--model", f"two={stub_onnx}", "--out", out, "--json", target]
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    assert list(json.loads(target.read_text())["models"]) == ["one", "two"]
    assert (out / "two" / "tracks" / "A.txt").is_file()


def test_scoring_is_timed_and_compared(tmp_path):
    trackeval_module()
    target = tmp_path / "metrics.json"
    arguments = ["metrics", "--people", "6", "--frames", "30", "--rounds", "1"]
    done = CliRunner().invoke(cli, [*arguments, "--json", str(target)])
    assert done.exit_code == 0, done.output
    rows = json.loads(target.read_text())["rows"]
    assert [row["from"] for row in rows] == ["files", "boxes compared"]
    assert all(row["largest_difference"] < 1e-9 for row in rows)


def test_scoring_is_timed_without_trackeval(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackeval", None)
    done = CliRunner().invoke(cli, ["metrics", "--people", "2", "--frames", "3", "--rounds", "1"])
    assert done.exit_code == 0, done.output
    assert "ours seconds" in done.output


def test_error_is_one_line(sequence, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kd-bench", "accuracy", str(sequence), "nowhere.txt"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err == (
        "error: result file nowhere.txt does not exist: check the path\n"
    )


def loaded_modules(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_metrics_stand_alone():
    assert not loaded_modules("import benchmarks.metrics") & {"runtime", "scipy", "cv2", "torch"}


def test_help_needs_no_heavy_imports():
    assert not loaded_modules("import benchmarks.cli") & {"numpy", "cv2", "matplotlib", "jinja2"}
