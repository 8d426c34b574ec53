"""Finding the GPU, and saying why there is none."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.engines.cuda import Buffer, LaunchGraph, call, find_gpu, import_cuda
from runtime.errors import UserError
from tests.runtime.fake_gpu import FakeCuda, cudaError_t


def test_which_gpu_is_found() -> None:
    gpu = find_gpu(FakeCuda("NVIDIA GeForce RTX 4090", (8, 9)))
    assert (gpu.name, gpu.compute_capability) == ("NVIDIA GeForce RTX 4090", "8.9")


@pytest.mark.parametrize(
    ("driver", "devices", "error", "message"),
    [
        (0, 0, cudaError_t.cudaErrorInsufficientDriver, "there is no NVIDIA driver here"),
        (12060, 0, cudaError_t.cudaErrorInsufficientDriver, r'CUDA 12\.6 .*"cuda-bindings==12\.\*'),
        (13000, 0, cudaError_t.cudaErrorNoDevice, "sees no GPU"),
        (13000, 0, cudaError_t.cudaSuccess, "sees no GPU"),
        (13000, 1, cudaError_t.cudaErrorIllegalAddress, "CUDA failed with cudaErrorIllegalAddress"),
    ],
)
def test_a_gpu_that_cannot_be_used(
    driver: int, devices: int, error: cudaError_t, message: str
) -> None:
    cuda = FakeCuda()
    cuda.driver, cuda.devices, cuda.failing["cudaGetDeviceCount"] = driver, devices, error
    with pytest.raises(UserError, match=message):
        find_gpu(cuda)


def test_missing_bindings_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(UserError, match="pip install cuda-bindings"):
        import_cuda()


def test_the_bindings_have_what_the_fake_pretends() -> None:
    real = pytest.importorskip("cuda.bindings.runtime")
    names = [name for name in vars(FakeCuda) if name.startswith("cuda")]
    assert len(names) > 10 and all(hasattr(real, name) for name in names)
    assert all(hasattr(real.cudaError_t, error.name) for error in cudaError_t)
    assert all(hasattr(real.cudaMemcpyKind, kind.name) for kind in FakeCuda.cudaMemcpyKind)
    modes = FakeCuda.cudaStreamCaptureMode
    assert all(hasattr(real.cudaStreamCaptureMode, mode.name) for mode in modes)
    assert real.cudaStreamNonBlocking == FakeCuda.cudaStreamNonBlocking
    assert call(real.cudaDriverGetVersion) >= 0
    for name in names:
        if inspect.isfunction(pretended := getattr(FakeCuda, name)):
            # The first line of their documentation is their signature.
            given = re.search(r"\((.*?)\)", getattr(real, name).__doc__)
            assert given is not None
            taken = [part for part in given[1].split(",") if part.strip()]
            assert len(taken) == len(inspect.signature(pretended).parameters) - 1, name


def recorded(cuda: FakeCuda, enqueue: Callable[[Any], None]) -> LaunchGraph:
    stream = call(cuda.cudaStreamCreateWithFlags, cuda.cudaStreamNonBlocking)
    return LaunchGraph(cuda, stream, lambda: enqueue(stream))


@pytest.mark.parametrize("function", ["cudaStreamSynchronize", "cudaMalloc", "cudaMallocHost"])
def test_what_cannot_be_recorded(function: str) -> None:
    cuda = FakeCuda()

    def enqueue(stream: Any) -> None:
        call(getattr(cuda, function), stream if "Stream" in function else 8)

    with pytest.raises(UserError, match="cudaErrorStreamCaptureUnsupported"):
        recorded(cuda, enqueue)
    (stream,) = cuda.streams.values()
    assert len(cuda.spoilers) == 1 and stream.recording is None
    cuda.cudaStreamDestroy(stream)
    assert cuda.is_clean


def test_a_recording_that_was_spoilt_unnoticed() -> None:
    cuda = FakeCuda()
    with pytest.raises(UserError, match="cudaErrorStreamCaptureInvalidated"):
        recorded(cuda, lambda stream: cuda.cudaStreamSynchronize(stream))
    assert not cuda.graphs and not cuda.executables and not cuda.last_error


def test_nothing_is_left_of_a_recording_that_is_broken_off() -> None:
    cuda = FakeCuda()

    def enqueue(stream: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recorded(cuda, enqueue)
    assert not cuda.graphs and not cuda.executables


def test_a_graph_repeats_its_copies_until_it_is_freed() -> None:
    cuda = FakeCuda()
    buffer = Buffer(cuda, (1, 4), np.uint8)
    graph = recorded(cuda, lambda stream: (buffer.upload(1, stream), buffer.download(1, stream)))
    (stream,) = cuda.streams.values()
    assert not cuda.graphs and not stream.steps
    for value in (3, 5):
        buffer.host[...] = value
        graph.launch(stream)
        call(cuda.cudaStreamSynchronize, stream)
        assert cuda.array(buffer.device, (4,), np.uint8).tolist() == [value] * 4
    graph.free()
    with pytest.raises(KeyError):
        graph.launch(stream)
    buffer.free()
    cuda.cudaStreamDestroy(stream)
    assert cuda.is_clean


def test_the_fake_notices_memory_that_is_gone() -> None:
    cuda = FakeCuda()
    buffer = Buffer(cuda, (1, 4), np.uint8)
    graph = recorded(cuda, lambda stream: buffer.upload(1, stream))
    (stream,) = cuda.streams.values()
    buffer.free()
    graph.launch(stream)
    with pytest.raises(AssertionError, match="used and not allocated"):
        cuda.cudaStreamSynchronize(stream)
