"""Half precision: types that agree, casts only where needed, and roundings that can be seen."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from export.fused import FusedTracker
from export.onnx_file import to_onnx
from export.precision.groups import layer_groups
from export.precision.half import FLOAT, HALF, computing_nodes, to_half
from export.precision.rounding import with_rounding
from runtime.model_info import ModelInfo
from tests.export.test_export import trained_like
from train.models import build_model


def parse(signature: str, body: str, constants: str = "", opset: int = 20) -> onnx.ModelProto:
    """Read a graph; its nodes are named after their first outputs."""
    text = f'<ir_version: 10, opset_import: ["": {opset}]> g {signature} {constants} {{ {body} }}'
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(model: onnx.ModelProto, *inputs: object) -> list[np.ndarray]:
    session = open_session(model)
    feed = {entry.name: value for entry, value in zip(session.get_inputs(), inputs, strict=True)}
    return list(session.run(None, feed))


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in inferred.graph.initializer}


def casts(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Cast"]


def check(model: onnx.ModelProto) -> None:
    """Check all that a graph must keep to, whatever was lowered in it."""
    check_types(model)
    types = types_of(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    seen = set()
    for node in casts(model):
        source, target = node.input[0], node.attribute[0].i
        if {types[source], target} == {FLOAT, HALF}:
            assert made.get(source) != "Cast" and source not in constants, node.name
            assert (source, target) not in seen, node.name
            seen.add((source, target))


def check_types(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    bare.graph.ClearField("value_info")
    inferred, said = types_of(bare), types_of(model)
    assert {name: kind for name, kind in said.items() if inferred.get(name, kind) != kind} == {}
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used
    for node in model.graph.node:
        if node.op_type not in ("Cast", "Resize"):
            assert not {FLOAT, HALF} <= {said.get(name) for name in node.input}, node.name
    open_session(model)


X = np.array([1.0, -2.0, 3.14159, 1000.3], np.float32)


def test_a_graph_without_floats_stays_as_it_is() -> None:
    model = parse("(int64[4] x) => (int64[4] y)", "y = Add(x, x)")
    lowered = to_half(model, ())
    assert lowered.graph.node == model.graph.node
    assert computing_nodes(model) == []


def test_with_every_node_kept_nothing_is_cast_or_rounded() -> None:
    model = parse(
        "(float[4] x) => (float[4] y)", "a = Mul(x, w) y = Exp(a)", "<float[1] w = {0.1}>"
    )
    lowered = to_half(model, ["a", "y"])
    check(lowered)
    assert not casts(lowered)
    assert lowered.graph.initializer == model.graph.initializer
    np.testing.assert_array_equal(run(lowered, X)[0], run(model, X)[0])


def test_with_no_node_kept_all_is_half_but_inputs_and_outputs() -> None:
    model = parse(
        "(float[4] x) => (float[4] y)", "a = Mul(x, w) y = Sqrt(a)", "<float[1] w = {0.1}>"
    )
    before = model.SerializeToString()
    lowered = to_half(model, ())
    check(lowered)
    types = types_of(lowered)
    assert (types["x"], types["a"], types["y"], types["w_half"]) == (FLOAT, HALF, FLOAT, HALF)
    assert len(casts(lowered)) == 2 and len(lowered.graph.initializer) == 1
    assert model.SerializeToString() == before


def test_a_value_is_cast_once_and_not_back_again() -> None:
    body = "a = Exp(x) b = Mul(a, a) c = Sqrt(a) d = Add(b, c) e = Mul(d, a) y = Add(e, b)"
    model = parse("(float[4] x) => (float[4] y)", body)
    lowered = to_half(model, ["b", "c"])
    check(lowered)
    # x and then a, b and c between the precisions, and y at the end.
    assert sorted(node.input[0] for node in casts(lowered)) == ["a", "b", "c", "x", "y_half"]
    assert Counter(node.name for node in casts(lowered))["a_to_float"] == 1


def test_values_between_kept_nodes_are_not_rounded() -> None:
    body = (
        "a = Mul(x, third) b = Reshape(a, shape) c = Transpose(b) "
        "d = Concat<axis = 0>(c, c) e = Mul(d, third) f = Exp(e) g = Reshape(f, flat) "
        "y = ReduceSum(g)"
    )
    constants = "<float[1] third = {0.333333}, int64[2] shape = {2, 2}, int64[1] flat = {8}>"
    model = parse("(float[4] x) => (float[1] y)", body, constants)
    lowered = to_half(model, ["a", "e"])
    check(lowered)
    types = types_of(lowered)
    assert [types[name] for name in "abcdefg"] == [FLOAT] * 5 + [HALF] * 2


def test_a_weight_that_both_precisions_use_is_rounded_for_one_alone() -> None:
    model = parse(
        "(float[4] x) => (float[4] y, float[4] z)",
        "y = Mul(x, w) z = Add(x, w)",
        "<float[1] w = {0.1}>",
    )
    lowered = to_half(model, ["y"])
    check(lowered)
    stored = {tensor.name: tensor.data_type for tensor in lowered.graph.initializer}
    assert stored == {"w": FLOAT, "w_half": HALF}
    np.testing.assert_array_equal(run(lowered, X)[0], X * np.float32(0.1))


def test_a_weight_that_is_reshaped_for_a_kept_node_is_not_rounded() -> None:
    model = parse(
        "(float[1, 2] x) => (float[1, 2] y)",
        "a = Reshape(w, shape) y = MatMul(x, a)",
        "<float[4] w = {0.1, 0.2, 0.3, 0.4}, int64[2] shape = {2, 2}>",
    )
    assert computing_nodes(model) == ["a", "y"]
    x = X[None, :2]
    lowered = to_half(model, ["a", "y"])
    check(lowered)
    np.testing.assert_array_equal(run(lowered, x)[0], run(model, x)[0])


def test_integers_become_floats_in_the_precision_that_wants_them() -> None:
    # 4097 has no half.
    model = parse(
        "(int64[2] x) => (float[2] y, float[2] z, float[2] a)",
        "a = Cast<to = 1>(x) y = Sqrt(a) z = Neg(a)",
    )
    lowered = to_half(model, ["y", "z"])
    check(lowered)
    x = np.array([4097, 3])
    np.testing.assert_array_equal(run(lowered, x)[0], np.sqrt(x.astype(np.float32)))
    lowered = to_half(model, ["z"])
    check(lowered)
    assert {node.attribute[0].i for node in casts(lowered) if node.input[0] == "x"} == {FLOAT, HALF}
    assert computing_nodes(model) == ["y", "z"]


def test_inputs_that_must_be_float_stay_so() -> None:
    model = parse(
        "(float[1, 1, 2, 2] x, float n) => (float[1, 1, 4, 4] y, float[m] z, int64[4] s)",
        """a = Mul(x, x)
        y = Resize<mode = "linear">(a, , scales)
        r = Range(zero, n, one)
        z = Exp(r)
        s = Shape(a)""",
        "<float[4] scales = {1, 1, 2, 2}, float zero = {0}, float one = {1}>",
    )
    lowered = to_half(model, ())
    check(lowered)
    types = types_of(lowered)
    assert (types["a"], types["scales"], types["r"], types["y"]) == (HALF, FLOAT, FLOAT, FLOAT)
    found = run(lowered, X.reshape(1, 1, 2, 2), np.array(3, np.float32))
    np.testing.assert_allclose(found[1], np.exp([0, 1, 2]), rtol=1e-3)
    assert found[2].tolist() == [1, 1, 2, 2]


def test_constants_from_nodes_are_stored_in_half() -> None:
    model = parse(
        "(float[4] x) => (float[4] y)",
        """c = Constant<value = float {0.1}>()
        z = ConstantOfShape<value = float[1] {0.2}>(shape)
        zero = ConstantOfShape(shape)
        a = Mul(x, c) b = Add(a, z) y = Add(b, zero)""",
        "<int64[1] shape = {4}>",
    )
    lowered = to_half(model, ())
    check(lowered)
    assert len(casts(lowered)) == 2
    np.testing.assert_allclose(run(lowered, X)[0], X * 0.1 + 0.2, rtol=2e-3)
    kept = to_half(model, ["z", "zero", "a", "b", "y"])
    check(kept)
    np.testing.assert_array_equal(run(kept, X)[0], run(model, X)[0])


@pytest.mark.parametrize(
    ("value", "rounded"), [("-1e9", -65504), ("1e6", 65504), ("1e-12", 0), ("-inf", -np.inf)]
)
def test_what_half_cannot_hold(value: str, rounded: float) -> None:
    model = parse("(float[4] x) => (float[4] y)", "y = Mul(x, w)", "<float[1] w = {0}>")
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.array([value], np.float32), "w")
    )
    (stored,) = to_half(model, ()).graph.initializer
    assert onnx.numpy_helper.to_array(stored).tolist() == [rounded]


def test_an_output_that_is_used_inside_too() -> None:
    model = parse("(float[4] x) => (float[4] y, float[4] z)", "y = Exp(x) z = Sqrt(y)")
    for keep in ([], ["y"], ["z"], ["y", "z"]):
        lowered = to_half(model, keep)
        check(lowered)
        assert [output.name for output in lowered.graph.output] == ["y", "z"]
    assert len(casts(to_half(model, ["z"]))) == 2


def test_names_that_are_taken_are_not_taken_again() -> None:
    model = parse(
        "(float[4] x, float[4] x_half) => (float[2] y, float[2] z)",
        "a = Add(x, x_half) b, w_half = Split<num_outputs = 2>(a) y = Mul(b, w) z = Add(w_half, w)",
        "<float[1] w = {0.1}>",
    )
    for keep in ([], ["a"], ["a", "y"], ["y", "z"]):
        check(to_half(model, keep))


def test_deformable_convolution() -> None:
    model = parse(
        "(float[1, 1, 3, 3] x, float[1, 2, 3, 3] o) => (float[1, 1, 3, 3] y)",
        "y = DeformConv<kernel_shape = [1, 1]>(x, w, o)",
        "<float[1, 1, 1, 1] w = {0.1}>",
    )
    check(to_half(model, ()))


def test_what_cannot_be_done_is_said() -> None:
    model = parse("(float[4] x) => (float[4] y)", "y = Exp(x)")
    with pytest.raises(ValueError, match="no node is named stem/Conv"):
        to_half(model, ["y", "stem/Conv"])
    model = parse(
        "(float[4] x, bool c) => (float[4] y)",
        "y = If(c)<then_branch = t () => (float[4] a) { a = Exp(x) }, "
        "else_branch = e () => (float[4] b) { b = Sqrt(x) }>",
    )
    with pytest.raises(ValueError, match="y holds a graph of its own"):
        to_half(model, ())


def test_roundings_are_seen_on_an_engine_without_half() -> None:
    body = "a0 = Add(x, e) " + " ".join(f"a{i} = Add(a{i - 1}, e)" for i in range(1, 8))
    model = parse(
        "(float[4] x) => (float[4] y)", f"{body} y = Identity(a7)", "<float[1] e = {3e-4}>"
    )
    lowered = to_half(model, ())
    x = np.array([1, 100, 70000, 0.001], np.float32)
    rounded = with_rounding(lowered)
    check_types(rounded)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    for _ in range(8):
        expected += np.float16(3e-4)
    np.testing.assert_array_equal(run(rounded, x)[0], expected)
    assert expected[0] == 1 and np.isinf(expected[2])
    # Kept nodes round nothing.
    kept = with_rounding(to_half(model, [f"a{i}" for i in range(8)]))
    np.testing.assert_array_equal(run(kept, x)[0], run(model, x)[0])


def test_norms_overflow_and_an_epsilon_that_vanishes_shows() -> None:
    model = parse(
        "(float[1, 2] x) => (float[1, 2] y)",
        "n = ReduceL2(x, axes) c = Clip(n, eps) y = Div(x, c)",
        "<int64[1] axes = {1}, float eps = {1e-12}>",
    )
    half, kept = (with_rounding(to_half(model, keep)) for keep in ((), ("n", "c", "y")))
    for graph in (half, kept):
        check_types(graph)
    x = np.array([[3, 4]], np.float32)
    np.testing.assert_allclose(run(half, x)[0], [[0.6, 0.8]], atol=1e-3)
    for values in ([[300, 400]], [[0, 0]]):
        x = np.array(values, np.float32)
        np.testing.assert_array_equal(run(kept, x)[0], run(model, x)[0])
        assert not np.allclose(run(half, x)[0], run(model, x)[0])


@pytest.fixture(scope="module")
def fused() -> onnx.ModelProto:
    model = trained_like(build_model("nano", num_classes=2, embedding_dim=16))
    info = ModelInfo("nano", (96, 64), 8, 20, 16, ("a", "b"))
    return to_onnx(FusedTracker(model, 20), info)


def test_the_whole_model_in_half(fused: onnx.ModelProto, tmp_path: Path) -> None:
    lowered = to_half(fused, ())
    check(lowered)
    types = types_of(lowered)
    assert types["frames"] == TensorProto.UINT8
    assert [types[name] for name in ("boxes", "scores", "embeddings")] == [FLOAT] * 3
    # The picture and the mask at the borders come in, the cells; three outputs go.
    floats = [
        node for node in casts(lowered) if HALF in (types[node.input[0]], node.attribute[0].i)
    ]
    assert len(floats) == 6
    assert lowered.ByteSize() < 0.52 * fused.ByteSize()
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype(np.uint8)
    plain, rounded = run(fused, frames), run(with_rounding(lowered), frames)
    assert 0 < np.abs(plain[1] - rounded[1]).max() < 0.05


def test_any_choice_of_layers_gives_a_graph_of_agreeing_types(fused: onnx.ModelProto) -> None:
    groups = layer_groups(computing_nodes(fused))
    assert {"peaks", "boxes", "unit_length", "heads.hm.2", "at_peaks.heads.wh"} <= set(groups)
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype(np.uint8)
    everything = [name for nodes in groups.values() for name in nodes]
    untouched = to_half(fused, everything)
    check(untouched)
    assert len(casts(untouched)) == len(casts(fused))
    for plain, kept in zip(run(fused, frames), run(untouched, frames), strict=True):
        np.testing.assert_array_equal(plain, kept)
    draw = random.Random(0)
    for size in (1, 5, 12, 24):
        for _ in range(2):
            kept = draw.sample(sorted(groups), size)
            lowered = to_half(fused, [name for group in kept for name in groups[group]])
            check(lowered)
            check_types(with_rounding(lowered))


@pytest.mark.parametrize("opset", [18, 22])
def test_other_operator_sets(opset: int) -> None:
    model = trained_like(build_model("nano", embedding_dim=0))
    graph = to_onnx(FusedTracker(model, 9), ModelInfo("nano", (64, 32), 8, 9, 0, ("p",)), opset)
    check(to_half(graph, ()))
    check(to_half(graph, layer_groups(computing_nodes(graph))["boxes"]))
