"""Heads at single cells equal the heads everywhere, read at those cells."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from export.fused import FusedTracker
from export.sparse import SparseHead, SparseHeads, gather_neighbourhoods
from train.models import build_model
from train.models.decode import boxes_at, gather_cells, top_peaks
from train.models.heads import Head
from train.models.registry import REGISTRY

HEIGHT, WIDTH = 5, 7
# The corners, the borders, the middle, and one cell twice.
CELLS = torch.tensor([[0, 6, 28, 34, 3, 21, 17, 17], [34, 20, 27, 13, 1, 5, 16, 30]])


def deep() -> nn.Sequential:
    """Three convolutions that look around, with biases: zeros outside do not stay zeros."""
    return nn.Sequential(
        nn.Conv2d(6, 8, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(8, 5, 5, padding=2),
        nn.LeakyReLU(0.1),
        nn.Conv2d(5, 4, 3, padding="same"),
        nn.ReLU(),
        nn.Conv2d(4, 3, 1),
    )


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(6, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))


def test_no_cells_give_no_values() -> None:
    heads = SparseHeads({"a": Head(6, 8, 3)})
    values = heads(torch.randn(2, 6, HEIGHT, WIDTH), torch.zeros(2, 0, dtype=torch.int64))
    assert values["a"].shape == (2, 0, 3)


def test_a_neighbourhood_is_a_piece_of_the_padded_map() -> None:
    features = torch.randn(2, 3, HEIGHT, WIDTH)
    squares, inside = gather_neighbourhoods(features, CELLS, 2)
    padded = nn.functional.pad(features, [2] * 4)
    ones = nn.functional.pad(torch.ones(1, HEIGHT, WIDTH), [2] * 4)
    for picture in range(2):
        for place, cell in enumerate(CELLS[picture].tolist()):
            window = (
                slice(cell // WIDTH, cell // WIDTH + 5),
                slice(cell % WIDTH, cell % WIDTH + 5),
            )
            expected = padded[picture][:, window[0], window[1]].permute(1, 2, 0)
            assert torch.equal(squares[picture, place], expected)
            assert torch.equal(inside[picture, place], ones[:, window[0], window[1]].movedim(0, 2))


@pytest.mark.parametrize("make", [lambda: Head(6, 8, 3), deep, plain])
def test_values_equal_those_of_the_whole_map(make: Callable[[], nn.Sequential]) -> None:
    torch.manual_seed(0)
    head, other = make(), Head(6, 8, 2)
    features = torch.randn(2, 6, HEIGHT, WIDTH)
    # Beside a head that looks less far, or further.
    values = SparseHeads({"a": head, "b": other})(features, CELLS)
    with torch.no_grad():
        torch.testing.assert_close(values["a"], gather_cells(head(features), CELLS))
        torch.testing.assert_close(values["b"], gather_cells(other(features), CELLS))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 6, 3, padding=1, stride=2),
        nn.Conv2d(6, 6, 3, padding=0),
        nn.Conv2d(6, 6, 3, padding=1, groups=2),
        nn.Conv2d(6, 6, (1, 3), padding=(0, 1)),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2),
        nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(6),
    ],
)
def test_other_layers_are_refused(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match="cannot be evaluated at single cells"):
        SparseHead(nn.Sequential(layer))


@pytest.mark.parametrize(
    ("name", "classes", "embedding_dim", "batch"),
    [*((name, 2, None, 2) for name in REGISTRY), ("nano", 1, 0, 1)],
)
def test_the_graph_equals_the_model_decoded(
    name: str, classes: int, embedding_dim: int | None, batch: int
) -> None:
    torch.manual_seed(0)
    model = build_model(name, num_classes=classes, embedding_dim=embedding_dim).eval()
    frames = torch.randint(0, 256, (batch, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        # A heatmap that is nearly flat would leave the order of its peaks to rounding.
        model.heads["hm"][-1].weight.mul_(100)
        maps = model(frames.flip(-1).permute(0, 3, 1, 2).float() / 255)
        scores, kinds, cells = top_peaks(maps["hm"], 9)
        found = FusedTracker(model, 9)(frames)
    torch.testing.assert_close(found[1], scores, atol=2e-4, rtol=1e-3)
    assert torch.equal(found[2], kinds)
    torch.testing.assert_close(found[0], boxes_at(maps, cells, model.stride), atol=2e-2, rtol=1e-3)
    assert len(found) == (4 if model.embedding_dim else 3)
    if model.embedding_dim:
        cosine = nn.functional.cosine_similarity(found[3], gather_cells(maps["id"], cells), dim=-1)
        assert cosine.min() > 0.9999
