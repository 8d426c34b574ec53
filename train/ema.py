"""Averaged weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AveragedWeights:
    """Exponential moving average of a model's weights and statistics (arXiv 1703.01780).

    Args:
        model: The model to follow.
        decay: Share of the average that a step keeps; it rises from 0.1 in the first steps, so that
            the random start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step towards the model's present weights."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for key, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)

    def state_dict(self) -> dict[str, object]:
        """Return what ``load_state_dict`` takes."""
        return {"steps": self.steps, "state": self.state}

    def load_state_dict(self, saved: dict[str, object]) -> None:
        """Go on from a saved average."""
        steps, state = saved["steps"], saved["state"]
        assert isinstance(steps, int) and isinstance(state, dict)
        self.steps = steps
        for key, value in state.items():
            assert isinstance(value, Tensor)
            self.state[key].copy_(value)
