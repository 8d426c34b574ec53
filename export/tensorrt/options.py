"""What can be chosen when an engine is built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from runtime.engines.sidecar import TITLES, Kind
from runtime.errors import UserError

HIGHEST_LEVEL = 5


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is built.

    Attributes:
        kind: ``tensorrt``, for the GPU at hand, or ``tensorrt-rtx``, which needs no GPU to build
            and serves all from compute capability 8.0 on.
        batch: Smallest, best and largest number of frames per run, for a graph that leaves their
            number open; a graph that does not has its own.
        workspace_mb: Limit on the memory that a layer may use for itself, in MiB; None leaves it to
            the library.
        timing_cache: File with timings of earlier builds, read if it exists and written after; it
            makes the next build faster. TensorRT-RTX times nothing when it builds and ignores it.
        optimisation_level: From 0, built fast, to 5, runs fast; None takes the library's.
        compute_capability: The only one that an engine of TensorRT-RTX shall serve, e.g. ``8.9``,
            which makes it smaller; ``7.5`` must be said. None for 8.0 and all later ones.

    Raises:
        UserError: A choice makes no sense.
    """

    kind: Kind = "tensorrt"
    batch: tuple[int, int, int] = (1, 1, 1)
    workspace_mb: int | None = None
    timing_cache: Path | None = None
    optimisation_level: int | None = None
    compute_capability: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in TITLES:
            raise UserError(f"kind {self.kind!r} is unknown: choose one of {', '.join(TITLES)}")
        smallest, best, largest = self.batch
        if not 1 <= smallest <= best <= largest:
            raise UserError(
                f"batch {smallest},{best},{largest}: give smallest, best and largest in this order"
            )
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise UserError(f"a workspace of {self.workspace_mb} MiB: give 1 or more")
        level = self.optimisation_level
        if level is not None and not 0 <= level <= HIGHEST_LEVEL:
            raise UserError(f"optimisation level {level}: give 0 to {HIGHEST_LEVEL}")
        if self.compute_capability is not None:
            self._check_target(self.compute_capability)

    def _check_target(self, target: str) -> None:
        if self.kind == "tensorrt":
            raise UserError(
                f"compute capability {target}: TensorRT builds for the GPU at hand and no other, "
                "leave the choice out or build for tensorrt-rtx"
            )
        if not re.fullmatch(r"\d+\.\d", target):
            raise UserError(f"compute capability {target!r} is not of the form 8.9")

    def command(self, onnx_file: str) -> str:
        """Return the command that builds such an engine.

        The compute capability is left out: it is about the device, not about the engine.

        Args:
            onnx_file: Name of the ONNX file.

        Examples:
            >>> EngineOptions("tensorrt-rtx", batch=(1, 2, 4)).command("student.onnx")
            'kd-export engine student.onnx --kind tensorrt-rtx --batch 1,2,4'
        """
        words = ["kd-export engine", onnx_file, "--kind", self.kind]
        if self.batch != (1, 1, 1):
            words += ["--batch", ",".join(map(str, self.batch))]
        if self.workspace_mb is not None:
            words += ["--workspace", str(self.workspace_mb)]
        if self.optimisation_level is not None:
            words += ["--level", str(self.optimisation_level)]
        return " ".join(words)
