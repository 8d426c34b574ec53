"""``kd-train adapt``: a student made better on one's own camera, from video without labels."""

from __future__ import annotations

from train.adapt.adapting import adapt
from train.adapt.gate import Decision, Judgement, decide, judge
from train.adapt.plan import AdaptSettings

__all__ = ["AdaptSettings", "Decision", "Judgement", "adapt", "decide", "judge"]
