"""The parity gate: runs a graph as it will run, and says whether it may leave."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import onnx

from export.onnx_file import describe
from export.parity import ParityResult, Reference, compare
from runtime.engines import open_engine
from runtime.model_info import ModelInfo

# Enough to rank layers by; the verdict is over all frames.
PROBE_FRAMES = 2


class Gate:
    """Judges graphs of one model by the same frames.

    Args:
        reference: What PyTorch finds in the frames.
        info: What the graphs say about themselves; the limits are those of its precision.
    """

    def __init__(self, reference: Reference, info: ModelInfo) -> None:
        self.reference = reference
        self.info = info

    def judge(self, model: onnx.ModelProto) -> ParityResult:
        """Compare a graph over all frames."""
        return self._compare(model, self.reference)

    def probe(self, model: onnx.ModelProto) -> ParityResult:
        """Compare a graph over a few frames, spread over all."""
        return self._compare(model, self._few)

    @cached_property
    def _few(self) -> Reference:
        reference = self.reference
        step = max(len(reference.frames) // PROBE_FRAMES, 1)
        return replace(
            reference,
            frames=reference.frames[::step],
            detections=reference.detections[::step],
            tied=reference.tied[::step],
        )

    def _compare(self, model: onnx.ModelProto, reference: Reference) -> ParityResult:
        described = onnx.ModelProto()
        described.CopyFrom(model)
        describe(described, self.info)
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "model.onnx"
            onnx.save(described, file)
            engine = open_engine(file, "cpu")
        result = compare(reference, engine)
        engine.close()
        return result
