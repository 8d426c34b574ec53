"""From a checkpoint to a checked ONNX file, step by step."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.deform import DeformForm, installed_onnxruntime, resolve_form
from export.fused import FusedTracker
from export.onnx_file import OPSET, redescribe, save_onnx, to_onnx
from export.parity import ParityResult, compare
from export.reference import torch_reference
from runtime.engines import open_engine
from runtime.errors import UserError
from runtime.files import atomic_path
from runtime.model_info import ModelInfo
from runtime.sources import open_source
from runtime.version import __version__
from train.models import TrackingModel, load_model
from train.models.checkpoint import checkpoint_path
from train.models.deform import use_form

PARITY_FILE = "parity.json"


@dataclass(frozen=True)
class ExportConfig:
    """What to export, and how.

    Attributes:
        checkpoint: A model that ``kd-train`` wrote, its folder, or another project's checkpoint.
        out: Folder for ``NAME.onnx`` and ``parity.json``; it must exist.
        arch: The model the checkpoint holds, if it does not say so itself.
        name: Name of the file, without suffix; None takes the architecture's.
        size_wh: Input width and height in pixels; None takes those of the training.
        topk: Peaks to return per frame.
        opset: ONNX operator set.
        deform: How deformable convolutions are written, see ``export.deform``.
        parity_source: Video or folder to prove parity on; None uses the generated scene.
        parity_frames: Frames to prove it on.
        allow_mismatch: Write the file even if parity fails, marked as such.
    """

    checkpoint: Path
    out: Path
    arch: str | None = None
    name: str | None = None
    size_wh: tuple[int, int] | None = None
    topk: int = 128
    opset: int = OPSET
    deform: DeformForm = "auto"
    parity_source: Path | None = None
    parity_frames: int = 32
    allow_mismatch: bool = False


def export_model(config: ExportConfig) -> tuple[Path, ParityResult]:
    """Export a checkpoint and prove parity before the file gets its final name.

    Args:
        config: What to export.

    Returns:
        The ONNX file and the verdict.

    Raises:
        UserError: The checkpoint, the size or the frames cannot be used, or parity failed.
    """
    form = resolve_form(config.deform, config.opset, installed_onnxruntime())
    checkpoint = checkpoint_path(config.checkpoint)
    # A head that the checkpoint does not fill would go to the device with random weights.
    model = load_model(checkpoint, config.arch, strict=True)
    info = model_info(model, checkpoint, config)
    frames, source = parity_frames(config)
    final = config.out / f"{config.name or model.name}.onnx"
    with atomic_path(final) as temporary:
        graph = FusedTracker(model, info.topk)
        use_form(graph, form)
        save_onnx(to_onnx(graph, info, config.opset), info, temporary)
        engine = open_engine(temporary, "cpu")
        reference = torch_reference(model, frames, source, info.size_wh, info.topk)
        result = compare(reference, engine)
        engine.close()
        result.save(config.out / PARITY_FILE)
        if not result and not config.allow_mismatch:
            if not result.detections:
                raise UserError(
                    f"{final} was not written, no frame of {source} gave a detection to compare: "
                    "train the model, give other frames with --parity-source, or write it all the "
                    "same with --allow-mismatch"
                )
            raise UserError(
                f"{final} was not written, the graph does not equal the model: "
                f"{'; '.join(result.failures)}; see {config.out / PARITY_FILE}, or write it all "
                "the same with --allow-mismatch"
            )
        redescribe(temporary, dataclasses.replace(info, parity=result.summary()))
    return final, result


def model_info(model: TrackingModel, checkpoint: Path, config: ExportConfig) -> ModelInfo:
    """Describe the file to be.

    Raises:
        UserError: The size does not suit the network, or there are fewer cells than ``topk``.
    """
    size_wh = config.size_wh or model.input_wh
    if size_wh is None:
        raise UserError(f"{checkpoint} does not tell its input size: give --size WxH")
    if size_wh[0] % 32 or size_wh[1] % 32 or min(size_wh) < 32:
        raise UserError(f"--size {size_wh[0]}x{size_wh[1]}: both sides must be multiples of 32")
    cells = (size_wh[0] // model.stride) * (size_wh[1] // model.stride) * model.num_classes
    if not 1 <= config.topk <= cells:
        raise UserError(f"--topk {config.topk}: must be from 1 to {cells} at this size")
    return ModelInfo(
        arch=model.name,
        size_wh=size_wh,
        stride=model.stride,
        topk=config.topk,
        embedding_dim=model.embedding_dim,
        classes=model.classes,
        tracker=dict(model.tracker),
        source_sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        tool_version=__version__,
        parameters=model.parameter_count(),
    )


def parity_frames(config: ExportConfig) -> tuple[list[npt.NDArray[np.uint8]], str]:
    """Return consecutive frames to compare on, and what they show."""
    if config.parity_source is not None:
        with open_source(config.parity_source) as source:
            frames = list(itertools.islice(iter(source), config.parity_frames))
        return frames, config.parity_source.name
    from train.data.synth import Scene, SceneConfig

    scene = Scene(SceneConfig(size_wh=(640, 480), frames=config.parity_frames))
    frames = [scene.render(index).image for index in range(config.parity_frames)]
    return frames, "generated scene"
