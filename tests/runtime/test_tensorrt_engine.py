"""TensorRT engines on a pretended GPU: what is refused, what is computed, what is given back."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import re
import types
from pathlib import Path

import numpy as np
import pytest

from runtime.engines import open_engine
from runtime.engines import tensorrt as engine_module
from runtime.engines.sidecar import EngineSidecar
from runtime.engines.tensorrt import TensorRtEngine, import_library
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from tests.runtime.fake_gpu import (
    FakeConfig,
    FakeContext,
    FakeCuda,
    FakeEngine,
    FakeLibrary,
    FakeRuntime,
    compute,
    cudaError_t,
)

FRAME = (8, 12, 3)
TOPK, DIM = 5, 7
COMMAND = "kd-export engine m.onnx --kind tensorrt"
INFO = ModelInfo(
    arch="nano",
    size_wh=(12, 8),
    stride=4,
    topk=TOPK,
    embedding_dim=DIM,
    classes=("person",),
    dynamic_batch=True,
)


def write_engine(folder: Path, content: bytes = b"engine", **changes: object) -> Path:
    engine = folder / "m.engine"
    engine.write_bytes(content)
    (folder / "m.onnx").write_bytes(b"graph")
    sidecar = EngineSidecar(
        kind="tensorrt",
        library_version="10.13.3.9",
        onnx_file="m.onnx",
        onnx_sha256=hashlib.sha256(b"graph").hexdigest(),
        engine_sha256=hashlib.sha256(content).hexdigest(),
        precision="fp32",
        gpu_name="Orin",
        compute_capability="8.7",
        batch=(1, 2, 4),
        info=INFO,
        command=COMMAND,
    )
    dataclasses.replace(sidecar, **changes).save(engine)
    return engine


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(engine_module, "import_cuda", lambda: fake)
    return fake


@pytest.fixture
def library(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    fake = FakeLibrary(cuda, FRAME, TOPK, DIM, most=4)
    monkeypatch.setattr(engine_module, "import_library", lambda kind: fake)
    return fake


def some_frames(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *FRAME)).astype(np.uint8)


def test_black_frames(library: FakeLibrary, tmp_path: Path) -> None:
    outputs = TensorRtEngine(write_engine(tmp_path)).run(np.zeros((1, *FRAME), np.uint8))
    assert (outputs["scores"] == 0).all() and (outputs["embeddings"] == 0).all()
    assert outputs["classes"].tolist() == [[0, 1, 2, 3, 4]]


def test_outputs_for_every_batch_in_any_order(library: FakeLibrary, tmp_path: Path) -> None:
    engine = open_engine(write_engine(tmp_path))
    assert (engine.provider, engine.info) == ("tensorrt", INFO)
    for count in (4, 1, 3, 3, 2):
        frames = some_frames(count)
        outputs, expected = engine.run(frames), compute(frames, TOPK, DIM)
        assert outputs.keys() == expected.keys()
        for name, value in expected.items():
            assert outputs[name].dtype == value.dtype
            np.testing.assert_array_equal(outputs[name], value)


def test_outputs_stay_when_the_next_frame_is_run(library: FakeLibrary, tmp_path: Path) -> None:
    engine = TensorRtEngine(write_engine(tmp_path))
    frames = some_frames(2)
    first = engine.run(frames[:1])
    engine.run(frames[1:])
    np.testing.assert_array_equal(first["boxes"], compute(frames[:1], TOPK, DIM)["boxes"])


def test_frames_that_are_not_contiguous(library: FakeLibrary, tmp_path: Path) -> None:
    frames = np.flip(some_frames(3), axis=-1)
    outputs = TensorRtEngine(write_engine(tmp_path)).run(frames)
    np.testing.assert_array_equal(outputs["classes"], compute(frames, TOPK, DIM)["classes"])


@pytest.mark.parametrize(
    "frames",
    [
        some_frames(0),
        some_frames(5),
        some_frames(1).astype(np.float32),
        some_frames(1)[:, :4],
        some_frames(1)[0],
    ],
)
def test_other_frames_are_refused(frames: np.ndarray, library: FakeLibrary, tmp_path: Path) -> None:
    engine = TensorRtEngine(write_engine(tmp_path))
    with pytest.raises(UserError, match="takes 1 to 4 frames of uint8 8x12x3 at a time, not"):
        engine.run(frames)


def test_the_engines_own_memory_is_not_copied(
    cuda: FakeCuda, library: FakeLibrary, tmp_path: Path
) -> None:
    engine = TensorRtEngine(write_engine(tmp_path))
    memory = engine.input(3)
    assert memory.ctypes.data in cuda.memory["host"]  # page-locked
    assert engine.input(3).ctypes.data == engine.input(1).ctypes.data == memory.ctypes.data
    engine._buffers["frames"].host.flags.writeable = False
    for count in (3, 2, 3):
        memory[...] = some_frames(3)
        outputs = engine.run(memory[:count])
        expected = compute(memory[:count], TOPK, DIM)["embeddings"]
        np.testing.assert_array_equal(outputs["embeddings"], expected)
    with pytest.raises(ValueError, match="read-only"):
        engine.run(memory.copy())
    engine._buffers["frames"].host.flags.writeable = True
    shifted = memory[1:].copy()
    found = engine.run(memory[1:])["embeddings"]
    np.testing.assert_array_equal(found, compute(shifted, TOPK, DIM)["embeddings"])
    for count in (0, 5):
        with pytest.raises(UserError, match=f"takes 1 to 4 frames .* not {count}: .*--batch"):
            engine.input(count)


def test_every_batch_size_has_a_graph_of_its_own(
    cuda: FakeCuda, library: FakeLibrary, tmp_path: Path
) -> None:
    engine = TensorRtEngine(write_engine(tmp_path))
    assert engine.reason == "TensorRT on Orin, launched as a CUDA graph"
    for runs, count in enumerate((1, 4, 1, 2, 4, 2, 1), start=2):
        frames = some_frames(count)
        outputs = engine.run(frames)
        np.testing.assert_array_equal(outputs["boxes"], compute(frames, TOPK, DIM)["boxes"])
        assert cuda.launches == runs
    assert len(cuda.executables) == 3 and not cuda.graphs and not cuda.spoilers


def test_graphs_are_bounded(
    cuda: FakeCuda, library: FakeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "MOST_GRAPHS", 2)
    engine = TensorRtEngine(write_engine(tmp_path))
    for count in (2, 3, 4, 3, 1, 4, 2):
        frames = some_frames(count)
        outputs = engine.run(frames)
        np.testing.assert_array_equal(outputs["boxes"], compute(frames, TOPK, DIM)["boxes"])
    assert len(cuda.executables) == 2 and len(library.contexts) == 3
    assert cuda.launches == 1 + 3  # as it was opened; 2, 1 and 2


@pytest.mark.parametrize(
    ("obstacle", "why"),
    [
        ("engine", r"does not run \(operation not permitted when capturing\)"),
        ("engine that tells", "the engine does not permit it"),
        ("cudaStreamBeginCapture", "CUDA failed with cudaErrorStreamCaptureUnsupported"),
        ("cudaGraphInstantiate", "CUDA failed with cudaErrorStreamCaptureUnsupported"),
    ],
)
def test_an_engine_that_cannot_be_recorded_is_run_all_the_same(
    obstacle: str,
    why: str,
    cuda: FakeCuda,
    library: FakeLibrary,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if obstacle == "engine":
        library.can_be_recorded = False
    elif obstacle == "engine that tells":
        refuse = lambda self, stream: int(stream) not in cuda.streams  # noqa: E731
        monkeypatch.setattr(FakeContext, "is_stream_capturable", refuse, raising=False)
    else:
        cuda.failing[obstacle] = cudaError_t.cudaErrorStreamCaptureUnsupported
    engine = TensorRtEngine(write_engine(tmp_path))
    for count in (1, 3, 1, 1, 2):
        frames = some_frames(count)
        outputs = engine.run(frames)
        np.testing.assert_array_equal(outputs["boxes"], compute(frames, TOPK, DIM)["boxes"])
    assert re.fullmatch(
        rf"TensorRT on Orin, launched kernel by kernel: no CUDA graph for 1 frames \({why}\)",
        engine.reason,
    )
    assert cuda.launches == 0
    engine.close()
    assert cuda.is_clean


def test_tensorrt_rtx_compiles_before_it_is_recorded(
    library: FakeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = types.SimpleNamespace(EAGER="eager")
    monkeypatch.setattr(library, "DynamicShapesKernelSpecializationStrategy", kinds, raising=False)
    engine = TensorRtEngine(write_engine(tmp_path))
    strategies = {
        context.config.dynamic_shapes_kernel_specialization_strategy for context in library.contexts
    }
    assert strategies == {"eager"}
    frames = some_frames(2)
    found = engine.run(frames)["boxes"]
    np.testing.assert_array_equal(found, compute(frames, TOPK, DIM)["boxes"])


def test_the_library_has_what_the_fake_pretends() -> None:
    real = pytest.importorskip("tensorrt_rtx")
    pairs = (
        (FakeRuntime, real.Runtime),
        (FakeEngine, real.ICudaEngine),
        (FakeContext, real.IExecutionContext),
        (FakeConfig, real.IRuntimeConfig),
    )
    for fake, theirs in pairs:
        names = [name for name, value in vars(fake).items() if callable(value) and name[0] != "_"]
        assert names and all(hasattr(theirs, name) for name in names)
    assert hasattr(real.ICudaEngine, "device_memory_size_v2")
    assert hasattr(real.IExecutionContext, "is_stream_capturable")
    assert hasattr(real.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")
    assert hasattr(real.DynamicShapesKernelSpecializationStrategy, "EAGER")
    assert hasattr(real.ExecutionContextAllocationStrategy, "USER_MANAGED")


def test_the_files_can_go_once_the_engine_is_loaded(library: FakeLibrary, tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    engine = TensorRtEngine(path)
    for file in tmp_path.iterdir():
        file.unlink()
    frames = some_frames(3)
    found = engine.run(frames)["boxes"]
    np.testing.assert_array_equal(found, compute(frames, TOPK, DIM)["boxes"])


def test_a_detector_has_no_embeddings(library: FakeLibrary, tmp_path: Path) -> None:
    library.embedding_dim = 0
    info = dataclasses.replace(INFO, embedding_dim=0)
    engine = TensorRtEngine(write_engine(tmp_path, info=info))
    assert sorted(engine.run(some_frames(1))) == ["boxes", "classes", "scores"]


def test_an_engine_with_other_outputs_is_refused(
    cuda: FakeCuda, library: FakeLibrary, tmp_path: Path
) -> None:
    library.embedding_dim = 0
    with pytest.raises(UserError, match="description wants boxes, classes, embeddings"):
        TensorRtEngine(write_engine(tmp_path))
    assert cuda.is_clean


def test_an_engine_for_other_frames_is_refused(
    cuda: FakeCuda, library: FakeLibrary, tmp_path: Path
) -> None:
    library.frame_shape = (8, 16, 3)
    with pytest.raises(UserError, match=r"frames of \(8, 16, 3\), and its description says"):
        TensorRtEngine(write_engine(tmp_path))
    assert cuda.is_clean


def test_an_engine_for_frames_of_the_camera(library: FakeLibrary, tmp_path: Path) -> None:
    library.frame_shape = (20, 30, 3)
    info = dataclasses.replace(INFO, preprocess="graph", frame_size_wh=(30, 20))
    engine = TensorRtEngine(write_engine(tmp_path, info=info))
    frames = np.full((1, 20, 30, 3), 9, np.uint8)
    expected = compute(frames, TOPK, DIM)["boxes"]
    np.testing.assert_array_equal(engine.run(frames)["boxes"], expected)


def test_an_engine_for_single_frames_says_so(library: FakeLibrary, tmp_path: Path) -> None:
    assert not TensorRtEngine(write_engine(tmp_path, batch=(1, 1, 1))).info.dynamic_batch


def test_everything_is_given_back(cuda: FakeCuda, library: FakeLibrary, tmp_path: Path) -> None:
    engine = TensorRtEngine(write_engine(tmp_path))
    engine.run(some_frames(2))
    # Input and four outputs on both sides, and the memory that the network works in.
    assert (len(cuda.memory["device"]), len(cuda.memory["host"])) == (6, 5)
    assert len(cuda.executables) == len(library.contexts) - 1 == 2
    engine.close()
    assert cuda.is_clean and not library.contexts
    engine.close()
    for use in (lambda: engine.run(some_frames(1)), lambda: engine.input(1)):
        with pytest.raises(RuntimeError, match="closed"):
            use()


@pytest.mark.parametrize("allocations", range(11))
def test_memory_that_runs_out_is_one_line_and_given_back(
    allocations: int, cuda: FakeCuda, library: FakeLibrary, tmp_path: Path
) -> None:
    cuda.allocations_left = allocations
    with pytest.raises(UserError, match="cudaErrorMemoryAllocation: close what else"):
        TensorRtEngine(write_engine(tmp_path))
    assert cuda.is_clean


def test_errors_of_cuda_and_of_the_library_are_named(
    cuda: FakeCuda, library: FakeLibrary, tmp_path: Path
) -> None:
    engine = TensorRtEngine(write_engine(tmp_path))
    for function in ("cudaStreamSynchronize", "cudaGraphLaunch"):
        cuda.failing = {function: cudaError_t.cudaErrorIllegalAddress}
        with pytest.raises(UserError, match="CUDA failed with cudaErrorIllegalAddress"):
            engine.run(some_frames(1))
    cuda.failing = {}
    library.runs = False
    with pytest.raises(UserError, match=rf"launch failed.*{COMMAND}"):
        engine.run(some_frames(2))


def test_an_engine_that_the_library_refuses(
    cuda: FakeCuda, library: FakeLibrary, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"\(magic tag does not match\).*{COMMAND}"):
        TensorRtEngine(write_engine(tmp_path, content=b"of another time"))
    assert cuda.is_clean


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine_sha256": "0" * 64}, "damaged or replaced"),
        ({"onnx_sha256": "0" * 64}, r"stale, m\.onnx beside it has changed"),
        ({"library_version": "10.13.2.6"}, r"built by TensorRT 10\.13\.2\.6, and 10\.13\.3\.9"),
        ({"library_version": "11.13.3.9"}, r"built by TensorRT 11"),
        ({"gpu_name": "NVIDIA H200"}, "built on NVIDIA H200, and this GPU is Orin"),
        ({"compute_capability": "8.9"}, "compute capability 8.9, and Orin has 8.7"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_engine_is_touched(
    changes: dict[str, object], message: str, library: FakeLibrary, tmp_path: Path
) -> None:
    engine = write_engine(tmp_path, **changes)
    with pytest.raises(UserError, match=rf"{message}.*: build it again with {COMMAND}$"):
        open_engine(engine)
    assert library.deserialised == 0


@pytest.mark.parametrize("version", ["10.13.3.9", "10.13.3", "10.13.3.100"])
def test_builds_of_the_same_release_fit(version: str, library: FakeLibrary, tmp_path: Path) -> None:
    TensorRtEngine(write_engine(tmp_path, library_version=version))
    assert library.deserialised == 1


def test_an_onnx_file_that_stayed_at_home_is_no_matter(
    library: FakeLibrary, tmp_path: Path
) -> None:
    engine = write_engine(tmp_path)
    (tmp_path / "m.onnx").unlink()
    TensorRtEngine(engine)


@pytest.mark.parametrize(
    ("target", "gpu", "message"),
    [
        (None, (8, 0), None),
        (None, (12, 0), None),
        (None, (7, 5), r"8\.0 and later.*tensorrt --compute-capability 7\.5$"),
        ("8.9", (8, 9), None),
        ("8.9", (12, 0), r"capability 8\.9, and Orin has 12\.0: build .* --kind tensorrt$"),
        ("8.9", (7, 5), r"--compute-capability 7\.5$"),
    ],
)
def test_which_gpus_an_engine_of_tensorrt_rtx_serves(
    target: str | None,
    gpu: tuple[int, int],
    message: str | None,
    cuda: FakeCuda,
    library: FakeLibrary,
    tmp_path: Path,
) -> None:
    cuda.capability = gpu
    changes = {"kind": "tensorrt-rtx", "gpu_name": None, "compute_capability": target}
    engine = write_engine(tmp_path, **changes)
    if message is None:
        assert open_engine(engine, "tensorrt-rtx").provider == "tensorrt-rtx"
    else:
        with pytest.raises(UserError, match=message):
            open_engine(engine)


def test_the_engines_own_parity_counts(
    library: FakeLibrary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = dataclasses.replace(INFO, parity={"passed": True})
    open_engine(write_engine(tmp_path, info=info))
    assert capsys.readouterr().err == ""
    engine = open_engine(write_engine(tmp_path, info=info, parity={"passed": False}))
    assert engine.info.parity == {"passed": False}
    assert "failed its parity check" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("cpu", "is a TensorRT engine, which --backend cpu cannot run"),
        ("cuda", "is a TensorRT engine, which --backend cuda cannot run"),
        ("tensorrt-rtx", "is an engine of TensorRT: give --backend tensorrt,"),
        ("gpu", "backend 'gpu' is unknown"),
    ],
)
def test_backends_that_an_engine_has_no_use_for(backend: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        open_engine(write_engine(tmp_path), backend)


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_an_onnx_file_is_no_engine(backend: str, tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"graph")
    with pytest.raises(UserError, match=rf"kd-export engine {file} --kind {backend}$"):
        open_engine(file, backend)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("tensorrt", ModuleNotFoundError("tensorrt"), r'pip install "kd-mot\[tensorrt\]"'),
        ("tensorrt-rtx", ModuleNotFoundError("tensorrt_rtx"), "kd-mot\\[tensorrt-rtx\\]"),
        ("tensorrt", OSError("libcudart.so.13 is missing"), r"loaded \(libcudart\.so\.13"),
    ],
)
def test_a_missing_library(
    kind: str, error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(UserError, match=message):
        import_library(kind)
