"""A GPU made of ordinary memory, and the library that would run on it.

Copies and runs are queued and happen when the stream is synchronised, as on a device; each is
checked against what is allocated then, on which side, and how large. Fresh memory is full of
rubbish, and so is memory that was given back. While a stream is recorded nothing runs, and what
must not be called then spoils the recording.
"""

from __future__ import annotations

import ctypes
import enum
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

RUBBISH = 0xAB
WORKSPACE = 64  # bytes


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901
    cudaErrorStreamCaptureUnmatched = 903


class cudaMemcpyKind(enum.Enum):
    cudaMemcpyHostToDevice = ("device", "host")
    cudaMemcpyDeviceToHost = ("host", "device")


class cudaStreamCaptureMode(enum.Enum):
    cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal = range(2)


class Handle:
    """What the bindings return for a stream, a graph or an executable graph."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []

    def __int__(self) -> int:
        return id(self)


class Stream(Handle):
    recording: Handle | None = None
    spoilt = False


class FakeCuda:
    """The functions of ``cuda.bindings.runtime`` that engines use.

    Attributes:
        failing: Error that a function reports, by the function's name.
        allocations_left: Allocations until memory runs out.
        spoilers: What was called while it must not be.
        launches: Graphs launched.
        last_error: What ``cudaGetLastError`` returns next.
    """

    cudaError_t = cudaError_t
    cudaMemcpyKind = cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaStreamNonBlocking = 1

    def __init__(self, name: str = "Orin", capability: tuple[int, int] = (8, 7)) -> None:
        self.name, self.capability = name, capability
        self.driver, self.devices = 13000, 1
        self.failing: dict[str, cudaError_t] = {}
        self.allocations_left = 1000
        self.memory: dict[str, dict[int, ctypes.Array]] = {"host": {}, "device": {}}
        # What was given back must not be given out again, or a stale address would look sound.
        self.given_back: list[ctypes.Array] = []
        self.streams: dict[int, Stream] = {}
        self.graphs: dict[int, Handle] = {}
        self.executables: dict[int, Handle] = {}
        self.spoilers: list[str] = []
        self.launches = 0
        self.last_error = cudaError_t.cudaSuccess

    def _report(self, function: str) -> cudaError_t:
        return self.failing.get(function, cudaError_t.cudaSuccess)

    def spoils(self, function: str) -> bool:
        """Spoil every recording under way, of which there should be none; tell if there is."""
        recorded = [stream for stream in self.streams.values() if stream.recording]
        for stream in recorded:
            stream.spoilt = True
            self.spoilers.append(function)
            self.last_error = cudaError_t.cudaErrorStreamCaptureUnsupported
        return bool(recorded)

    def push(self, stream: int, step: Callable[[], None]) -> None:
        """Have a step done in its turn, or recorded."""
        target = self.streams[stream]
        (target.recording or target).steps.append(step)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return cudaError_t.cudaSuccess, self.driver

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return self._report("cudaGetDeviceCount"), self.devices

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        assert device < self.devices
        major, minor = self.capability
        properties = types.SimpleNamespace(name=self.name.encode(), major=major, minor=minor)
        return cudaError_t.cudaSuccess, properties

    def cudaGetLastError(self) -> tuple[Any, ...]:
        error, self.last_error = self.last_error, cudaError_t.cudaSuccess
        return (error,)

    def _allocate(self, side: str, size: int) -> tuple[Any, ...]:
        if self.spoils("allocation"):
            return cudaError_t.cudaErrorStreamCaptureUnsupported, None
        if self.allocations_left == 0:
            return cudaError_t.cudaErrorMemoryAllocation, None
        self.allocations_left -= 1
        block = (ctypes.c_uint8 * size)(*([RUBBISH] * size))
        self.memory[side][ctypes.addressof(block)] = block
        return cudaError_t.cudaSuccess, ctypes.addressof(block)

    def _free(self, side: str, address: int) -> tuple[Any, ...]:
        assert not self.spoils("freeing"), "memory is freed while a stream is recorded"
        busy = any(stream.steps for stream in self.streams.values())
        assert not busy, "memory is freed while work is under way"
        block = self.memory[side].pop(address)
        ctypes.memset(address, RUBBISH, len(block))
        self.given_back.append(block)
        return (cudaError_t.cudaSuccess,)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate("device", size)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate("host", size)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._free("device", address)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._free("host", address)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == self.cudaStreamNonBlocking
        stream = Stream()
        self.streams[int(stream)] = stream
        return cudaError_t.cudaSuccess, stream

    def cudaStreamDestroy(self, stream: Stream) -> tuple[Any, ...]:
        assert not stream.steps and not stream.recording, "a stream is destroyed with work on it"
        del self.streams[int(stream)]
        return (cudaError_t.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: Stream) -> tuple[Any, ...]:
        if self.spoils("cudaStreamSynchronize"):
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        steps, stream.steps = stream.steps, []
        for step in steps:
            step()
        return (self._report("cudaStreamSynchronize"),)

    def cudaStreamBeginCapture(
        self, stream: Stream, mode: cudaStreamCaptureMode
    ) -> tuple[Any, ...]:
        assert mode is cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        assert stream.recording is None and int(stream) in self.streams
        if error := self._report("cudaStreamBeginCapture"):
            self.last_error = error
            return (error,)
        stream.recording, stream.spoilt = Handle(), False
        return (cudaError_t.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: Stream) -> tuple[Any, ...]:
        graph, stream.recording = stream.recording, None
        if graph is None:
            return cudaError_t.cudaErrorStreamCaptureUnmatched, None
        if stream.spoilt:
            self.last_error = cudaError_t.cudaErrorStreamCaptureInvalidated
            return self.last_error, None
        self.graphs[int(graph)] = graph
        return cudaError_t.cudaSuccess, graph

    def cudaGraphInstantiate(self, graph: Handle, flags: int) -> tuple[Any, ...]:
        assert flags == 0
        if error := self._report("cudaGraphInstantiate"):
            self.last_error = error
            return error, None
        executable = Handle()
        executable.steps = list(self.graphs[int(graph)].steps)
        self.executables[int(executable)] = executable
        return cudaError_t.cudaSuccess, executable

    def cudaGraphDestroy(self, graph: Handle) -> tuple[Any, ...]:
        del self.graphs[int(graph)]
        return (cudaError_t.cudaSuccess,)

    def cudaGraphLaunch(self, executable: Handle, stream: Stream) -> tuple[Any, ...]:
        self.launches += 1
        for step in self.executables[int(executable)].steps:
            self.push(int(stream), step)
        return (self._report("cudaGraphLaunch"),)

    def cudaGraphExecDestroy(self, executable: Handle) -> tuple[Any, ...]:
        busy = any(stream.steps for stream in self.streams.values())
        assert not busy, "a graph is destroyed while work is under way"
        del self.executables[int(executable)]
        return (cudaError_t.cudaSuccess,)

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: cudaMemcpyKind, stream: Stream
    ) -> tuple[Any, ...]:
        def copy() -> None:
            for side, address in zip(kind.value, (target, source), strict=True):
                assert address in self.memory[side], f"{side} memory is used and not allocated"
                assert size <= len(self.memory[side][address]), "more is copied than is there"
            ctypes.memmove(target, source, size)

        self.push(int(stream), copy)
        return (self._report("cudaMemcpyAsync"),)

    def array(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """View device memory, of which there must be enough."""
        block = self.memory["device"][address]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert size <= len(block), "more is computed than there is room for"
        return np.frombuffer(block, dtype, count=int(np.prod(shape))).reshape(shape)

    @property
    def is_clean(self) -> bool:
        """Whether everything was given back, and no error was left behind."""
        left = (*self.memory.values(), self.streams, self.graphs, self.executables)
        return not any(left) and not self.last_error


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

    class ExecutionContextAllocationStrategy(enum.Enum):
        STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)

    def __init__(
        self, cuda: FakeCuda, frame_shape: tuple[int, ...], topk: int, embedding_dim: int, most: int
    ) -> None:
        super().__init__("tensorrt")
        self.__version__ = "10.13.3.9"
        self.cuda, self.topk, self.embedding_dim, self.most = cuda, topk, embedding_dim, most
        self.frame_shape = frame_shape
        self.deserialised = 0
        self.runs = True
        self.can_be_recorded = True
        self.contexts: weakref.WeakSet[FakeContext] = weakref.WeakSet()
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
        self.device_memory_size_v2 = WORKSPACE

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> FakeLibrary.TensorIOMode:
        modes = FakeLibrary.TensorIOMode
        return modes.INPUT if name == "frames" else modes.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name][0]

    def get_tensor_dtype(self, name: str) -> Any:
        return self._tensors[name][1]

    def create_runtime_config(self) -> FakeConfig:
        return FakeConfig()

    def create_execution_context(self, how: Any) -> FakeContext:
        strategy = how.allocation if isinstance(how, FakeConfig) else how
        assert strategy is FakeLibrary.ExecutionContextAllocationStrategy.USER_MANAGED
        context = FakeContext(self.library, self.log)
        context.config = how
        self.library.contexts.add(context)
        return context


class FakeConfig:
    """``IRuntimeConfig``, which TensorRT-RTX has."""

    dynamic_shapes_kernel_specialization_strategy: Any = None
    allocation: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.allocation = strategy


class FakeContext:
    """Sets up on the first run with a shape, which must not be recorded, and forgets the last."""

    config: Any = None

    def __init__(self, library: FakeLibrary, log: Any) -> None:
        self.library, self.log = library, log
        self.count = -1
        self.is_set_up = False
        self.workspace = 0
        self.addresses: dict[str, int] = {}

    def set_device_memory(self, memory: int, size: int) -> None:
        assert WORKSPACE <= size <= len(self.library.cuda.memory["device"][memory])
        self.workspace = memory

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "frames"
        if shape[1:] != self.library.frame_shape or not 1 <= shape[0] <= self.library.most:
            return False
        self.count, self.is_set_up = shape[0], False
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.library.tensors(self.count)[name][0]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        cuda, count = self.library.cuda, self.count
        if not self.library.runs:
            self.log.log(FakeLibrary.ILogger.ERROR, "launch failed")
            return False
        if not (self.is_set_up and self.library.can_be_recorded) and cuda.spoils("execution"):
            self.log.log(FakeLibrary.ILogger.ERROR, "operation not permitted when capturing")
            return False
        self.is_set_up = True
        assert self.addresses.keys() == self.library.tensors(count).keys()
        alive = weakref.ref(self)

        def work() -> None:
            context = alive()
            assert context is not None, "the context of a run is gone"
            assert context.count == count, "the context was given other shapes meanwhile"
            assert context.workspace in cuda.memory["device"], "the working memory is gone"
            arrays = {
                name: cuda.array(context.addresses[name], shape, dtype)
                for name, (shape, dtype) in context.library.tensors(count).items()
            }
            library = context.library
            results = compute(arrays["frames"], library.topk, library.embedding_dim)
            for name in arrays.keys() - {"frames"}:
                arrays[name][...] = results[name]

        cuda.push(stream, work)
        return True
