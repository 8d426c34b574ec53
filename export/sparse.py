"""Heads evaluated at a few cells instead of everywhere.

A detector returns K objects, so the values of a head at the other cells are computed, written and
thrown away. Here the neighbourhood of each of the K cells is gathered from the feature map, and the
head's convolutions become matrix products on it. The values are those of the whole map to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Applied to every value on its own.
ELEMENTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.LeakyReLU,
    nn.GELU,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Identity,
)


class SparseHead(nn.Module):
    """A head at given cells.

    Args:
        head: Convolutions that keep the map's size by zero padding, with activations between them.
            It is used as it is, not copied.

    Attributes:
        radius: How far from a cell its value depends on the features, in cells.

    Raises:
        ValueError: A layer is of another kind.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        if not isinstance(head, nn.Sequential):
            raise ValueError(f"a head that is {type(head).__name__}, not a sequence of layers")
        self.layers = head
        self.radius = sum(_reach(layer) for layer in head)

    def forward(self, neighbourhoods: Tensor, inside: Tensor) -> Tensor:
        """Compute the head's values.

        Args:
            neighbourhoods: ``[N, K, S, S, C]`` features around each cell, 0 outside the map, with
                ``S = 2 * radius + 1``.
            inside: ``[N, K, S, S, 1]``, 1 inside the map and 0 outside.

        Returns:
            ``[N, K, out_channels]``.
        """
        batch, topk = neighbourhoods.shape[:2]
        values, mask = neighbourhoods.flatten(0, 1), inside.flatten(0, 1)
        for layer in self.layers:
            if not isinstance(layer, nn.Conv2d):
                values = layer(values)
                continue
            if values.dim() == 2 or values.shape[1] == layer.kernel_size[0]:
                # One cell is left, and from here on its values alone: [N * K, C].
                weight = layer.weight.permute(0, 2, 3, 1).flatten(1)
                values = F.linear(values.flatten(1), weight, layer.bias)
                continue
            values = F.conv2d(values.permute(0, 3, 1, 2), layer.weight, layer.bias)
            reach = _reach(layer)
            if reach:
                mask = mask[:, reach:-reach, reach:-reach]
            # What lies outside the map is 0 for the next layer too, whatever was computed.
            values = values.permute(0, 2, 3, 1) * mask
        return values.flatten(1).unflatten(0, (batch, topk))


class SparseHeads(nn.Module):
    """Several heads on one feature map, at the same cells.

    Args:
        heads: By name.

    Raises:
        ValueError: A head has a layer that cannot be evaluated at single cells.
    """

    def __init__(self, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        sparse = {name: SparseHead(head) for name, head in heads.items()}
        self.heads = nn.ModuleDict(sparse)
        self.radii = {name: head.radius for name, head in sparse.items()}
        self.radius = max(self.radii.values())

    def forward(self, features: Tensor, cells: Tensor) -> dict[str, Tensor]:
        """Compute the values of all heads.

        Args:
            features: ``[N, C, h, w]``.
            cells: ``[N, K]`` int64, indices into the flattened map.

        Returns:
            ``[N, K, C]`` by name.
        """
        gathered, inside = gather_neighbourhoods(features, cells, self.radius)
        values = {}
        for name, head in self.heads.items():
            cut = self.radius - self.radii[name]
            window = slice(cut, gathered.shape[2] - cut)
            values[name] = head(gathered[:, :, window, window], inside[:, :, window, window])
        return values


def gather_neighbourhoods(features: Tensor, cells: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Cut a square out of a map around each cell.

    Args:
        features: ``[N, C, h, w]``.
        cells: ``[N, K]`` int64, indices into the flattened map.
        radius: Cells to each side.

    Returns:
        ``[N, K, S, S, C]`` with ``S = 2 * radius + 1``, 0 outside the map, and ``[N, K, S, S, 1]``
        which tells what lies inside by 1 and 0.
    """
    batch, _, height, width = features.shape
    step = torch.arange(-radius, radius + 1, device=cells.device)
    rows = (cells // width)[..., None, None] + step[:, None]
    columns = (cells % width)[..., None, None] + step
    near_rows, near_columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    inside = (rows == near_rows) & (columns == near_columns)
    places = near_rows * width + near_columns
    # With channels last a cell is one piece of memory. Taken along the map's own layout, every
    # number of it needs an index of its own, which costs more than turning the map once.
    first = torch.arange(batch, device=cells.device) * (height * width)
    taken = features.permute(0, 2, 3, 1).flatten(0, 2)[places + first[:, None, None, None]]
    mask = inside.unsqueeze(-1).to(features.dtype)
    return taken * mask, mask


def _reach(layer: nn.Module) -> int:
    """Return how many cells around its own a layer looks at.

    Raises:
        ValueError: The layer's values cannot be computed at single cells.
    """
    if isinstance(layer, ELEMENTWISE):
        return 0
    if isinstance(layer, nn.Conv2d):
        reach = int(layer.kernel_size[0]) // 2
        simple = (
            tuple(layer.kernel_size) == (2 * reach + 1, 2 * reach + 1)
            and tuple(layer.stride) == tuple(layer.dilation) == (1, 1)
            and layer.groups == 1
            and layer.padding in ((reach, reach), "same")
            and layer.padding_mode == "zeros"
        )
        if simple:
            return reach
    raise ValueError(f"a head with {layer} cannot be evaluated at single cells")
