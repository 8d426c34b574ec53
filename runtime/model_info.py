"""What an exported model says about itself: one JSON entry in the ONNX metadata."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.errors import UserError

METADATA_KEY = "kd_mot"
FORMAT_VERSION = 2
# Format 1 has fewer entries; what those are that it lacks suits every model of its time.
READABLE_VERSIONS = (1, FORMAT_VERSION)
PREPROCESS = ("host", "graph")


@dataclass(frozen=True)
class ModelInfo:
    """Everything the runtime must know about a fused graph.

    The graph maps ``frames`` uint8 ``[N, H, W, 3]`` BGR to ``boxes`` float32 ``[N, K, 4]`` xyxy,
    ``scores`` float32 ``[N, K]``, ``classes`` int64 ``[N, K]`` and ``embeddings`` float32
    ``[N, K, D]`` of unit length. What the frames are, and in whose pixels the boxes, ``preprocess``
    tells.

    Attributes:
        arch: Name in the model registry.
        size_wh: Width and height of the network's input in pixels.
        stride: Pixels of input per cell of the heatmap.
        topk: K, the number of peaks the graph returns per image.
        embedding_dim: D; 0 for a detector without re-identification.
        classes: Class names; the index is what ``classes`` holds.
        precision: ``fp32``, ``fp16`` or ``int8``.
        quantization: ``u8s8`` or ``s8s8``, types of activations and weights in int8, with ``+fp16``
            where the rest is in half precision; else empty.
        kept: Layers left in higher precision, the most harmful first.
        preprocess: Who letterboxes (ratio kept, centred, grey 127). ``host``: the runtime does, to
            ``size_wh``, and boxes are in pixels of that. ``graph``: the graph does, frames are as
            the camera gives them and boxes are in their pixels.
        frame_size_wh: Width and height of the camera's frames in pixels, for a graph that
            letterboxes them; else None.
        dynamic_batch: Whether the graph takes any number of frames at a time instead of one.
        tracker: Tracker settings that suit this model; see ``runtime.TrackerConfig``.
        source_sha256: Hash of the checkpoint the graph was made from.
        tool_version: Version of kd-mot that wrote it.
        parameters: Number of learned parameters.
        parity: Figures of the parity check against PyTorch; ``passed`` tells the verdict.
        format_version: Version of this description.
    """

    arch: str
    size_wh: tuple[int, int]
    stride: int
    topk: int
    embedding_dim: int
    classes: tuple[str, ...]
    precision: str = "fp32"
    quantization: str = ""
    kept: tuple[str, ...] = ()
    preprocess: str = "host"
    frame_size_wh: tuple[int, int] | None = None
    dynamic_batch: bool = False
    tracker: dict[str, Any] = field(default_factory=dict)
    source_sha256: str = ""
    tool_version: str = ""
    parameters: int = 0
    parity: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def frames_wh(self) -> tuple[int, int]:
        """Width and height of what the graph's input ``frames`` takes, in pixels."""
        return self.frame_size_wh or self.size_wh

    def to_metadata(self) -> dict[str, str]:
        """Return the entry for the ONNX file's metadata."""
        return {METADATA_KEY: json.dumps(dataclasses.asdict(self), sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: str) -> ModelInfo:
        """Read the entry back.

        Args:
            metadata: The ONNX file's metadata.
            path: The file's path, for the message.

        Raises:
            UserError: The file was not written by ``kd-export``, or by a newer one, or wants
                something done with frames that this version does not know.
        """
        if METADATA_KEY not in metadata:
            raise UserError(
                f"{path} was not made by kd-export: export your checkpoint with kd-export"
            )
        try:
            entries = json.loads(metadata[METADATA_KEY])
            version = entries["format_version"]
            if version not in READABLE_VERSIONS:
                raise UserError(
                    f"{path} has description format {version}, this kd-mot reads up to "
                    f"{FORMAT_VERSION}: export it again with the installed version"
                )
            entries["size_wh"] = _size(entries["size_wh"])
            if entries.get("frame_size_wh") is not None:
                entries["frame_size_wh"] = _size(entries["frame_size_wh"])
            entries["classes"] = tuple(str(name) for name in entries["classes"])
            entries["kept"] = tuple(str(name) for name in entries.get("kept", ()))
            info = cls(**entries)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(
                f"{path} has a damaged description ({error}): export it again"
            ) from error
        info._check_preprocess(path)
        return info

    def _check_preprocess(self, path: str) -> None:
        """Refuse what the runtime could not prepare frames for.

        Raises:
            UserError: The kind of preprocessing is unknown, or the size of frames does not suit it.
        """
        if self.preprocess not in PREPROCESS:
            raise UserError(
                f"{path} wants {self.preprocess!r} preprocessing, which this kd-mot does not know: "
                "export it again with the installed version"
            )
        if (self.preprocess == "graph") != (self.frame_size_wh is not None):
            raise UserError(
                f"{path} has {self.preprocess} preprocessing and frame size {self.frame_size_wh}, "
                "which do not go together: export it again with --preprocess and --frame-size"
            )


def _size(sides: Sequence[int]) -> tuple[int, int]:
    width, height = sides
    return int(width), int(height)
