"""Fixed buffers, batches, and which engine is chosen, with a pretended GPU where one is needed."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from runtime import UserError, load
from runtime.detector import Detector
from runtime.engines import Engine, open_engine, opening, providers
from runtime.engines import tensorrt as tensorrt_module
from runtime.engines.providers import CPU, CUDA, TENSORRT, TENSORRT_RTX, engine_cache
from runtime.files import file_sha256
from runtime.model_info import ModelInfo
from runtime.types import Detections
from tests.runtime.conftest import blob_frame
from tests.runtime.fake_gpu import FakeCuda, FakeLibrary
from tests.runtime.test_tensorrt_engine import write_engine
from tests.stub_model import write_stub_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_stub_model(tmp_path / "m.onnx", dynamic_batch=True)
    return tmp_path / "m.onnx"


REAL_VALUE = onnxruntime.OrtValue


class PretendedValue:
    """``OrtValue`` whose CUDA is ordinary memory."""

    ortvalue_from_numpy = REAL_VALUE.ortvalue_from_numpy

    @staticmethod
    def ortvalue_from_shape_and_type(shape: Sequence[int], kind: Any, device: str, index: int):
        assert (device, index) == ("cuda", 0)
        return REAL_VALUE.ortvalue_from_shape_and_type(shape, kind, "cpu", 0)


@dataclasses.dataclass
class PretendedGpu:
    """What ONNX Runtime has, and what it was asked for.

    Attributes:
        installed: Providers, the best first.
        working: Those that sessions really get.
        failing: Those that sessions cannot even be made with.
        asked: Providers of the sessions made, with their options.
    """

    installed: tuple[str, ...] = (TENSORRT, CUDA, CPU)
    working: tuple[str, ...] = (TENSORRT, CUDA, CPU)
    failing: tuple[str, ...] = ()
    asked: list[list[Any]] = dataclasses.field(default_factory=list)

    def session(self, path: str, options: Any, providers: list[Any], enable_fallback: bool) -> Any:
        assert enable_fallback is False  # it prints
        self.asked.append(providers)
        names = [entry if isinstance(entry, str) else entry[0] for entry in providers]
        if names[0] in self.failing:
            raise RuntimeError("libnvinfer.so.10: cannot open shared object file\nand so on")
        real = self.real(path, options, providers=[CPU])
        real.get_providers = lambda: [name for name in names if name in self.working]
        return real

    real = onnxruntime.InferenceSession


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PretendedGpu:
    pretended = PretendedGpu()
    monkeypatch.setattr(onnxruntime, "InferenceSession", pretended.session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(pretended.installed))
    monkeypatch.setattr(onnxruntime, "OrtValue", PretendedValue)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return pretended


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds by provider, in place of what a measurement would find."""
    table = {CPU: 40.0, CUDA: 5.0, TENSORRT: 3.0, "tensorrt": 2.0}
    monkeypatch.setattr(opening, "frame_ms", lambda engine: table[engine.provider])
    return table


def frames_of(engine: Engine, count: int) -> np.ndarray:
    width, height = engine.info.frames_wh
    return np.stack([blob_frame(index * 7, (width, height)) for index in range(count)])


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype)
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["cpu", "cuda", "ort-tensorrt"])
def test_the_engines_memory_gives_what_any_array_gives(
    backend: str, model: Path, gpu: PretendedGpu
) -> None:
    engine = open_engine(model, backend)
    kept = []
    for count in (1, 3, 2, 3, 1, 4):
        frames = frames_of(engine, count)
        expected = engine.run(frames)
        memory = engine.input(count)
        assert memory.shape == frames.shape and memory.dtype == np.uint8
        memory[...] = frames
        assert engine.input(count).ctypes.data == memory.ctypes.data
        found = engine.run(memory)
        assert_same(found, expected)
        kept.append((found, expected))
        memory[...] = 0
        engine.run(memory)
    for found, expected in kept:
        assert_same(found, expected)


def test_nothing_is_bound_for_other_arrays(model: Path) -> None:
    engine = open_engine(model, "cpu")
    frames = frames_of(engine, 2)
    engine.input(2)[...] = 255
    blank = engine.run(engine.input(2))
    assert_same(engine.run(frames), engine.run(frames.copy()))
    assert not np.array_equal(engine.run(frames)["scores"], blank["scores"])
    # Rows that do not start where the memory does are other frames.
    np.testing.assert_array_equal(engine.run(engine.input(2)[1:])["scores"], blank["scores"][1:])


def test_the_session_reads_the_engines_own_memory(model: Path) -> None:
    engine = open_engine(model, "cpu")
    engine._session = NoPlainRun(engine._session)
    memory = engine.input(1)
    memory[...] = frames_of(engine, 1)
    bright = engine.run(memory)["scores"]
    memory[...] = 0
    assert bright.max() > 0.5 > engine.run(memory)["scores"].max()
    with pytest.raises(UserError, match="copied"):
        engine.run(memory.copy())


class NoPlainRun:
    """A session that only takes what is bound to it."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.run_with_iobinding = session.run_with_iobinding

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> None:
        raise ValueError("copied")


@pytest.mark.parametrize("count", [0, 2])
def test_frames_that_a_graph_of_one_does_not_take(count: int, stub_model: Path) -> None:
    engine = open_engine(stub_model, "cpu")
    assert engine.largest_batch == 1
    for use in (engine.input, lambda count: engine.run(np.zeros((count, 64, 96, 3), np.uint8))):
        with pytest.raises(UserError, match=f"not {count}: export it with --dynamic-batch"):
            use(count)


@pytest.mark.parametrize("count", [0, providers.TENSORRT_BATCH + 1])
def test_more_frames_than_tensorrt_was_told_of(count: int, model: Path, gpu: PretendedGpu) -> None:
    engine = open_engine(model, "ort-tensorrt")
    for use in (engine.input, lambda count: engine.run(np.zeros((count, 64, 96, 3), np.uint8))):
        with pytest.raises(UserError, match=f"on {count} frames at a time: .* at most 8"):
            use(count)


def test_a_closed_engine_says_so(stub_model: Path) -> None:
    engine = open_engine(stub_model, "cpu")
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.run(np.zeros((1, 64, 96, 3), np.uint8))


@pytest.mark.parametrize("change", ["overwritten", "replaced", "deleted"])
def test_a_file_that_changes_while_the_engine_runs(change: str, model: Path) -> None:
    engine = open_engine(model, "cpu")
    frames = frames_of(engine, 2)
    before = engine.run(frames)
    if change == "overwritten":
        model.write_bytes(b"\0" * model.stat().st_size)
    elif change == "replaced":
        other = model.with_name("other.onnx")
        write_stub_model(other, topk=3)
        other.replace(model)
    else:
        model.unlink()
    assert_same(engine.run(frames), before)
    engine.input(5)[...] = frames_of(engine, 5)
    assert engine.run(engine.input(5))["boxes"].shape == (5, 8, 4)


def assert_equal(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, rtol=1e-4, atol=1e-5)


def count_runs(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counts: list[int] = []
    run = detector.engine.run

    def counting(frames: np.ndarray) -> dict[str, np.ndarray]:
        counts.append(len(frames))
        return run(frames)

    monkeypatch.setattr(detector.engine, "run", counting)
    return counts


SIZES = [(192, 128), (96, 128), (300, 90), (192, 128), (64, 64), (96, 64), (128, 192)]


@pytest.mark.parametrize(
    ("dynamic", "largest", "runs"),
    [(True, None, [7]), (True, 3, [2, 2, 3]), (True, 4, [3, 4]), (False, None, [1] * 7)],
)
def test_a_batch_finds_what_frame_after_frame_does(
    dynamic: bool,
    largest: int | None,
    runs: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_stub_model(tmp_path / "m.onnx", dynamic_batch=dynamic)
    detector = load(tmp_path / "m.onnx", "cpu", threads=1)
    if largest is not None:
        monkeypatch.setattr(type(detector.engine), "largest_batch", largest)
    frames = [blob_frame(index * 3, size) for index, size in enumerate(SIZES)]
    expected = [detector(frame) for frame in frames]
    assert sum(map(bool, map(len, expected))) >= 2
    counts = count_runs(detector, monkeypatch)
    for found, one in zip(detector.detect_batch(frames), expected, strict=True):
        assert_equal(found, one)
    assert counts == runs
    assert detector.detect_batch([]) == []


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_batch_of_a_graph_that_letterboxes(dynamic: bool, tmp_path: Path) -> None:
    write_stub_model(
        tmp_path / "m.onnx",
        frame_size_wh=(192, 128),
        preprocess="graph",
        dynamic_batch=dynamic,
    )
    detector = load(tmp_path / "m.onnx", "cpu", threads=1)
    frames = [blob_frame(index) for index in (0, 9, 30)]
    expected = [detector(frame) for frame in frames]
    assert sum(map(bool, map(len, expected))) >= 2
    for found, one in zip(detector.detect_batch(frames), expected, strict=True):
        assert_equal(found, one)
    with pytest.raises(UserError, match="is 96x64 and the model letterboxes"):
        detector.detect_batch([frames[0], np.zeros((64, 96, 3), np.uint8)])


def test_detectors_that_share_an_engine_and_see_frames_of_two_sizes(model: Path) -> None:
    engine = open_engine(model, "cpu")
    wide, tall = Detector(engine), Detector(engine)
    frames = blob_frame(0, (192, 100)), blob_frame(0, (100, 192))
    expected = wide(frames[0]), tall(frames[1])
    for _ in range(2):
        assert_equal(wide(frames[0]), expected[0])
        assert_equal(tall(frames[1]), expected[1])


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
