"""``kd-bench accuracy``: files in, figures out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from benchmarks.accuracy import score_file
from benchmarks.cli import cli, main
from runtime.errors import UserError

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
