"""Run the original networks once and write down what a test needs: keys, shapes, figures.

    python -m tests.train.parity.record CHECKOUT OUT_DIR [--timings FILE]

CHECKOUT is a clone of https://github.com/ifzhang/FairMOT whose ``dcn_v2`` can be imported (it does
not compile on current PyTorch: its CPU kernel must be built by hand). The weights come from
``formula.py``. Every network is also compared with ours over its whole maps, and timed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.timing.environment import environment
from tests.train.parity.formula import checkpoint, picture, sample_places
from train.models import load_model

SIZE_WH = (160, 96)
TIMING_SIZE_WH = (1088, 608)
ROUNDS = 5
THREADS = 2
HEADS_SHOWN = ("hm", "wh", "reg", "id")
HEADS = {"hm": 1, "wh": 4, "id": 128, "reg": 2}
# Each network with the gain at which its outputs are about as large as trained ones.
GAINS = {"dla_34": 0.8, "hrnet_18": 0.45, "hrnet_32": 0.45, "yolov5s": 1.05}


def import_original(checkout: Path) -> Callable[[str], nn.Module]:
    """Return a function that builds an original network by our name for it."""
    # What its modules import but its forward passes do not use, and names NumPy has dropped.
    sys.modules.setdefault("pandas", types.ModuleType("pandas"))
    setattr(np, "int", int)  # noqa: B010
    sys.path.insert(0, str(checkout / "src" / "lib"))
    os.chdir(checkout / "src")

    def build(name: str) -> nn.Module:
        from models import yolo  # type: ignore[import-not-found]
        from models.networks import (  # type: ignore[import-not-found]
            pose_dla_dcn,
            pose_hrnet,
        )

        if name == "dla_34":
            return pose_dla_dcn.DLASeg("dla34", HEADS, False, 4, 1, 5, 256)
        if name == "yolov5s":
            return yolo.get_pose_net(0, HEADS | {"id": 64}, 64)
        pose_hrnet.update_config(
            pose_hrnet.cfg, f"lib/models/networks/config/hrnet_w{name[-2:]}.yaml"
        )
        return pose_hrnet.PoseHighResolutionNet(pose_hrnet.cfg, HEADS)

    return build


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Return the relative L2 distance of two maps."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def record(name: str, original: nn.Module, out: Path) -> dict[str, Any]:
    """Write a network's test data and compare it with ours; return a row of the table."""
    shapes = {key: tuple(value.shape) for key, value in original.state_dict().items()}
    state = checkpoint(shapes, GAINS[name])
    original.load_state_dict(state)
    original.eval()
    with torch.inference_mode():
        theirs = original(picture(SIZE_WH))[-1]
    figures = {
        head: {
            "shape": list(value.shape),
            "norm": float(value.double().norm()),
            "values": [
                float(f"{number:.8g}")
                for number in value.flatten()[torch.from_numpy(sample_places(value.shape))]
            ],
        }
        for head, value in theirs.items()
    }
    content = {
        "network": name,
        "size_wh": SIZE_WH,
        "gain": GAINS[name],
        "heads": figures,
        "shapes": {key: list(shape) for key, shape in shapes.items()},
    }
    (out / f"{name}.json").write_text(compact(content), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "original.pth"
        torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, file)
        model = load_model(file, name, strict=True)
    with torch.inference_mode():
        ours = model(picture(SIZE_WH))
        errors = {head: relative_error(ours[head], theirs[head]) for head in HEADS}
        original_ms, ours_ms = timings(original, model)
    return {
        "model": name,
        "keys": len(shapes),
        "relative_error": errors,
        "original_ms": original_ms,
        "ours_ms": ours_ms,
    }


def compact(content: dict[str, Any]) -> str:
    """Return JSON with one short line per entry."""
    shapes = content.pop("shapes")
    head = json.dumps(content, indent=1)
    lines = ",\n".join(f'  "{key}": {json.dumps(shape)}' for key, shape in shapes.items())
    return f'{head[:-2]},\n "shapes": {{\n{lines}\n }}\n}}\n'


def markdown(content: dict[str, Any]) -> str:
    """Return the table for the README.

    Args:
        content: What ``--timings`` wrote.
    """
    lines = [
        "| model | tensors | hm | wh | reg | id | original, ms | kd-mot, ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in content["rows"]:
        errors = " | ".join(f"{row['relative_error'][head]:.0e}" for head in HEADS_SHOWN)
        lines.append(
            f"| `{row['model']}` | {row['keys']} | {errors.replace('0e+00', '0')} "
            f"| {row['original_ms']:.0f} | {row['ours_ms']:.0f} |"
        )
    return "\n".join(lines)


def timings(*networks: nn.Module) -> list[float]:
    """Return the median milliseconds of each network's forward pass, taken in turns."""
    images = picture(TIMING_SIZE_WH)
    milliseconds: list[list[float]] = [[] for _ in networks]
    for network in networks:
        network(images)
    for _ in range(ROUNDS):
        for network, times in zip(networks, milliseconds, strict=True):
            start = time.perf_counter()
            network(images)
            times.append((time.perf_counter() - start) * 1e3)
    return [round(statistics.median(times), 1) for times in milliseconds]


def main() -> None:
    """Record all networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--timings", type=Path, help="JSON file for the table")
    arguments = parser.parse_args()
    out, table = arguments.out.resolve(), arguments.timings
    table = table.resolve() if table else None
    build = import_original(arguments.checkout.resolve())
    torch.set_num_threads(THREADS)
    rows = []
    for name in GAINS:
        rows.append(record(name, build(name), out))
        print(json.dumps(rows[-1]))
    if table:
        content = {
            "command": "python -m tests.train.parity.record CHECKOUT tests/train/parity "
            "--timings benchmarks/results/parity.json",
            "size_wh": TIMING_SIZE_WH,
            "rows": rows,
            "environment": environment(THREADS) | {"torch": torch.__version__},
        }
        table.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
