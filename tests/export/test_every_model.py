"""Every model of the registry: exported, run, and built as an engine in every precision.

Takes minutes, so ``make engines`` runs it and ``make test`` does not.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from export.fused import FusedTracker
from export.onnx_file import infer_shapes, save_onnx, to_onnx
from export.precision.calibration import measure_ranges
from export.precision.half import to_half
from export.precision.int8 import CPU, TENSORRT, quantizable_nodes, quantized_tensors, to_int8
from export.tensorrt import EngineOptions, build_engine
from runtime.engines import open_engine
from runtime.model_info import ModelInfo
from tests.export.test_export import trained_like
from train.models import build_model
from train.models.deform import use_form
from train.models.registry import REGISTRY

pytestmark = pytest.mark.engines

SIZE_WH = (96, 64)
TOPK = 9


def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", REGISTRY)
def test_it_runs_as_onnx_and_builds_in_every_precision(name: str, tmp_path: Path) -> None:
    library = pytest.importorskip("tensorrt_rtx")
    torch.manual_seed(0)
    model = trained_like(build_model(name, num_classes=2, embedding_dim=8))
    info = ModelInfo(name, SIZE_WH, model.stride, TOPK, 8, ("a", "b"), dynamic_batch=True)
    graph = FusedTracker(model, TOPK)
    use_form(graph, "plain")
    plain = infer_shapes(to_onnx(graph, info))
    save_onnx(plain, info, tmp_path / "fp32.onnx")
    with torch.no_grad():
        expected = dict(zip(graph.output_names, graph(torch.from_numpy(frames())), strict=True))
    found = open_engine(tmp_path / "fp32.onnx", "cpu").run(frames())
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-3)
    # Peaks of the same score to rounding may change places; most do not.
    assert (found["classes"] == expected["classes"].numpy()).mean() > 0.5

    lowered = {"fp32": plain, "fp16": to_half(plain, ())}
    for recipe, label in ((TENSORRT, "int8"), (CPU, "int8-cpu")):
        nodes = quantizable_nodes(plain, recipe)
        ranges = measure_ranges(plain, quantized_tensors(plain, nodes), frames(), info)
        lowered[label] = to_int8(plain, ranges, recipe, nodes)
    assert lowered["int8"] != plain
    save_onnx(lowered.pop("int8-cpu"), info, tmp_path / "cpu.onnx")
    assert open_engine(tmp_path / "cpu.onnx", "cpu").run(frames())["boxes"].shape == (2, TOPK, 4)
    for precision, proto in lowered.items():
        file = tmp_path / f"{precision}.onnx"
        described = dataclasses.replace(info, precision=precision)
        save_onnx(proto, described, file)
        options = EngineOptions("tensorrt-rtx", batch=(1, 2, 4), optimisation_level=0)
        sidecar = build_engine(file, file.with_suffix(".engine"), options, progress=False)
        assert (sidecar.precision, sidecar.batch) == (precision, (1, 2, 4))
        assert sidecar.library_version == library.__version__
        assert file.with_suffix(".engine").stat().st_size > 10_000
