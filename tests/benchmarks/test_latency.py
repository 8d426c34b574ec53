"""``kd-bench latency``: what is measured and how it is put together, not how fast it is."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.cli import cli
from benchmarks.contenders import exported_models
from benchmarks.environment import environment
from benchmarks.frames import generated_frames
from benchmarks.latency import STAGES, measure
from benchmarks.statistics import paired_ratio, summarise
from runtime.errors import UserError
from tests.stub_model import write_stub_model

pytest.importorskip("onnxruntime")


def test_nothing_to_summarise():
    with pytest.raises(ValueError, match="no timings"):
        summarise([])
    with pytest.raises(ValueError, match="do not pair"):
        paired_ratio([], [])
    with pytest.raises(ValueError, match="do not pair"):
        paired_ratio([1.0], [1.0, 2.0])


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
    result = measure(exported_models(models[:1]), images, frames=2, rounds=3, threads=1)
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
    settings = measure(exported_models(models[:1]), images, frames=50, rounds=1, threads=1)[
        "settings"
    ]
    assert settings["frames_per_round"] == 3


def test_several_models_by_command(models, images, tmp_path):
    target = tmp_path / "latency.json"
    arguments = ["--source", str(images), "--frames", "2", "--rounds", "2", "--threads", "1"]
    done = CliRunner().invoke(
        cli, ["latency", *map(str, models), *arguments, "--json", str(target)]
    )
    assert done.exit_code == 0, done.output
    assert "small/model / large/model" in done.output
    result = json.loads(target.read_text())
    assert [model["model"] for model in result["models"]] == ["small/model", "large/model"]
    (comparison,) = result["comparisons"]
    assert comparison["low"] <= comparison["ratio"] <= comparison["high"]


def test_missing_model(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        measure(exported_models([tmp_path / "no.onnx"]), frames=1, rounds=1)
