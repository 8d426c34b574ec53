"""TensorRT engines on a pretended GPU: what is refused, what is computed, what is given back."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
from pathlib import Path

import numpy as np
import pytest

from runtime.engines import open_engine
from runtime.engines import tensorrt as engine_module
from runtime.engines.sidecar import EngineSidecar
from runtime.engines.tensorrt import TensorRtEngine, import_library
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from tests.runtime.fake_gpu import FakeCuda, FakeLibrary, compute, cudaError_t

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
    assert len(cuda.memory["device"]) == len(cuda.memory["host"]) == 5
    engine.close()
    assert cuda.is_clean
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.run(some_frames(1))


@pytest.mark.parametrize("allocations", range(10))
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
    cuda.failing["cudaStreamSynchronize"] = cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(UserError, match="CUDA failed with cudaErrorIllegalAddress"):
        engine.run(some_frames(1))
    library.runs = False
    with pytest.raises(UserError, match=rf"launch failed.*{COMMAND}"):
        engine.run(some_frames(1))


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
