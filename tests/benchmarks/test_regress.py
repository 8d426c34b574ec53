"""``kd-bench regress``: what counts as slower, and what is measured again."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cli import cli
from benchmarks.contenders import exported_models
from benchmarks.timing.latency import measure
from benchmarks.timing.regress import (
    MAX_RATIO,
    NEW,
    Rounds,
    choose_models,
    compare,
    read_base,
    regress,
)
from runtime.errors import UserError
from tests.stub_model import write_stub_model

TIMES = {"teacher": 20.0, "student": 7.0}


def rounds(
    seed: int = 0, noise: float = 0.01, machine: float = 1.0, count: int = 20, **times: float
) -> Rounds:
    """Make rounds of models with these times; what hits a round hits all its models."""
    random = np.random.default_rng(seed)
    shared = np.exp(random.normal(0, 0.3, count))
    times = {**TIMES, **times}
    totals = {
        name: machine * ms * shared * np.exp(random.normal(0, noise, count))
        for name, ms in times.items()
    }
    overheads = {name: 1.2 * np.exp(random.normal(0, noise, count)) for name in TIMES}
    return Rounds(totals, overheads)


def slower(then: Rounds, now: Rounds, *replaced: str) -> list[str]:
    checks = compare(then, now, frozenset(replaced))
    return [check.what for check in checks if check.is_slower(MAX_RATIO)]


@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(0, 0.02))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_another_machine_is_no_finding(seed: int, machine: float, noise: float) -> None:
    assert slower(rounds(seed, noise), rounds(seed + 1, noise, machine)) == []


@given(st.integers(0, 10**6), st.floats(1.1, 5), st.sampled_from(sorted(TIMES)))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_a_model_that_is_slower_is_found(seed: int, factor: float, name: str) -> None:
    now = rounds(seed + 1, machine=0.5, **{name: factor * TIMES[name]})
    (other,) = TIMES.keys() - {name}
    assert slower(rounds(seed), now) == [f"{name} against {other}"]


@given(st.integers(0, 10**6), st.floats(1.1, 20), st.integers(0, 19))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_one_disturbed_round_is_no_finding(seed: int, factor: float, index: int) -> None:
    now = rounds(seed + 1)
    now.totals["student"][index] *= factor
    now.overheads["teacher"][index] *= factor
    assert slower(rounds(seed), now) == []


def test_of_noise_alone_few_intervals_lie_above_one() -> None:
    above = 0
    for seed in range(0, 400, 2):
        check = compare(rounds(seed, 0.2), rounds(seed + 1, 0.2))[0]
        above += check.is_slower(1.0)
    # The upper tail of 95 % is 2.5 %; the bootstrap's intervals are a little too narrow.
    assert 1 <= above <= 14


def test_slower_code_around_the_network_is_found() -> None:
    now = rounds(1)
    now.overheads["student"][:] *= 1.2
    assert slower(rounds(), now) == ["a frame of student against its network"]


def test_a_replaced_file_is_judged_by_the_other() -> None:
    faster, slow = rounds(1, student=3.5), rounds(1, student=14)
    faster.overheads["student"][:] *= 1.5
    assert slower(rounds(), faster) != []
    assert slower(rounds(), faster, "student") == []
    assert slower(rounds(), slow, "student") == ["student against teacher"]
    assert slower(rounds(), slow, "teacher") == []


def test_a_new_file_beside_the_old_is_compared_in_pairs() -> None:
    name = f"student{NEW}"
    assert slower(rounds(), rounds(1, **{name: 7.1})) == []
    assert slower(rounds(), rounds(1, **{name: 9.0})) == [f"{name} against the file of BASE"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measurement of two stub models, with steady times in the place of the real ones."""
    folder = tmp_path_factory.mktemp("base")
    models = []
    for name, size in (("teacher", (96, 64)), ("student", (64, 32))):
        write_stub_model(folder / f"{name}.onnx", size_wh=size)
        models.append(folder / f"{name}.onnx")
    result = measure(exported_models(models), frames=2, rounds=5, threads=1, alone=False)
    for entry in result["models"]:
        entry["frame_ms"] = [TIMES[entry["model"]]] * 10
    (folder / "base.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def base(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that may be changed."""
    monkeypatch.setattr("benchmarks.timing.latency.SWITCH_SECONDS", 0)
    shutil.copytree(measured, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "base.json"
    file.write_text(file.read_text().replace(str(measured), str(tmp_path)))
    return file


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, ["regress", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit | UserError)
    return done.exit_code, done.stdout, done.stderr


def test_the_command_measures_again(base: Path, tmp_path: Path) -> None:
    code, table, _ = run(base, "--max-ratio", 1000, "--json", tmp_path / "again.json")
    assert code == 0 and "student against teacher" in table
    again = json.loads((tmp_path / "again.json").read_text())
    assert [row["kind"] for row in again["checks"]] == ["pair", "pair", "overhead", "overhead"]
    assert not any(row["slower"] for row in again["checks"]) and again["findings"] == []
    # A measurement that can be the base of the next.
    read_base(base)
    base.write_text(json.dumps(again["latency"]))
    assert read_base(base)[0]["files"]["models"].keys() == {"teacher", "student"}


def injected(change: Callable[[dict[str, Any]], None]) -> Callable[..., dict[str, Any]]:
    """Return a ``measure`` with BASE's times, changed."""

    def measured(recipes: list[Any], *_: object, **__: object) -> dict[str, Any]:
        base = json.loads((recipes[0].path.parent / "base.json").read_text())
        entries = {entry["model"]: entry for entry in base["models"]}
        base["models"] = [
            {**copy.deepcopy(entries[one.name.removesuffix(NEW)]), "model": one.name}
            for one in recipes
        ]
        change({entry["model"]: entry for entry in base["models"]})
        return base

    return measured


def test_the_same_times_pass_and_slower_ones_fail(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new.onnx"
    write_stub_model(new, size_wh=(160, 96))
    option = ("--model", f"student={new}")

    def twice_as_slow(entries: dict[str, Any]) -> None:
        entry = entries.get(f"student{NEW}") or entries["student"]
        entry["frame_ms"] = [2 * value for value in entry["frame_ms"]]

    monkeypatch.setattr("benchmarks.timing.regress.measure", injected(lambda entries: None))
    assert run(base)[::2] == (0, "") and run(base, *option)[::2] == (0, "")
    monkeypatch.setattr("benchmarks.timing.regress.measure", injected(twice_as_slow))
    code, _, lines = run(base)
    assert code == 1 and lines.startswith("slower: student against teacher takes 2.000 times")
    code, table, lines = run(base, *option)
    assert code == 1 and "student (new)" in table
    assert lines == (
        "slower: student (new) against the file of BASE takes 2.000 times as long (2.000 to "
        "2.000), allowed is 1.05\n"
    )


def test_slower_once_is_not_slower(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def slow_at_first(entries: dict[str, Any]) -> None:
        runs.append("run")
        factor = 2 if len(runs) == 1 else 1
        entry = entries["student"]
        entry["frame_ms"] = [factor * value for value in entry["frame_ms"]]

    monkeypatch.setattr("benchmarks.timing.regress.measure", injected(slow_at_first))
    assert run(base)[::2] == (0, "") and len(runs) == 2
    assert run(base)[::2] == (0, "") and len(runs) == 3


def test_what_is_measured_in_place_of_what(base: Path, tmp_path: Path) -> None:
    files = json.loads(base.read_text())["files"]["models"]
    new = tmp_path / "new.onnx"
    write_stub_model(new, size_wh=(160, 96))
    recipes, replaced = choose_models(files, [f"student={new}"])
    assert [(one.name, one.path.name) for one in recipes] == [
        ("teacher", "teacher.onnx"),
        ("student", "student.onnx"),
        (f"student{NEW}", "new.onnx"),
    ]
    assert replaced == frozenset()
    Path(files["student"]["path"]).unlink()
    recipes, replaced = choose_models(files, [f"student={new}"])
    assert [(one.name, one.path.name) for one in recipes][1:] == [("student", "new.onnx")]
    assert replaced == {"student"}


def test_files_that_are_missing_or_changed(base: Path, tmp_path: Path) -> None:
    student = tmp_path / "student.onnx"
    write_stub_model(student, size_wh=(160, 96))
    with pytest.raises(UserError, match=r"student.onnx has changed .* --model student=FILE"):
        regress(base)
    student.unlink()
    with pytest.raises(UserError, match=r"student.onnx is missing: .* --model student=FILE"):
        regress(base)
    with pytest.raises(UserError, match="no model x: choose from teacher, student"):
        regress(base, [f"x={tmp_path / 'teacher.onnx'}"])


def test_a_source_that_changed(base: Path, tmp_path: Path) -> None:
    content = json.loads(base.read_text())
    content["files"]["source"] = {"path": str(tmp_path / "clip.avi"), "sha256": "0"}
    base.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"clip.avi is missing"):
        regress(base)
    (tmp_path / "clip.avi").write_bytes(b"other")
    with pytest.raises(UserError, match=r"clip.avi has changed"):
        regress(base)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda base: base.pop("files"), "cannot be measured again"),
        (lambda base: base["models"][0].pop("frame_ms"), "cannot be measured again"),
        (lambda base: base["models"][0]["frame_ms"].pop(), "cannot be measured again"),
        (lambda base: base["models"][1]["frame_ms"].__setitem__(0, -99), "not positive"),
        (lambda base: base["files"]["models"].pop("student"), "not all models are files"),
        (lambda base: base.clear(), "cannot be measured again"),
    ],
)
def test_a_base_that_is_not_whole(base: Path, change: Callable[[Any], Any], line: str) -> None:
    content = json.loads(base.read_text())
    change(content)
    base.write_text(json.dumps(content))
    with pytest.raises(UserError, match=line) as caught:
        read_base(base)
    assert "\n" not in str(caught.value)


def test_a_base_of_few_rounds_or_none(base: Path, tmp_path: Path) -> None:
    content = json.loads(base.read_text())
    content["settings"]["rounds"] = 1
    for entry in content["models"]:
        entry["overhead"]["rounds"] = entry["overhead"]["rounds"][:1]
    base.write_text(json.dumps(content))
    with pytest.raises(UserError, match="has 1 rounds, too few"):
        read_base(base)
    base.write_text("[]")
    with pytest.raises(UserError, match="cannot be measured again"):
        read_base(base)
    with pytest.raises(UserError, match="does not exist"):
        read_base(tmp_path / "none.json")
