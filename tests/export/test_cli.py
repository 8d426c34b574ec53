"""The command line: one line for what is wrong, and files that explain themselves."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx.external_data_helper import convert_model_to_external_data

from export.cli import cli
from export.info import describe_file
from runtime.engines import open_engine
from runtime.errors import UserError
from tests.export.test_export import trained_like
from tests.stub_model import write_stub_model
from train.models import build_model, save_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = trained_like(build_model("nano", embedding_dim=8))
    file = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_model(file, model, classes=("person",), input_wh=(96, 64), tracker={"high_threshold": 0.3})
    return file


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def complaint(*arguments: object) -> str:
    result = call(*arguments)
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fp16", "--int8", "--calibrate", "x.mp4"], "is for GPUs: give --engine"),
        (["--int8"], "give --calibrate"),
        (["--calibrate", "x.mp4"], "--calibrate is for --int8"),
        (["--preprocess", "graph"], "go together"),
        (["--frame-size", "64x48"], "go together"),
        (["--batch", "1,2,4"], "--batch is about an engine: give --engine"),
        (["--engine", "tensorrt", "--batch", "4,2"], "smallest,best,largest"),
        (["--engine", "tensorrt", "--batch", "4,2,8"], "in this order"),
        (["--engine", "tensorrt-rtx", "--deform", "operator"], "has no DeformConv"),
    ],
)
def test_choices_that_do_not_go_together(
    arguments: list[str], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    assert message in complaint(checkpoint, "-o", tmp_path / "out", *arguments)
    assert not list(tmp_path.glob("out/*"))


def test_a_graph_for_the_camera_with_any_batch(checkpoint: Path, tmp_path: Path) -> None:
    result = call(
        *(checkpoint, "-o", tmp_path, "--topk", 20, "--parity-frames", 2, "--dynamic-batch"),
        *("--preprocess", "graph", "--frame-size", "160x120"),
    )
    assert result.exit_code == 0, result.exception
    info = open_engine(tmp_path / "nano.onnx", "cpu").info
    assert (info.preprocess, info.frame_size_wh, info.dynamic_batch) == ("graph", (160, 120), True)
    assert "passed" in result.output and "embedding_cosine_median" in result.output
    shown = call("info", tmp_path / "nano.onnx")
    assert shown.exit_code == 0
    for words in ("160x120 as the camera gives them", "any number at once", "high_threshold 0.3"):
        assert words in shown.output


def test_half_precision_keeps_what_needs_more(checkpoint: Path, tmp_path: Path) -> None:
    result = call(checkpoint, "-o", tmp_path, "--topk", 20, "--parity-frames", 4, "--fp16")
    assert result.exit_code == 0, result.exception
    info = open_engine(tmp_path / "nano.onnx", "cpu").info
    assert info.precision == "fp16" and info.parity["passed"]
    weights = onnx.load(tmp_path / "nano.onnx").graph.initializer
    assert any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in weights)
    words = describe_file(tmp_path / "nano.onnx")
    assert words["precision"] == "fp16"
    assert words.get("left higher", "") == ", ".join(info.kept)
    assert json.loads((tmp_path / "parity.json").read_text())["precision"] == "fp16"


def test_the_graph_is_there_without_the_library(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = importlib.import_module

    def without(name: str, package: str | None = None) -> object:
        if name == "tensorrt":
            raise ModuleNotFoundError(name)
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    choices = ["--topk", 20, "--parity-frames", 2, "--engine", "tensorrt"]
    text = complaint(checkpoint, "-o", tmp_path, *choices)
    file = tmp_path / "nano.onnx"
    assert text.startswith(f"{file} is there, its engine is not: TensorRT is not installed")
    assert text.endswith(f"kd-export engine {file} --kind tensorrt")
    assert open_engine(file, "cpu").info.parity["passed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nano.onnx", "parity.json"]


def test_an_engine_in_one_go(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    choices = ["--topk", 20, "--parity-frames", 2, "--engine", "tensorrt-rtx", "--level", 0]
    result = call(checkpoint, "-o", tmp_path, *choices)
    assert result.exit_code == 0, result.exception
    assert "engine: " in result.output
    shown = call("info", tmp_path / "nano.engine").output
    assert "tensorrt-rtx" in shown and "kd-export engine nano.onnx --kind tensorrt-rtx" in shown


def test_what_is_no_export_of_ours_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in complaint("info", tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello, this is no protocol buffer")
    assert "is no ONNX file" in complaint("info", tmp_path / "text.onnx")
    write_stub_model(tmp_path / "own.onnx")
    assert "stub" in call("info", tmp_path / "own.onnx").output
    model = onnx.load(tmp_path / "own.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    for command in (["info"], ["engine"]):
        assert "not made by kd-export" in complaint(*command, tmp_path / "foreign.onnx")


def test_weights_in_a_file_of_their_own_are_refused(tmp_path: Path) -> None:
    write_stub_model(tmp_path / "own.onnx")
    model = onnx.load(tmp_path / "own.onnx")
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, tmp_path / "split.onnx")
    for refusal in (
        complaint("info", tmp_path / "split.onnx"),
        complaint("engine", tmp_path / "split.onnx", "--kind", "tensorrt-rtx"),
    ):
        assert "weights.bin" in refusal and "export it again" in refusal
    with pytest.raises(UserError, match=r"weights\.bin"):
        open_engine(tmp_path / "split.onnx", "cpu")


def test_engines_need_neither_torch_nor_onnx() -> None:
    """A Jetson builds its own engines, with the runtime and TensorRT alone."""
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'train.models'): sys.modules[name] = None\n"
        "import export.cli, export.engine, export.info, export.tensorrt, export.parity\n"
        "from export.cli import engine_options\n"
        "engine_options('tensorrt', None, None, None, None, None)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
