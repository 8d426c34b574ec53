"""An ONNX file that looks at pictures: what it wants to be fed is read from the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.console import warn
from runtime.engines.onnx_runtime import (
    CPU,
    CUDA,
    choose_providers,
    first_line,
    import_runtime,
    session_options,
)
from runtime.errors import UserError
from runtime.files import existing_file
from train.teachers.config import OnnxInput

CHANNELS = 3
NUMBERS: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}

Outputs = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class PictureInput:
    """The one input of a file.

    Attributes:
        name: Its name.
        number: Type of its values.
        channels_first: ``[N, 3, H, W]`` rather than ``[N, H, W, 3]``.
        batch: Pictures per run; None where the file leaves it open.
        size_wh: Width and height in pixels.
    """

    name: str
    number: type[np.generic]
    channels_first: bool
    batch: int | None
    size_wh: tuple[int, int]


class PictureModel:
    """An ONNX file in a session: on CUDA where ONNX Runtime has it, else on the CPU.

    Args:
        config: What the file wants to be fed.
        key: The section of the configuration it stands in, for messages.
        threads: CPU threads for one operator; ONNX Runtime's choice when None.
        backend: What computes it, as for ``runtime.load``.

    Attributes:
        where: The section and the file, for messages.
        input: What was read from the file.
        provider: What really runs it, e.g. ``CPUExecutionProvider``.

    Raises:
        UserError: ONNX Runtime is missing, the file is no readable ONNX file, or it does not take
            one picture of three channels.
    """

    def __init__(
        self, config: OnnxInput, key: str, threads: int | None = None, backend: str = "auto"
    ) -> None:
        path = existing_file(config.path, f"{key}.path")
        self.key = key
        self.where = f"{key}.path {path}"
        runtime = import_runtime()
        self._session: Any = self._open(runtime, path, threads, backend)
        self.provider: str = self._session.get_providers()[0]
        if self.provider == CPU and CUDA in choose_providers(runtime, backend):
            warn(
                f"{self.where} runs on the CPU: ONNX Runtime has CUDA and cannot use it here, "
                "check the driver and the CUDA and cuDNN libraries"
            )
        self.input = self._read_input(config)
        std = np.array(config.std, np.float32)
        self._bgr = config.colour == "bgr"
        self._gain = np.float32(config.scale) / std
        self._bias = np.array(config.mean, np.float32) / std
        self._is_plain = bool((self._gain == 1).all() and (self._bias == 0).all())
        if self.input.number is np.uint8 and not self._is_plain:
            raise UserError(
                f"{self.where} takes whole numbers 0..255: leave {key}.scale, {key}.mean and "
                f"{key}.std out"
            )

    def run(self, pictures: npt.NDArray[np.uint8], names: list[str] | None = None) -> Outputs:
        """Show it pictures.

        Args:
            pictures: ``[N, H, W, 3]`` uint8 BGR of the input's size. Where the file fixes the
                batch, N may be lower: the rest is left black, and the file's answer to it stands
                behind the others.
            names: Outputs wanted; None for all.

        Returns:
            By name, float types as float32.

        Raises:
            UserError: The file does not run on them, or gives numbers that are not finite.
        """
        return self.check(self.infer(self.feed(pictures), names))

    def check(self, outputs: Outputs) -> Outputs:
        """Return outputs as they are, if all numbers are finite; see ``run``."""
        for name, value in outputs.items():
            if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
                raise UserError(
                    f"{self.where}: output {name} has numbers that are not finite: check "
                    f"{self.key}.scale, {self.key}.mean and {self.key}.std, or the file"
                )
        return outputs

    def feed(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Turn pictures, see ``run``, into what the file takes."""
        batch = self.input.batch or len(pictures)
        if len(pictures) < batch:
            missing = np.zeros((batch - len(pictures), *pictures.shape[1:]), np.uint8)
            pictures = np.concatenate([pictures, missing])
        return self._values(pictures)

    def infer(self, values: npt.NDArray[Any], names: list[str] | None = None) -> Outputs:
        """Run the file on what ``feed`` returned; see ``run``. Numbers need not be finite."""
        names = names or [output.name for output in self._session.get_outputs()]
        try:
            found = self._session.run(names, {self.input.name: values})
        except Exception as error:  # ONNX Runtime has no common base class for its own
            raise UserError(
                f"{self.where} does not run on {len(values)} pictures of "
                f"{in_words(self.input.size_wh)} ({first_line(error)}): check {self.key}.size_wh, "
                "or export it again"
            ) from error
        outputs: Outputs = {}
        for name, value in zip(names, found, strict=True):
            if not isinstance(value, np.ndarray):
                raise UserError(f"{self.where}: output {name} is no tensor: export it again")
            if np.issubdtype(value.dtype, np.floating):
                value = value.astype(np.float32, copy=False)
            outputs[name] = value
        return outputs

    def blank(self) -> npt.NDArray[np.uint8]:
        """Return one grey picture of the input's size, ``[1, H, W, 3]``, to try the file with."""
        width, height = self.input.size_wh
        return np.full((1, height, width, CHANNELS), 114, np.uint8)

    def _values(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        if not self._bgr:
            pictures = pictures[..., ::-1]
        values: npt.NDArray[Any] = pictures
        if not self._is_plain:
            values = pictures * self._gain
            values -= self._bias
        if self.input.channels_first:
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values, self.input.number)

    def _open(self, runtime: Any, path: Path, threads: int | None, backend: str) -> Any:
        providers = choose_providers(runtime, backend)
        options = session_options(runtime, threads)
        try:
            return runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # see above
            raise UserError(
                f"{self.where} cannot be loaded as an ONNX model ({first_line(error)}): it is "
                "damaged, another kind of file, or needs a newer ONNX Runtime"
            ) from error

    def _read_input(self, config: OnnxInput) -> PictureInput:
        nodes = self._session.get_inputs()
        if len(nodes) != 1:
            names = ", ".join(node.name for node in nodes) or "none"
            raise UserError(
                f"{self.where} has {len(nodes)} inputs ({names}): give a file with one, the picture"
            )
        node = nodes[0]
        if node.type not in NUMBERS:
            raise UserError(
                f"{self.where}: input {node.name} is {node.type}: give a file that takes float, "
                "float16 or uint8"
            )
        channels_first = is_channels_first(node.shape)
        if channels_first is None:
            raise UserError(
                f"{self.where}: input {node.name} is {node.shape}: give a file that takes pictures "
                "[N, 3, H, W] or [N, H, W, 3]"
            )
        height, width = node.shape[2:4] if channels_first else node.shape[1:3]
        return PictureInput(
            name=node.name,
            number=NUMBERS[node.type],
            channels_first=channels_first,
            batch=_known(node.shape[0]),
            size_wh=self._size_wh((_known(width), _known(height)), config),
        )

    def _size_wh(
        self, in_file: tuple[int | None, int | None], config: OnnxInput
    ) -> tuple[int, int]:
        width, height = in_file
        wanted = config.size_wh
        if wanted is not None:
            if width not in (None, wanted[0]) or height not in (None, wanted[1]):
                raise UserError(
                    f"{self.where} takes pictures of {in_words(in_file)}, not "
                    f"{in_words(wanted)}: remove {self.key}.size_wh"
                )
            return wanted
        if width is None or height is None:
            raise UserError(
                f"{self.where} leaves the size of its pictures open ({in_words(in_file)}): give "
                f"width and height in {self.key}.size_wh"
            )
        return width, height


def is_channels_first(shape: list[int | str | None]) -> bool | None:
    """Tell where a picture's channels stand; None where there are no three.

    Sides the file leaves open are text or None. Where all are open, channels come first, as in most
    ONNX files.

    Examples:
        >>> is_channels_first(["n", 3, "h", "w"]), is_channels_first([1, 256, 128, 3])
        (True, False)
        >>> is_channels_first([1, 1, 64, 64]), is_channels_first([1, 10])
        (None, None)
    """
    if len(shape) != 4:
        return None
    if shape[1] == CHANNELS:
        return True
    if shape[3] == CHANNELS:
        return False
    return True if _known(shape[1]) is None else None


def in_words(size_wh: tuple[int | None, int | None]) -> str:
    """Write a size.

    Examples:
        >>> in_words((416, 320)), in_words((None, 320))
        ('416x320', '?x320')
    """
    return "x".join("?" if side is None else str(side) for side in size_wh)


def _known(side: int | str | None) -> int | None:
    return side if isinstance(side, int) and side > 0 else None
