"""Half precision, node by node, with types that agree.

ONNX Runtime's ``convert_float_to_float16`` was tried first. It casts every result of a node that it
leaves in float32 to half and back, also between two such nodes, which rounds the values they were
to be spared; it rounds a weight that both kinds of nodes use for both; and with the box arithmetic
of a fused graph left in float32 it writes 22 casts where 12 do, out of order, and types that shape
inference contradicts.

Here every tensor has the precision of the node that computes it. A node that wants it otherwise
gets it from one Cast that all such nodes share.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
LARGEST = float(np.finfo(np.float16).max)

# These hand on or compare the values they are given, exactly in either precision. Keeping them in
# float32 where their values are half already gains nothing, and lowering them between two float32
# nodes would round what these exchange: they take the precision of their inputs.
SELECTING = frozenset(
    {
        *("Abs", "Identity", "Neg", "Relu", "MaxPool", "TopK", "Where"),
        *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        *("Concat", "Expand", "Flatten", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile"),
        *("DepthToSpace", "SpaceToDepth", "Transpose", "Unsqueeze"),
        *("Gather", "GatherElements", "GatherND"),
        *("Cast", "Shape", "Size"),
    }
)


def to_half(model: ModelProto, keep: Collection[str]) -> ModelProto:
    """Return a copy of a float32 graph that computes in float16.

    Inputs and outputs of the graph keep their types. Nodes without a float16 form stay in float32,
    as do single inputs that must (the scales of Resize). A finite constant too large for half
    becomes the largest there is, as masks such as -1e9 ask for; one too small becomes 0.

    Args:
        model: Every node bears a name of its own.
        keep: Names of the nodes to leave in float32.

    Raises:
        ValueError: A node holds a graph of its own, or ``keep`` names no node.
    """
    lowered = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    graph = lowered.graph
    unknown = set(keep) - {node.name for node in graph.node}
    if unknown:
        raise ValueError(f"no node is named {', '.join(sorted(unknown))}")
    lift_constants(graph)
    _Lowering(lowered, keep).run()
    return lowered


def computing_nodes(model: ModelProto) -> list[str]:
    """Return the names of the nodes whose results depend on being kept in float32.

    Args:
        model: A float32 graph.
    """
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    lift_constants(inferred.graph)
    lowering = _Lowering(inferred, ())
    return [
        node.name
        for node in inferred.graph.node
        if lowering.can_lower(node) and not lowering.only_selects(node)
    ]


def lift_constants(graph: GraphProto) -> None:
    """Turn the Constant nodes of a graph into initialisers."""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        (attribute,) = node.attribute
        if attribute.name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(attribute.t)
            tensor.name = node.output[0]
            graph.node.remove(node)


def half_tensor(tensor: TensorProto, name: str) -> TensorProto:
    """Round a float32 tensor to half.

    Args:
        tensor: The tensor; infinities stay, what is finite stays finite.
        name: Name of the new tensor.
    """
    values = numpy_helper.to_array(tensor)
    finite = np.isfinite(values)
    rounded: npt.NDArray[np.float16] = np.where(
        finite, np.clip(values, -LARGEST, LARGEST), values
    ).astype(np.float16)
    return numpy_helper.from_array(rounded, name)


class _Lowering:
    """One pass over a graph, in its order, which is topological."""

    def __init__(self, model: ModelProto, keep: Collection[str]) -> None:
        self.graph = model.graph
        self.keep = frozenset(keep)
        self.opset = next(entry.version for entry in model.opset_import if not entry.domain)
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        values = (*self.graph.input, *self.graph.value_info, *self.graph.output)
        self.infos = {info.name: info for info in values}
        self.outputs = {info.name for info in self.graph.output}
        # The float tensors, with the precision of the node that makes them.
        self.types = {
            name: FLOAT
            for name, info in self.infos.items()
            if info.type.tensor_type.elem_type == FLOAT
        }
        self.types |= {
            name: FLOAT for name, tensor in self.constants.items() if tensor.data_type == FLOAT
        }
        # Casts from other kinds of numbers: each can give its values in either precision.
        self.sources = {
            node.output[0]: node
            for node in self.graph.node
            if node.op_type == "Cast"
            and node.output[0] in self.types
            and node.input[0] not in self.types
        }
        self.producers = {name: node.name for node in self.graph.node for name in node.output}
        self.node_names = {
            node.name for node in self.graph.node if node.output[0] not in self.sources
        }
        self.nodes: list[NodeProto] = []
        self.copies: dict[tuple[str, int], str] = {}

    def run(self) -> None:
        """Lower the graph in place."""
        for node in list(self.graph.node):
            if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
                raise ValueError(f"{node.name} holds a graph of its own")
            if node.output[0] in self.sources:
                if node.output[0] in self.outputs:
                    self._as(node.output[0], FLOAT)
                continue
            half = self._is_half(node)
            for index, name in enumerate(node.input):
                if name in self.types:
                    wanted = HALF if half and self._takes_half(node, index) else FLOAT
                    node.input[index] = self._as(name, wanted)
            self.nodes.append(node)
            if half:
                self._lower_outputs(node)
        self._write()

    def can_lower(self, node: NodeProto) -> bool:
        """Tell whether a node takes float values, and may take and give half ones."""
        if node.output[0] in self.sources or node.domain not in ("", "ai.onnx"):
            return False
        outputs = [index for index, name in enumerate(node.output) if name in self.types]
        if node.op_type == "ConstantOfShape":
            return bool(outputs)
        inputs = [index for index, name in enumerate(node.input) if name in self.types]
        schema = self._schema(node)
        # A result whose type follows from no input has it from an attribute, and keeps it.
        tied = {_formal(schema.inputs, i).type_str for i in inputs if self._takes_half(node, i)}
        return bool(tied) and all(_formal(schema.outputs, i).type_str in tied for i in outputs)

    def only_selects(self, node: NodeProto) -> bool:
        """Tell whether a node takes the precision of what it is given."""
        return node.op_type in SELECTING and len(self._given(node)) > 0

    def _is_half(self, node: NodeProto) -> bool:
        if not self.can_lower(node):
            return False
        given = self._given(node)
        if node.op_type in SELECTING and len(given) == 1:
            return given == {HALF}
        return node.name not in self.keep

    def _given(self, node: NodeProto) -> set[int]:
        """Return the precisions of a node's inputs, without those that can be had in either."""
        return {
            self.types[name]
            for index, name in enumerate(node.input)
            if name in self.types
            and name not in self.constants
            and name not in self.sources
            and self._takes_half(node, index)
        }

    def _schema(self, node: NodeProto) -> onnx.defs.OpSchema:
        return onnx.defs.get_schema(node.op_type, self.opset, node.domain)

    def _takes_half(self, node: NodeProto, index: int) -> bool:
        """Tell whether the standard allows half at an input."""
        schema = self._schema(node)
        symbol = _formal(schema.inputs, index).type_str
        allowed = {entry.type_param_str: entry for entry in schema.type_constraints}
        return symbol in allowed and "tensor(float16)" in allowed[symbol].allowed_type_strs

    def _lower_outputs(self, node: NodeProto) -> None:
        """Make the results of a node half, and those of the graph float32 again."""
        if node.op_type == "ConstantOfShape":
            values = [attribute.t for attribute in node.attribute]
            value = values[0] if values else numpy_helper.from_array(np.zeros(1, np.float32))
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("value", half_tensor(value, "value")))
        for index, name in enumerate(node.output):
            if name not in self.types:
                continue
            self.types[name] = HALF
            if name in self.outputs:
                node.output[index] = self.copies[name, HALF] = self._new_tensor(name, HALF)
                self.copies[name, FLOAT] = name
                self._cast(node.output[index], name, FLOAT, f"{node.name}_to_float")
            else:
                self.infos[name].type.tensor_type.elem_type = HALF

    def _as(self, name: str, wanted: int) -> str:
        """Return the name of a tensor in a precision; it is made if this is its first use."""
        if (name, wanted) in self.copies:
            return self.copies[name, wanted]
        source = self.sources.get(name)
        if source is None and self.types[name] == wanted:
            return name
        if name in self.constants:
            copy = _unused(f"{name}_half", self.constants.keys() | self.infos.keys())
            self.constants[copy] = half_tensor(self.constants[name], copy)
        elif source is not None:
            copy = name if wanted == FLOAT else self._new_tensor(name, wanted)
            suffix = "" if wanted == FLOAT else "_to_half"
            self._cast(source.input[0], copy, wanted, source.name + suffix)
        else:
            copy = self._new_tensor(name, wanted)
            suffix = "_to_float" if wanted == FLOAT else "_to_half"
            self._cast(name, copy, wanted, self.producers.get(name, name) + suffix)
        self.copies[name, wanted] = copy
        return copy

    def _cast(self, name: str, result: str, wanted: int, node_name: str) -> None:
        node_name = _unused(node_name, self.node_names)
        self.node_names.add(node_name)
        self.nodes.append(onnx.helper.make_node("Cast", [name], [result], node_name, to=wanted))

    def _new_tensor(self, name: str, wanted: int) -> str:
        """Announce a tensor like another one, in another precision."""
        suffix = "_half" if wanted == HALF else "_float"
        info = onnx.ValueInfoProto()
        info.CopyFrom(self.infos[name])
        info.name = _unused(name + suffix, self.constants.keys() | self.infos.keys())
        info.type.tensor_type.elem_type = wanted
        self.infos[info.name] = info
        return info.name

    def _write(self) -> None:
        """Replace the nodes, the constants and the types of the graph."""
        used = {name for node in self.nodes for name in node.input} | self.outputs
        made = {name for node in self.nodes for name in node.output}
        described = {info.name for info in (*self.graph.input, *self.graph.output)}
        fresh = GraphProto()
        fresh.node.extend(self.nodes)
        fresh.initializer.extend(tensor for name, tensor in self.constants.items() if name in used)
        fresh.value_info.extend(
            info for name, info in self.infos.items() if name in made - described
        )
        for field in ("node", "initializer", "value_info"):
            self.graph.ClearField(field)
        self.graph.MergeFrom(fresh)


def _formal(
    parameters: Sequence[onnx.defs.OpSchema.FormalParameter], index: int
) -> onnx.defs.OpSchema.FormalParameter:
    """Return what the standard says of an input or output; the last of some operators repeats."""
    return parameters[min(index, len(parameters) - 1)]


def _unused(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken yet.

    Examples:
        >>> _unused("a", {"b"}), _unused("a", {"a", "a_2"})
        ('a', 'a_3')
    """
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(candidate for candidate in names if candidate not in taken)
