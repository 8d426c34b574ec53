"""Which engine runs a model, and what is said about it; the GPU is pretended."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime import UserError
from runtime.engines import Engine, open_engine, opening, providers
from runtime.engines import tensorrt as tensorrt_module
from runtime.engines.providers import CPU, CUDA, TENSORRT, TENSORRT_RTX, engine_cache
from runtime.files import file_sha256
from runtime.model_info import ModelInfo
from tests.runtime.fake_gpu import FakeCuda, FakeLibrary
from tests.runtime.fake_ort import PretendedGpu, pretend_gpu
from tests.runtime.test_tensorrt_engine import write_engine
from tests.stub_model import write_stub_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_stub_model(tmp_path / "m.onnx", dynamic_batch=True)
    return tmp_path / "m.onnx"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PretendedGpu:
    return pretend_gpu(monkeypatch, tmp_path / "cache")


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds by provider, in place of what a measurement would find."""
    table = {CPU: 40.0, CUDA: 5.0, TENSORRT: 3.0, "tensorrt": 2.0}
    monkeypatch.setattr(opening, "frame_ms", lambda engine: table[engine.provider])
    return table


def test_only_the_cpu(stub_model: Path, gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(engine: Engine) -> float:
        raise AssertionError("there is nothing to compare")

    monkeypatch.setattr(opening, "frame_ms", measure)
    gpu.installed = ("AzureExecutionProvider", CPU)
    engine = open_engine(stub_model)
    assert engine.provider == CPU and len(gpu.asked) == 1
    assert engine.reason == "ONNX Runtime on the CPU: this ONNX Runtime has no CUDA"
    assert open_engine(stub_model, "cpu").reason == "ONNX Runtime on the CPU"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {},
            "ONNX Runtime through TensorRT: 3.0 ms a frame, ONNX Runtime through CUDA 5.0, "
            "ONNX Runtime on the CPU 40.0",
        ),
        (
            {CPU: 1.0},
            "ONNX Runtime on the CPU: 1.0 ms a frame, ONNX Runtime through CUDA 5.0, "
            "ONNX Runtime through TensorRT 3.0",
        ),
        (
            {CUDA: 2.0, CPU: 2.0},
            "ONNX Runtime through CUDA: 2.0 ms a frame, ONNX Runtime through TensorRT 3.0, "
            "ONNX Runtime on the CPU 2.0",
        ),
    ],
)
def test_the_fastest_is_measured(
    change: dict[str, float],
    reason: str,
    stub_model: Path,
    gpu: PretendedGpu,
    times: dict[str, float],
) -> None:
    times.update(change)
    engine = open_engine(stub_model)
    assert engine.reason == reason
    assert engine.run(engine.input(1))["boxes"].shape == (1, 8, 4)


def test_a_measurement_of_a_real_engine(model: Path) -> None:
    assert opening.frame_ms(open_engine(model, "cpu")) > 0


def test_what_does_not_run_is_told(
    stub_model: Path, gpu: PretendedGpu, times: dict[str, float]
) -> None:
    gpu.failing, gpu.working = (TENSORRT,), (CPU,)
    engine = open_engine(stub_model)
    assert engine.provider == CPU
    assert engine.reason == (
        f"ONNX Runtime on the CPU: ONNX Runtime through TensorRT cannot run {stub_model} "
        "(libnvinfer.so.10: cannot open shared object file); ONNX Runtime through CUDA does not "
        "run here, CPUExecutionProvider would run instead"
    )


@pytest.mark.parametrize(
    ("backend", "installed", "message"),
    [
        ("cuda", (CPU,), "this ONNX Runtime has no CUDA: "),
        ("ort-tensorrt", (CPU,), "this ONNX Runtime has no CUDA: "),
        ("ort-tensorrt", (CUDA, CPU), "has CUDA and no TensorRT: choose --backend cuda"),
        ("cuda", (CUDA, CPU), "CUDA does not run here, CPUExecutionProvider would run instead: "),
        ("ort-tensorrt", (TENSORRT, CUDA, CPU), "TensorRT does not run here, CUDAExec"),
        ("ort-tensorrt", (TENSORRT_RTX, CPU), r"TensorRT-RTX cannot run .*\(libnvinfer"),
    ],
)
def test_a_request_that_is_not_met_is_one_line(
    backend: str,
    installed: tuple[str, ...],
    message: str,
    stub_model: Path,
    gpu: PretendedGpu,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gpu.installed = installed
    gpu.working = (CUDA, CPU) if backend == "ort-tensorrt" else (CPU,)
    gpu.failing = (TENSORRT_RTX,)
    with pytest.raises(UserError, match=message) as caught:
        open_engine(stub_model, backend)
    assert "\n" not in str(caught.value) and capfd.readouterr() == ("", "")


def test_an_engine_is_kept_for_the_very_graph(
    model: Path, gpu: PretendedGpu, tmp_path: Path
) -> None:
    assert open_engine(model, "ort-tensorrt").largest_batch == providers.TENSORRT_BATCH
    ((name, options), *others) = gpu.asked[0]
    assert (name, others) == (TENSORRT, [CUDA, CPU])
    kept_at = Path(options["trt_engine_cache_path"])
    assert kept_at.is_dir() and kept_at.is_relative_to(tmp_path / "cache" / "kd-mot")
    assert options["trt_profile_max_shapes"] == "frames:8x64x96x3"
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("0", "0")
    # The same name and shapes, other weights.
    write_stub_model(model, dynamic_batch=True, tracker={"low_threshold": 0.3})
    assert engine_cache(model) not in (None, kept_at)


@pytest.mark.parametrize(
    ("fields", "fp16", "int8"),
    [
        ({"precision": "fp16"}, "1", "0"),
        ({"precision": "int8", "quantization": "s8s8"}, "0", "1"),
        ({"precision": "int8", "quantization": "s8s8+fp16"}, "1", "1"),
    ],
)
def test_precision_is_that_of_the_graph(
    fields: dict[str, Any], fp16: str, int8: str, gpu: PretendedGpu, tmp_path: Path
) -> None:
    write_stub_model(tmp_path / "m.onnx", **fields)
    open_engine(tmp_path / "m.onnx", "ort-tensorrt")
    options = gpu.asked[0][0][1]
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == (fp16, int8)
    assert "trt_profile_max_shapes" not in options


def test_without_a_place_for_engines(
    stub_model: Path, gpu: PretendedGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    open_engine(stub_model, "ort-tensorrt")
    options = gpu.asked[0][0][1]
    assert options["trt_engine_cache_enable"] == "0" and "trt_engine_cache_path" not in options


def test_tensorrt_rtx_in_onnx_runtime(model: Path, gpu: PretendedGpu) -> None:
    gpu.installed = gpu.working = (TENSORRT_RTX, CPU)
    engine = open_engine(model, "ort-tensorrt")
    assert engine.provider == TENSORRT_RTX
    options = gpu.asked[0][0][1]
    assert set(options) == {
        *("nv_runtime_cache_path", "nv_profile_min_shapes", "nv_profile_opt_shapes"),
        "nv_profile_max_shapes",
    }
    assert engine.run(engine.input(2))["boxes"].shape == (2, 8, 4)


@pytest.fixture
def beside(
    model: Path, gpu: PretendedGpu, times: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Write an engine beside the model, with a pretended TensorRT to run it."""
    info = open_engine(model, "cpu").info
    gpu.asked.clear()
    cuda = FakeCuda()
    library = FakeLibrary(cuda, (64, 96, 3), info.topk, info.embedding_dim, most=4)
    monkeypatch.setattr(tensorrt_module, "import_cuda", lambda: cuda)
    monkeypatch.setattr(tensorrt_module, "import_library", lambda kind: library)

    def write(info: ModelInfo = info, **changes: object) -> Path:
        kept = model.with_suffix(".kept")
        shutil.copy(model, kept)
        changes = {"onnx_sha256": file_sha256(model), "info": info} | changes
        engine = write_engine(model.parent, **changes)
        kept.replace(model)
        return engine

    return write


def test_a_fitting_engine_beside_the_model_is_run(
    model: Path, gpu: PretendedGpu, beside: Callable[..., Path]
) -> None:
    beside()
    engine = open_engine(model)
    assert engine.provider == "tensorrt"
    assert engine.reason == (
        "TensorRT on Orin, launched as a CUDA graph: 2.0 ms a frame, ONNX Runtime through CUDA "
        "5.0, ONNX Runtime on the CPU 40.0"
    )
    assert [entry[0] for entry in gpu.asked] == [CUDA, CPU]  # TensorRT does not build once more


def test_an_engine_beside_the_model_needs_no_onnx_runtime(
    model: Path, beside: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    beside()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    engine = open_engine(model)
    assert engine.provider == "tensorrt" and engine.reason.endswith("is not installed")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"onnx_sha256": "0" * 64}, "m.engine was built of another m.onnx"),
        ({"gpu_name": "NVIDIA H200"}, "m.engine was built on NVIDIA H200, and this GPU is Orin"),
        ({"library_version": "10.1.0"}, "built by TensorRT 10.1.0, and 10.13.3.9 is installed"),
        ({"parity": {"passed": False}}, "m.engine failed its parity check"),
        ({"content": b"of another time"}, "cannot be loaded (magic tag does not match)"),
    ],
)
def test_an_engine_that_does_not_fit_is_passed_by_and_refused_by_name(
    changes: dict[str, Any],
    why: str,
    model: Path,
    beside: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = beside(**changes)
    engine = open_engine(model)
    assert engine.provider == TENSORRT and why in engine.reason and "\n" not in engine.reason
    assert capsys.readouterr().err == ""
    if "parity" not in changes:
        with pytest.raises(UserError, match="build it again with kd-export engine"):
            open_engine(path)


def test_a_file_that_is_no_model_is_refused_at_once(tmp_path: Path, gpu: PretendedGpu) -> None:
    (tmp_path / "m.onnx").write_bytes(b"graph")
    with pytest.raises(UserError, match=r"is no ONNX file|was not made by kd-export"):
        open_engine(tmp_path / "m.onnx")
    assert not gpu.asked
