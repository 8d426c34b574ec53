"""Generated scenes: people walking in drawn places, with exact ground truth.

Training and demonstration data where no footage is at hand.

Examples:
    >>> scene = Scene(SceneConfig(frames=2, size_wh=(160, 120), people=3, seed=1))
    >>> scene.render(0).image.shape
    (120, 160, 3)
"""

from __future__ import annotations

from train.data.synth.config import SceneConfig
from train.data.synth.scene import Scene, SceneFrame
from train.data.synth.writer import write_sequence, write_sequences

__all__ = ["Scene", "SceneConfig", "SceneFrame", "write_sequence", "write_sequences"]
