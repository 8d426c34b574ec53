"""ONNX Runtime on the CPU, through CUDA or through TensorRT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.engines.base import Engine, starts
from runtime.engines.providers import (
    CPU,
    CUDA,
    NAMES,
    TENSORRT,
    TENSORRT_BATCH,
    TENSORRT_RTX,
    choose_providers,
    provider_options,
    session_options,
)
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from runtime.onnx_metadata import read_model_info

TYPES: dict[str, npt.DTypeLike] = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
INPUT = "frames"


class OnnxRuntimeEngine(Engine):
    """A fused ONNX graph in an ONNX Runtime session.

    Args:
        path: ONNX file.
        backend: ``cpu``, ``cuda`` or ``ort-tensorrt``.
        threads: CPU threads for one operator; ONNX Runtime's choice when None.
        spin: See ``session_options``.

    Raises:
        UserError: ONNX Runtime is missing, the file is no ONNX file of ours, its graph does not
            match its description, or the backend that was asked for does not run.
    """

    def __init__(
        self, path: Path, backend: str, threads: int | None = None, spin: bool = True
    ) -> None:
        self.info = read_model_info(path)
        runtime = import_runtime()
        wanted = choose_providers(runtime, backend)
        providers = [provider_options(provider, self.info, path) for provider in wanted]
        options = session_options(runtime, threads, spin)
        try:
            # Without the fall-back of its own, of which ONNX Runtime prints pages.
            session = runtime.InferenceSession(
                str(path), options, providers=providers, enable_fallback=False
            )
        except Exception as error:  # ONNX Runtime has no common base class for its own
            raise _not_loaded(path, wanted[0], error) from error
        self.provider = session.get_providers()[0]
        if self.provider != wanted[0]:
            raise UserError(
                f"{NAMES[wanted[0]]} does not run here, {self.provider} would run instead: check "
                "the driver and the libraries of CUDA, cuDNN and TensorRT, or choose --backend cpu"
            )
        _check_graph(session, self.info, path)
        self.reason = NAMES[self.provider]
        self._path = path
        self._session: Any = session
        self._values = runtime.OrtValue
        # TensorRT-RTX comes without the means to set memory aside, and copies on its own.
        self._device = "cuda" if self.provider in (CUDA, TENSORRT) else "cpu"
        self._outputs = _outputs_of(self.info)
        self._bound: dict[int, _Bound] = {}
        # The first run allocates and tunes; it must not count as a frame.
        self.run(self.input(1))

    @property
    def largest_batch(self) -> int:
        """Most frames per run; TensorRT in ONNX Runtime has to be told a number beforehand."""
        most = super().largest_batch
        return min(most, TENSORRT_BATCH) if self.provider in (TENSORRT, TENSORRT_RTX) else most

    def input(self, count: int) -> npt.NDArray[np.uint8]:
        """Return memory for frames that is bound to the session; see ``Engine.input``.

        Raises:
            UserError: The graph does not take so many frames at a time.
        """
        self._check_count(count)
        return super().input(count)

    def run(self, frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.generic]]:
        """Run the network; see ``Engine.run``.

        Raises:
            UserError: The graph does not take these frames, or so many at a time.
            RuntimeError: The engine is closed.
        """
        if self._session is None:
            raise RuntimeError("the engine is closed")
        self._check_count(len(frames))
        try:
            if starts(frames, self._memory):
                return self._binding(len(frames)).run(self._session)
            values = self._session.run(list(self._outputs), {INPUT: frames})
        except Exception as error:  # see above
            raise UserError(
                f"{self._path} does not run on frames {list(frames.shape)} ({first_line(error)}): "
                "export it again with kd-export"
            ) from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Drop the session and what is bound to it."""
        self._bound.clear()
        self._session = None

    def _check_count(self, count: int) -> None:
        if count != 1 and not self.info.dynamic_batch:
            raise UserError(
                f"{self._path} takes one frame at a time, not {count}: export it with "
                "--dynamic-batch"
            )
        if not 1 <= count <= self.largest_batch:
            raise UserError(
                f"{self._path} cannot be run on {count} frames at a time: give it one or more, and "
                f"at most {TENSORRT_BATCH} through TensorRT"
            )

    def _binding(self, count: int) -> _Bound:
        """Return what is bound for so many frames, of the memory that ``input`` hands out now."""
        frames = self.input(count)
        bound = self._bound.get(count)
        if bound is None or not starts(frames, bound.frames):
            bound = _Bound(self._session, self._values, self._device, frames, self._outputs)
            self._bound[count] = bound
        return bound


class _Bound:
    """Memory for frames and outputs that is bound to a session, for one number of frames.

    Args:
        session: The session.
        values: ONNX Runtime's ``OrtValue``.
        device: Where the network takes and leaves its arrays: ``cpu`` or ``cuda``.
        frames: uint8 ``[N, H, W, 3]`` on the host; on the CPU the network reads it as it is.
        outputs: Type and shape without N of each output.
    """

    def __init__(
        self,
        session: Any,
        values: Any,
        device: str,
        frames: npt.NDArray[np.uint8],
        outputs: Mapping[str, tuple[str, tuple[int, ...]]],
    ) -> None:
        self.frames = frames
        count = len(frames)
        self._is_on_device = device != "cpu"
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._outputs: dict[str, Any] = {}
        if self._is_on_device:
            self._input = values.ortvalue_from_shape_and_type(frames.shape, np.uint8, device, 0)
        else:
            self._input = values.ortvalue_from_numpy(frames)
        for name, (kind, shape) in outputs.items():
            if self._is_on_device:
                value = values.ortvalue_from_shape_and_type((count, *shape), TYPES[kind], device, 0)
            else:
                self._arrays[name] = np.empty((count, *shape), TYPES[kind])
                value = values.ortvalue_from_numpy(self._arrays[name])
            self._outputs[name] = value
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._input)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, session: Any) -> dict[str, npt.NDArray[np.generic]]:
        """Run the network on the frames and return copies of what it left."""
        if self._is_on_device:
            self._input.update_inplace(self.frames)
        session.run_with_iobinding(self._binding)
        if self._is_on_device:
            self._binding.synchronize_outputs()
            return {name: np.array(value.numpy()) for name, value in self._outputs.items()}
        return {name: array.copy() for name, array in self._arrays.items()}


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


def _not_loaded(path: Path, provider: str, error: Exception) -> UserError:
    """Return what to tell about a session that cannot be made."""
    reason = first_line(error)
    if "DeformConv" in reason:
        advice = "install ONNX Runtime 1.25 or newer, or export it with --deform plain"
    elif provider != CPU:
        return UserError(
            f"{NAMES[provider]} cannot run {path} ({reason}): check the driver and the libraries "
            "of CUDA, cuDNN and TensorRT, or choose --backend cpu"
        )
    else:
        advice = "it is damaged or another kind of file, export it again with kd-export"
    return UserError(f"{path} cannot be loaded as an ONNX model ({reason}): {advice}")


def _outputs_of(info: ModelInfo) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape, without the number of frames, of each output of a graph."""
    outputs: dict[str, tuple[str, tuple[int, ...]]] = {
        "boxes": ("tensor(float)", (info.topk, 4)),
        "scores": ("tensor(float)", (info.topk,)),
        "classes": ("tensor(int64)", (info.topk,)),
    }
    if info.embedding_dim:
        outputs["embeddings"] = ("tensor(float)", (info.topk, info.embedding_dim))
    return outputs


def _check_graph(session: Any, info: ModelInfo, path: Path) -> None:
    """Compare names, types and shapes of inputs and outputs with the description.

    Raises:
        UserError: They differ.
    """
    width, height = info.frames_wh
    batch = None if info.dynamic_batch else 1
    expected: dict[str, tuple[str, list[int | None]]] = {
        INPUT: ("tensor(uint8)", [batch, height, width, 3]),
        **{name: (kind, [batch, *shape]) for name, (kind, shape) in _outputs_of(info).items()},
    }
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
