"""What an exported model says about itself: one JSON entry in the ONNX metadata."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.errors import UserError

METADATA_KEY = "kd_mot"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ModelInfo:
    """Everything the runtime must know about a fused graph.

    The graph maps ``frames`` uint8 ``[N, H, W, 3]`` BGR, letterboxed to ``size_wh``, to ``boxes``
    float32 ``[N, K, 4]`` xyxy in input pixels, ``scores`` float32 ``[N, K]``, ``classes`` int64
    ``[N, K]`` and ``embeddings`` float32 ``[N, K, D]`` of unit length.

    Attributes:
        arch: Name in the model registry.
        size_wh: Input width and height in pixels.
        stride: Pixels of input per cell of the heatmap.
        topk: K, the number of peaks the graph returns per image.
        embedding_dim: D; 0 for a detector without re-identification.
        classes: Class names; the index is what ``classes`` holds.
        precision: ``fp32``, ``fp16`` or ``int8``.
        preprocess: ``host``: the runtime letterboxes (ratio kept, centred, grey 127).
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
    preprocess: str = "host"
    tracker: dict[str, Any] = field(default_factory=dict)
    source_sha256: str = ""
    tool_version: str = ""
    parameters: int = 0
    parity: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

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
            UserError: The file was not written by ``kd-export``, or by a newer one.
        """
        if METADATA_KEY not in metadata:
            raise UserError(
                f"{path} was not made by kd-export: export your checkpoint with kd-export"
            )
        try:
            entries = json.loads(metadata[METADATA_KEY])
            version = entries["format_version"]
            if version != FORMAT_VERSION:
                raise UserError(
                    f"{path} has description format {version}, this kd-mot reads {FORMAT_VERSION}: "
                    "export it again with the installed version"
                )
            entries["size_wh"] = (int(entries["size_wh"][0]), int(entries["size_wh"][1]))
            entries["classes"] = tuple(str(name) for name in entries["classes"])
            return cls(**entries)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(
                f"{path} has a damaged description ({error}): export it again"
            ) from error
