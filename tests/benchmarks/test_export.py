"""The record of the export: the plain baseline, the timing, the tables, and the README."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import benchmarks.records.variants
from benchmarks.cli import cli
from benchmarks.records.export import (
    CONFIG,
    MODELS,
    PRECISIONS,
    SIZES,
    row_of,
    tables,
    with_other_models,
)
from benchmarks.records.straightforward import (
    PlainDetector,
    decode_maps,
    export_plainly,
    window_maximum,
)
from benchmarks.records.variants import PLAIN, ROUNDS, TOPK, Variant, time_in_turns, torch_forms
from export.reference import torch_detections
from runtime.errors import UserError
from runtime.types import Detections
from tests.export.test_export import trained_like
from train.config import load_config
from train.models import TrackingModel, build_model
from train.models.registry import REGISTRY

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "results" / "export.json"
NOTHING = Detections(np.zeros((0, 4)), np.zeros(0))


@pytest.fixture(scope="module")
def model() -> TrackingModel:
    torch.manual_seed(0)
    return trained_like(build_model("nano", embedding_dim=8))


def test_the_maximum_of_a_window_is_that_of_max_pooling() -> None:
    heat = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
    pooled = torch.nn.functional.max_pool2d(torch.from_numpy(heat), 3, stride=1, padding=1)
    np.testing.assert_array_equal(window_maximum(heat), pooled.numpy())


@pytest.mark.parametrize("sides", [2, 4])
def test_plain_decoding_equals_that_of_pytorch(sides: int, model: TrackingModel) -> None:
    generator = torch.Generator().manual_seed(1)
    channels = {"hm": 2, "wh": sides, "reg": 2, "id": 8}
    maps = {
        name: torch.rand(1, count, 6, 9, generator=generator) for name, count in channels.items()
    }
    expected = torch_detections(model, maps, 7)
    found = decode_maps({name: values.numpy() for name, values in maps.items()}, 7, model.stride)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, rtol=1e-5)
    assert found.embeddings is not None and expected.embeddings is not None
    np.testing.assert_allclose(found.embeddings, expected.embeddings, rtol=1e-5)


def test_the_plain_export_sees_what_pytorch_sees(model: TrackingModel, tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (48, 80, 3)).astype(np.uint8)
    export_plainly(model, (128, 96), tmp_path / "plain.onnx")
    (form,) = torch_forms(model, (128, 96))
    assert form.name == "pytorch" and form.detect is not None
    detector = PlainDetector(tmp_path / "plain.onnx", (128, 96), model.stride, TOPK, threads=1)
    found, expected = detector(frame), form.detect(frame)
    np.testing.assert_allclose(found.scores[:5], expected.scores[:5], atol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy[:5], expected.boxes_xyxy[:5], atol=1e-2)


def test_variants_take_turns_and_those_that_cannot_run_stay_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("WARM_UP_SECONDS", "LEAST_SECONDS"):
        monkeypatch.setattr(benchmarks.records.variants, name, 0)
    order: list[str] = []

    def variant(name: str) -> Variant:
        def detect(frame: np.ndarray) -> Detections:
            order.append(name)
            return NOTHING

        return Variant(name, detect, run=lambda: None)

    forms = [variant("a"), variant("b"), Variant("c", None)]
    time_in_turns(forms, [np.zeros((2, 2, 3), np.uint8)])
    assert [len(form.medians) for form in forms] == [ROUNDS, ROUNDS, 0]
    turns = [name for name, _ in itertools.groupby(order)]
    assert turns[:3] == ["a", "b", "a"]
    assert all(len(form.network) == len(form.medians) for form in forms)


def record_of(model: TrackingModel) -> dict[str, Any]:
    facts = {"passed": True, "kept": [], "bytes": 1}
    figures = {
        "matched": 1.0,
        "box_error_px_median": 0.5,
        "embedding_cosine_median": 0.75,
        "identity_agreement": 0.875,
    }
    forms = [
        Variant("pytorch", None, {}, medians=[40.0]),
        Variant(PLAIN, None, {}, medians=[20.0]),
        Variant("fp32", None, {**facts, "parity": figures}, medians=[10.0]),
        Variant("fp16", None, {**facts, "parity": figures}),
        Variant("int8", None, {**facts, "passed": False, "parity": figures}, medians=[5.0]),
    ]
    return {"rows": [row_of(form, forms, "nano", (96, 64), model) for form in forms]}


def test_the_tables_say_what_each_step_gains(model: TrackingModel) -> None:
    times, parity = tables(record_of(model))
    assert times == [("nano", "96x64", "40.0 ms", "20.0 ms", "10.0 ms (2.00x)", "5.0 ms (2.00x)")]
    assert [row[2] for row in parity] == ["fp32", "fp16", "int8, FAILED"]
    assert parity[0][3:] == ("1.0000", "0.5000", "0.750000", "0.8750")


def test_what_is_measured_can_be_trained() -> None:
    for name in MODELS:
        assert name in REGISTRY
        assert load_config(CONFIG, [f"model.name={name}"]).model.name == name


def test_an_unknown_model_is_refused_at_once() -> None:
    result = CliRunner().invoke(cli, ["export", "--model", "yolo9000"])
    assert isinstance(result.exception, UserError) and "yolo9000" in str(result.exception)


def test_the_record_is_whole() -> None:
    record = json.loads(RECORD.read_text())
    rows = record["rows"]
    places = {(row["model"], tuple(row["size_wh"])) for row in rows}
    assert places == set(itertools.product(MODELS, SIZES))
    for place in places:
        forms = {row["form"] for row in rows if (row["model"], tuple(row["size_wh"])) == place}
        assert forms >= {"pytorch", PLAIN, "fp32", "int8"}
    assert {row["form"] for row in rows} >= set(PRECISIONS)
    assert all(row["passed"] for row in rows if row["form"] == "fp32")


def test_a_model_measured_again_takes_the_place_of_its_rows_and_of_no_others() -> None:
    def record(when: str, *models: str) -> dict[str, Any]:
        rows = [{"model": model, "size_wh": list(SIZES[0]), "ms": when} for model in models]
        return {"rows": rows, "command": when}

    first = with_other_models(record("monday", "yolov5s", "nano"), record("before", "nano"))
    assert first["rows"] == record("monday", "yolov5s", "nano")["rows"] and "earlier" not in first
    second = with_other_models(record("tuesday", "nano", "dla_34"), first)
    found = [(row["model"], row["ms"]) for row in second["rows"]]
    assert found == [("dla_34", "tuesday"), ("yolov5s", "monday"), ("nano", "tuesday")]
    assert second["command"] == "tuesday"
    assert second["earlier"] == {"yolov5s": {"command": "monday"}}
    third = with_other_models(record("friday", "dla_34"), second)
    assert third["earlier"] == {
        "yolov5s": {"command": "monday"},
        "nano": {"command": "tuesday"},
    }
