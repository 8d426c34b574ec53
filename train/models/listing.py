"""The list of models that ``kd-train --list-models`` prints."""

from __future__ import annotations

from runtime.console import console, print_table
from train.models.complexity import SIZE_WH, measure_complexity
from train.models.registry import REGISTRY, TIMM_ENTRY


def list_models() -> None:
    """Print a row per model of the registry."""
    rows: list[tuple[object, ...]] = []
    with console().status("counting operations"):
        costs = {name: measure_complexity(name) for name in REGISTRY}
    for name, cost in costs.items():
        millions = f"{cost.parameters / 1e6:.2f} M"
        summary = REGISTRY[name].summary
        rows.append((name, millions, f"{cost.gflops:.1f}", cost.stride, summary))
    rows.append(("timm:NAME", None, None, 4, TIMM_ENTRY.summary))
    size = f"{SIZE_WH[0]}x{SIZE_WH[1]}"
    print_table("models", ("name", "parameters", f"GFLOPs at {size}", "stride", "for"), rows)
