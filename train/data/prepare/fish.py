"""BrackishMOT: fish and other animals under water.

Source: Pedersen et al., "BrackishMOT: The Brackish Multi-Object Tracking Dataset", SCIA 2023
(arXiv:2302.10645). Ground truth has the nine columns of MOT16, and six classes.
"""

from __future__ import annotations

from pathlib import Path

from runtime.errors import UserError
from train.data.prepare.base import Collection, Options, wrong_layout
from train.data.prepare.sequences import RowRule, find_sequences, read_sequences

# In the order of the numbers 1 to 6 in the eighth column.
CLASSES = ("fish", "crab", "shrimp", "starfish", "small-fish", "jellyfish")
FOLDERS = {"train": ("train",), "val": ("val",), "test": ("test",)}
LOOKED_FOR = (
    "train/*/gt/gt.txt",
    "test/*/gt/gt.txt",
    "images/train/*/gt/gt.txt",
    "*/gt/gt.txt",
    "gt/gt.txt",
)


def collect(root: Path, options: Options) -> Collection:
    """Read BrackishMOT.

    Args:
        root: ``ROOT/{train,test}/SEQ/{img1,gt/gt.txt,seqinfo.ini}``, or the same below
            ``ROOT/images``.
        options: ``classes`` keeps some of ``CLASSES``, numbered in that order; None or ``all``
            keeps all.

    Raises:
        UserError: It is not laid out so or damaged, or there is no such class.
    """
    wanted = CLASSES if options.classes in (None, ("all",)) else options.classes or ()
    unknown = [name for name in wanted if name not in CLASSES]
    if unknown:
        raise UserError(
            f"BrackishMOT has no class {unknown[0]!r}: choose from {', '.join(CLASSES)}"
        )
    kept = tuple(name for name in CLASSES if name in wanted)
    rule = RowRule({CLASSES.index(name) + 1: number for number, name in enumerate(kept)})
    found = find_sequences(root, FOLDERS)
    if not found.by_split:
        raise wrong_layout("BrackishMOT", root, LOOKED_FOR)
    return Collection(kept, read_sequences(found.by_split, rule, options), found.notes)
