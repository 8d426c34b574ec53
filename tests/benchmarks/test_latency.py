"""``kd-bench latency``: what is measured and how it is put together, not how fast it is."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.cli import cli
from benchmarks.contenders import Contender, Recipe, Step, exported_models
from benchmarks.timing.alone import measure_alone
from benchmarks.timing.environment import environment
from benchmarks.timing.frames import first_frames, generated_frames, source_sha256
from benchmarks.timing.latency import STAGES, describe, measure, time_in_turns
from benchmarks.timing.statistics import jitter, paired_ratio, ratio_of_ratios, summarise
from benchmarks.timing.throughput import throughput
from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.tracking.tracker import Tracker
from runtime.types import Detections
from tests.stub_model import write_stub_model

pytest.importorskip("onnxruntime")


def test_nothing_to_summarise():
    with pytest.raises(ValueError, match="no timings"):
        summarise([])
    with pytest.raises(ValueError, match="do not pair"):
        paired_ratio([], [])
    with pytest.raises(ValueError, match="do not pair"):
        paired_ratio([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="do not compare"):
        ratio_of_ratios([1.0], [])


def test_summary():
    summary = summarise(np.arange(1, 102))
    assert (summary.median_ms, summary.mean_ms) == (51, 51)
    assert (summary.p95_ms, summary.p99_ms) == (96, 100)


def test_ratio_cancels_what_hits_both():
    noise = np.random.default_rng(3).uniform(1, 50, 30)
    ratio = paired_ratio(2 * noise, noise)
    assert (ratio.ratio, ratio.low, ratio.high) == pytest.approx((2, 2, 2))


def test_interval_contains_the_ratio_and_widens_with_noise():
    random = np.random.default_rng(5)
    calm = paired_ratio(np.exp(random.normal(0, 0.01, 20)), np.ones(20))
    rough = paired_ratio(np.exp(random.normal(0, 0.3, 20)), np.ones(20))
    for ratio in (calm, rough):
        assert ratio.low <= ratio.ratio <= ratio.high
    assert rough.high - rough.low > 5 * (calm.high - calm.low)


def test_environment_names_the_machine():
    found = environment(threads=2)
    assert found["threads"] == 2
    assert found["cpu"]
    assert {"cores", "python", "numpy", "date"} <= found.keys()
    json.dumps(found)


def test_the_version_of_torch_is_told_without_importing_it():
    pytest.importorskip("torch")
    code = (
        "import sys, benchmarks.timing.latency\n"
        "from benchmarks.timing.environment import environment\n"
        "assert environment()['torch'] and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_generated_frames_differ_and_repeat():
    first, second = generated_frames(2, (32, 16))
    assert first.shape == (16, 32, 3)
    assert first.dtype == np.uint8
    assert (first != second).any()
    assert (generated_frames(1, (32, 16))[0] == first).all()


@pytest.fixture
def models(tmp_path):
    paths = []
    for name, size in (("small", (64, 32)), ("large", (96, 64))):
        path = tmp_path / name / "model.onnx"
        path.parent.mkdir()
        write_stub_model(path, size_wh=size, parameters=12)
        paths.append(path)
    return paths


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number:06d}.png"), generated_frames(1, (80, 60))[0])
    return folder


def test_one_model(models, images):
    result = measure(
        exported_models(models[:1]), images, frames=2, rounds=3, threads=1, alone=False
    )
    (model,) = result["models"]
    assert model["frames"] == 6
    assert model["bytes"] == models[0].stat().st_size
    assert model["parameters"] == 12
    assert list(model["stages"]) == list(STAGES)
    parts = [model["stages"][name]["mean_ms"] for name in STAGES[:-1]]
    assert sum(parts) <= model["stages"]["total"]["mean_ms"]
    assert model["fps"] == pytest.approx(1000 / model["stages"]["total"]["mean_ms"])
    assert result["comparisons"] == []
    assert result["settings"]["frame_size_wh"] == [80, 60]


def test_a_short_source_is_used_whole(models, images):
    found = measure(exported_models(models[:1]), images, 50, 1, threads=1, alone=False)
    assert found["settings"]["frames_per_round"] == 3


def test_several_models_by_command(models, images, tmp_path, monkeypatch):
    alone = {"load_ms": 77.0, "throughput_fps": 123.4}
    monkeypatch.setattr("benchmarks.timing.latency.measure_alone", lambda recipes, *_: [alone, {}])
    target = tmp_path / "latency.json"
    arguments = ["--source", str(images), "--frames", "2", "--rounds", "2", "--threads", "1"]
    named = [f"big={models[1]}", str(models[0])]
    done = CliRunner().invoke(cli, ["latency", *named, *arguments, "--json", str(target)])
    assert done.exit_code == 0, done.output
    assert "big / small/model" in done.output
    assert "fps in flight" in done.output and "mJ" not in done.output
    result = json.loads(target.read_text())
    assert [model["model"] for model in result["models"]] == ["big", "small/model"]
    assert result["models"][0]["load_ms"] == 77 and "load_ms" not in result["models"][1]
    (comparison,) = result["comparisons"]
    assert comparison["low"] <= comparison["ratio"] <= comparison["high"]
    assert {"before", "after"} == result["environment"]["clocks"].keys()
    # What it takes to measure again.
    assert result["files"]["models"]["big"] == {
        "path": str(models[1]),
        "sha256": file_sha256(models[1]),
    }
    assert result["files"]["source"]["sha256"] == source_sha256(images)


class Scripted:
    """A contender that writes down what it is asked for."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def begin(self, fps: float) -> None:
        self.log.append(f"{self.name} begins")

    def step(self, frame: np.ndarray) -> Step:
        self.log.append(f"{self.name} {frame[0, 0, 0]}")
        return Step(Tracker(fps=25).update(Detections.empty()), (1, 2, 3, 4))


def test_rounds_begin_with_each_in_turn_and_first_frames_do_not_count(monkeypatch):
    monkeypatch.setattr("benchmarks.timing.latency.SWITCH_SECONDS", 0)
    log: list[str] = []
    frames = [np.full((2, 2, 3), value, np.uint8) for value in (7, 8, 9)]
    ms, clocks = time_in_turns([Scripted("a", log), Scripted("b", log)], frames, 25, rounds=2)
    assert [own.shape for own in ms] == [(2, 3, len(STAGES))] * 2
    assert (ms[0][..., :-1] == np.array([1, 2, 3, 4]) / 1e6).all() and (ms[0][..., -1] > 0).all()
    assert clocks.keys() == {"before", "after"}

    def turn(name: str) -> list[str]:
        switched = [f"{name} begins", f"{name} 7", f"{name} 8"]
        return [*switched, f"{name} begins", f"{name} 7", f"{name} 8", f"{name} 9"]

    warm = [line for name in "ab" for line in turn(name)[3:]]
    assert log == warm + [line for name in "abba" for line in turn(name)]


def test_overhead_is_paired_by_rounds_and_jitter_stays_within_them(models):
    # Network, then total, of two rounds of two frames; the second round is twice as slow.
    ms = np.zeros((2, 2, len(STAGES)))
    ms[..., STAGES.index("network")] = [[4, 4], [8, 8]]
    ms[..., -1] = [[5, 5], [10, 10]]
    with exported_models(models[:1])[0].open(threads=1) as contender:
        entry = describe(contender, ms)
        assert entry["frame_ms"] == [5, 5, 10, 10] and entry["jitter_ms"] == 0
        assert entry["overhead"]["ratio"] == pytest.approx(1.25)
        assert entry["overhead"]["rounds"] == [1.25, 1.25]
        # A contender that is one black box.
        ms[..., STAGES.index("network")] = 0
        assert "overhead" not in describe(contender, ms)
        assert jitter(ms[:, :1, -1]) == 0


def test_a_model_alone(models, images, monkeypatch):
    monkeypatch.setattr("benchmarks.timing.cold.STARTS", 1)
    monkeypatch.setattr("benchmarks.timing.throughput.RUN_SECONDS", 0.01)
    frames, fps = first_frames(images, 3)
    (entry,) = measure_alone(exported_models(models[:1]), frames, fps, threads=1)
    assert entry["memory_mb"] > entry["baseline_memory_mb"] > 10
    assert all(entry[key] > 0 for key in ("load_ms", "first_frame_ms", "throughput_fps"))


def test_contenders_without_a_pipeline_have_no_throughput():
    assert throughput([Closed("rival", "rival")], generated_frames(1, (8, 8)), 25) == [None]


class Closed(Recipe):
    """A recipe of something that is not one of our models."""

    def open(self, backend: str = "auto", threads: int | None = None) -> Contender:
        raise AssertionError("a contender without a pipeline need not be opened")


def test_the_hash_of_a_folder_is_that_of_its_files(images):
    before = source_sha256(images)
    assert source_sha256(images) == before
    (images / "000001.png").rename(images / "renamed.png")
    assert source_sha256(images) != before
    assert source_sha256(images / "missing") is None


def test_missing_model(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        measure(exported_models([tmp_path / "no.onnx"]), frames=1, rounds=1)
