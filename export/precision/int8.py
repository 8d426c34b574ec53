"""Post-training quantisation: 8-bit convolutions between Q/DQ pairs.

Weights get a scale per output channel, activations one per tensor (Jacob et al., arXiv 1712.05877;
Krishnamoorthi, arXiv 1806.08342). Only the dense part of the graph is quantised, where the work is:
the body and the heatmap. What runs at the K peaks alone costs next to nothing. A convolution whose
values are no features for another one stays as it is, since they are used as numbers: those of the
heatmap, whose peaks are found by comparing neighbours, which tie when they are rounded; and the
shifts of a deformable convolution, which are parts of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from export.onnx_file import tensor_shapes
from export.precision.calibration import ValueRange
from export.precision.groups import layer_groups
from export.precision.upsampling import gather_upsampling

DENSE_PARTS = ("body", "heads.hm")
# What computes in 8 bits where all its inputs come from 8-bit nodes.
FOLLOWING = (
    *("Relu", "Clip", "LeakyRelu", "Sigmoid", "Mul", "Add"),
    *("Concat", "MaxPool", "AveragePool", "Resize"),
)
# What takes features, as its first input.
SAMPLING = ("Conv", "ConvTranspose", "DeformConv", "GridSample")


@dataclass(frozen=True)
class Recipe:
    """What a target's 8-bit kernels want.

    Attributes:
        name: For people and for the file's description.
        signed: Whether activations are signed, with their zero in the middle.
        following: Operators to quantise beside convolutions.
        least_channels: Convolutions of fewer input channels stay in higher precision.
        quantized_bias: Whether a bias becomes int32.
    """

    name: str
    signed: bool
    following: tuple[str, ...]
    least_channels: int
    quantized_bias: bool


# On x86 and ARM CPUs, u8 activations times s8 weights. A convolution on the three channels of the
# picture gathers so few bytes at a time that float32 is as fast or faster.
CPU = Recipe("u8s8", signed=False, following=FOLLOWING, least_channels=8, quantized_bias=True)
# TensorRT takes symmetric s8 for both, and float biases; it finds out by itself where 8 bits can be
# carried through the operators between convolutions.
TENSORRT = Recipe("s8s8", signed=True, following=(), least_channels=1, quantized_bias=False)


def quantizable_nodes(model: onnx.ModelProto, recipe: Recipe) -> list[str]:
    """Return the names of the nodes that can compute in 8 bits, in the graph's order.

    Args:
        model: The graph, its nodes named after their layers.
        recipe: Of the target.
    """
    weights = {weight.name: weight for weight in model.graph.initializer}
    dense = [node for node in model.graph.node if _part(node.name) in DENSE_PARTS]
    features = _features(dense)
    inside: set[str] = set()
    nodes = []
    for node in dense:
        if node.op_type == "Conv":
            weight = weights.get(node.input[1])
            fits = weight is not None and _channels(node, weight) >= recipe.least_channels
            chosen = fits and node.output[0] in features
        else:
            sources = [name for name in node.input if name and name not in weights]
            chosen = node.op_type in recipe.following and inside.issuperset(sources)
        if chosen:
            inside.update(node.output)
            nodes.append(node.name)
    return nodes


def _features(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Return the tensors that convolutions take, and those that these are made of."""
    features: set[str] = set()
    for node in reversed(nodes):
        if node.op_type in SAMPLING:
            features.add(node.input[0])
        elif node.op_type in FOLLOWING and features.intersection(node.output):
            features.update(node.input)
    return features


def _channels(node: onnx.NodeProto, weight: onnx.TensorProto) -> int:
    """Return the input channels of a convolution, of all its groups."""
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    return weight.dims[1] * groups


def _part(name: str) -> str:
    """Return the part of the graph a node belongs to.

    Examples:
        >>> _part("body.stem.0/Conv"), _part("heads.hm.2/Conv"), _part("body/Add")
        ('body', 'heads.hm', 'body')
    """
    layer = name.split("/")[0]
    return next((part for part in DENSE_PARTS if (layer + ".").startswith(part + ".")), layer)


def quantized_tensors(model: onnx.ModelProto, nodes: Collection[str]) -> set[str]:
    """Return the float tensors that nodes read or write, constants left out."""
    constants = {weight.name for weight in model.graph.initializer}
    return {
        name
        for node in model.graph.node
        if node.name in nodes
        for name in (*node.input, *node.output)
        if name and name not in constants
    }


def convolution_groups(
    model: onnx.ModelProto, nodes: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Divide nodes by the convolution, or the layer of convolutions, whose values they work on.

    Args:
        model: The graph.
        nodes: Names, some of ``quantizable_nodes``.

    Returns:
        Names of nodes by the path of the layer.
    """
    chosen = [node for node in model.graph.node if node.name in nodes]
    layers = layer_groups(node.name for node in chosen if node.op_type == "Conv")
    layer_of = {name: layer for layer, names in layers.items() for name in names}
    order = {name: index for index, node in enumerate(chosen) for name in node.output}
    groups: dict[str, list[str]] = {layer: [] for layer in layers}
    for node in chosen:
        if node.op_type != "Conv":
            # What joins several convolutions comes right after the last of them.
            latest = max(order[name] for name in node.input if name in order)
            layer_of[node.name] = layer_of[chosen[latest].name]
        groups[layer_of[node.name]].append(node.name)
    return {layer: tuple(names) for layer, names in groups.items()}


def count_operations(model: onnx.ModelProto) -> dict[str, int]:
    """Return how much each node computes: multiply-adds of a convolution, values of all others.

    Args:
        model: The graph, its shapes inferred; an open batch counts as one frame.
    """
    weights = {weight.name: weight for weight in model.graph.initializer}
    shapes = tensor_shapes(model)
    counts = {}
    for node in model.graph.node:
        count = math.prod(side or 1 for side in shapes.get(node.output[0], ()))
        if node.op_type == "Conv" and node.input[1] in weights:
            count *= math.prod(weights[node.input[1]].dims[1:])
        counts[node.name] = count
    return counts


def to_int8(
    model: onnx.ModelProto,
    ranges: Mapping[str, ValueRange],
    recipe: Recipe,
    nodes: Collection[str],
) -> onnx.ModelProto:
    """Return a copy of a graph in which some nodes compute in 8 bits.

    Args:
        model: The graph in fp32, with its shapes inferred.
        ranges: Of every tensor that the nodes read or write.
        recipe: Of the target.
        nodes: Names of the nodes, some of ``quantizable_nodes``.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    if not nodes:
        return copied
    data = {
        name: TensorData(lowest=np.float32(span.low), highest=np.float32(span.high))
        for name, span in ranges.items()
    }
    options: dict[str, Any] = {"QuantizeBias": recipe.quantized_bias}
    if recipe.signed:
        options |= {"ActivationSymmetric": True, "WeightSymmetric": True}
    if not recipe.following:
        # TensorRT wants to see what a convolution gives before it is rounded for the next one.
        options["OpTypesToExcludeOutputQuantization"] = ["Conv"]
    quantizer = QDQQuantizer(
        copied,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if recipe.signed else QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=list(nodes),
        nodes_to_exclude=[],
        op_types_to_quantize=["Conv", *recipe.following],
        extra_options=options,
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    _name_pairs(quantized)
    # TensorRT's recipe quantises no upsampling, and leaves none to gather.
    gather_upsampling(quantized)
    return quantized


def _name_pairs(model: onnx.ModelProto) -> None:
    """Name Q/DQ nodes after the layer that gives their tensor, as all other nodes are named."""
    layer_of = {name: node.name.split("/")[0] for node in model.graph.node for name in node.output}
    taken: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        layer = layer_of.get(node.input[0], "")
        if node.input[0].endswith("_quantized"):
            layer = node.input[0].removesuffix("_quantized").rsplit(".", 1)[0]
        name = f"{layer}/{node.op_type}"
        taken[name] = taken.get(name, 0) + 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        layer_of[node.output[0]] = layer
