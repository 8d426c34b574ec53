"""A GPU made of ordinary memory, and the library that would run on it.

Copies and runs are queued and happen when the stream is synchronised, as on a device; each is
checked against what was allocated, on which side, and how large. Fresh memory is full of rubbish.
"""

from __future__ import annotations

import ctypes
import enum
import types
from collections.abc import Callable
from typing import Any

import numpy as np

RUBBISH = 0xAB


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700


class cudaMemcpyKind(enum.Enum):
    cudaMemcpyHostToDevice = ("device", "host")
    cudaMemcpyDeviceToHost = ("host", "device")


class Stream:
    def __init__(self) -> None:
        self.queue: list[Callable[[], None]] = []

    def __int__(self) -> int:
        return id(self)


class FakeCuda:
    """The functions of ``cuda.bindings.runtime`` that engines use.

    Attributes:
        failing: Error that a function reports, by the function's name.
        allocations_left: Allocations until memory runs out.
    """

    cudaError_t = cudaError_t
    cudaMemcpyKind = cudaMemcpyKind

    def __init__(self, name: str = "Orin", capability: tuple[int, int] = (8, 7)) -> None:
        self.name, self.capability = name, capability
        self.driver, self.devices = 13000, 1
        self.failing: dict[str, cudaError_t] = {}
        self.allocations_left = 1000
        self.memory: dict[str, dict[int, ctypes.Array]] = {"host": {}, "device": {}}
        self.streams: dict[int, Stream] = {}

    def _report(self, function: str) -> cudaError_t:
        return self.failing.get(function, cudaError_t.cudaSuccess)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return cudaError_t.cudaSuccess, self.driver

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return self._report("cudaGetDeviceCount"), self.devices

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        assert device < self.devices
        major, minor = self.capability
        properties = types.SimpleNamespace(name=self.name.encode(), major=major, minor=minor)
        return cudaError_t.cudaSuccess, properties

    def _allocate(self, side: str, size: int) -> tuple[Any, ...]:
        if self.allocations_left == 0:
            return cudaError_t.cudaErrorMemoryAllocation, None
        self.allocations_left -= 1
        block = (ctypes.c_uint8 * size)(*([RUBBISH] * size))
        self.memory[side][ctypes.addressof(block)] = block
        return cudaError_t.cudaSuccess, ctypes.addressof(block)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate("device", size)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate("host", size)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        del self.memory["device"][address]
        return (cudaError_t.cudaSuccess,)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        del self.memory["host"][address]
        return (cudaError_t.cudaSuccess,)

    def cudaStreamCreate(self) -> tuple[Any, ...]:
        stream = Stream()
        self.streams[int(stream)] = stream
        return cudaError_t.cudaSuccess, stream

    def cudaStreamDestroy(self, stream: Stream) -> tuple[Any, ...]:
        del self.streams[int(stream)]
        return (cudaError_t.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: Stream) -> tuple[Any, ...]:
        for step in stream.queue:
            step()
        stream.queue.clear()
        return (self._report("cudaStreamSynchronize"),)

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: cudaMemcpyKind, stream: Stream
    ) -> tuple[Any, ...]:
        for side, address in zip(kind.value, (target, source), strict=True):
            assert size <= len(self.memory[side][address]), "more is copied than is there"
        self.streams[int(stream)].queue.append(lambda: ctypes.memmove(target, source, size))
        return (self._report("cudaMemcpyAsync"),)

    def array(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """View device memory, of which there must be enough."""
        block = self.memory["device"][address]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert size <= len(block), "more is computed than there is room for"
        return np.frombuffer(block, dtype, count=int(np.prod(shape))).reshape(shape)

    @property
    def is_clean(self) -> bool:
        """Whether everything was given back."""
        return not (self.memory["host"] or self.memory["device"] or self.streams)


def compute(frames: np.ndarray, topk: int, embedding_dim: int) -> dict[str, np.ndarray]:
    """Return what the pretended network makes of frames."""
    means = frames.mean(axis=(1, 2, 3), dtype=np.float64)[:, None]
    rows = np.arange(topk)
    return {
        "boxes": (means[..., None] + rows[:, None] * 4 + np.arange(4)).astype(np.float32),
        "scores": (means / 255 + 0 * rows).astype(np.float32),
        "classes": frames[:, 0, 0, :1].astype(np.int64) + rows,
        "embeddings": np.tile(means[..., None], (1, topk, embedding_dim)).astype(np.float32),
    }


class FakeLibrary(types.ModuleType):
    """What engines use of ``tensorrt``."""

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING = range(3)

        def log(self, severity: int, message: str) -> None:
            raise NotImplementedError

    class TensorIOMode(enum.Enum):
        INPUT, OUTPUT = range(2)

    def __init__(
        self, cuda: FakeCuda, frame_shape: tuple[int, ...], topk: int, embedding_dim: int, most: int
    ) -> None:
        super().__init__("tensorrt")
        self.__version__ = "10.13.3.9"
        self.cuda, self.topk, self.embedding_dim, self.most = cuda, topk, embedding_dim, most
        self.frame_shape = frame_shape
        self.deserialised = 0
        self.runs = True
        self.Runtime = lambda log: FakeRuntime(self, log)
        self.nptype = lambda dtype: dtype

    def tensors(self, count: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Return shape and type of every tensor."""
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "frames": ((count, *self.frame_shape), np.uint8),
            "boxes": ((count, self.topk, 4), np.float32),
            "scores": ((count, self.topk), np.float32),
            "classes": ((count, self.topk), np.int64),
        }
        if self.embedding_dim:
            shapes["embeddings"] = ((count, self.topk, self.embedding_dim), np.float32)
        return shapes


class FakeRuntime:
    def __init__(self, library: FakeLibrary, log: Any) -> None:
        self.library, self.log = library, log

    def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine | None:
        self.library.deserialised += 1
        if plan != b"engine":
            self.log.log(FakeLibrary.ILogger.WARNING, "something minor")
            self.log.log(FakeLibrary.ILogger.ERROR, "magic tag\ndoes not match")
            return None
        return FakeEngine(self.library, self.log)


class FakeEngine:
    def __init__(self, library: FakeLibrary, log: Any) -> None:
        self.library, self.log = library, log
        self._tensors = library.tensors(-1)
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> FakeLibrary.TensorIOMode:
        modes = FakeLibrary.TensorIOMode
        return modes.INPUT if name == "frames" else modes.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name][0]

    def get_tensor_dtype(self, name: str) -> Any:
        return self._tensors[name][1]

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self.library, self.log)


class FakeContext:
    def __init__(self, library: FakeLibrary, log: Any) -> None:
        self.library, self.log = library, log
        self.count = -1
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "frames"
        if shape[1:] != self.library.frame_shape or not 1 <= shape[0] <= self.library.most:
            return False
        self.count = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.library.tensors(self.count)[name][0]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if not self.library.runs:
            self.log.log(FakeLibrary.ILogger.ERROR, "launch failed")
            return False
        tensors = self.library.tensors(self.count)
        assert self.addresses.keys() == tensors.keys()
        cuda = self.library.cuda
        arrays = {
            name: cuda.array(self.addresses[name], shape, dtype)
            for name, (shape, dtype) in tensors.items()
        }

        def work() -> None:
            results = compute(arrays["frames"], self.library.topk, self.library.embedding_dim)
            for name in arrays.keys() - {"frames"}:
                arrays[name][...] = results[name]

        cuda.streams[stream].queue.append(work)
        return True
