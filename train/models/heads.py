"""Prediction heads of the FairMOT family."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

# Channels of the size head: distances from the centre to left, top, right and bottom, or else width
# and height.
LTRB = 4
WIDTH_HEIGHT = 2
# In cells: what an untrained size head says, and the logarithm of the most it can say.
TYPICAL_SIZE = 2.0
LARGEST_LOG_SIZE = 7.0


class Head(nn.Sequential):
    """A 3x3 convolution, ReLU and a 1x1 convolution, as in CenterNet (arXiv 1904.07850).

    Maps ``[N, in_channels, h, w]`` to ``[N, out_channels, h, w]``.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        bias: float = 0.0,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, hidden, 3, padding=1),
            activation(inplace=True),
            nn.Conv2d(hidden, out_channels, 1),
        )
        output = self[-1]
        assert isinstance(output, nn.Conv2d) and output.bias is not None
        nn.init.normal_(output.weight, std=0.01)
        nn.init.constant_(output.bias, bias)


class FairMOTHeads(nn.ModuleDict):
    """The heads ``hm``, ``wh``, ``reg`` and, with an embedding, ``id`` (arXiv 2004.01888).

    Args:
        in_channels: Channels of the feature map.
        hidden: Channels inside each head.
        num_classes: Classes, one heatmap each.
        embedding_dim: Width of the identity embedding; 0 leaves the head out.
        prior: Score an untrained heatmap shows everywhere; a small one keeps the focal loss from
            exploding in the first steps (Focal Loss, arXiv 1708.02002).
        exponential_sizes: Whether the size head gives logarithms, as in FCOS (arXiv 1904.01355).
            A network that starts from nothing learns sizes of all scales sooner that way; FairMOT's
            own networks give cells.
        ltrb: See ``TrackingModel``.
        activation: Between the two convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        num_classes: int,
        embedding_dim: int,
        prior: float = 0.1,
        exponential_sizes: bool = False,
        ltrb: bool = True,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        size_bias = math.log(TYPICAL_SIZE) if exponential_sizes else 0.0
        channels = {"hm": num_classes, "wh": LTRB if ltrb else WIDTH_HEIGHT, "reg": 2}
        if embedding_dim:
            channels["id"] = embedding_dim
        biases = {"hm": -math.log((1 - prior) / prior), "wh": size_bias}
        super().__init__(
            {
                name: Head(in_channels, hidden, count, biases.get(name, 0.0), activation)
                for name, count in channels.items()
            }
        )
        self.exponential_sizes = exponential_sizes

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Map features ``[N, C, h, w]`` to one raw map per head."""
        maps = {name: head(features) for name, head in self.items()}
        maps["wh"] = self.sizes(maps["wh"])
        return maps

    def sizes(self, raw: Tensor) -> Tensor:
        """Return what the size head says in cells, from its output of any shape."""
        if not self.exponential_sizes:
            return raw
        # The limit, far beyond any box, keeps a wild first step from overflowing.
        return raw.float().clamp(max=LARGEST_LOG_SIZE).exp()


class TrackingModel(nn.Module):
    """A network of the family: a body that gives one feature map, and heads on it.

    Maps float RGB ``[N, 3, H, W]`` in 0..1 to raw maps ``[N, C, H / stride, W / stride]``:

    - ``hm``: logits, a channel per class;
    - ``wh``: distances left, top, right, bottom from the centre, in cells; without ``ltrb``, as
      CenterNet has it, width and height;
    - ``reg``: offset x, y of the centre inside its cell, in cells;
    - ``id``: the embedding, not normalised (absent when ``embedding_dim`` is 0).

    Args:
        name: Name in the registry.
        body: Maps images to features ``[N, feature_channels, h, w]``.
        feature_channels: Channels of the features.
        stride: Pixels per cell.
        num_classes: Number of classes.
        embedding_dim: Width of the embedding, 0 for none.
        head_channels: Channels inside each head.
        exponential_sizes: See ``FairMOTHeads``.
        ltrb: Whether the size head tells all four distances, so that a box may reach out of the
            picture on one side.
        head_activation: Inside the heads.
    """

    def __init__(
        self,
        name: str,
        body: nn.Module,
        *,
        feature_channels: int,
        stride: int,
        num_classes: int,
        embedding_dim: int,
        head_channels: int,
        exponential_sizes: bool = False,
        ltrb: bool = True,
        head_activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.name = name
        self.stride = stride
        self.num_classes = num_classes
        self.embedding_dim = embedding_dim
        self.feature_channels = feature_channels
        # What it was built with beyond its name and widths.
        self.options: dict[str, Any] = {}
        # What the model was trained for; set when it is trained or loaded.
        self.classes: tuple[str, ...] = ()
        self.input_wh: tuple[int, int] | None = None
        self.tracker: dict[str, float] = {}
        self.body = body
        self.heads = FairMOTHeads(
            feature_channels,
            head_channels,
            num_classes,
            embedding_dim,
            exponential_sizes=exponential_sizes,
            ltrb=ltrb,
            activation=head_activation,
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images to raw maps, see the class."""
        return self.heads(self.body(images))

    def forward_with_features(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the raw maps and the feature map under the heads, for feature distillation."""
        features = self.body(images)
        return self.heads(features), features

    def parameter_count(self) -> int:
        """Return the number of learned parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def family_model(
    name: str,
    body: nn.Module,
    feature_channels: int,
    *,
    num_classes: int,
    embedding_dim: int,
    head_channels: int = 256,
    ltrb: bool = True,
    head_activation: type[nn.Module] = nn.ReLU,
) -> TrackingModel:
    """Put FairMOT's heads on a body of stride 4.

    Args:
        name: Name in the registry.
        body: Maps images to features ``[N, feature_channels, H / 4, W / 4]``.
        feature_channels: Channels of the features.
        num_classes: Number of classes.
        embedding_dim: Width of the embedding, 0 for none.
        head_channels: Channels inside each head.
        ltrb: See ``TrackingModel``.
        head_activation: Inside the heads.
    """
    return TrackingModel(
        name,
        body,
        feature_channels=feature_channels,
        stride=4,
        num_classes=num_classes,
        embedding_dim=embedding_dim,
        head_channels=head_channels,
        ltrb=ltrb,
        head_activation=head_activation,
    )


def initialise(module: nn.Module) -> None:
    """Initialise convolutions for ReLU (He et al., arXiv 1502.01852) and norms to identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
