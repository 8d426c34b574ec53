"""Deformable convolution, version 2 (DCNv2, arXiv 1811.11168), without a compiler.

With taps ``k`` at ``p_k`` of the kernel, learned shifts ``d_k`` and shares ``m_k``, the output is::

    y(p) = bias + sum over k of  w_k  m_k(p)  x(p + p_k + d_k(p))

where ``x`` between cells is bilinear and zero from one cell outside the map onwards. There are
three ways to compute it, equal but for rounding: torchvision's operator, which has a CUDA kernel
and becomes ``DeformConv`` in ONNX; plain operators, which run and export everywhere; and a gather,
on a CPU several times faster than the operator, forward and backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

Form = Literal["auto", "operator", "plain", "gather"]

# Positions the gather takes at a time where no gradient is needed, which bounds its memory and
# keeps what it picked up in the cache for the matrix product. Smaller ones are faster on an idle
# machine, and many times slower on a busy one, where the threads wait for each other after each.
CHUNK = 4096


class DeformConv2d(nn.Module):
    """A DCNv2 layer that predicts its own shifts and shares.

    Maps ``[N, in_channels, H, W]`` to ``[N, out_channels, h, w]``. The state has the keys of the
    original: ``weight``, ``bias``, ``conv_offset_mask.weight`` and ``conv_offset_mask.bias``. A
    fresh layer shifts nothing and gives every tap the share one half.

    Under autocast the layer computes in the precision of its weights, because shifts in bfloat16
    would be rounded to parts of a cell, and returns autocast's type as a convolution does.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Taps along each side.
        stride: Cells between positions.
        padding: Rings of zeros around the map.

    Attributes:
        form: How to compute: ``operator`` (torchvision's), ``plain``, ``gather``, or ``auto``,
            which takes the fastest for the device. For a whole model see ``use_form``.

    Examples:
        >>> layer = DeformConv2d(2, 3)
        >>> layer(torch.zeros(1, 2, 5, 4)).shape
        torch.Size([1, 3, 5, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding
        self.form: Form = "auto"
        taps = kernel_size**2
        bound = 1 / math.sqrt(in_channels * taps)
        weight = torch.empty(out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.conv_offset_mask = nn.Conv2d(in_channels, 3 * taps, kernel_size, stride, padding)
        nn.init.zeros_(self.conv_offset_mask.weight)
        assert self.conv_offset_mask.bias is not None
        nn.init.zeros_(self.conv_offset_mask.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, in_channels, H, W]`` to ``[N, out_channels, h, w]``."""
        device = inputs.device.type
        if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
            return self._convolve(inputs)
        with torch.autocast(device, enabled=False):
            outputs = self._convolve(inputs.to(self.weight.dtype))
        return outputs.to(torch.get_autocast_dtype(device))

    def _convolve(self, inputs: Tensor) -> Tensor:
        predicted = self.conv_offset_mask(inputs)
        shifts_channels = 2 * predicted.shape[1] // 3
        offset = predicted[:, :shifts_channels]
        mask = predicted[:, shifts_channels:].sigmoid()
        convolve = FORMS[self._form_on(inputs.device)]
        return convolve(inputs, offset, mask, self.weight, self.bias, self.stride, self.padding)

    def _form_on(self, device: torch.device) -> Form:
        if self.form != "auto":
            return self.form
        fastest: dict[str, Form] = {"cuda": "operator", "cpu": "gather"}
        return fastest.get(device.type, "plain")


def use_form(model: nn.Module, form: Form) -> None:
    """Choose how all deformable convolutions of a model compute, see ``DeformConv2d.form``."""
    for layer in model.modules():
        if isinstance(layer, DeformConv2d):
            layer.form = form


def convolve_by_operator(
    inputs: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int,
    padding: int,
) -> Tensor:
    """Convolve with torchvision's operator.

    Args:
        inputs: ``[N, C, H, W]``.
        offset: Shifts in cells, ``[N, 2 k k, h, w]``; y and x of each tap in turn, taps row by row.
        mask: Shares of the taps in 0..1, ``[N, k k, h, w]``.
        weight: ``[out, C, k, k]``.
        bias: ``[out]``.
        stride: Cells between positions.
        padding: Rings of zeros around the map.

    Returns:
        ``[N, out, h, w]``.
    """
    return deform_conv2d(inputs, offset, weight, bias, stride, padding, mask=mask)


def convolve_plainly(
    inputs: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int,
    padding: int,
) -> Tensor:
    """Convolve with one ``grid_sample`` and one 1x1 convolution per tap.

    Tap by tap needs a ninth of the memory of sampling for all taps at once, and runs faster.
    Arguments and result are those of ``convolve_by_operator``.
    """
    height, width = inputs.shape[2:]
    y, x = sampling_positions(offset, weight.shape[-1], stride, padding)
    # grid_sample wants -1 at the outer edge of the first cell and 1 at that of the last.
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    outputs = bias.view(-1, 1, 1)
    for tap, kernel in enumerate(weight.flatten(2).unbind(-1)):
        values = F.grid_sample(inputs, grid[..., tap, :], align_corners=False)
        outputs = outputs + F.conv2d(values * mask[:, tap, None], kernel[..., None, None])
    return outputs


def convolve_by_gather(
    inputs: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int,
    padding: int,
) -> Tensor:
    """Convolve by gathering four weighted cells per tap, then one matrix product.

    A cell is a row of ``C`` neighbouring numbers, and the sum of four rows, each times its bilinear
    weight and the tap's share, is what ``embedding_bag`` computes. Arguments and result are those
    of ``convolve_by_operator``; the result lies in memory channels last.
    """
    batch, channels, height, width = inputs.shape
    taps, rows, columns = mask.shape[1:]
    y, x = sampling_positions(offset, weight.shape[-1], stride, padding)
    index, share = corners(y, x, mask.permute(0, 2, 3, 1), height, width)
    cells = F.pad(inputs.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).reshape(-1, channels).contiguous()
    kernel = weight.permute(2, 3, 1, 0).reshape(taps * channels, -1)
    # With a gradient, every chunk would cost a gradient of the size of the whole map.
    chunk = max(batch * rows * columns, 1) if torch.is_grad_enabled() else CHUNK
    outputs = []
    for some, shares in zip(index.split(chunk * taps), share.split(chunk * taps), strict=True):
        values = F.embedding_bag(some, cells, per_sample_weights=shares, mode="sum")
        outputs.append(torch.addmm(bias, values.view(-1, taps * channels), kernel))
    return torch.cat(outputs).view(batch, rows, columns, len(weight)).permute(0, 3, 1, 2)


def sampling_positions(
    offset: Tensor, kernel_size: int, stride: int, padding: int
) -> tuple[Tensor, Tensor]:
    """Return where every tap looks.

    Args:
        offset: Shifts in cells, ``[N, 2 k k, h, w]``; y and x of each tap in turn.
        kernel_size: Taps along each side.
        stride: Cells between positions.
        padding: Rings of zeros around the map.

    Returns:
        y and x in cells, 0 at the centre of the first, each ``[N, h, w, k k]``.

    Examples:
        >>> y, x = sampling_positions(torch.zeros(1, 18, 1, 1), 3, stride=1, padding=1)
        >>> y.flatten().tolist()
        [-1.0, -1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    taps = kernel_size**2
    shifts = offset.permute(0, 2, 3, 1).contiguous().unflatten(-1, (taps, 2))
    rows, columns = offset.shape[2:]
    tap, row, column = (
        torch.arange(count, device=offset.device) for count in (taps, rows, columns)
    )
    tap_y, tap_x = tap.div(kernel_size, rounding_mode="floor"), tap.remainder(kernel_size)
    start_y = (row * stride - padding).view(-1, 1, 1) + tap_y
    start_x = (column * stride - padding).view(-1, 1) + tap_x
    return shifts[..., 0] + start_y.to(offset.dtype), shifts[..., 1] + start_x.to(offset.dtype)


def corners(y: Tensor, x: Tensor, mask: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the four cells around every position, and their weights.

    Args:
        y: Positions in cells, ``[N, h, w, T]``.
        x: Likewise.
        mask: Shares, ``[N, h, w, T]``.
        height: Of the map, in cells.
        width: Likewise.

    Returns:
        int32 ``[N h w T, 4]``, indices into the maps with a ring of zeros around each, flattened to
        ``N (height + 2) (width + 2)`` cells; and their weights, of the same shape.
    """
    # Positions that see nothing go to the corner of the ring, and lose their gradient that way.
    # Those at exactly -1, where a fresh layer looks all along the border, keep the derivative
    # towards the map, as in torchvision; a clamp would keep one at the far side as well.
    inside = (y >= -1) & (y < height) & (x >= -1) & (x < width)
    y, x = torch.where(inside, y, -1), torch.where(inside, x, -1)
    top, left = y.detach().floor(), x.detach().floor()
    below, right = y - top, x - left
    above = (1 - below) * mask
    below = below * mask
    share = torch.stack(
        (above * (1 - right), above * right, below * (1 - right), below * right), -1
    )
    pitch = width + 2
    image = torch.arange(len(y), dtype=torch.int32, device=y.device) * (pitch * (height + 2))
    first = (top.int() + 1) * pitch + (left.int() + 1) + image.view(-1, 1, 1, 1)
    steps = torch.tensor((0, 1, pitch, pitch + 1), dtype=torch.int32, device=y.device)
    return (first[..., None] + steps).reshape(-1, 4), share.reshape(-1, 4)


FORMS: dict[Form, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int], Tensor]] = {
    "operator": convolve_by_operator,
    "plain": convolve_plainly,
    "gather": convolve_by_gather,
}
