"""The task losses of FairMOT (arXiv 2004.01888)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import LossConfig
from train.data.batch import Batch
from train.models.decode import gather_cells
from train.models.heads import WIDTH_HEIGHT
from train.processes import shared_count


def heatmap_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss on the heatmap (CenterNet, arXiv 1904.07850, eq. 1).

    Args:
        logits: ``[N, C, h, w]``.
        target: ``[N, C, h, w]`` in 0..1, exactly 1 at centres.

    Returns:
        The sum divided by the number of centres, a scalar.
    """
    logits = logits.float()
    probability = logits.sigmoid()
    positive = target.eq(1).float()
    at_centres = F.logsigmoid(logits) * (1 - probability).square() * positive
    elsewhere = F.logsigmoid(-logits) * probability.square() * (1 - target).pow(4) * (1 - positive)
    return -(at_centres + elsewhere).sum() / shared_count(positive.sum(), 1)


def masked_l1_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference over the places in use.

    Args:
        prediction: ``[N, M, C]``.
        target: ``[N, M, C]``.
        mask: ``[N, M]`` bool.

    Returns:
        A scalar; 0 when no place is in use.
    """
    weights = mask.unsqueeze(-1).float()
    difference = (prediction.float() - target).abs() * weights
    return difference.sum() / shared_count(weights.sum() * target.shape[-1], 1e-4)


def size_loss(sizes: Tensor, batch: Batch) -> Tensor:
    """L1 on the size map ``[N, 4, h, w]``, or ``[N, 2, h, w]`` of widths and heights."""
    target = batch.sizes_ltrb
    if sizes.shape[1] == WIDTH_HEIGHT:
        target = target[..., :2] + target[..., 2:]
    return masked_l1_loss(gather_cells(sizes, batch.cells), target, batch.mask)


class IdentityLoss(nn.Module):
    """Identity as classification over all training identities (arXiv 2004.01888, section 4.3).

    The classifier is needed in training only. Embeddings are normalised and scaled by
    ``sqrt(2) * log(num_ids - 1)``, FairMOT's temperature.

    Args:
        embedding_dim: Width of the embedding.
        num_ids: Number of identities.
    """

    def __init__(self, embedding_dim: int, num_ids: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(embedding_dim, num_ids)
        self.scale = math.sqrt(2) * math.log(max(num_ids - 1, 2))

    def forward(self, embeddings: Tensor, ids: Tensor) -> Tensor:
        """Return the mean cross-entropy over the places whose identity is known; 0 without any.

        Args:
            embeddings: ``[P, D]``.
            ids: ``[P]`` int64, -1 where unknown.
        """
        known = ids >= 0
        # Without any the sum is 0, and still takes the same way through the network as in the other
        # processes.
        unit = F.normalize(embeddings[known].float(), dim=1) * self.scale
        # The integers stay integers under autocast; only the logits are floats.
        with torch.autocast(unit.device.type, enabled=False):
            loss = F.cross_entropy(self.classifier(unit), ids[known], reduction="sum")
        return loss / shared_count(known.sum().float(), 1)


class FairMOTLoss(nn.Module):
    """All task losses, balanced by learned uncertainty (arXiv 1705.07115).

    Args:
        config: Weights.
        embedding_dim: Width of the embedding, 0 for none.
        num_ids: Number of identities; with fewer than 2 there is nothing to tell apart.
    """

    def __init__(self, config: LossConfig, embedding_dim: int, num_ids: int) -> None:
        super().__init__()
        self.config = config
        self.identity = (
            IdentityLoss(embedding_dim, num_ids)
            if embedding_dim and num_ids > 1 and config.id
            else None
        )
        # FairMOT's starting values.
        self.detection_uncertainty = nn.Parameter(torch.tensor(-1.85))
        self.identity_uncertainty = nn.Parameter(torch.tensor(-1.05))

    def forward(self, outputs: dict[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the losses; those of pictures without labels are 0, but for pasted people.

        Args:
            outputs: Raw maps of the model.
            batch: Targets.

        Returns:
            The total, and the parts by name, not weighted.
        """
        parts = {
            "hm": heatmap_focal_loss(outputs["hm"][batch.labelled], batch.heatmap[batch.labelled]),
            "wh": size_loss(outputs["wh"], batch),
            "reg": masked_l1_loss(
                gather_cells(outputs["reg"], batch.cells), batch.offsets, batch.mask
            ),
        }
        detection = sum(
            (getattr(self.config, name) * part for name, part in parts.items()),
            torch.zeros((), device=batch.cells.device),
        )
        if self.identity is None:
            return detection, parts
        embeddings = gather_cells(outputs["id"], batch.cells)[batch.mask]
        parts["id"] = self.identity(embeddings, batch.ids[batch.mask])
        total = 0.5 * (
            torch.exp(-self.detection_uncertainty) * detection
            + torch.exp(-self.identity_uncertainty) * self.config.id * parts["id"]
            + self.detection_uncertainty
            + self.identity_uncertainty
        )
        return total, parts
