"""Comparing settings: whole rounds, nothing done twice, and figures that can be checked by hand."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import train.compare.comparing
from runtime.errors import UserError
from runtime.files import output_directory
from train.cli import cli
from train.compare.comparing import compare
from train.compare.config import PlannedRun, fingerprint, merge, read_comparison
from train.compare.running import (
    RESULT_FILE,
    RunResult,
    changed_keys,
    locked,
    saved_result,
    train_run,
)
from train.compare.summary import DIFFERENCES, FIGURES, difference_rows, figure_rows, summarise
from train.config import load_config
from train.trainer import Trainer

SETTINGS: dict[str, Any] = {"plain": None, "wide": {"loss": {"wh": 0.3}}}


@pytest.fixture
def comparison(tiny_config: dict[str, Any], tiny_sequence: Path, tmp_path: Path) -> Path:
    """Two settings with two seeds, each trained for two epochs of one step."""
    tiny_config["schedule"] |= {"images_per_epoch": 4}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(tiny_config))
    return write(tmp_path / "compare.yaml", settings=SETTINGS, test=[str(tiny_sequence)])


def write(file: Path, **changes: Any) -> Path:
    """Write a comparison, or change one."""
    entries = {"base": "base.yaml", "seeds": [0, 1], "threads": 1}
    if file.exists():
        entries = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(entries | changes))
    return file


class Trained:
    """Notes what is trained, and does it in this process: a process of its own takes seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.fail: str | None = None
        monkeypatch.setattr(train.compare.comparing, "train_run", self)

    def __call__(self, run: PlannedRun, lock: int, tell: Any) -> None:
        self.names.append(str(run))
        if str(run) == self.fail:
            raise UserError("the loss is no\nlonger finite")
        run.folder.mkdir(parents=True, exist_ok=True)
        run.config_file.write_text(yaml.safe_dump(run.entries))
        Trainer(load_config(run.config_file), run.folder).run()


def record(out: Path) -> dict[str, Any]:
    return json.loads((out / "compare.json").read_text())


def test_the_whole_way_and_again(
    comparison: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    trained, out = Trained(monkeypatch), tmp_path / "out"
    trained.fail = "wide, seed 0"
    with pytest.raises(UserError, match=r"1 of 4 runs failed \(wide, seed 0\)"):
        compare(comparison, out, command="kd-train compare x")
    # A round of all settings before the next seed; a failure stops nobody else.
    assert trained.names == ["plain, seed 0", "wide, seed 0", "plain, seed 1", "wide, seed 1"]
    assert "wide, seed 0 failed: the loss is no longer finite" in capsys.readouterr().err
    written = record(out)
    assert written["command"] == "kd-train compare x"
    assert written["failed"] == [
        {"setting": "wide", "seed": 0, "error": "the loss is no longer finite"}
    ]
    rows = [(row["setting"], row["seed"], row["sequence"]) for row in written["rows"]]
    assert rows == [
        (name, seed, sequence)
        for name, seed in (("plain", 0), ("plain", 1), ("wide", 1))
        for sequence in ("tiny", "combined")
    ]
    assert {*FIGURES, "IDSW", "parameters", "minutes", "steps"} <= set(written["rows"][0])
    assert (written["rows"][0]["steps"], written["rows"][0]["frames"]) == (2, 12)
    config = yaml.safe_load((out / "wide" / "seed-1.yaml").read_text())
    assert (config["seed"], config["threads"], config["loss"]) == (1, 1, {"wh": 0.3})
    assert "wide, seed 0 failed" in (out / "compare.md").read_text()

    # Again: only what failed is trained.
    trained.names.clear()
    trained.fail = None
    table = compare(comparison, out)
    assert trained.names == ["wide, seed 0"]
    assert table.read_text().count("\n| wide | 2 |") == 2
    assert [row["seeds"] for row in record(out)["summary"]] == [[0, 1], [0, 1]]
    assert record(out)["failed"] == []
    assert "Difference to plain" in capsys.readouterr().out

    # Another seed and another test sequence: the models that are there are scored, not trained.
    trained.names.clear()
    test = yaml.safe_load(comparison.read_text())["test"]
    write(comparison, settings={"plain": None}, test=test * 2)
    compare(comparison, out)
    assert trained.names == []
    assert [row["sequence"] for row in record(out)["rows"]] == ["tiny", "tiny (2)", "combined"] * 2
    assert record(out)["rows"][2]["frames"] == 24


def test_a_changed_configuration_is_refused_and_then_trained_anew(
    comparison: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, out = Trained(monkeypatch), tmp_path / "out"
    write(comparison, seeds=[0])
    compare(comparison, out)
    before = (out / "plain" / "seed-0" / RESULT_FILE).read_text()
    trained.names.clear()
    write(comparison, settings=SETTINGS | {"wide": {"loss": {"wh": 0.5}}})
    with pytest.raises(UserError, match=r"wide/seed-0 holds a run that differs in loss: .*--over"):
        compare(comparison, out)
    assert trained.names == []
    compare(comparison, out, overwrite=True)
    assert trained.names == ["wide, seed 0"]
    assert (out / "plain" / "seed-0" / RESULT_FILE).read_text() == before


def test_a_stopped_run_is_resumed(
    comparison: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, runs = read_comparison(write(comparison, seeds=[0]), tmp_path / "out")
    output_directory(tmp_path / "out")
    called: list[list[str]] = []

    class StandIn:
        pid, returncode = 1, 0

        def __init__(self, command: list[str], **_: Any) -> None:
            called.append(command)

        def poll(self) -> int:
            return 0

    monkeypatch.setattr(subprocess, "Popen", StandIn)
    with locked(tmp_path / "out") as lock:
        train_run(runs[0], lock, lambda _: None)
        (runs[0].folder / "state.pt").touch()
        train_run(runs[0], lock, lambda _: None)
    assert ["--resume" in command for command in called] == [False, True]
    assert all(command[:3] == [sys.executable, "-m", "train.cli"] for command in called)
    assert changed_keys(runs[0]) == []


def test_an_interruption_ends_the_run_s_process(comparison: Path, tmp_path: Path) -> None:
    _, runs = read_comparison(comparison, tmp_path / "out")
    output_directory(tmp_path / "out")
    with locked(tmp_path / "out") as lock:

        def interrupt(_: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_run(runs[0], lock, interrupt)
        process = int((tmp_path / "out" / "compare.lock").read_text())
        assert process != os.getpid()
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    # Nothing holds the folder any more.
    with locked(tmp_path / "out"):
        pass


def test_a_run_is_a_process_of_its_own(
    comparison: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if sys.version_info >= (3, 11):
        # A script of that name where the command runs is not mistaken for the package.
        (tmp_path / "train.py").write_text("raise SystemExit(3)")
    write(comparison, seeds=[4], settings={"plain": None})
    compare(comparison, Path("out"))
    assert [row["seeds"] for row in record(Path("out"))["summary"]] == [[4]]
    assert "model: " in Path("out/plain/seed-4.log").read_text()
    # Its end is known, so its checkpoint may go.
    Path("out/plain/seed-4/state.pt").unlink()
    monkeypatch.setattr(subprocess, "Popen", None)
    compare(comparison, Path("out"))


def test_the_run_s_own_error_is_told(comparison: Path, tmp_path: Path) -> None:
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["data"][0]["path"] = str(tmp_path / "nowhere")
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    write(comparison, seeds=[3], settings={"plain": None})
    with pytest.raises(UserError, match="1 of 1 runs failed"):
        compare(comparison, tmp_path / "out")
    (failure,) = record(tmp_path / "out")["failed"]
    assert "nowhere" in failure["error"] and "\n" not in failure["error"]
    assert record(tmp_path / "out")["summary"] == []


def test_a_folder_in_use_is_refused(comparison: Path, tmp_path: Path) -> None:
    out = output_directory(tmp_path / "out")
    with (out / "compare.lock").open("w+") as handle:
        handle.write("4711\n")
        handle.flush()
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="in use by process 4711"):
            compare(comparison, out)


def test_a_damaged_result_counts_for_nothing(comparison: Path, tmp_path: Path) -> None:
    _, runs = read_comparison(comparison, tmp_path / "out")
    assert saved_result(runs[0]) is None
    runs[0].folder.mkdir(parents=True)
    (runs[0].folder / "model.safetensors").touch()
    for text in ("", "[]", "{}", '{"fingerprint": 1}'):
        (runs[0].folder / RESULT_FILE).write_text(text)
        assert saved_result(runs[0]) is None


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../up", "a/b", "a\\b", ".hidden", "-rf", "a b", "a\n", "ä", "x" * 65),
        *("compare.json", "Compare.md", "nul\0"),
    ],
)
def test_hostile_names_are_refused(comparison: Path, tmp_path: Path, name: str) -> None:
    write(comparison, settings={name: {}})
    with pytest.raises(UserError, match="is to be the name of a folder") as caught:
        read_comparison(comparison, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {}}, "settings: "),
        ({"settings": {"a": {}, "A": {}}}, "differ in case alone"),
        ({"settings": {True: {}}}, "valid string"),
        ({"settings": {"a": [1]}}, r"settings\.a"),
        ({"settings": {"a": {"seed": 3}}}, "has a seed"),
        ({"settings": {"a": {"loss": {"speed": 3}}}}, "setting a: loss.speed: there is no such"),
        ({"settings": {"a": {"schedule": {"max_minutes": 3}}}}, "a has schedule.max_minutes"),
        ({"seeds": []}, "seeds: "),
        ({"seeds": [1, 1]}, "one occurs twice"),
        ({"seeds": [-1]}, "seeds.0"),
        ({"test": []}, "test: "),
        ({"base": "nowhere.yaml"}, "nowhere.yaml does not exist"),
        ({"best": 1}, "best: there is no such key"),
    ],
)
def test_wrong_configurations_are_refused(
    comparison: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_comparison(write(comparison, **changes), tmp_path)


def test_test_sequences_are_looked_at_before_anything_is_trained(
    comparison: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"ground truth .* does not exist"):
        compare(write(comparison, test=[str(tmp_path / "none")]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_are_merged_key_by_key(comparison: Path, tmp_path: Path) -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}}
    assert merge(base, {}) == base
    assert merge(base, {"a": {"c": [3]}, "d": None})["a"] == {"b": 1, "c": [3]}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}}
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1})
    # A base given in place is as good as a file.
    inline = yaml.safe_load((tmp_path / "base.yaml").read_text())
    plan = read_comparison(comparison, tmp_path)[1]
    assert read_comparison(write(comparison, base=inline), tmp_path)[1] == plan
    assert plan[1].entries["schedule"] == plan[0].entries["schedule"]


def finished(setting: str, seed: int, value: float) -> tuple[PlannedRun, RunResult]:
    scores = {"combined": dict.fromkeys(FIGURES, value)}
    result = RunResult("", [], 2_000_000, 3.0, 7, scores)
    return PlannedRun(setting, seed, {}, Path()), result


def test_nothing_finished_sums_up_to_nothing() -> None:
    assert summarise([], ["a", "b"]) == []
    assert figure_rows([]) == difference_rows([]) == []


def test_mean_spread_and_paired_difference_by_hand() -> None:
    runs = [finished("a", 0, 0.1), finished("a", 1, 0.3), finished("a", 2, 0.5)]
    # The seed moves both by 0.2; the setting is worth 0.05 and 0.07.
    runs += [finished("b", 1, 0.35), finished("b", 2, 0.57), finished("c", 9, 0.9)]
    rows = {row["setting"]: row for row in summarise(runs, ["a", "b", "c", "d"])}
    assert list(rows) == ["a", "b", "c"]
    assert rows["a"]["MOTA"] == {"mean": pytest.approx(0.3), "std": pytest.approx(0.2)}
    assert rows["a"]["difference"] is rows["c"]["difference"] is None
    assert rows["c"]["HOTA"] == {"mean": 0.9, "std": None}
    difference = rows["b"]["difference"]
    assert difference["seeds"] == [1, 2]
    for figure in DIFFERENCES:
        assert difference[figure]["mean"] == pytest.approx(0.06)
        assert difference[figure]["std"] == pytest.approx(0.02 / 2**0.5)
    cells = difference_rows(list(rows.values()))
    assert cells == [("b", "2", *["+0.060 ± 0.014"] * 3)]
    assert figure_rows([rows["a"]])[0][-2:] == ("2.00 M", "3.0 ± 0.0")


def test_the_command_asks_for_a_folder_and_knows_both_ways() -> None:
    runner = CliRunner()
    shown = runner.invoke(cli, ["compare", "--help"]).output
    assert "--resume / --overwrite" in shown
    assert runner.invoke(cli, ["compare", "x.yaml"]).exit_code == 2
    assert "compare" in runner.invoke(cli, ["--help"]).output
