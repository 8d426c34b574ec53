"""Engines of TensorRT and TensorRT-RTX, which offer the same interface."""

from __future__ import annotations

import dataclasses
import importlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.engines.base import Engine, starts
from runtime.engines.cuda import Buffer, LaunchGraph, call, find_gpu, import_cuda
from runtime.engines.sidecar import TITLES, EngineSidecar, Kind
from runtime.errors import UserError

INPUT = "frames"
# Batch sizes that are launched as a graph; each takes an execution context of its own.
MOST_GRAPHS = 8

MODULES: dict[Kind, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
MISSING: dict[Kind, str] = {
    "tensorrt": 'TensorRT is not installed: pip install "kd-mot[tensorrt]" (on a Jetson it comes '
    'with JetPack), or use TensorRT-RTX: pip install "kd-mot[tensorrt-rtx]"',
    "tensorrt-rtx": 'TensorRT-RTX is not installed: pip install "kd-mot[tensorrt-rtx]"',
}


class TensorRtEngine(Engine):
    """An engine file on the GPU, with its memory set aside once for the largest batch.

    Upload, network and download of a batch size are recorded as a CUDA graph when that size comes
    first, and launched as a whole from then on. A batch size keeps an execution context of its own
    for that, since a context forgets the shapes that a graph was recorded with when it is given
    others; all contexts work in the same memory, one at a time. Batch sizes after the first
    ``MOST_GRAPHS``, and engines that cannot be recorded, are launched kernel by kernel.

    Args:
        path: Engine file, its sidecar beside it.
        backend: ``auto``, or the kind that the engine must be of.

    Raises:
        UserError: The sidecar does not fit the engine, the library or the GPU, one of them is
            missing, or the engine cannot be loaded.
    """

    def __init__(self, path: Path, backend: str = "auto") -> None:
        sidecar = EngineSidecar.load(path)
        if backend not in ("auto", sidecar.kind):
            raise UserError(
                f"{path} is an engine of {TITLES[sidecar.kind]}: give --backend {sidecar.kind}, or "
                "leave the choice to auto"
            )
        sidecar.check_files(path)
        library = import_library(sidecar.kind)
        cuda = import_cuda()
        gpu = find_gpu(cuda)
        sidecar.check_machine(path, library.__version__, gpu)
        self.provider = sidecar.kind
        self.reason = f"{TITLES[sidecar.kind]} on {gpu.name}"
        self._path = path
        self._library = library
        self._cuda = cuda
        self.smallest_batch, _, self._most = sidecar.batch
        self.info = dataclasses.replace(
            sidecar.info,
            # The engine's own verdict, where there is one, comes after that on the graph.
            parity=sidecar.parity or sidecar.info.parity,
            dynamic_batch=self._most > 1,
        )
        self._log = make_log(library)
        self._graphs: dict[int, LaunchGraph | None] = {}
        self._recorded: list[Any] = []  # the graphs' contexts
        self._records = True
        self._count = 0  # as the context for what is not recorded was told
        with ExitStack() as resources:
            self._resources = resources
            self._open(sidecar)
            # The first run allocates, tunes and records; it must not count as a frame.
            self.run(np.zeros((self.smallest_batch, *self._frame_shape), np.uint8))
            if self._records:
                self.reason += ", launched as a CUDA graph"
            self._resources = resources.pop_all()

    @property
    def largest_batch(self) -> int:
        """Most frames per run."""
        return self._most

    def input(self, count: int) -> npt.NDArray[np.uint8]:
        """Return page-locked memory for frames; see ``Engine.input``.

        Raises:
            UserError: The engine was not built for so many frames.
            RuntimeError: The engine is closed.
        """
        self._check_open()
        frames: npt.NDArray[np.uint8] = self._buffers[INPUT].host[:count]
        if not self.smallest_batch <= count <= self._most:
            raise self._refusal(f"{count}")
        return frames

    def run(self, frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.generic]]:
        """Run the network; see ``Engine.run``.

        The arrays are copies, which the next run leaves alone.

        Raises:
            UserError: The frames do not suit the engine, or CUDA fails.
            RuntimeError: The engine is closed.
        """
        self._check_open()
        self._check_frames(frames)
        count = len(frames)
        memory = self._buffers[INPUT].host
        if not starts(frames, memory):
            memory[:count] = frames
        if count not in self._graphs:
            self._graphs[count] = self._record(count)
        graph = self._graphs[count]
        if graph is not None:
            graph.launch(self._stream)
        else:
            if count != self._count:
                self._set_count(self._context, count)
                self._count = count
            self._enqueue(self._context, count)
        call(self._cuda.cudaStreamSynchronize, self._stream)
        return {name: self._buffers[name].host[:count].copy() for name in self._outputs}

    def close(self) -> None:
        """Free the memory on both sides, the graphs, the stream and the engine."""
        self._resources.close()

    def _open(self, sidecar: EngineSidecar) -> None:
        """Deserialise the engine and set up what a run needs, each freed by ``_resources``."""
        self._rebuild = sidecar.rebuild
        cuda, resources = self._cuda, self._resources
        # A stream that the default one does not wait for, or whoever uses that could end recording.
        self._stream: Any = call(cuda.cudaStreamCreateWithFlags, cuda.cudaStreamNonBlocking)
        resources.callback(cuda.cudaStreamDestroy, self._stream)
        self._workspace: int | None = None
        resources.callback(self._free_workspace)
        resources.callback(self._forget)
        # The runtime must live as long as what it has deserialised.
        self._runtime: Any = self._library.Runtime(self._log)
        self._engine: Any = self._runtime.deserialize_cuda_engine(self._path.read_bytes())
        if self._engine is None:
            raise UserError(f"{self._path} cannot be loaded ({self._reason()}): {self._rebuild}")
        self._outputs = self._check_tensors(self._library)
        self._workspace_size = max(int(self._engine.device_memory_size_v2), 1)
        self._workspace = call(cuda.cudaMalloc, self._workspace_size)
        self._buffers: dict[str, Buffer] = {}
        self._context: Any = self._new_context()
        # Shapes of the outputs follow from that of the input, here the largest.
        self._set_count(self._context, self._most)
        self._count = self._most
        for name in (INPUT, *self._outputs):
            shape = tuple(self._context.get_tensor_shape(name))
            dtype = self._library.nptype(self._engine.get_tensor_dtype(name))
            buffer = Buffer(cuda, shape, dtype)
            resources.callback(buffer.free)
            self._buffers[name] = buffer
            self._context.set_tensor_address(name, buffer.device)

    def _new_context(self) -> Any:
        """Return an execution context that works in the common memory.

        Raises:
            UserError: The library cannot make one.
        """
        library, engine = self._library, self._engine
        strategy: Any = library.ExecutionContextAllocationStrategy.USER_MANAGED
        kernels = getattr(library, "DynamicShapesKernelSpecializationStrategy", None)
        if kernels is not None:
            # TensorRT-RTX would compile the fast kernels later, and the graph keep the slow ones.
            config = engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            config.dynamic_shapes_kernel_specialization_strategy = kernels.EAGER
            strategy = config
        context = engine.create_execution_context(strategy)
        if context is None:
            raise UserError(
                f"{self._path} cannot be set up on this GPU ({self._reason()}): close what else "
                "uses its memory"
            )
        context.set_device_memory(self._workspace, self._workspace_size)
        for name, buffer in self._buffers.items():
            context.set_tensor_address(name, buffer.device)
        return context

    def _record(self, count: int) -> LaunchGraph | None:
        """Record what a run of so many frames does; None where it cannot or need not be."""
        if not self._records or len(self._recorded) == MOST_GRAPHS:
            return None
        try:
            context = self._new_context()
            self._set_count(context, count)
            # What the library does but once per shape cannot be recorded.
            self._enqueue(context, count)
            call(self._cuda.cudaStreamSynchronize, self._stream)
            # Only newer libraries can tell beforehand.
            can_be = getattr(context, "is_stream_capturable", lambda stream: True)
            if not can_be(int(self._stream)):
                raise UserError("the engine does not permit it: run it as it is")
            graph = LaunchGraph(self._cuda, self._stream, lambda: self._enqueue(context, count))
        except UserError as error:
            self._records = False
            why = str(error).removeprefix(f"{self._path} ").partition(": ")[0]
            self.reason += f", launched kernel by kernel: no CUDA graph for {count} frames ({why})"
            return None
        self._recorded.append(context)
        self._resources.callback(graph.free)
        return graph

    def _enqueue(self, context: Any, count: int) -> None:
        """Put upload, network and download on the stream.

        Raises:
            UserError: CUDA or the library fails.
        """
        self._buffers[INPUT].upload(count, self._stream)
        if not context.execute_async_v3(int(self._stream)):
            raise UserError(f"{self._path} does not run ({self._reason()}): {self._rebuild}")
        for name in self._outputs:
            self._buffers[name].download(count, self._stream)

    def _check_tensors(self, library: Any) -> list[str]:
        """Return the names of the outputs.

        Raises:
            UserError: The engine's inputs or outputs are not those of a fused graph.
        """
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        entry = library.TensorIOMode.INPUT
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == entry]
        outputs = [name for name in names if name not in inputs]
        width, height = self.info.frames_wh
        self._frame_shape = (height, width, 3)
        expected = {"boxes", "scores", "classes"} | (
            {"embeddings"} if self.info.embedding_dim else set()
        )
        if inputs != [INPUT] or not expected <= set(outputs):
            raise UserError(
                f"{self._path} has {', '.join(sorted(names))} where its description wants "
                f"{', '.join(sorted({INPUT, *expected}))}: {self._rebuild}"
            )
        taken = tuple(self._engine.get_tensor_shape(INPUT))[1:]
        if taken != self._frame_shape:
            raise UserError(
                f"{self._path} takes frames of {taken}, and its description says "
                f"{self._frame_shape}: {self._rebuild}"
            )
        return outputs

    def _check_frames(self, frames: npt.NDArray[np.uint8]) -> None:
        """Refuse frames that the engine was not built for.

        Raises:
            UserError: Type, shape or number is another.
        """
        fits = frames.dtype == np.uint8 and frames.shape[1:] == self._frame_shape
        if not fits or not self.smallest_batch <= len(frames) <= self._most:
            raise self._refusal(f"{frames.dtype} {'x'.join(map(str, frames.shape))}")

    def _refusal(self, given: str) -> UserError:
        """Return what to tell about frames that the engine was not built for."""
        wanted = "x".join(map(str, self._frame_shape))
        return UserError(
            f"{self._path} takes {self.smallest_batch} to {self._most} frames of uint8 {wanted} at "
            f"a time, not {given}: give it such frames, or {self._rebuild} and another --batch"
        )

    def _check_open(self) -> None:
        if self._context is None:
            raise RuntimeError("the engine is closed")

    def _set_count(self, context: Any, count: int) -> None:
        """Tell a context how many frames come."""
        if not context.set_input_shape(INPUT, (count, *self._frame_shape)):
            raise UserError(
                f"{self._path} does not take {count} frames ({self._reason()}): {self._rebuild}"
            )

    def _forget(self) -> None:
        """Let the library free what it holds, the contexts before the engine."""
        self._recorded.clear()
        self._context = None
        self._engine = None
        self._runtime = None

    def _free_workspace(self) -> None:
        if self._workspace is not None:
            self._cuda.cudaFree(self._workspace)

    def _reason(self) -> str:
        """Return the last error that the library logged, in one line."""
        return shorten(self._log.errors[-1]) if self._log.errors else "no reason given"


def import_library(kind: Kind) -> Any:
    """Import TensorRT or TensorRT-RTX.

    Raises:
        UserError: It is not installed or cannot be loaded.
    """
    try:
        return importlib.import_module(MODULES[kind])
    except ModuleNotFoundError as error:
        raise UserError(MISSING[kind]) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(
            f"{TITLES[kind]} is installed and cannot be loaded ({shorten(str(error))}): check that "
            "its version suits the CUDA of the driver"
        ) from error


def make_log(library: Any) -> Any:
    """Return a logger that keeps the library's errors, in ``errors``, instead of printing them."""

    class ErrorLog(library.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.INTERNAL_ERROR, library.ILogger.ERROR):
                self.errors.append(message)

    return ErrorLog()


def shorten(message: str, limit: int = 240) -> str:
    """Return a message as one line of bounded length.

    Examples:
        >>> shorten("out of memory\\n  at layer 3", 16)
        'out of memory...'
    """
    line = " ".join(message.split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."
