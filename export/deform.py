"""Deformable convolutions in the graph: as one operator, or as plain ones.

ONNX has ``DeformConv`` since opset 19, ONNX Runtime runs it on the CPU since 1.25. It is the faster
form there: on two cores a layer of 64, 128 or 256 channels at a quarter, an eighth or a sixteenth
of 1088x608 takes 0.65 to 0.85 of the time that ``GridSample`` and matrix products take.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

import torch
from onnxscript import opset19

from runtime.engines.sidecar import Kind
from runtime.errors import UserError

DeformForm = Literal["auto", "operator", "plain"]

OPERATOR_OPSET = 19
OPERATOR_ONNXRUNTIME = (1, 25)


def resolve_form(
    form: DeformForm, opset: int, onnxruntime_version: str | None, target: Kind | None = None
) -> Literal["operator", "plain"]:
    """Decide how deformable convolutions are written.

    Args:
        form: ``operator`` and ``plain`` are taken as said; ``auto`` takes the operator where it can
            be written, and run to prove parity.
        opset: Operator set of the graph.
        onnxruntime_version: Of the installed ONNX Runtime, as in ``1.25.1``; None without one.
        target: The engine the graph is for; TensorRT-RTX has no such operator.

    Raises:
        UserError: The operator was asked for and cannot be written or run.

    Examples:
        >>> resolve_form("auto", 20, "1.25.1"), resolve_form("auto", 18, "1.25.1")
        ('operator', 'plain')
    """
    if form == "plain":
        return "plain"
    if target == "tensorrt-rtx":
        if form == "auto":
            return "plain"
        raise UserError("--deform operator: TensorRT-RTX has no DeformConv, give --deform plain")
    can_write = opset >= OPERATOR_OPSET
    can_run = onnxruntime_version is not None and (
        _numbers(onnxruntime_version) >= OPERATOR_ONNXRUNTIME
    )
    if can_write and can_run:
        return "operator"
    if form == "auto":
        return "plain"
    if not can_write:
        raise UserError(
            f"--deform operator needs ONNX's DeformConv, which opset {opset} does not have: give "
            f"--opset {OPERATOR_OPSET} or higher, or --deform plain"
        )
    needed = ".".join(map(str, OPERATOR_ONNXRUNTIME))
    raise UserError(
        f"--deform operator needs ONNX Runtime {needed} or newer to prove parity, and "
        f"{onnxruntime_version or 'none'} is installed: upgrade it, or give --deform plain"
    )


def installed_onnxruntime() -> str | None:
    """Return the version of the installed ONNX Runtime, None without one."""
    try:
        import onnxruntime
    except ImportError:
        return None
    return onnxruntime.__version__


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return what ``torch.onnx.export`` takes as ``custom_translation_table``."""
    return {torch.ops.torchvision.deform_conv2d.default: _deform_conv}


def _deform_conv(
    inputs: Any,
    weight: Any,
    offset: Any,
    mask: Any,
    bias: Any,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Any:
    """Write torchvision's operator as ONNX's; their tensors are laid out alike."""
    return opset19.DeformConv(
        inputs,
        weight,
        offset,
        bias,
        mask if use_mask else None,
        dilations=(dilation_h, dilation_w),
        group=groups,
        offset_group=offset_groups,
        pads=(pad_h, pad_w, pad_h, pad_w),
        strides=(stride_h, stride_w),
    )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first two parts of a version as numbers; a suffix such as ``rc1`` is left out."""
    return tuple(
        int("0" + "".join(itertools.takewhile(str.isdecimal, part)))
        for part in version.split(".")[:2]
    )
