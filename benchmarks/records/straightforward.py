"""The export that everybody writes first: what the fused graph is measured against.

The network alone becomes a graph, with every head computed everywhere and whole maps as outputs.
Normalising pixels and finding peaks are done on the host, in NumPy, as efficiently as that can be:
the heatmap's maxima by shifted comparisons, the K best by a partial sort, and the other maps read
at those K cells alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from export.onnx_file import trace
from runtime.engines.onnx_runtime import import_runtime, session_options
from runtime.opencv import cv2
from runtime.preprocess import Letterboxer
from runtime.types import Detections
from train.models import TrackingModel
from train.models.deform import use_form

Floats = npt.NDArray[np.float32]


class Maps(nn.Module):
    """The network with its maps as a tuple, which an export wants."""

    def __init__(self, model: TrackingModel) -> None:
        super().__init__()
        self.model = model
        self.names = list(model.heads)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map RGB ``[N, 3, H, W]`` in 0..1 to the maps, in the order of ``names``."""
        maps = self.model(images)
        return tuple(maps[name] for name in self.names)


def export_plainly(model: TrackingModel, size_wh: tuple[int, int], path: Path) -> None:
    """Write the network as ONNX, nothing fused.

    Args:
        model: In eval mode.
        size_wh: Input in pixels.
        path: The file.
    """
    use_form(model, "operator")
    module = Maps(model)
    images = torch.zeros(1, 3, size_wh[1], size_wh[0])
    onnx.save(trace(module, images, "images", module.names), path)
    use_form(model, "auto")


class PlainDetector:
    """Runs such a graph: frames in, detections out.

    Args:
        path: The graph.
        size_wh: Its input in pixels.
        stride: Pixels per cell.
        topk: Detections per frame.
        threads: CPU threads of ONNX Runtime; its own choice when None.
    """

    def __init__(
        self, path: Path, size_wh: tuple[int, int], stride: int, topk: int, threads: int | None
    ) -> None:
        runtime = import_runtime()
        self._session = runtime.InferenceSession(
            str(path), session_options(runtime, threads), providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]
        self._letterboxer = Letterboxer(size_wh)
        self._stride, self._topk = stride, topk
        self._images = np.zeros((1, 3, size_wh[1], size_wh[0]), np.float32)

    def __call__(self, frame: npt.NDArray[np.uint8]) -> Detections:
        """Detect in a frame, uint8 BGR ``[H, W, 3]``; all K detections, in its pixels."""
        geometry = self._letterboxer(frame)
        rgb = cv2.cvtColor(self._letterboxer.buffer[0], cv2.COLOR_BGR2RGB)
        images = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32)
        images *= np.float32(1 / 255)
        self._images = images
        found = decode_maps(self.run_network(), self._topk, self._stride)
        found.boxes_xyxy = geometry.to_frame(found.boxes_xyxy)
        return found

    def run_network(self) -> dict[str, Floats]:
        """Return the maps of the last frame, computed anew."""
        outputs = self._session.run(self._names, {"images": self._images})
        return dict(zip(self._names, outputs, strict=True))


def decode_maps(maps: dict[str, Floats], topk: int, stride: int) -> Detections:
    """Find the K best peaks of whole maps, and read the other maps there.

    Args:
        maps: Raw maps ``[1, C, h, w]`` by name.
        topk: K.
        stride: Pixels per cell.
    """
    heat = maps["hm"][0]
    height, width = heat.shape[1:]
    scores = np.where(heat == window_maximum(heat), heat, np.float32(-1e4)).reshape(-1)
    best = np.argpartition(-scores, topk - 1)[:topk]
    best = best[np.argsort(-scores[best], kind="stable")]
    classes, cells = np.divmod(best, height * width)
    y, x = np.divmod(cells, width)
    centres = np.stack([x, y]) + maps["reg"][0][:, y, x]
    sizes = maps["wh"][0][:, y, x]
    sides = sizes if len(sizes) == 4 else np.concatenate([sizes, sizes]) / 2
    boxes = np.concatenate([centres - sides[:2], centres + sides[2:]]).T * stride
    embeddings = None
    if "id" in maps:
        vectors = maps["id"][0][:, y, x].T
        embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return Detections(boxes, 1 / (1 + np.exp(-scores[best].clip(-80))), embeddings, classes)


def window_maximum(heat: Floats) -> Floats:
    """Return the largest value of each 3x3 window of ``[C, h, w]``, one axis after the other."""
    rows = heat.copy()
    np.maximum(rows[:, 1:], heat[:, :-1], out=rows[:, 1:])
    np.maximum(rows[:, :-1], heat[:, 1:], out=rows[:, :-1])
    both = rows.copy()
    np.maximum(both[:, :, 1:], rows[:, :, :-1], out=both[:, :, 1:])
    np.maximum(both[:, :, :-1], rows[:, :, 1:], out=both[:, :, :-1])
    return both
