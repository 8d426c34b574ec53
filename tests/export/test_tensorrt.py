"""Building engines, with TensorRT-RTX where it is installed: it needs no GPU for that."""

from __future__ import annotations

import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.tensorrt import EngineOptions, build, build_engine, config
from export.tensorrt.network import read_network
from runtime.engines import open_engine
from runtime.engines.cuda import find_gpu, import_cuda
from runtime.engines.sidecar import EngineSidecar
from runtime.engines.tensorrt import make_log
from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.model_info import ModelInfo
from runtime.onnx_metadata import read_model_info
from tests.runtime.fake_gpu import FakeCuda
from tests.stub_model import write_stub_model

RTX = EngineOptions("tensorrt-rtx")


@pytest.fixture
def rtx() -> types.ModuleType:
    return pytest.importorskip("tensorrt_rtx")


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fixed") / "m.onnx"
    write_stub_model(path)
    return path


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dynamic") / "m.onnx"
    write_stub_model(path, dynamic_batch=True)
    return path


def write_graph(
    path: Path, nodes: list[onnx.NodeProto], shape: list[int | str], name: str = "frames"
) -> None:
    """Write a graph of bytes to ``y`` that calls itself an export."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    info = ModelInfo("nano", (8, 8), 4, 1, 0, ("person",))
    helper.set_model_props(model, info.to_metadata())
    onnx.save(model, path)


def test_an_engine_and_its_sidecar(rtx: types.ModuleType, fixed: Path, tmp_path: Path) -> None:
    engine = tmp_path / "new" / "student.engine"
    sidecar = build_engine(fixed, engine, RTX, progress=False)
    assert sorted(entry.name for entry in engine.parent.iterdir()) == [
        "student.engine",
        "student.engine.json",
    ]
    assert EngineSidecar.load(engine) == sidecar
    sidecar.check_files(engine)
    assert (sidecar.kind, sidecar.library_version) == ("tensorrt-rtx", rtx.__version__)
    assert (sidecar.onnx_file, sidecar.onnx_sha256) == ("m.onnx", file_sha256(fixed))
    assert sidecar.engine_sha256 == file_sha256(engine)
    assert (sidecar.gpu_name, sidecar.compute_capability) == (None, None)
    assert (sidecar.batch, sidecar.parity) == ((1, 1, 1), {})
    assert sidecar.info == read_model_info(fixed)
    assert sidecar.command == "kd-export engine m.onnx --kind tensorrt-rtx"


def test_an_exported_network_builds(rtx: types.ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from export.exporter import ExportConfig, export_model
    from tests.export.test_export import trained_like
    from train.models import build_model, save_model

    model = trained_like(build_model("nano", num_classes=2, embedding_dim=16))
    checkpoint = tmp_path / "model.safetensors"
    save_model(checkpoint, model, classes=("a", "b"), input_wh=(96, 64))
    exported = export_model(ExportConfig(checkpoint, tmp_path, topk=20, parity_frames=2))
    sidecar = build_engine(exported.file, tmp_path / "nano.engine", RTX, progress=False)
    assert (sidecar.info.arch, sidecar.precision) == ("nano", "fp32")
    assert (tmp_path / "nano.engine").stat().st_size > 4 * sidecar.info.parameters


def test_on_this_machine(rtx: types.ModuleType, fixed: Path, tmp_path: Path) -> None:
    engine = tmp_path / "m.engine"
    build_engine(fixed, engine, RTX, progress=False)
    try:
        find_gpu(import_cuda())
    except UserError as error:
        with pytest.raises(UserError) as refusal:
            open_engine(engine)
        assert str(refusal.value) == str(error) and "\n" not in str(error)
        return
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype(np.uint8)
    found, expected = open_engine(engine).run(frames), open_engine(fixed, "cpu").run(frames)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-3)


@pytest.mark.parametrize("batch", [(1, 1, 1), (1, 2, 4), (3, 3, 3)])
def test_an_open_batch_gets_a_profile(
    batch: tuple[int, int, int], rtx: types.ModuleType, dynamic: Path, tmp_path: Path
) -> None:
    options = EngineOptions("tensorrt-rtx", batch=batch)
    sidecar = build_engine(dynamic, tmp_path / "m.engine", options, progress=False)
    assert EngineSidecar.load(tmp_path / "m.engine").batch == sidecar.batch == batch
    network = read_network(rtx, "tensorrt-rtx", dynamic, make_log(rtx))
    assert config.make_config(rtx, network, options).num_optimization_profiles == 1
    profile = network.builder.create_optimization_profile()
    profile.set_shape("frames", *((count, 64, 96, 3) for count in batch))
    assert [shape[0] for shape in profile.get_shape("frames")] == list(batch)


def test_a_fixed_batch_keeps_its_own(rtx: types.ModuleType, fixed: Path) -> None:
    options = EngineOptions("tensorrt-rtx", batch=(1, 2, 4))
    network = read_network(rtx, "tensorrt-rtx", fixed, make_log(rtx))
    assert config.make_config(rtx, network, options).num_optimization_profiles == 0
    assert config.batch_of(network, options) == (1, 1, 1)


def test_memory_level_and_target(rtx: types.ModuleType, fixed: Path, tmp_path: Path) -> None:
    options = EngineOptions(
        "tensorrt-rtx", workspace_mb=64, optimisation_level=2, compute_capability="8.9"
    )
    network = read_network(rtx, "tensorrt-rtx", fixed, make_log(rtx))
    made = config.make_config(rtx, network, options)
    assert made.get_memory_pool_limit(rtx.MemoryPoolType.WORKSPACE) == 64 << 20
    assert made.builder_optimization_level == 2
    assert made.get_compute_capability(0) == rtx.ComputeCapability.SM89
    assert (
        build_engine(fixed, tmp_path / "m.engine", options, progress=False).compute_capability
        == "8.9"
    )
    with pytest.raises(UserError, match=r"3\.0 is no target .*7\.5, .*12\.0"):
        config.set_target(rtx, made, "3.0")


def test_timings_are_kept_and_read_again(
    rtx: types.ModuleType, fixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # TensorRT-RTX still has the functions, as TensorRT has them, though it has no use for them.
    network = read_network(rtx, "tensorrt-rtx", fixed, make_log(rtx))
    cache = tmp_path / "timings"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            made = network.builder.create_builder_config()
            config.load_timing_cache(made, cache)
            config.save_timing_cache(made, cache)
            assert capsys.readouterr().err == ""
        assert [entry.name for entry in tmp_path.iterdir()] == ["timings"]


class PickyConfig:
    """Takes timings as TensorRT does: those of another GPU it refuses."""

    taken: bytes | None = None

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        if cache in (b"", b"of this GPU") and not ignore_mismatch:
            self.taken = cache
        return self.taken == cache


@pytest.mark.parametrize(
    ("content", "taken"), [(None, b""), (b"of this GPU", b"of this GPU"), (b"of another", b"")]
)
def test_which_timings_are_taken(
    content: bytes | None, taken: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, picky = tmp_path / "timings", PickyConfig()
    if content is not None:
        cache.write_bytes(content)
    config.load_timing_cache(picky, cache)
    assert picky.taken == taken
    assert ("holds no timings" in capsys.readouterr().err) == (content == b"of another")


def test_tensorrt_rtx_says_that_it_has_no_timings(
    rtx: types.ModuleType, fixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = EngineOptions("tensorrt-rtx", timing_cache=tmp_path / "timings")
    build_engine(fixed, tmp_path / "m.engine", options, progress=False)
    assert "the timing cache is not used" in capsys.readouterr().err
    assert not (tmp_path / "timings").exists()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            helper.make_node("Transpose", ["frames"], ["y"], name="turn"),
            "at Transpose turn: .*UInt8.*; export it again with kd-export",
        ),
        (
            helper.make_node("DeformConv", ["f", "f", "f"], ["y"], name="bend"),
            "at DeformConv bend: .*; export it again with --deform plain",
        ),
        (
            helper.make_node("QuantizeLinear", ["f", "f"], ["y"], name="round"),
            "at QuantizeLinear round: .*quantised for the CPU.* --engine tensorrt-rtx",
        ),
        (helper.make_node("Bogus", ["f"], ["y"], name="odd"), "at Bogus odd"),
    ],
)
def test_a_graph_that_cannot_be_built_is_one_line(
    node: onnx.NodeProto, message: str, rtx: types.ModuleType, tmp_path: Path
) -> None:
    cast = helper.make_node("Cast", ["frames"], ["f"], to=TensorProto.FLOAT)
    write_graph(tmp_path / "m.onnx", [cast, node], [1, 8, 8, 3])
    with pytest.raises(UserError, match=message) as refusal:
        build_engine(tmp_path / "m.onnx", tmp_path / "m.engine", RTX, progress=False)
    assert "\n" not in str(refusal.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("images", [1, 8, 8, 3], "takes images instead of frames"),
        ("frames", [1, "H", "W", 3], "takes frames of any size"),
    ],
)
def test_a_graph_that_is_not_a_fused_one(
    name: str, shape: list[int | str], message: str, rtx: types.ModuleType, tmp_path: Path
) -> None:
    cast = helper.make_node("Cast", [name], ["y"], to=TensorProto.FLOAT)
    write_graph(tmp_path / "m.onnx", [cast], shape, name)
    with pytest.raises(UserError, match=message):
        build_engine(tmp_path / "m.onnx", tmp_path / "m.engine", RTX, progress=False)


def test_a_proof_sees_the_engine_before_its_name_does(
    rtx: types.ModuleType, fixed: Path, tmp_path: Path
) -> None:
    engine = tmp_path / "m.engine"

    def prove(path: Path) -> dict[str, object]:
        assert not engine.exists()
        EngineSidecar.load(path).check_files(path)
        return {"passed": True, "matched": 1.0}

    build_engine(fixed, engine, RTX, progress=False, prove=prove)
    assert EngineSidecar.load(engine).parity == {"passed": True, "matched": 1.0}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("error", [UserError("not equal"), KeyboardInterrupt()])
@pytest.mark.parametrize("earlier", [False, True])
def test_without_proof_nothing_is_written(
    error: BaseException, earlier: bool, rtx: types.ModuleType, fixed: Path, tmp_path: Path
) -> None:
    engine = tmp_path / "m.engine"
    if earlier:
        build_engine(fixed, engine, RTX, progress=False)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    def prove(path: Path) -> dict[str, object]:
        raise error

    with pytest.raises(type(error)):
        build_engine(fixed, engine, RTX, progress=False, prove=prove)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_an_engine_that_cannot_get_its_name_leaves_no_sidecar(
    rtx: types.ModuleType, fixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def full_for_engines(self: Path, target: Path) -> Path:
        if target.suffix == ".engine":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full_for_engines)
    with pytest.raises(UserError, match="No space left"):
        build_engine(fixed, tmp_path / "m.engine", RTX, progress=False)
    assert not list(tmp_path.iterdir())


def test_tensorrt_needs_a_gpu(fixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    cuda.driver = 0
    monkeypatch.setattr(build, "import_library", lambda kind: types.ModuleType("tensorrt"))
    monkeypatch.setattr(build, "import_cuda", lambda: cuda)
    with pytest.raises(UserError, match="there is no NVIDIA driver here"):
        build_engine(fixed, tmp_path / "m.engine", EngineOptions("tensorrt"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("onnx_name", "engine_name", "message"),
    [("no.onnx", "m.engine", r"no\.onnx does not exist"), (None, "m.plan", r"end in \.engine")],
)
def test_wrong_paths(
    onnx_name: str | None, engine_name: str, message: str, fixed: Path, tmp_path: Path
) -> None:
    source = fixed if onnx_name is None else tmp_path / onnx_name
    with pytest.raises(UserError, match=message):
        build_engine(source, tmp_path / engine_name, RTX)


def test_a_device_without_torch_and_onnx_can_build() -> None:
    code = (
        "import sys, export.tensorrt, runtime.onnx_metadata;"
        "print(*{'torch', 'onnx', 'onnxruntime', 'tensorrt', 'cuda'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (0, "")
