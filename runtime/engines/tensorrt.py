"""Engines of TensorRT and TensorRT-RTX, which offer the same interface."""

from __future__ import annotations

import dataclasses
import importlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.engines.base import Engine
from runtime.engines.cuda import Buffer, call, find_gpu, import_cuda
from runtime.engines.sidecar import TITLES, EngineSidecar, Kind
from runtime.errors import UserError

INPUT = "frames"

MODULES: dict[Kind, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
MISSING: dict[Kind, str] = {
    "tensorrt": 'TensorRT is not installed: pip install "kd-mot[tensorrt]" (on a Jetson it comes '
    'with JetPack), or use TensorRT-RTX: pip install "kd-mot[tensorrt-rtx]"',
    "tensorrt-rtx": 'TensorRT-RTX is not installed: pip install "kd-mot[tensorrt-rtx]"',
}


class TensorRtEngine(Engine):
    """An engine file on the GPU, with its memory set aside once for the largest batch.

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
        sidecar.check_machine(path, library.__version__, find_gpu(cuda))
        self.provider = sidecar.kind
        self._path = path
        self._cuda = cuda
        self._least, _, self._most = sidecar.batch
        self.info = dataclasses.replace(
            sidecar.info,
            # The engine's own verdict, where there is one, comes after that on the graph.
            parity=sidecar.parity or sidecar.info.parity,
            dynamic_batch=self._most > 1,
        )
        self._log = make_log(library)
        with ExitStack() as resources:
            self._open(library, sidecar, resources)
            # The first run allocates and tunes; it must not count as a frame.
            self.run(np.zeros((self._least, *self._frame_shape), np.uint8))
            self._resources = resources.pop_all()

    def run(self, frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.generic]]:
        """Run the network; see ``Engine.run``.

        The arrays are copies, which the next run leaves alone.

        Raises:
            UserError: The frames do not suit the engine, or CUDA fails.
        """
        if self._context is None:
            raise RuntimeError("the engine is closed")
        count = len(frames)
        self._check_frames(frames)
        if count != self._count:
            self._set_count(count)
        source = self._buffers[INPUT]
        source.host[:count] = frames
        source.upload(count, self._stream)
        if not self._context.execute_async_v3(int(self._stream)):
            raise UserError(f"{self._path} does not run ({self._reason()}): {self._rebuild}")
        for name in self._outputs:
            self._buffers[name].download(count, self._stream)
        call(self._cuda.cudaStreamSynchronize, self._stream)
        return {name: self._buffers[name].host[:count].copy() for name in self._outputs}

    def close(self) -> None:
        """Free the memory on both sides, the stream and the engine."""
        self._resources.close()

    def _open(self, library: Any, sidecar: EngineSidecar, resources: ExitStack) -> None:
        """Deserialise the engine and set up what a run needs, each freed by ``resources``."""
        self._rebuild = sidecar.rebuild
        resources.callback(self._forget)
        # The runtime must live as long as what it has deserialised.
        self._runtime: Any = library.Runtime(self._log)
        self._engine: Any = self._runtime.deserialize_cuda_engine(self._path.read_bytes())
        if self._engine is None:
            raise UserError(f"{self._path} cannot be loaded ({self._reason()}): {self._rebuild}")
        self._context: Any = self._engine.create_execution_context()
        if self._context is None:
            raise UserError(
                f"{self._path} cannot be set up on this GPU ({self._reason()}): close what else "
                "uses its memory"
            )
        self._stream: Any = call(self._cuda.cudaStreamCreate)
        resources.callback(self._cuda.cudaStreamDestroy, self._stream)
        self._outputs = self._check_tensors(library)
        # Shapes of the outputs follow from that of the input, here the largest.
        self._set_count(self._most)
        self._buffers: dict[str, Buffer] = {}
        for name in (INPUT, *self._outputs):
            shape = tuple(self._context.get_tensor_shape(name))
            dtype = library.nptype(self._engine.get_tensor_dtype(name))
            buffer = Buffer(self._cuda, shape, dtype)
            resources.callback(buffer.free)
            self._buffers[name] = buffer
            self._context.set_tensor_address(name, buffer.device)

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
        if not fits or not self._least <= len(frames) <= self._most:
            wanted = "x".join(map(str, self._frame_shape))
            raise UserError(
                f"{self._path} takes {self._least} to {self._most} frames of uint8 {wanted} at a "
                f"time, not {frames.dtype} {'x'.join(map(str, frames.shape))}"
            )

    def _set_count(self, count: int) -> None:
        """Tell the context how many frames come."""
        if not self._context.set_input_shape(INPUT, (count, *self._frame_shape)):
            raise UserError(
                f"{self._path} does not take {count} frames ({self._reason()}): {self._rebuild}"
            )
        self._count = count

    def _forget(self) -> None:
        """Let the library free what it holds, the context before the engine."""
        self._context = None
        self._engine = None
        self._runtime = None

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
