"""From a checkpoint to a checked ONNX file, step by step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from export.camera import CameraLetterbox
from export.deform import DeformForm, installed_onnxruntime, resolve_form
from export.frames import frames_to_calibrate, frames_to_compare
from export.fused import FusedTracker
from export.gate import Gate
from export.onnx_file import OPSET, infer_shapes, save_onnx, to_onnx
from export.parity import ParityResult, Reference
from export.precision.int8 import CPU, TENSORRT
from export.precision.lowering import lower_the_rest_to_half, lower_to_half, lower_to_int8
from export.precision.search import Choice
from export.reference import torch_reference
from runtime.engines.sidecar import Kind
from runtime.errors import UserError
from runtime.files import atomic_path, file_sha256
from runtime.model_info import ModelInfo
from runtime.version import __version__
from train.models import TrackingModel, load_model
from train.models.checkpoint import checkpoint_path
from train.models.deform import use_form

PARITY_FILE = "parity.json"

Precision = Literal["fp32", "fp16", "int8"]


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
        precision: Of the graph; layers that need more are left in a higher one.
        half_elsewhere: Whether what int8 leaves is computed in half precision, for GPUs.
        target: The engine the graph is for; None is ONNX Runtime. It decides how int8 is written,
            and deformable convolutions.
        calibrate: Video or folder of the place the graph will run at, for int8.
        calibration_frames: Frames to take from it, evenly.
        frame_size_wh: Size of the camera's frames in pixels, for a graph that letterboxes them
            itself; None leaves that to the host.
        dynamic_batch: Whether the graph takes any number of frames at once.
        parity_source: Video or folder to prove parity on; None takes that of ``calibrate``, or the
            generated scene.
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
    precision: Precision = "fp32"
    half_elsewhere: bool = False
    target: Kind | None = None
    calibrate: Path | None = None
    calibration_frames: int = 64
    frame_size_wh: tuple[int, int] | None = None
    dynamic_batch: bool = False
    parity_source: Path | None = None
    parity_frames: int = 32
    allow_mismatch: bool = False

    def __post_init__(self) -> None:
        if self.precision == "int8" and self.calibrate is None:
            raise UserError(
                "int8 needs frames of the place the model will run at: give --calibrate with a "
                "video or a folder of images"
            )
        if self.half_elsewhere and (self.precision != "int8" or self.target is None):
            raise UserError(
                "--fp16 beside --int8 is for GPUs: give --engine as well, or one of the two"
            )


@dataclass(frozen=True)
class Exported:
    """What an export gave.

    Attributes:
        file: The ONNX file.
        info: What it says about itself.
        result: The verdict of the parity gate.
        reference: What PyTorch found in the frames of the gate, to hold an engine to as well.
        sensitivities: What lowering each group of layers alone costs, where that was measured; see
            ``ParityResult.strain``.
    """

    file: Path
    info: ModelInfo
    result: ParityResult
    reference: Reference
    sensitivities: dict[str, float]


def export_model(config: ExportConfig, reference: Reference | None = None) -> Exported:
    """Export a checkpoint and prove parity before the file gets its final name.

    Args:
        config: What to export.
        reference: What PyTorch finds, from an earlier export of the same checkpoint at the same
            size; it is computed when None.

    Raises:
        UserError: The checkpoint, the size or the frames cannot be used, or parity failed.
    """
    form = resolve_form(config.deform, config.opset, installed_onnxruntime(), config.target)
    checkpoint = checkpoint_path(config.checkpoint)
    # A head that the checkpoint does not fill would go to the device with random weights.
    model = load_model(checkpoint, config.arch, strict=True)
    info = model_info(model, checkpoint, config)
    if reference is None:
        frames, source = frames_to_compare(
            config.parity_source or config.calibrate, config.parity_frames, info
        )
        reference = torch_reference(model, frames, source, info.size_wh, info.topk)
    camera = CameraLetterbox(config.frame_size_wh, info.size_wh) if config.frame_size_wh else None
    graph = FusedTracker(model, info.topk, camera)
    use_form(graph, form)
    plain = infer_shapes(to_onnx(graph, info, config.opset))
    choice = choose_precision(plain, Gate(reference, info), config)
    info = dataclasses.replace(info, kept=choice.kept, parity=choice.result.summary())
    file = config.out / f"{config.name or model.name}.onnx"
    choice.result.save(config.out / PARITY_FILE)
    if not choice.result and not config.allow_mismatch:
        raise UserError(refusal(file, choice.result, config.out / PARITY_FILE))
    with atomic_path(file) as temporary:
        save_onnx(choice.model, info, temporary)
    return Exported(file, info, choice.result, reference, choice.sensitivities)


def choose_precision(plain: onnx.ModelProto, gate: Gate, config: ExportConfig) -> Choice:
    """Lower a graph as far as was asked for and as the gate allows."""
    if config.precision == "fp16":
        return lower_to_half(plain, gate)
    if config.precision == "int8":
        assert config.calibrate is not None
        frames = frames_to_calibrate(config.calibrate, config.calibration_frames, gate.info)
        choice = lower_to_int8(plain, gate, TENSORRT if config.target else CPU, frames)
        return lower_the_rest_to_half(choice, gate) if config.half_elsewhere else choice
    return Choice(plain, gate.judge(plain), (), {})


def refusal(file: Path, result: ParityResult, report: Path) -> str:
    """Return why a file was not written."""
    if not result.detections:
        return (
            f"{file} was not written, no frame of {result.source} gave a detection to compare: "
            "train the model, give other frames with --parity-source, or write it all the same "
            "with --allow-mismatch"
        )
    return (
        f"{file} was not written, the graph does not equal the model: "
        f"{'; '.join(result.failures)}; see {report}, or write it all the same with "
        "--allow-mismatch"
    )


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
    recipe = TENSORRT if config.target else CPU
    elsewhere = "+fp16" if config.half_elsewhere else ""
    return ModelInfo(
        arch=model.name,
        size_wh=size_wh,
        stride=model.stride,
        topk=config.topk,
        embedding_dim=model.embedding_dim,
        classes=model.classes,
        precision=config.precision,
        quantization=recipe.name + elsewhere if config.precision == "int8" else "",
        preprocess="graph" if config.frame_size_wh else "host",
        frame_size_wh=config.frame_size_wh,
        dynamic_batch=config.dynamic_batch,
        tracker=dict(model.tracker),
        source_sha256=file_sha256(checkpoint),
        tool_version=__version__,
        parameters=model.parameter_count(),
    )
