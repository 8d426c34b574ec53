"""DINOv2 as a teacher of features (arXiv 2304.07193)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import UserError
from train.teachers.config import DINOv2TeacherConfig
from train.teachers.dinov2_weights import GRID, PATCH, SIZES, load_dinov2
from train.teachers.output import TeacherOutput, to_grid

# Of ImageNet, in RGB and 0..1: what DINOv2 was trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# The published networks without registers interpolate towards a grid larger by it than the one they
# fill, which kept rounding from losing a row, and is part of what their features are.
GRID_OFFSET = 0.1


class DINOv2Teacher(nn.Module):
    """A frozen DINOv2 that hands on its patch features, in eval mode and without gradients.

    It sees the student's picture stretched to whole patches, by less than half a patch.

    Args:
        config: Which network, its weights, and the block that teaches.
        student_stride: The student's pixels per cell.

    Attributes:
        name: E.g. ``dinov2 base``.
        feature_channels: Channels of its feature map.
        embedding_dim: 0, as it knows no instances.

    Raises:
        UserError: The weights do not fill the network, or it has no such block.
    """

    positions: Tensor
    prefix: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: DINOv2TeacherConfig, student_stride: int) -> None:
        super().__init__()
        size = SIZES[config.size]
        if config.layer is not None and config.layer > size.depth:
            raise UserError(
                f"layer: {config.layer}, but dinov2 {config.size} has {size.depth} blocks: choose "
                f"1 to {size.depth}, or leave it out for the last"
            )
        model = load_dinov2(config.weights, config.size)
        self.registers = int(model.num_reg_tokens)
        self.name = f"dinov2 {config.size}"
        if self.registers:
            self.name += f" with {self.registers} registers"
        self.feature_channels = size.width
        self.embedding_dim = 0
        self.scale = config.scale
        self.student_stride = student_stride
        self.to_patches = model.patch_embed.proj
        # Blocks after the one that teaches would be computed for nothing.
        self.blocks = model.blocks[: config.layer]
        self.norm = model.norm if config.layer is None else nn.Identity()
        held = model.state_dict()
        prefix = [held[name] for name in ("cls_token", "reg_token") if name in held]
        self.register_buffer("prefix", torch.cat(prefix, dim=1))
        grid = held["pos_embed"].transpose(1, 2).unflatten(2, (GRID, GRID))
        self.register_buffer("positions", grid.contiguous())
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> DINOv2Teacher:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> TeacherOutput:
        """Look at a batch.

        Args:
            images: ``[N, 3, H, W]`` float RGB in 0..1, the student's own input.

        Returns:
            ``features`` ``[N, F, H / stride, W / stride]`` and nothing else.
        """
        height, width = images.shape[-2:]
        grid_hw = patch_grid((height, width), self.scale)
        pictures = (fit_patches(images, grid_hw) - self.mean) / self.std
        patches = self.to_patches(pictures)
        patches = patches + positions_at(self.positions, grid_hw, smooth=self.registers > 0)
        prefix = self.prefix.expand(len(images), -1, -1)
        tokens = torch.cat([prefix, patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = self.norm(self.blocks(tokens))[:, prefix.shape[1] :]
        maps = tokens.transpose(1, 2).unflatten(2, grid_hw)
        size_hw = (height // self.student_stride, width // self.student_stride)
        return TeacherOutput(features=to_grid(maps, size_hw, F.adaptive_avg_pool2d))


def patch_grid(size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return how many rows and columns of patches a picture is looked at in.

    Args:
        size_hw: Height and width in pixels.
        scale: By which it is enlarged before.

    Examples:
        >>> patch_grid((608, 1088), 1.0), patch_grid((320, 416), 1.75)
        ((43, 78), (40, 52))
    """
    rows, columns = (max(1, round(side * scale / PATCH)) for side in size_hw)
    return rows, columns


def fit_patches(images: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Stretch pictures to whole patches.

    Bicubic as in Pillow, which pictures were resized with in training: shrinking averages, and the
    overshoot at edges is cut off.

    Args:
        images: ``[N, 3, H, W]`` in 0..1.
        grid_hw: Rows and columns of patches.
    """
    size_hw = (grid_hw[0] * PATCH, grid_hw[1] * PATCH)
    if tuple(images.shape[-2:]) == size_hw:
        return images
    images = images.float()
    return F.interpolate(images, size_hw, mode="bicubic", antialias=True).clamp(0, 1)


def positions_at(positions: Tensor, grid_hw: tuple[int, int], smooth: bool) -> Tensor:
    """Interpolate position embeddings as the published networks do.

    Args:
        positions: ``[1, F, 37, 37]``.
        grid_hw: Rows and columns of patches.
        smooth: As networks with registers do it: filtered where the grid is smaller, and without
            ``GRID_OFFSET``.

    Returns:
        ``[1, F, *grid_hw]``.
    """
    own_hw = positions.shape[-2:]
    if tuple(own_hw) == grid_hw:
        return positions
    if smooth:
        return F.interpolate(positions, grid_hw, mode="bicubic", antialias=True)
    factors = [(side + GRID_OFFSET) / own for side, own in zip(grid_hw, own_hw, strict=True)]
    return F.interpolate(positions, scale_factor=factors, mode="bicubic")
