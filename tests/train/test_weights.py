"""Reading and converting checkpoints: what comes out, what is refused, and that nothing runs."""

from __future__ import annotations

import argparse
import importlib
import pickle
import sys
import tarfile
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from runtime.errors import UserError
from train.models.weights import convert_weights, read_weights

STATE = {"hm.0.weight": torch.arange(6.0).reshape(2, 3), "hm.0.bias": torch.tensor([1.5, -2.0])}
NETWORK = '''
import torch
from torch import nn

class Network(nn.Module):
    """As YOLOv5 pickles it: layers under `model`, and attributes that are no tensors."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU())
        self.tied = self.model[0]
        self.register_buffer("anchors", torch.rand(3, 2))
        self.register_buffer("grid", torch.rand(5), persistent=False)
        self.scale = nn.Parameter(torch.rand(2))
        self.names = {0: "person"}
        self.act = torch.nn.functional.silu
        self.slots = slice(1, 2)
'''


def saved(path: Path, payload: Any, **options: Any) -> Path:
    torch.save(payload, path, **options)
    return path


def assert_same(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert tensors.keys() == expected.keys()
    for key, value in expected.items():
        assert tensors[key].dtype == (torch.float32 if value.is_floating_point() else value.dtype)
        assert torch.equal(tensors[key], value.to(tensors[key].dtype)), key


def assert_refused(path: Path, *words: str) -> None:
    """Reading and converting both say so in one line, and leave no file behind."""
    out = path.with_name("converted.safetensors")
    for attempt in (lambda: read_weights(path), lambda: convert_weights(path, out)):
        with pytest.raises(UserError) as caught:
            attempt()
        message = str(caught.value)
        assert "\n" not in message and path.name in message and "\x1b" not in message
        for word in words:
            assert word in message, message
    assert not out.exists() and not list(path.parent.glob("*.part*"))


@pytest.mark.parametrize("payload", [{}, {"epoch": 3}, {"state_dict": {}}, [], None, {1: STATE}])
def test_a_file_without_tensors_is_refused(payload: Any, tmp_path: Path) -> None:
    assert_refused(saved(tmp_path / "w.pth", payload), "holds no tensors")


def test_an_empty_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "w.safetensors")
    assert_refused(tmp_path / "w.safetensors", "holds no tensors")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: OrderedDict(state),
        lambda state: {"epoch": 30, "state_dict": state, "best": torch.tensor(0.5)},
        lambda state: {"model": state, "ema": None},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"model": {"x": torch.zeros(1)}, "ema": state},
        lambda state: {"ema": {"module": state, "updates": 3}, "model": {"x": torch.zeros(1)}},
        lambda state: {"state_dict_ema": state, "state_dict": {"x": torch.zeros(1)}},
        lambda state: {"average": {"steps": 3, "state": state}, "model": {"x": torch.zeros(1)}},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {f"module.module.{key}": value for key, value in state.items()},
        lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
        lambda state: {key.replace(".0", "._orig_mod.0"): value for key, value in state.items()},
        lambda state: {**state, "epoch": 3, "names": ["person"], "none": None},
    ],
)
def test_weights_come_out_of_their_containers(
    wrap: Callable[[Any], Any], zipped: bool, tmp_path: Path
) -> None:
    file = saved(tmp_path / "w.pth", wrap(STATE), _use_new_zipfile_serialization=zipped)
    assert_same(read_weights(file).tensors, STATE)


def test_an_optimizer_is_not_taken_for_weights(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    payload = {"epoch": 1, "state_dict": network.state_dict(), "optimizer": optimizer.state_dict()}
    assert_same(read_weights(saved(tmp_path / "w.pth", payload)).tensors, network.state_dict())
    assert_refused(saved(tmp_path / "o.pth", {"optimizer": payload["optimizer"]}), "no tensors")
    assert_refused(saved(tmp_path / "s.pth", payload["optimizer"]), "no tensors")


def test_parts_called_model_or_module_keep_their_names(tmp_path: Path) -> None:
    state = {"model.0.weight": torch.ones(2), "module_list.0.weight": torch.ones(3)}
    assert_same(read_weights(saved(tmp_path / "w.pth", state)).tensors, state)
    both = {"module.weight": torch.ones(2), "weight": torch.ones(3)}
    assert_same(read_weights(saved(tmp_path / "w.pth", both)).tensors, both)


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    state = {
        "a": torch.rand(3).half(),
        "b": torch.rand(3).bfloat16(),
        "count": torch.tensor(7),
    }
    assert_same(read_weights(saved(tmp_path / "w.pth", state)).tensors, state)
    save_file(state, tmp_path / "w.safetensors")
    assert_same(read_weights(tmp_path / "w.safetensors").tensors, state)


def test_what_torch_cannot_hold_plainly_is_left_out(tmp_path: Path) -> None:
    sparse = torch.eye(3).to_sparse()
    file = saved(tmp_path / "w.pth", {**STATE, "sparse": sparse, "meta": sparse.to("meta")})
    assert_same(read_weights(file).tensors, STATE)


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.bin", {"note": "hello"})
    weights = read_weights(tmp_path / "w.bin")
    assert weights.metadata == {"note": "hello"}
    assert weights.tensors.keys() == STATE.keys()
    assert_same(read_weights(saved(tmp_path / "w.safetensors", STATE)).tensors, STATE)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "is empty"),
        (b"hello, I am a file\n", "a text file"),
        (b"<!DOCTYPE html>\n<html><body>Not found</body></html>", "a web page"),
        (b"  <HTML>", "a web page"),
        ("Größe über alles\n".encode() * 40, "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a text file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(80), "no checkpoint"),
        (bytes(1000), "no checkpoint"),
        (pickle.dumps({"a": 1}), "no checkpoint"),
        (pickle.dumps({"a": 1}, protocol=2), "no checkpoint"),
        (pickle.dumps({"a": 1}, protocol=0), "a text file"),
        (b"PK\x03\x04" + bytes(50), "no checkpoint"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_other_files_are_refused(content: bytes, word: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    is_safetensors = name.endswith("safetensors") and word == "no checkpoint"
    foreign = is_safetensors and not content.startswith(b"PK")
    assert_refused(tmp_path / name, "not a whole safetensors file" if foreign else word)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nothing.pth", "does not exist")
    (tmp_path / "folder.pth").mkdir()
    assert_refused(tmp_path / "folder.pth", "is a directory")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("kind", ["zip", "before torch 1.6", "safetensors"])
def test_cut_files_are_refused(kind: str, share: float, tmp_path: Path) -> None:
    state = {f"layer{index}": torch.rand(100) for index in range(10)}
    file = tmp_path / "w.bin"
    if kind == "safetensors":
        save_file(state, file)
    else:
        saved(file, {"state_dict": state}, _use_new_zipfile_serialization=kind == "zip")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert_refused(file)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.pth", {"weight": torch.full((1000,), 1.5)})
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    assert_refused(file, "checksum")


def test_archives_of_other_kinds_are_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
    assert_refused(tmp_path / "script.pt", "TorchScript")
    file = saved(tmp_path / "w.pth", STATE)
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.write(file, "w.pth")
    assert_refused(tmp_path / "w.zip", "unpack it")
    with tarfile.open(tmp_path / "w.tar", "w") as tar:
        tar.add(file, "w.pth")
    assert_refused(tmp_path / "w.tar", "tar archive")


def test_a_tensor_too_large_for_memory_is_refused(tmp_path: Path) -> None:
    """Stretched over its own storage, a file of a few bytes asks for terabytes."""
    huge = torch.zeros(1, dtype=torch.float16).as_strided((1 << 44,), (0,))
    assert_refused(saved(tmp_path / "w.pth", {"weight": huge}))


# Converting.


def test_plain_files_convert(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    source = saved(tmp_path / "w.pth", {"epoch": 3, "state_dict": STATE})
    convert_weights(source, out)
    assert_same(load_file(out), STATE)
    save_file(STATE, tmp_path / "described.safetensors", {"kd_mot": "{}"})
    convert_weights(tmp_path / "described.safetensors", out)
    assert read_weights(out).metadata == {"format": "pt", "kd_mot": "{}"}
    with pytest.raises(UserError, match=r"not named \*\.safetensors"):
        convert_weights(source, tmp_path / "out.pth")
    with pytest.raises(UserError, match="cannot write"):
        convert_weights(source, tmp_path / "no" / "folder" / "out.safetensors")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[ModuleType]:
    """A module of Python code that is gone once ``forget`` is called."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "strange_network.py").write_text(NETWORK)
    sys.path.insert(0, str(tmp_path / "src"))
    yield importlib.import_module("strange_network")
    forget("strange_network", tmp_path / "src")


def forget(name: str, directory: Path) -> None:
    sys.modules.pop(name, None)
    if str(directory) in sys.path:
        sys.path.remove(str(directory))
    importlib.invalidate_caches()


@pytest.mark.parametrize("averaged", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_pickled_network_converts_without_its_code(
    averaged: bool, wrapped: bool, network: ModuleType, tmp_path: Path
) -> None:
    """What YOLOv5's yolov5s.pt looks like: modules in half precision beside other objects."""
    first, second = network.Network().half(), network.Network().half()
    expected = (second if averaged else first).state_dict()
    counts: dict[str, list[int]] = defaultdict(list)
    counts["a"].append(1)
    payload = {
        "epoch": -1,
        "best_fitness": np.float64(0.4),
        "model": nn.DataParallel(first) if wrapped else first,
        "ema": second if averaged else None,
        "updates": np.arange(3),
        "optimizer": torch.optim.SGD(first.parameters(), 0.1, momentum=0.9),
        "opt": argparse.Namespace(save_dir=Path("runs/exp"), device=torch.device("cpu")),
        "counts": counts,
    }
    file = saved(tmp_path / "yolov5s.pt", payload)
    forget("strange_network", tmp_path / "src")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("strange_network")

    with pytest.raises(UserError, match=r"names code .*kd-train convert .*yolov5s\.pt") as caught:
        read_weights(file)
    assert "\n" not in str(caught.value)
    convert_weights(file, tmp_path / "out.safetensors")
    assert "strange_network" not in sys.modules
    # Names, tied layers and counters are all there, and half precision became single.
    assert "grid" not in expected and "tied.weight" in expected
    assert_same(load_file(tmp_path / "out.safetensors"), expected)


def test_a_network_pickled_by_itself_converts(network: ModuleType, tmp_path: Path) -> None:
    module = network.Network()
    file = saved(tmp_path / "w.pt", module)
    forget("strange_network", tmp_path / "src")
    assert_same(convert_weights(file, tmp_path / "o.safetensors").tensors, module.state_dict())


def test_old_files_convert_unless_they_hold_modules(network: ModuleType, tmp_path: Path) -> None:
    old = {"_use_new_zipfile_serialization": False}
    payload = {"state_dict": STATE, "opt": argparse.Namespace(arch="dla_34")}
    file = saved(tmp_path / "w.pth", payload, **old)
    with pytest.raises(UserError, match=r"names code \(argparse\.Namespace\)"):
        read_weights(file)
    assert_same(convert_weights(file, tmp_path / "o.safetensors").tensors, STATE)
    file = saved(tmp_path / "module.pth", network.Network(), **old)
    forget("strange_network", tmp_path / "src")
    with pytest.raises(UserError, match="only their own code could restore"):
        convert_weights(file, tmp_path / "o2.safetensors")


def test_a_module_that_contains_itself_ends(tmp_path: Path) -> None:
    module = nn.Module()
    module.weight = nn.Parameter(torch.ones(2))
    module.inner = nn.Module()
    module.inner._modules["outer"] = module
    file = saved(tmp_path / "w.pt", module)
    tensors = convert_weights(file, tmp_path / "o.safetensors").tensors
    assert list(tensors) == ["weight"]
