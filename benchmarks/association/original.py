"""The original FairMOT tracker, run as it is on given detections, and how its code is imported.

Its ``JDETracker.update`` begins with the network. A stand-in network hands out the detections
instead, and stand-ins take the place of the modules that it imports and that have no part in the
association. Nothing of it is copied or changed: it comes from the user's own clone of
https://github.com/ifzhang/FairMOT (MIT).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import sys
import time
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.types import Detections, Tracks

# Top level names of the original's own modules.
_OWN = ("datasets", "models", "opts", "tracker", "tracking_utils", "utils")
MAX_DETECTIONS = 500


class OriginalTracker:
    """FairMOT's ``JDETracker`` behind the interface of ``runtime.Tracker``.

    Args:
        checkout: A clone of FairMOT.
        fps: Frames per second of the sequence.

    Attributes:
        association_seconds: Time that the last ``update`` spent after the stand-in network.

    Raises:
        UserError: The checkout is not FairMOT's, or SciPy is not installed.
    """

    def __init__(self, checkout: Path, fps: float = 30.0) -> None:
        self._network = _Network()
        with original_code(Path(checkout), _stand_ins(self._network)):
            module = importlib.import_module("tracker.multitracker")
        options = types.SimpleNamespace(
            gpus=[-1],
            arch="",
            heads={},
            head_conv=0,
            load_model="",
            # The values of its opts.py.
            conf_thres=0.4,
            track_buffer=30,
            K=MAX_DETECTIONS,
            down_ratio=4,
            num_classes=1,
            ltrb=True,
            reg_offset=True,
            mean=[0, 0, 0],
            std=[1, 1, 1],
        )
        with contextlib.redirect_stdout(None):
            self._tracker = module.JDETracker(options, frame_rate=fps)
        self._picture = np.zeros((4, 4, 3), np.uint8)
        self._blob = np.zeros((1, 3, 4, 4), np.float32)
        self.association_seconds = 0.0

    def update(self, detections: Detections) -> Tracks:
        """Take in the next frame.

        Args:
            detections: At most ``MAX_DETECTIONS``, with embeddings where there are any.

        Returns:
            The tracks that the original puts out for this frame.
        """
        if len(detections) > MAX_DETECTIONS:
            raise ValueError(f"{len(detections)} detections, the original takes {MAX_DETECTIONS}")
        self._network.detections = detections
        found = self._tracker.update(self._blob, self._picture)
        self.association_seconds = time.perf_counter() - self._network.handed_over
        return Tracks(
            np.array([track.track_id for track in found], np.int64),
            np.array([track.tlbr for track in found], np.float32),
            np.array([track.score for track in found], np.float32),
            np.zeros(len(found), np.int64),
        )


class _Network:
    """Stands in for network and decoding; hands out the detections of the frame."""

    def __init__(self) -> None:
        self.detections = Detections.empty()
        self.handed_over = 0.0

    def __call__(self, blob: Any) -> list[dict[str, Any]]:
        heat = types.SimpleNamespace(sigmoid_=lambda: None)
        return [{"hm": heat, "wh": None, "id": None, "reg": None}]

    def to(self, device: Any) -> _Network:
        return self

    def eval(self) -> None:
        pass

    def decode(self, *_: Any, **__: Any) -> tuple[_Tensor, None]:
        found = self.detections
        return _Tensor(np.column_stack([found.boxes_xyxy, found.scores])[None]), None

    def embeddings(self, *_: Any) -> _Tensor:
        found = self.detections.embeddings
        if found is None:
            found = np.zeros((len(self.detections), 0), np.float32)
        # The original normalises these rows in place.
        return _Tensor(found[None].copy())

    def post_process(self, found: npt.NDArray[np.float32], *_: Any) -> list[dict[int, Any]]:
        self.handed_over = time.perf_counter()
        return [{1: found[0]}]


class _Tensor:
    """As much of a tensor as the original asks for."""

    def __init__(self, values: npt.NDArray[np.float32]) -> None:
        self._values = values
        self.shape = values.shape

    def squeeze(self, axis: int) -> _Tensor:
        return _Tensor(self._values.squeeze(axis))

    def detach(self) -> _Tensor:
        return self

    def cpu(self) -> _Tensor:
        return self

    def numpy(self) -> npt.NDArray[np.float32]:
        return self._values


def overlaps_inclusive(
    boxes: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the IoU as the package cython_bbox counts it: both border pixels belong to a box.

    Args:
        boxes: ``[N, 4]`` left, top, right, bottom in pixels.
        others: ``[M, 4]``.

    Returns:
        ``[N, M]`` in 0..1.
    """
    corner = np.maximum(boxes[:, None, :2], others[None, :, :2])
    sides = np.maximum(np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - corner + 1, 0)
    shared = sides.prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    other_areas = (others[:, 2:] - others[:, :2] + 1).prod(axis=1)
    return shared / (areas[:, None] + other_areas - shared)


def overlaps_come_from() -> str:
    """Return whose IoU the original computes with here."""
    return "cython_bbox" if importlib.util.find_spec("cython_bbox") else "stand-in"


@contextlib.contextmanager
def original_code(checkout: Path, stand_ins: Sequence[types.ModuleType]) -> Iterator[None]:
    """Let modules of the original be imported in this block; then all modules are as before.

    Args:
        checkout: A clone of FairMOT.
        stand_ins: Modules that it shall find instead of those of their names. For cython_bbox there
            is one anyway, where that is not installed.

    Raises:
        UserError: The checkout is not FairMOT's, or SciPy is not installed.
    """
    folder = checkout / "src" / "lib"
    if not (folder / "tracker" / "multitracker.py").is_file():
        raise UserError(f"{checkout} is not a clone of https://github.com/ifzhang/FairMOT")
    # What it needs as it is comes first, so that none of that sees a stand-in.
    for package in ("lap", "scipy.linalg", "scipy.spatial.distance"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                "the original tracker needs SciPy and lap: pip install scipy lap"
            ) from error
    if not hasattr(np, "float"):
        setattr(np, "float", float)  # noqa: B010  # a name that NumPy has dropped
    modules = {module.__name__: module for module in stand_ins}
    if overlaps_come_from() == "stand-in":
        modules["cython_bbox"] = stand_in("cython_bbox", bbox_overlaps=overlaps_inclusive)

    def theirs() -> list[str]:
        return [name for name in sys.modules if name in modules or name.split(".")[0] in _OWN]

    before = {name: sys.modules.pop(name) for name in theirs()}
    sys.modules.update(modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in theirs():
            del sys.modules[name]
        sys.modules.update(before)


def stand_in(name: str, **content: Any) -> types.ModuleType:
    """Return a module of that name and content."""
    module = types.ModuleType(name)
    module.__dict__.update(content)
    return module


def quiet_log() -> types.ModuleType:
    """Stand in for its log, which writes on standard error."""
    logger = logging.getLogger("kd-mot.original")
    logger.setLevel(logging.WARNING)
    return stand_in("tracking_utils.log", logger=logger)


def _stand_ins(network: _Network) -> list[types.ModuleType]:
    """Return what takes the place of all that has no part in the association."""
    functional = stand_in("torch.nn.functional", normalize=lambda values, dim: values)
    nn = stand_in("torch.nn", functional=functional)
    return [
        stand_in("torch", nn=nn, device=str, no_grad=contextlib.nullcontext),
        nn,
        functional,
        stand_in("cv2"),
        stand_in("models"),
        stand_in("models.decode", mot_decode=network.decode),
        stand_in("models.model", create_model=lambda *_: network, load_model=lambda *_: network),
        stand_in("models.utils", _tranpose_and_gather_feat=network.embeddings),
        quiet_log(),
        stand_in("tracking_utils.utils"),
        stand_in("utils"),
        stand_in("utils.image", get_affine_transform=None),
        stand_in("utils.post_process", ctdet_post_process=network.post_process),
    ]
