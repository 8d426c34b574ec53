"""The person tracker that comes with the package; README.md here is its model card."""

from __future__ import annotations

from pathlib import Path

DEFAULT_MODEL = Path(__file__).parent / "default.onnx"
DEFAULT_MODEL_INT8 = Path(__file__).parent / "default-int8.onnx"

_NAMED = {"default": DEFAULT_MODEL, "default-int8": DEFAULT_MODEL_INT8}


def packaged_model(asked: str | None) -> tuple[str, str | None]:
    """Return the model file to run, and what to say where it is one of the package's own.

    Args:
        asked: What ``--model`` was given; None takes the default in fp32. ``default`` and
            ``default-int8`` name the package's own unless files are called so.

    Examples:
        >>> packaged_model("mine.onnx")
        ('mine.onnx', None)
        >>> packaged_model(None)[1]
        'model: the default person tracker (default.onnx); --model takes another'
    """
    if asked is not None and (asked not in _NAMED or Path(asked).exists()):
        return asked, None
    file = _NAMED[asked or "default"]
    return str(file), f"model: the default person tracker ({file.name}); --model takes another"
