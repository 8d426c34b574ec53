"""The original FairMOT, network and tracker, from the user's own clone of it.

Nothing of it is copied or changed: https://github.com/ifzhang/FairMOT (MIT). Its letterbox,
network, decoding and tracker run as in its ``track.py``; what it imports that does not install any
more, or has no part in this, is stood in for.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.association.original import original_code, quiet_log, stand_in
from benchmarks.contenders.base import Contender, Description, Frame, Recipe, Step
from runtime.errors import UserError
from runtime.files import existing_file
from runtime.opencv import cv2
from runtime.types import Tracks

if TYPE_CHECKING:
    from torch import nn

ARCH = "dla_34"
# Boxes that its track.py does not write down are wider than this, times their height.
WIDEST = 1.6


@dataclass(frozen=True)
class OriginalFairMOT(Recipe):
    """The original FairMOT with its ``dla_34``.

    Attributes:
        checkout: A clone of FairMOT.
        weights: A checkpoint of its format.
        size_wh: Width and height of the network's input in pixels, multiples of 32.
        allow_untrained: Whether it may run without weights. Then only its time means something.

    Raises:
        UserError: There are no weights, or its network cannot have that size.
    """

    checkout: Path
    weights: Path | None = None
    size_wh: tuple[int, int] = (1088, 608)
    allow_untrained: bool = False

    def __post_init__(self) -> None:
        if self.weights is None and not self.allow_untrained:
            raise UserError(
                "the original FairMOT needs weights: give --original-weights, a checkpoint of its "
                f"{ARCH}"
            )
        if any(side < 32 or side % 32 for side in self.size_wh):
            raise UserError(f"size {self.size_wh} of the original: give multiples of 32")

    def open(self, backend: str = "auto", threads: int | None = None) -> TimedOriginal:
        """Load it; see ``Recipe``. The number of threads then holds for all PyTorch."""
        return TimedOriginal(self, backend, threads)


class TimedOriginal(Contender):
    """The original FairMOT, stage by stage: it is told when its own functions return.

    Args:
        recipe: What to open.
        backend: ``cpu``; anything else is CUDA, ``auto`` where there is a GPU.
        threads: CPU threads of PyTorch; its own choice when None.

    Raises:
        UserError: The checkout, the weights or the backend cannot be used.
    """

    def __init__(self, recipe: OriginalFairMOT, backend: str, threads: int | None) -> None:
        import torch

        has_gpu = torch.cuda.is_available()
        if backend not in ("auto", "cpu") and not has_gpu:
            raise UserError("PyTorch finds no GPU for the original FairMOT: choose --backend cpu")
        self._on_gpu = has_gpu and backend != "cpu"
        if threads is not None:
            torch.set_num_threads(threads)
        self.trained = recipe.weights is not None
        self._original = _Modules(recipe.checkout)
        self._options = self._original.options(self._on_gpu)
        self.network = self._original.build(self._options)
        if recipe.weights is not None:
            _fill(self.network, recipe.weights)
        self.network.register_forward_hook(lambda *_: self._mark("network"))
        self._loader = self._original.loader(recipe.size_wh)
        self._marks: dict[str, int] = {}
        self.description = Description(
            model=recipe.name,
            file=recipe.weights.name if recipe.weights else "",
            bytes=recipe.weights.stat().st_size if recipe.weights else 0,
            arch=ARCH if self.trained else f"{ARCH}, untrained",
            parameters=sum(tensor.numel() for tensor in self.network.parameters()),
            precision="fp32",
            size_wh=recipe.size_wh,
            provider=f"PyTorch on {'CUDA' if self._on_gpu else 'the CPU'}",
            tracker="FairMOT JDETracker",
        )
        self.begin(30.0)

    def begin(self, fps: float) -> None:
        """Start a sequence; see ``Contender``."""
        self._tracker = self._original.tracker(self._options, self.network, fps)
        merge = self._tracker.merge_outputs

        def marked(detections: Any) -> Any:
            merged = merge(detections)
            self._mark("decode")
            return merged

        self._tracker.merge_outputs = marked

    def step(self, frame: Frame) -> Step:
        """Track the next frame; see ``Contender``."""
        import torch

        start = time.perf_counter_ns()
        blob = torch.from_numpy(self._loader(frame))
        if self._on_gpu:
            blob = blob.cuda()
        self._mark("preprocess")
        found = self._tracker.update(blob.unsqueeze(0), frame)
        tracks = _shown(found, self._options.min_box_area)
        end = time.perf_counter_ns()
        marks = [start, *(self._marks[name] for name in ("preprocess", "network", "decode")), end]
        preprocess, network, decode, association = np.diff(marks).tolist()
        return Step(tracks, (preprocess, network, decode, association))

    def _mark(self, stage: str) -> None:
        """Note that a stage has its result now."""
        if self._on_gpu:
            import torch

            torch.cuda.synchronize()
        self._marks[stage] = time.perf_counter_ns()


class _Modules:
    """The modules of a clone that take part."""

    def __init__(self, checkout: Path) -> None:
        from train.models.deform import DeformConv2d

        def deformable(
            inputs: int,
            outputs: int,
            kernel_size: tuple[int, int],
            stride: int,
            padding: int,
            **_: Any,
        ) -> nn.Module:
            # Its own extension does not compile any more; this has the same parameters, and takes
            # torchvision's operator on a GPU and what is faster on a CPU.
            return DeformConv2d(inputs, outputs, kernel_size[0], stride, padding)

        absent = [
            stand_in("dcn_v2", DCN=deformable),
            # Plots, and networks that are not built here, which want packages of their own.
            stand_in("tracking_utils.utils"),
            stand_in("models.yolo", get_pose_net=None),
            stand_in("models.networks.pose_hrnet", get_pose_net=None),
            quiet_log(),
        ]
        with original_code(checkout, absent):
            try:
                self._tracking = importlib.import_module("tracker.multitracker")
                self._models = importlib.import_module("models.model")
                self._dla = importlib.import_module("models.networks.pose_dla_dcn")
                self._data = importlib.import_module("datasets.dataset.jde")
                self._opts = importlib.import_module("opts")
            except ImportError as error:
                raise UserError(
                    f"the clone {checkout} cannot be imported ({error}): clone it anew, or install "
                    "what it misses"
                ) from error

    def options(self, on_gpu: bool) -> Any:
        """Return the values of its opts.py."""
        with contextlib.redirect_stdout(None):
            return self._opts.opts().init(["mot", f"--gpus={0 if on_gpu else -1}"])

    def build(self, options: Any) -> nn.Module:
        """Build its network."""
        # It would fetch weights of ImageNet first, which a checkpoint replaces.
        self._dla.DLA.load_pretrained_model = lambda *_, **__: None
        network: nn.Module = self._models.create_model(ARCH, options.heads, options.head_conv)
        return network

    def loader(self, size_wh: tuple[int, int]) -> Callable[[Frame], Any]:
        """Return its ``LoadImages`` as a function from a frame to float32 ``[3, H, W]``."""
        frames: list[Frame] = []
        # It reads files; the one it reads here is the frame.
        reader = stand_in("cv2", **vars(cv2))
        reader.imread = lambda _: frames.pop()  # type: ignore[attr-defined]
        self._data.cv2 = reader  # type: ignore[attr-defined]
        images = self._data.LoadImages(__file__, size_wh)

        def load(frame: Frame) -> Any:
            frames.append(frame)
            return images[0][1]

        return load

    def tracker(self, options: Any, network: nn.Module, fps: float) -> Any:
        """Return its tracker at the beginning of a sequence."""
        tracking: Any = self._tracking
        tracking.create_model = lambda *_: network
        tracking.load_model = lambda model, _: model
        tracking.BaseTrack._count = 0
        with contextlib.redirect_stdout(None):
            return tracking.JDETracker(options, frame_rate=fps)


def _fill(network: nn.Module, path: Path) -> None:
    """Load a checkpoint, all of it; the original would go on with what fits."""
    from train.models.weights import read_weights

    tensors = read_weights(existing_file(path, "weights of the original")).tensors
    state = network.state_dict()
    wanted = [name for name in state if not name.endswith("num_batches_tracked")]
    unfit = [
        name for name in wanted if name not in tensors or tensors[name].shape != state[name].shape
    ]
    if unfit:
        raise UserError(
            f"{path} does not fill the original's {ARCH}: {len(unfit)} of {len(wanted)} tensors "
            f"are missing or of another shape, as {unfit[0]}: give a checkpoint of FairMOT's {ARCH}"
        )
    network.load_state_dict(
        {name: tensors[name] for name in state if name in tensors}, strict=False
    )


def _shown(found: list[Any], min_area: float) -> Tracks:
    """Return what its ``track.py`` writes down: boxes that are large enough, and not too wide."""
    kept = [
        track
        for track in found
        if track.tlwh[2] * track.tlwh[3] > min_area and track.tlwh[2] <= WIDEST * track.tlwh[3]
    ]
    return Tracks(
        np.array([track.track_id for track in kept], np.int64),
        np.array([track.tlbr for track in kept], np.float32),
        np.array([track.score for track in kept], np.float32),
        np.zeros(len(kept), np.int64),
    )
