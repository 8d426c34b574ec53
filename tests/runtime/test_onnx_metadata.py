"""The description in an ONNX file, read without an ONNX library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.onnx_metadata import read_model_info
from tests.stub_model import write_stub_model


def test_an_empty_file_has_no_description(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    with pytest.raises(UserError, match="was not made by kd-export"):
        read_model_info(tmp_path / "m.onnx")


def test_the_description_is_read_without_onnx(tmp_path: Path) -> None:
    info = write_stub_model(tmp_path / "m.onnx", classes=("Fußgänger", "car"))
    assert read_model_info(tmp_path / "m.onnx") == info


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.99])
def test_a_file_that_is_cut_short_is_refused(kept: float, tmp_path: Path) -> None:
    write_stub_model(tmp_path / "m.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError, match="is no ONNX file or is cut short"):
        read_model_info(tmp_path / "m.onnx")


def test_any_bytes_give_a_description_or_one_line(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for length in range(1, 200):
        (tmp_path / "m.onnx").write_bytes(random.integers(0, 256, length).astype(np.uint8))
        with pytest.raises(UserError):
            read_model_info(tmp_path / "m.onnx")
