"""The few calls of the CUDA runtime that an engine needs; what fails becomes one line."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError

ON_THE_CPU = "or run the .onnx file on the CPU with --backend cpu"
ADVICE = {"cudaErrorMemoryAllocation": "close what else uses the GPU, or build for fewer frames"}


@dataclass(frozen=True)
class Gpu:
    """The GPU that runs engines.

    Attributes:
        name: Its model.
        compute_capability: As in ``8.7``.
    """

    name: str
    compute_capability: str


class Buffer:
    """An array that exists twice: on the device, and page-locked on the host.

    Page-locked memory is what the device can copy from and to on its own, while the CPU does
    something else.

    Args:
        cuda: The CUDA runtime.
        shape: ``[N, ...]``, N the largest number of frames.
        dtype: Type of the values.

    Attributes:
        host: The array on the host.
        device: Address of the array on the device.

    Raises:
        UserError: There is not enough memory.
    """

    def __init__(self, cuda: Any, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        self._cuda = cuda
        kind = np.dtype(dtype)
        self._frame_bytes = math.prod(shape[1:]) * kind.itemsize
        size = shape[0] * self._frame_bytes
        self.device: int = call(cuda.cudaMalloc, size)
        try:
            self._pinned: int = call(cuda.cudaMallocHost, size)
        except UserError:
            cuda.cudaFree(self.device)
            raise
        memory = (ctypes.c_uint8 * size).from_address(self._pinned)
        self.host: npt.NDArray[Any] = np.ctypeslib.as_array(memory).view(kind).reshape(shape)

    def upload(self, frames: int, stream: Any) -> None:
        """Have the first ``frames`` rows copied to the device."""
        direction = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(self.device, self._pinned, frames, direction, stream)

    def download(self, frames: int, stream: Any) -> None:
        """Have the first ``frames`` rows copied to the host."""
        direction = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(self._pinned, self.device, frames, direction, stream)

    def _copy(self, target: int, source: int, frames: int, direction: Any, stream: Any) -> None:
        size = frames * self._frame_bytes
        call(self._cuda.cudaMemcpyAsync, target, source, size, direction, stream)

    def free(self) -> None:
        """Give both memories back; ``host`` must not be touched afterwards."""
        self._cuda.cudaFree(self.device)
        self._cuda.cudaFreeHost(self._pinned)


class LaunchGraph:
    """Work of a stream, recorded once and launched as a whole from then on.

    Launching costs the CPU one call instead of one per kernel, which is much of the time of a small
    network (NVIDIA CUDA Programming Guide, "CUDA Graphs").

    Args:
        cuda: The CUDA runtime.
        stream: The stream to record on; nothing may be under way on it.
        enqueue: Puts the work on the stream. It must have run before, since what a library does
            once, such as allocating, cannot be recorded.

    Raises:
        UserError: The work cannot be recorded. The stream can be used as before.
    """

    def __init__(self, cuda: Any, stream: Any, enqueue: Callable[[], None]) -> None:
        self._cuda = cuda
        try:
            graph = self._record(stream, enqueue)
            try:
                self._executable: Any = call(cuda.cudaGraphInstantiate, graph, 0)
            finally:
                cuda.cudaGraphDestroy(graph)
        except UserError:
            cuda.cudaGetLastError()  # or the next call would be blamed for it
            raise

    def _record(self, stream: Any, enqueue: Callable[[], None]) -> Any:
        cuda = self._cuda
        # Of this thread alone: others may allocate meanwhile.
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call(cuda.cudaStreamBeginCapture, stream, mode)
        try:
            enqueue()
        except BaseException:
            _, graph = cuda.cudaStreamEndCapture(stream)
            if graph is not None and int(graph):
                cuda.cudaGraphDestroy(graph)
            raise
        return call(cuda.cudaStreamEndCapture, stream)

    def launch(self, stream: Any) -> None:
        """Put the recorded work on the stream.

        Raises:
            UserError: CUDA fails.
        """
        call(self._cuda.cudaGraphLaunch, self._executable, stream)

    def free(self) -> None:
        """Give it back; it must not be under way."""
        self._cuda.cudaGraphExecDestroy(self._executable)


def import_cuda() -> Any:
    """Import the CUDA runtime's bindings.

    Raises:
        UserError: They are missing or cannot be loaded.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise UserError(
            "the CUDA bindings are not installed: pip install cuda-bindings, of the major version "
            "of CUDA that the driver has"
        ) from error
    return runtime


def find_gpu(cuda: Any) -> Gpu:
    """Return the GPU that CUDA chooses, the first that it sees.

    Raises:
        UserError: There is no driver, it is too old, or it sees no GPU.
    """
    driver = call(cuda.cudaDriverGetVersion)
    if driver == 0:
        raise UserError(
            "there is no NVIDIA driver here, and TensorRT engines run on NVIDIA GPUs alone: "
            f"install the driver, {ON_THE_CPU}"
        )
    error, count = cuda.cudaGetDeviceCount()
    if error.name == "cudaErrorInsufficientDriver":
        major = driver // 1000
        raise UserError(
            f"the NVIDIA driver knows CUDA {major}.{driver % 1000 // 10} and the CUDA bindings are "
            f'newer: update the driver, or pip install "cuda-bindings=={major}.*"'
        )
    if error.name == "cudaErrorNoDevice" or (int(error) == 0 and count == 0):
        raise UserError(
            "the NVIDIA driver sees no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES, "
            f"{ON_THE_CPU}"
        )
    if int(error) != 0:
        raise failure(error)
    properties = call(cuda.cudaGetDeviceProperties, 0)
    name = properties.name.decode(errors="replace").rstrip("\0")
    return Gpu(name, f"{properties.major}.{properties.minor}")


def call(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """Call a function of the CUDA runtime and return its value.

    Raises:
        UserError: It failed; the message has CUDA's name of the error.
    """
    error, *values = function(*arguments)
    if int(error) != 0:
        raise failure(error)
    return values[0] if values else None


def failure(error: Any) -> UserError:
    """Return what to tell about an error of the CUDA runtime."""
    advice = ADVICE.get(error.name, "check the driver with nvidia-smi and try again")
    return UserError(f"CUDA failed with {error.name}: {advice}")
