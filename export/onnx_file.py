"""Writing the fused graph as ONNX, with its description inside."""

from __future__ import annotations

import ast
import logging
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import opset18
from torch import Tensor, nn

from export.deform import translations
from export.fused import INPUT_NAME, FusedTracker
from runtime.model_info import ModelInfo

OPSET = 20
BATCH = "batch"  # name of the first dimension, where it is any number
SCOPES_KEY = "pkg.torch.onnx.name_scopes"


def to_onnx(graph: FusedTracker, info: ModelInfo, opset: int = OPSET) -> onnx.ModelProto:
    """Export a fused graph; its nodes bear the names of the layers they come from.

    Args:
        graph: The module.
        info: What the file shall say about itself; ``frames_wh`` and ``dynamic_batch`` fix the
            shapes.
        opset: ONNX operator set.
    """
    width, height = info.frames_wh
    # A batch of one would be taken for a constant.
    frames = torch.zeros(2 if info.dynamic_batch else 1, height, width, 3, dtype=torch.uint8)
    batch = {0: torch.export.Dim(BATCH)} if info.dynamic_batch else None
    names = list(graph.output_names)
    model = trace(graph.eval(), frames, INPUT_NAME, names, opset, batch)
    name_nodes(model)
    describe(model, info)
    return model


def trace(
    module: nn.Module,
    example: Tensor,
    input_name: str,
    output_names: list[str],
    opset: int = OPSET,
    dynamic: dict[int, Any] | None = None,
) -> onnx.ModelProto:
    """Run torch's exporter on a module of one input, quietly.

    Args:
        module: In eval mode.
        example: The input.
        input_name: Its name in the graph.
        output_names: Names of the outputs.
        opset: ONNX operator set.
        dynamic: Dimensions of the input that are left open.
    """
    # The exporter reports every pass on the console; what matters comes back as an exception.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[input_name],
            output_names=output_names,
            dynamic_shapes=(dynamic,),
            opset_version=opset,
            dynamo=True,
            custom_translation_table={
                **translations(),
                torch.ops.aten.floor_divide.default: _divide_places,
            },
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _divide_places(places: Any, by: Any) -> Any:
    """Write the division of places by a side of the map as one node.

    ONNX divides integers towards zero, torch downwards: alike, as no place is negative. Without
    this the exporter writes eight nodes, of which each costs microseconds in every frame.
    """
    return opset18.Div(places, by)


def name_nodes(model: onnx.ModelProto) -> None:
    """Name every node after the layer it computes, e.g. ``body.stem.0/Conv``.

    Layers are found by these names, by tools that show a graph or its timings as well.
    """
    taken: Counter[str] = Counter()
    for node in model.graph.node:
        scopes = {entry.key: entry.value for entry in node.metadata_props}.get(SCOPES_KEY, "[]")
        # The last scope is the operation itself, the first the whole graph.
        layer = ["", *ast.literal_eval(scopes)[1:-1]][-1].removeprefix("model.")
        name = f"{layer}/{node.op_type}" if layer else node.op_type
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def save_onnx(model: onnx.ModelProto, info: ModelInfo, path: Path) -> None:
    """Infer shapes, check a model in full, and write it with its description.

    Args:
        model: The model; its description is replaced.
        info: What the file shall say about itself.
        path: File to write; the caller sees to its final name.
    """
    model = infer_shapes(model)
    describe(model, info)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def tensor_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Return the shape of every tensor but the inputs, after ``infer_shapes``; open sides are 0."""
    return {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model with type and shape of every tensor in it."""
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def describe(model: onnx.ModelProto, info: ModelInfo) -> None:
    """Replace the metadata of an ONNX model by its description."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, info.to_metadata())
    model.producer_name, model.producer_version = "kd-mot", info.tool_version
    # The exporter leaves source lines of this machine in every node; they help nobody.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
