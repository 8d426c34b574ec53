"""Tiny ONNX files that say what a test wants them to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from train.teachers.config import DetectorConfig

WIDTH, HEIGHT = 64, 32
STRIDES = [8, 16]
CELLS = 8 * 4 + 4 * 2


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    shape: list[int | str],
    constants: dict[str, np.ndarray],
    outputs: list[str],
    kind: int = TensorProto.FLOAT,
    inputs: int = 1,
    **how: Any,
) -> Path:
    """Write a file whose inputs of one shape are called ``x0``, ``x1``..."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(f"x{index}", kind, shape) for index in range(inputs)],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, **how)
    return path


def answering(path: Path, shape: list[int | str] | None = None, **outputs: Any) -> Path:
    """Write a file that gives the same arrays whatever it is shown."""
    constants = {f"{name}_": np.asarray(value) for name, value in outputs.items()}
    nodes = [helper.make_node("Identity", [f"{name}_"], [name]) for name in outputs]
    return save(path, nodes, shape or [1, 3, HEIGHT, WIDTH], constants, list(outputs))


def mean_colour(path: Path, shape: list[int | str], kind: int = TensorProto.FLOAT) -> Path:
    """Write an embedder that gives the mean of each channel."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    nodes = [
        helper.make_node("Cast", ["x0"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["mean"], axes=axes, keepdims=0),
    ]
    return save(path, nodes, shape, {}, ["mean"], kind)


def echo(path: Path, shape: list[int | str], kind: int = TensorProto.FLOAT) -> Path:
    """Write a file that gives back what it is fed."""
    return save(path, [helper.make_node("Identity", ["x0"], ["y"])], shape, {}, ["y"], kind)


def raw_yolox(seed: int = 0, classes: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    raw = rng.normal(0, 0.7, (1, CELLS, 5 + classes))
    raw[..., 4:] = rng.random((1, CELLS, 1 + classes))
    return raw.astype(np.float32)


def yolox(path: Path, raw: np.ndarray | None = None, **settings: Any) -> DetectorConfig:
    answering(path, out=raw_yolox() if raw is None else raw)
    return DetectorConfig(path=path, strides=STRIDES, **settings)


def picture(size_wh: tuple[int, int] = (128, 96)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (*size_wh[::-1], 3)).astype(np.uint8)
