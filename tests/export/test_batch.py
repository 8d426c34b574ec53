"""Any number of frames at a time: each gives what it gives alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.camera import CameraLetterbox
from export.fused import FusedTracker
from export.onnx_file import BATCH, save_onnx, to_onnx
from runtime.engines import Engine, open_engine
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from tests.export.test_deform_export import needs_operator, small_model
from tests.export.test_export import trained_like
from train.models import TrackingModel, build_model
from train.models.deform import Form, use_form

INPUT_WH = (96, 64)
CAMERA_WH = (150, 110)
TOPK = 12


def nano() -> TrackingModel:
    torch.manual_seed(0)
    return trained_like(build_model("nano", num_classes=2, embedding_dim=6))


def fused(model: TrackingModel, camera: bool) -> FusedTracker:
    return FusedTracker(model, TOPK, CameraLetterbox(CAMERA_WH, INPUT_WH) if camera else None)


def open_exported(
    model: TrackingModel,
    path: Path,
    *,
    camera: bool = False,
    form: Form = "plain",
    dynamic_batch: bool = True,
) -> Engine:
    info = ModelInfo(
        arch=model.name,
        size_wh=INPUT_WH,
        stride=model.stride,
        topk=TOPK,
        embedding_dim=model.embedding_dim,
        classes=("a", "b"),
        preprocess="graph" if camera else "host",
        frame_size_wh=CAMERA_WH if camera else None,
        dynamic_batch=dynamic_batch,
    )
    graph = fused(model, camera)
    use_form(graph, form)
    save_onnx(to_onnx(graph, info), info, path)
    return open_engine(path, "cpu", threads=1)


def assert_only_the_batch_is_free(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param == BATCH
        assert all(side.dim_value > 0 for side in others)


def different_frames(engine: Engine, count: int) -> np.ndarray:
    """Return frames of other brightness and contrast each."""
    width, height = engine.info.frames_wh
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (count, height, width, 3))
    scale = np.linspace(0.2, 1, count)[:, None, None, None]
    return (frames * scale + 30 * (1 - scale)).astype(np.uint8)


def test_one_frame_at_a_time_is_the_default(tmp_path: Path) -> None:
    engine = open_exported(nano(), tmp_path / "m.onnx", dynamic_batch=False)
    assert not engine.info.dynamic_batch
    assert engine.run(np.zeros((1, 64, 96, 3), np.uint8))["boxes"].shape == (1, TOPK, 4)
    for count in (0, 2):
        with pytest.raises(UserError, match=rf"one frame at a time, not {count}: .*dynamic-batch"):
            engine.run(np.zeros((count, 64, 96, 3), np.uint8))


@pytest.mark.parametrize(
    ("make", "form", "camera"),
    [
        (nano, "plain", True),
        (small_model, "plain", False),
        pytest.param(small_model, "operator", True, marks=needs_operator),
    ],
)
def test_each_frame_gives_what_it_gives_alone_and_in_pytorch(
    make: Callable[[], TrackingModel], form: Form, camera: bool, tmp_path: Path
) -> None:
    model = make()
    path = tmp_path / "m.onnx"
    engine = open_exported(model, path, camera=camera, form=form)
    assert engine.info.dynamic_batch
    assert_only_the_batch_is_free(onnx.load(path).graph)
    frames = different_frames(engine, 5)
    together = engine.run(frames)
    assert {len(values) for values in together.values()} == {5}
    # The frames do differ, or rows that are mixed up would not show.
    assert np.abs(np.diff(np.asarray(together["scores"], np.float32), axis=0)).max() > 1e-3
    for row in range(5):
        for name, values in engine.run(frames[row : row + 1]).items():
            np.testing.assert_allclose(values[0], together[name][row], atol=1e-4, err_msg=name)

    with torch.no_grad():
        expected = fused(model, camera)(torch.from_numpy(frames))
    for (name, values), wanted in zip(together.items(), expected, strict=True):
        np.testing.assert_allclose(values, wanted.numpy(), atol=5e-3, err_msg=name)
