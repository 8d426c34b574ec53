"""ONNX Runtime on the CPU or through CUDA."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.engines.base import Engine
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from runtime.onnx_metadata import read_model_info

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
FATAL = 4  # ONNX Runtime's log level; its errors reach the user through exceptions


class OnnxRuntimeEngine(Engine):
    """A fused ONNX graph in an ONNX Runtime session.

    Args:
        path: ONNX file.
        backend: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads for one operator; ONNX Runtime's choice when None.

    Raises:
        UserError: ONNX Runtime is missing, the file is no ONNX file of ours, its graph does not
            match its description, or CUDA was asked for and does not run.
    """

    def __init__(self, path: Path, backend: str = "auto", threads: int | None = None) -> None:
        self.info = read_model_info(path)
        runtime = import_runtime()
        providers = choose_providers(runtime, backend)
        options = session_options(runtime, threads)
        try:
            session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime has no common base class for its own
            reason = first_line(error)
            advice = "it is damaged or another kind of file, export it again with kd-export"
            if "DeformConv" in reason:
                advice = "install ONNX Runtime 1.25 or newer, or export it with --deform plain"
            raise UserError(
                f"{path} cannot be loaded as an ONNX model ({reason}): {advice}"
            ) from error
        self.provider = session.get_providers()[0]
        if backend == "cuda" and self.provider != CUDA:
            raise UserError(
                f"CUDA was asked for and {self.provider} would run instead: check the driver and "
                "the CUDA and cuDNN libraries, or choose --backend cpu"
            )
        _check_graph(session, self.info, path)
        self._path = path
        self._session: Any = session
        self._outputs = [output.name for output in session.get_outputs()]
        # The first run allocates and tunes; it must not count as a frame.
        width, height = self.info.frames_wh
        self.run(np.zeros((1, height, width, 3), np.uint8))

    def run(self, frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.generic]]:
        """Run the network; see ``Engine.run``.

        Raises:
            UserError: The graph does not take these frames, or so many at a time.
        """
        if len(frames) != 1 and not self.info.dynamic_batch:
            raise UserError(
                f"{self._path} takes one frame at a time, not {len(frames)}: export it with "
                "--dynamic-batch"
            )
        try:
            values = self._session.run(self._outputs, {"frames": frames})
        except Exception as error:  # see above
            raise UserError(
                f"{self._path} does not run on frames {list(frames.shape)} ({first_line(error)}): "
                "export it again with kd-export"
            ) from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Drop the session."""
        self._session = None


def import_runtime() -> ModuleType:
    """Import ONNX Runtime.

    Raises:
        UserError: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            'ONNX Runtime is not installed: pip install "kd-mot[cpu]", or "kd-mot[gpu]" for CUDA'
        ) from error
    return onnxruntime


def session_options(runtime: ModuleType, threads: int | None) -> Any:
    """Return the options of a quiet session with so many CPU threads for one operator."""
    options = runtime.SessionOptions()
    options.log_severity_level = FATAL
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def choose_providers(runtime: ModuleType, backend: str) -> list[str]:
    """Return the providers of a backend, the best first.

    Raises:
        UserError: CUDA is asked for and this ONNX Runtime has none.
    """
    available = runtime.get_available_providers()
    if backend == "cuda" and CUDA not in available:
        raise UserError(
            "the installed ONNX Runtime has no CUDA: pip uninstall onnxruntime, then "
            'pip install "kd-mot[gpu]", or choose --backend cpu'
        )
    return [CUDA, CPU] if backend != "cpu" and CUDA in available else [CPU]


def _check_graph(session: Any, info: ModelInfo, path: Path) -> None:
    """Compare names, types and shapes of inputs and outputs with the description.

    Raises:
        UserError: They differ.
    """
    width, height = info.frames_wh
    batch = None if info.dynamic_batch else 1
    expected: dict[str, tuple[str, list[int | None]]] = {
        "frames": ("tensor(uint8)", [batch, height, width, 3]),
        "boxes": ("tensor(float)", [batch, info.topk, 4]),
        "scores": ("tensor(float)", [batch, info.topk]),
        "classes": ("tensor(int64)", [batch, info.topk]),
    }
    if info.embedding_dim:
        expected["embeddings"] = ("tensor(float)", [batch, info.topk, info.embedding_dim])
    found = {node.name: node for node in (*session.get_inputs(), *session.get_outputs())}
    if len(session.get_inputs()) != 1 or not expected.keys() <= found.keys():
        raise UserError(
            f"{path} has {', '.join(sorted(found))} where its description wants "
            f"{', '.join(sorted(expected))}: export it again with kd-export"
        )
    for name, (kind, shape) in expected.items():
        node = found[name]
        if node.type != kind or not _fits(node.shape, shape):
            raise UserError(
                f"{path}: {name} is {node.type} {node.shape}, its description wants {kind} "
                f"{['N' if batch is None else batch, *shape[1:]]}: export it again with kd-export"
            )


def _fits(shape: list[int | str | None], expected: list[int | None]) -> bool:
    """Tell whether a shape agrees with the numbers expected; None stands for any number.

    A side of the graph without a number takes any, so it fits all.

    Examples:
        >>> _fits(["N", 8, 4], [None, 8, 4]), _fits([1, 8], [None, 8])
        (True, False)
    """
    return len(shape) == len(expected) and all(
        side == want or not isinstance(side, int)
        for side, want in zip(shape, expected, strict=True)
    )


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or its type where it has none."""
    text = str(error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__
