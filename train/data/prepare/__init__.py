"""From published datasets to FairMOT's label files and an index.

One module per family of datasets. A module has a function that reads the published layout::

    def collect(root: Path, options: Options) -> Collection

and says nothing about how labels are stored; ``building.prepare`` numbers the identities, links the
pictures and writes labels, lists and index. What the two share is in ``base``.
"""

from __future__ import annotations

# Module and function of each dataset; nothing is imported until it is asked for.
PREPARERS = {
    "mot15": "train.data.prepare.mot:collect",
    "mot16": "train.data.prepare.mot:collect",
    "mot17": "train.data.prepare.mot:collect",
    "mot20": "train.data.prepare.mot:collect",
    "dancetrack": "train.data.prepare.mot:collect",
    "fish": "train.data.prepare.fish:collect",
    "crowdhuman": "train.data.prepare.crowdhuman:collect",
    "citypersons": "train.data.prepare.citypersons:collect",
    "caltech": "train.data.prepare.caltech:collect",
    "eth": "train.data.prepare.eth:collect",
    "cuhksysu": "train.data.prepare.person_search:collect_cuhksysu",
    "prw": "train.data.prepare.person_search:collect_prw",
    "custom": "train.data.prepare.custom:collect",
}
