"""From a graph in fp32 to one in lower precision that passes the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from export.gate import Gate
from export.onnx_file import infer_shapes
from export.precision.calibration import measure_ranges
from export.precision.groups import layer_groups
from export.precision.half import computing_nodes, to_half
from export.precision.int8 import (
    Recipe,
    convolution_groups,
    count_operations,
    quantizable_nodes,
    quantized_tensors,
    to_int8,
)
from export.precision.rounding import with_rounding
from export.precision.search import Choice, choose

# Of the allowance. On other stretches of the same video a graph was up to a tenth worse than on the
# judged ones, and what is kept for this margin has next to no work.
HALF_LIMIT = 0.5


def lower_to_half(
    model: ModelProto, gate: Gate, limit: float = HALF_LIMIT, describe: str = "half precision"
) -> Choice:
    """Compute in half precision, but for the layers that need more.

    Args:
        model: The graph, its shapes inferred.
        gate: Of the limits to keep to.
        limit: Severity to stay within, see ``choose``.
        describe: For the progress bar.
    """
    return choose(
        layer_groups(computing_nodes(model)),
        lambda kept: to_half(model, kept),
        lambda lowered: gate.judge(with_rounding(lowered)),
        lambda lowered: gate.probe(with_rounding(lowered)),
        describe=describe,
        limit=limit,
    )


def lower_to_int8(
    model: ModelProto, gate: Gate, recipe: Recipe, frames: Sequence[npt.NDArray[np.uint8]]
) -> Choice:
    """Compute in 8 bits, but for the layers that need more.

    Args:
        model: The graph in fp32, its shapes inferred.
        gate: Of int8's limits.
        recipe: Of the target.
        frames: To calibrate on, uint8 BGR ``[H, W, 3]`` each.
    """
    nodes = quantizable_nodes(model, recipe)
    ranges = measure_ranges(model, quantized_tensors(model, nodes), frames, gate.info)
    groups = convolution_groups(model, nodes)
    operations = count_operations(model)
    return choose(
        groups,
        lambda kept: to_int8(model, ranges, recipe, [name for name in nodes if name not in kept]),
        gate.judge,
        gate.probe,
        describe="8 bits",
        work={group: sum(operations[name] for name in names) for group, names in groups.items()},
    )


def lower_the_rest_to_half(quantized: Choice, gate: Gate) -> Choice:
    """Compute in half precision what a choice for 8 bits left, as far as the gate allows.

    Args:
        quantized: The choice.
        gate: Of int8's limits.
    """
    model = infer_shapes(quantized.model)
    rest = lower_to_half(model, gate, limit=1.0, describe="half precision elsewhere")
    return replace(rest, kept=tuple(dict.fromkeys((*quantized.kept, *rest.kept))))
