"""What a half graph computes, on an engine that has no half arithmetic.

ONNX Runtime runs a float16 graph on the CPU in float32 and removes the casts it put in for that, at
every level of optimisation: weights are rounded, results are not, and nothing overflows. A check on
such an engine would pass what fails on the device.
"""

from __future__ import annotations

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from export.precision.half import FLOAT, HALF, SELECTING


def with_rounding(model: ModelProto) -> ModelProto:
    """Return a float32 graph whose results are rounded to half wherever those of ``model`` are.

    Casts that the graph holds itself are not removed by ONNX Runtime. Sums inside an operator, as
    in a convolution, are exact to float32, as tensor cores can compute them. L2 norms are written
    out, since an engine may compute them in steps, and the squares are what overflows.

    Args:
        model: As ``to_half`` returns it.
    """
    rounded = ModelProto()
    rounded.CopyFrom(model)
    graph = rounded.graph
    half = {info.name for info in graph.value_info if info.type.tensor_type.elem_type == HALF}
    for info in graph.value_info:
        if info.name in half:
            info.type.tensor_type.elem_type = FLOAT
    constants = [_in_float(tensor) for tensor in graph.initializer]
    nodes = GraphProto()
    for node in graph.node:
        nodes.node.extend(_rounded(node, half))
    graph.ClearField("node")
    graph.ClearField("initializer")
    graph.MergeFrom(nodes)
    graph.initializer.extend(constants)
    return rounded


def _rounded(node: NodeProto, half: set[str]) -> list[NodeProto]:
    """Return what stands for one node."""
    results = [name for name in node.output if name in half]
    if node.op_type == "Cast":
        return _round(node.input[0], results[0]) if results else [node]
    if node.op_type == "ConstantOfShape" and results:
        plain = NodeProto()
        plain.CopyFrom(node)
        plain.attribute[0].t.CopyFrom(_in_float(node.attribute[0].t))
        return [plain]
    if not results or node.op_type in SELECTING:
        return [node]
    if node.op_type == "ReduceL2":
        return _norm(node)
    exact = NodeProto()
    exact.CopyFrom(node)
    steps = [exact]
    for index, name in enumerate(node.output):
        if name in half:
            exact.output[index] = f"{name}_exact"
            steps += _round(exact.output[index], name)
    return steps


def _norm(node: NodeProto) -> list[NodeProto]:
    """Write an L2 norm as the root of the sum of squares."""
    (result,) = node.output
    square, total, root = (f"{result}_{step}" for step in ("square", "sum", "root"))
    reduce = NodeProto()
    reduce.CopyFrom(node)
    reduce.op_type = "ReduceSum"
    reduce.input[0], reduce.output[0] = f"{square}_half", total
    return [
        onnx.helper.make_node("Mul", [node.input[0]] * 2, [square], f"{node.name}_square"),
        *_round(square, f"{square}_half"),
        reduce,
        *_round(total, f"{total}_half"),
        onnx.helper.make_node("Sqrt", [f"{total}_half"], [root], f"{node.name}_root"),
        *_round(root, result),
    ]


def _round(name: str, result: str) -> list[NodeProto]:
    """Round a float32 tensor to half, and store it in float32 again."""
    stored = f"{result}_stored"
    return [
        onnx.helper.make_node("Cast", [name], [stored], f"{result}/round", to=HALF),
        onnx.helper.make_node("Cast", [stored], [result], f"{result}/widen", to=FLOAT),
    ]


def _in_float(tensor: TensorProto) -> TensorProto:
    """Return a tensor with half values in float32, any other as it is."""
    if tensor.data_type != HALF:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name)
