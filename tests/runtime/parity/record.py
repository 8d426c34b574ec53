"""Run the original FairMOT tracker on made-up scenes and write down its decisions.

    python -m tests.runtime.parity.record CHECKOUT

CHECKOUT is a clone of https://github.com/ifzhang/FairMOT. Its ``JDETracker.update`` runs unchanged;
see ``benchmarks.association.original``. It needs SciPy, and cython_bbox as it came from PyPI.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.association.original import OriginalTracker, overlaps_come_from
from runtime.files import atomic_path
from tests.runtime.parity import RECORD, fingerprint
from tests.runtime.scenes import SCENES

# Boxes are written in steps of this many pixels: far below the tolerance, and half the bytes.
STEP = 2.0**-12


def crowded(fps: float = 30.0, **arguments: Any) -> dict[str, Any]:
    return {"scene": "crowded", "fps": fps, "arguments": arguments}


def occluded(fps: float, **arguments: Any) -> dict[str, Any]:
    return {"scene": "occluded", "fps": fps, "arguments": arguments}


PLAN = {
    "crowd_16": crowded(seed=1, embedding_dim=16),
    "crowd_16_slow": crowded(seed=2, embedding_dim=16, fps=10.0, frames=120),
    "crowd_128": crowded(seed=3, embedding_dim=128),
    "crowd_128_dense": crowded(seed=4, embedding_dim=128, people=30, area=300.0),
    "hundred": crowded(seed=5, embedding_dim=128, people=130, area=1500.0, frames=45),
    "twins": crowded(seed=6, embedding_dim=16, twins=0.3),
    "gaps": crowded(seed=7, embedding_dim=16, empty_every=21, frames=120),
    "small": crowded(seed=8, embedding_dim=16, heights=(8.0, 24.0), area=150.0),
    "small_slow": crowded(seed=9, embedding_dim=16, heights=(6.0, 16.0), area=110.0, fps=10.0),
    "occluded_30": occluded(seed=10, fps=30.0, limit=30),
    "occluded_10": occluded(seed=11, fps=10.0, limit=10, people=36),
}


def record(checkout: Path, plan: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the arrays of the file."""
    arrays: dict[str, Any] = {}
    scenes = {}
    for name, settings in plan.items():
        detections = SCENES[settings["scene"]](**settings["arguments"])
        tracker = OriginalTracker(checkout, settings["fps"])
        tracks = [tracker.update(frame) for frame in detections]
        boxes = np.concatenate([frame.boxes_xyxy for frame in tracks])
        arrays[f"{name}/counts"] = np.array([len(frame) for frame in tracks], np.uint16)
        arrays[f"{name}/ids"] = np.concatenate([frame.ids for frame in tracks]).astype(np.uint16)
        arrays[f"{name}/boxes"] = (np.round(boxes / STEP) * STEP).astype(np.float32)
        scenes[name] = settings | {"sha256": fingerprint(detections)}
        print(f"{name}: {len(detections)} frames, {len(boxes)} boxes")
    content = {
        "original": "https://github.com/ifzhang/FairMOT",
        "commit": commit(checkout),
        "overlaps": overlaps_come_from(),
        "numpy": np.__version__,
        "scenes": scenes,
    }
    return arrays | {"settings": np.array(json.dumps(content))}


def commit(checkout: Path) -> str | None:
    """Return the commit of the checkout, None if it is a bare copy of the files."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def main() -> None:
    """Record all scenes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    arrays = record(parser.parse_args().checkout.resolve(), PLAN)
    with atomic_path(RECORD) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


if __name__ == "__main__":
    main()
