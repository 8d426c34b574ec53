"""From a batch to its loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.data.batch import Batch
from train.distiller import Distiller
from train.losses.fairmot import FairMOTLoss
from train.models import TrackingModel


class Objective(nn.Module):
    """Everything that trains: the network, and the layers that only its losses need.

    One module, so that the gradients of all its parts are averaged over processes together.

    Args:
        model: The network.
        task_loss: The losses on labels.
        distiller: The teachers and their losses; None without any.
        alpha: Share of the distillation loss.
    """

    def __init__(
        self,
        model: TrackingModel,
        task_loss: FairMOTLoss,
        distiller: Distiller | None,
        alpha: float,
    ) -> None:
        super().__init__()
        self.model = model
        self.task_loss = task_loss
        self.distiller = distiller
        self.alpha = alpha

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss; networks under the autocast around the call, the task losses in fp32.

        Args:
            batch: A batch, or one process's share of it.

        Returns:
            The loss, and its parts without gradients by name, not weighted.
        """
        images = batch.model_input()
        outputs, features = self.model.forward_with_features(images)
        with torch.autocast(images.device.type, enabled=False):
            loss, parts = self.task_loss(outputs, batch)
        if self.distiller is not None:
            seen = self.distiller.look(images, batch)
            distillation, more = self.distiller(outputs, features, seen)
            loss = (1 - self.alpha) * loss + self.alpha * distillation
            parts |= more
        return loss, {name: part.detach() for name, part in parts.items()}
