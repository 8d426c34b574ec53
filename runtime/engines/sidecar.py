"""What stands beside a TensorRT engine: what it was built from, with what, and for which GPU.

A serialised engine is tied to the release of the library that built it, and a TensorRT engine to
the model of its GPU as well (NVIDIA TensorRT documentation, "Engine Compatibility"; TensorRT for
RTX documentation, "Engine Compatibility" and "CPU-Only AOT and TensorRT-RTX Engines"). The library
tells so late and in its own words, so the facts are kept in ``NAME.engine.json`` and compared
before the engine is touched.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runtime.errors import UserError
from runtime.files import file_sha256, write_json
from runtime.model_info import METADATA_KEY, ModelInfo

if TYPE_CHECKING:
    from runtime.engines.cuda import Gpu

Kind = Literal["tensorrt", "tensorrt-rtx"]

TITLES: dict[Kind, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
ENGINE_SUFFIX = ".engine"
FORMAT_VERSION = 1

# An engine of TensorRT-RTX that names no target runs on this compute capability and all later ones.
RTX_LEAST_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class EngineSidecar:
    """Everything that must be known of an engine before it is opened.

    Attributes:
        kind: The library it belongs to: ``tensorrt`` or ``tensorrt-rtx``.
        library_version: Version of the library that built it.
        onnx_file: Name of the ONNX file it was built from, without folder.
        onnx_sha256: Hash of that file.
        engine_sha256: Hash of the engine.
        precision: ``fp32``, ``fp16`` or ``int8``.
        gpu_name: The GPU it was built on; None where the build needed none.
        compute_capability: Of that GPU, or of the GPUs it was built for, e.g. ``8.7``; None for any
            that the library can serve.
        batch: Smallest, best and largest number of frames per run.
        info: What the graph says about itself.
        command: The command that builds the engine again, for any GPU in the case of TensorRT-RTX.
        parity: Figures of the engine's own parity check, ``passed`` tells the verdict; empty if it
            could not be run.
        format_version: Version of this description.
    """

    kind: Kind
    library_version: str
    onnx_file: str
    onnx_sha256: str
    engine_sha256: str
    precision: str
    gpu_name: str | None
    compute_capability: str | None
    batch: tuple[int, int, int]
    info: ModelInfo
    command: str
    parity: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def save(self, engine: Path) -> Path:
        """Write the sidecar of an engine.

        Args:
            engine: The engine file.

        Returns:
            The sidecar file.

        Raises:
            UserError: It cannot be written.
        """
        path = sidecar_path(engine)
        write_json(path, dataclasses.asdict(self))
        return path

    @classmethod
    def load(cls, engine: Path) -> EngineSidecar:
        """Read the sidecar of an engine.

        Args:
            engine: The engine file.

        Raises:
            UserError: It is missing, damaged, or written by a newer version.
        """
        path = sidecar_path(engine)
        again = f"build it again with kd-export engine {engine.stem}.onnx"
        try:
            entries = json.loads(path.read_text())
            version = entries["format_version"]
            if version != FORMAT_VERSION:
                raise UserError(
                    f"{path} has format {version}, this kd-mot reads {FORMAT_VERSION}: install the "
                    f"kd-mot that built the engine, or {again}"
                )
            return cls(**_checked(entries, path))
        except FileNotFoundError as error:
            raise UserError(
                f"{engine} has no {path.name} beside it: copy it along with the engine, or {again}"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged ({error}): {again}") from error

    def check_files(self, engine: Path) -> None:
        """Compare with the engine, and with the ONNX file where that lies beside it.

        Raises:
            UserError: The engine is not the one described, or the ONNX file has changed since.
        """
        if file_sha256(engine) != self.engine_sha256:
            raise UserError(
                f"{engine} is not the engine that {sidecar_path(engine).name} describes, it was "
                f"damaged or replaced: {self.rebuild}"
            )
        onnx = engine.with_name(self.onnx_file)
        if onnx.is_file() and file_sha256(onnx) != self.onnx_sha256:
            raise UserError(
                f"{engine} is stale, {onnx.name} beside it has changed since: {self.rebuild}"
            )

    def check_machine(self, engine: Path, library_version: str, gpu: Gpu) -> None:
        """Compare with the installed library and the GPU at hand.

        An engine serves the release that built it and no other, unless it was built as "version
        compatible", which costs speed and is not done here. TensorRT picks its kernels by timing
        them, so its engine serves the model of GPU it was built on. TensorRT-RTX compiles kernels
        when the engine is opened: without a target its engine serves compute capability 8.0 and
        later, with one that capability alone.

        Args:
            engine: The engine file, for the message.
            library_version: Version of the installed library.
            gpu: The GPU that would run it.

        Raises:
            UserError: The engine was built for something else; tells the command that builds it
                again.
        """
        title = TITLES[self.kind]
        if release(library_version) != release(self.library_version):
            raise UserError(
                f"{engine} was built by {title} {self.library_version}, and {library_version} is "
                f"installed: {self.rebuild}"
            )
        if self.gpu_name is not None and self.gpu_name != gpu.name:
            raise UserError(
                f"{engine} was built on {self.gpu_name}, and this GPU is {gpu.name}: {self.rebuild}"
            )
        is_early = _numbers(gpu.compute_capability) < RTX_LEAST_CAPABILITY
        if self.compute_capability is None:
            target, fits = "8.0 and later", not is_early
        else:
            target = self.compute_capability
            fits = target == gpu.compute_capability
        if not fits:
            # Without a target the engine suits all but the early ones.
            option = f" --compute-capability {gpu.compute_capability}" if is_early else ""
            raise UserError(
                f"{engine} was built for compute capability {target}, and {gpu.name} has "
                f"{gpu.compute_capability}: build it again with {self.command}{option}"
            )

    @property
    def rebuild(self) -> str:
        """What to do about an engine that does not fit its files or the library."""
        targeted = self.kind == "tensorrt-rtx" and self.compute_capability is not None
        option = f" --compute-capability {self.compute_capability}" if targeted else ""
        return f"build it again with {self.command}{option}"


def sidecar_path(engine: Path) -> Path:
    """Return where the sidecar of an engine lies.

    Examples:
        >>> sidecar_path(Path("models/student.engine")).name
        'student.engine.json'
    """
    return engine.with_name(f"{engine.name}.json")


def release(version: str) -> tuple[int, ...]:
    """Return the release of a library version, which is what ties an engine.

    The fourth number counts builds of one release, and some packages leave it away.

    Examples:
        >>> release("10.13.3.9") == release("10.13.3"), release("10.13.2.6") == release("10.13.3")
        (True, False)
    """
    return _numbers(version)[:3]


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version.

    Examples:
        >>> _numbers("8.7"), _numbers("1.7.1.post2")
        ((8, 7), (1, 7, 1))
    """
    numbers = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _checked(entries: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the fields of a sidecar as they are declared.

    Raises:
        ValueError: A field holds something else.
    """
    smallest, best, largest = (int(frames) for frames in entries["batch"])
    if not 1 <= smallest <= best <= largest:
        raise ValueError(f"batch {entries['batch']} is not in order")
    if entries["kind"] not in TITLES:
        raise ValueError(f"kind {entries['kind']!r} is unknown")
    if Path(entries["onnx_file"]).name != entries["onnx_file"]:
        raise ValueError("onnx_file is not the name of a file")
    info = {METADATA_KEY: json.dumps(entries["info"])}
    return {
        **entries,
        "batch": (smallest, best, largest),
        "info": ModelInfo.from_metadata(info, str(path)),
    }
