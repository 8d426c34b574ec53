"""How tensors are named in other projects' checkpoints, and how here."""

from __future__ import annotations

import re
from dataclasses import dataclass

HEADS = ("hm", "wh", "reg", "id")


@dataclass(frozen=True)
class Renaming:
    r"""Maps a tensor's name in a checkpoint of another project to its name here.

    There, heads and body share one level, as in ``hm.0.weight`` beside ``base.level0.0.weight``;
    here they stand under ``heads`` and ``body``. Names of this project pass as they are.

    Attributes:
        strip: Prefix to take off.
        base: Patterns of names that belong to ``body.base``.
        unused: Patterns of names that the network has no use for, e.g. ImageNet's classifier.

    Examples:
        >>> rename = Renaming(base=(r"layer\d\.",), unused=(r"fc\.",))
        >>> rename("hm.0.weight"), rename("layer1.0.conv1.weight"), rename("fc.bias")
        ('heads.hm.0.weight', 'body.base.layer1.0.conv1.weight', None)
        >>> rename("heads.hm.0.weight")
        'heads.hm.0.weight'
    """

    strip: str = ""
    base: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __call__(self, name: str) -> str | None:
        """Return the name here, None for a tensor without use."""
        name = name.removeprefix(self.strip)
        top = name.split(".")[0]
        if top in ("body", "heads"):
            return name
        if top in HEADS:
            return f"heads.{name}"
        if any(re.match(pattern, name) for pattern in self.unused):
            return None
        if any(re.match(pattern, name) for pattern in self.base):
            return f"body.base.{name}"
        return f"body.{name}"
