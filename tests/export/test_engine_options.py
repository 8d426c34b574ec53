"""What can be chosen for an engine."""

from __future__ import annotations

import pytest

from export.tensorrt import EngineOptions
from runtime.errors import UserError


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"kind": "openvino"}, "choose one of tensorrt, tensorrt-rtx"),
        ({"batch": (2, 1, 4)}, "smallest, best and largest"),
        ({"batch": (0, 1, 1)}, "smallest, best and largest"),
        ({"workspace_mb": 0}, "1 or more"),
        ({"optimisation_level": 6}, "0 to 5"),
        ({"compute_capability": "8.9"}, "for the GPU at hand"),
        ({"kind": "tensorrt-rtx", "compute_capability": "sm89"}, r"of the form 8\.9"),
    ],
)
def test_choices_that_make_no_sense(choices: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EngineOptions(**choices)


def test_the_command_repeats_the_choices() -> None:
    options = EngineOptions("tensorrt", (1, 4, 8), workspace_mb=512, optimisation_level=5)
    assert options.command("m.onnx") == (
        "kd-export engine m.onnx --kind tensorrt --batch 1,4,8 --workspace 512 --level 5"
    )
