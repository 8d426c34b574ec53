"""The file beside an engine: written, read, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.engines import open_engine
from runtime.engines.sidecar import EngineSidecar, sidecar_path
from runtime.errors import UserError
from runtime.files import file_sha256
from tests.runtime.test_tensorrt_engine import INFO, write_engine


def test_a_sidecar_is_read_as_it_was_written(tmp_path: Path) -> None:
    engine = write_engine(tmp_path, parity={"passed": True, "matched": 1.0})
    sidecar = EngineSidecar.load(engine)
    assert sidecar.engine_sha256 == file_sha256(engine)
    assert (sidecar.batch, sidecar.info) == ((1, 2, 4), INFO)
    before = sidecar_path(engine).read_bytes()
    sidecar.save(engine)
    assert sidecar_path(engine).read_bytes() == before


def test_a_missing_sidecar(tmp_path: Path) -> None:
    engine = write_engine(tmp_path)
    sidecar_path(engine).unlink()
    with pytest.raises(UserError, match=r"no m\.engine\.json beside it.*kd-export engine m\.onnx"):
        open_engine(engine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "has format 2, this kd-mot reads 1"),
        ({"batch": [2, 1, 4]}, "is damaged .*not in order"),
        ({"batch": None}, "is damaged"),
        ({"kind": "openvino"}, "is damaged .*unknown"),
        ({"onnx_file": "../m.onnx"}, "is damaged"),
        ({"info": {"arch": "nano"}}, "damaged description"),
        ({"colour": "red"}, "is damaged"),
    ],
)
def test_a_sidecar_that_cannot_be_used(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    engine = write_engine(tmp_path)
    path = sidecar_path(engine)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        EngineSidecar.load(engine)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_sidecar_that_is_damaged(content: str, tmp_path: Path) -> None:
    engine = write_engine(tmp_path)
    sidecar_path(engine).write_text(content)
    with pytest.raises(UserError, match=r"is damaged .*kd-export engine m\.onnx"):
        open_engine(engine)
