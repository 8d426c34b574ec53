"""Hostile checkpoints: neither reading nor converting them runs anything."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from runtime.errors import UserError
from tests.train.test_weights import STATE, assert_refused, assert_same, saved
from train.models.weights import convert_weights, read_weights


class Attack:
    """Pickles as the call it is given."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call

    def __call__(self) -> None:
        """Look callable, so that one attack's result can be what another calls."""


class HostileModule(nn.Module):
    def __init__(self, attack: Attack) -> None:
        super().__init__()
        self.attack = attack

    def __reduce__(self) -> Any:
        return self.attack.__reduce__()


def inner_file(command: str) -> bytes:
    """Return a checkpoint to be loaded from inside another one."""
    buffer = io.BytesIO()
    torch.save(Attack(os.system, command), buffer)
    return buffer.getvalue()


ATTACKS: dict[str, Callable[[str], Attack]] = {
    "os.system": lambda command: Attack(os.system, command),
    "os.popen": lambda command: Attack(os.popen, command),
    "eval": lambda command: Attack(eval, f"__import__('os').system({command!r})"),
    "exec": lambda command: Attack(exec, f"import os; os.system({command!r})"),
    "subprocess": lambda command: Attack(subprocess.getoutput, command),
    "getattr": lambda command: Attack(
        Attack(getattr, Attack(importlib.import_module, "os"), "system"), command
    ),
    "a file in the file": lambda command: Attack(
        torch.storage._load_from_bytes, inner_file(command)
    ),
}


def in_module(attack: Attack, field: str) -> nn.Module:
    module = nn.Linear(2, 2)
    if field == "attribute":
        module.extra = attack
    else:
        module.__dict__[field]["extra"] = attack
    return module


PLACES: dict[str, Callable[[Attack], Any]] = {
    "alone": lambda attack: attack,
    "beside": lambda attack: {"state_dict": STATE, "note": attack},
    "as a container": lambda attack: {"state_dict": STATE, "ema": attack},
    "in the weights": lambda attack: {"state_dict": {**STATE, "extra": attack}},
    "in a list": lambda attack: {"state_dict": STATE, "notes": [[attack]]},
    "attribute": lambda attack: {"model": in_module(attack, "attribute")},
    "parameter": lambda attack: {"model": in_module(attack, "_parameters")},
    "child": lambda attack: {"model": nn.Sequential(in_module(attack, "_modules"))},
    "reduce of a module": lambda attack: {"state_dict": STATE, "model": HostileModule(attack)},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attacks_are_real(attack: str, tmp_path: Path) -> None:
    """Else the test below would prove nothing."""
    marker = tmp_path / "marker"
    result = pickle.loads(pickle.dumps(ATTACKS[attack](f"touch '{marker}'")))
    if attack == "os.popen":
        result.close()
    assert marker.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_file_runs_nothing(attack: str, place: str, zipped: bool, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    payload = PLACES[place](ATTACKS[attack](f"touch '{marker}'"))
    file = saved(tmp_path / "w.pth", payload, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError) as caught:
        read_weights(file)
    assert "\n" not in str(caught.value)
    # The tensors around the attack may be saved, or the file refused; the attack does not run.
    out = tmp_path / "o.safetensors"
    try:
        tensors = convert_weights(file, out).tensors
    except UserError as error:
        assert "\n" not in str(error)
        assert not out.exists()
    else:
        assert tensors and out.exists()
    assert not marker.exists()


def test_a_blocked_function_is_named_and_the_file_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.pth", {"state_dict": STATE, "note": Attack(os.system, "true")})
    with pytest.raises(UserError, match=rf"names code \({os.name}\.system\)"):
        read_weights(file)
    with pytest.raises(UserError, match=rf"asks for {os.name}\.system.*do not use this file"):
        convert_weights(file, tmp_path / "o.safetensors")


def test_tensors_beside_a_harmless_stand_in_are_exact(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.pth", {"state_dict": STATE, "note": Attack(eval, "1 / 0")})
    assert_same(convert_weights(file, tmp_path / "o.safetensors").tensors, STATE)


def test_a_shadowed_container_is_refused(tmp_path: Path) -> None:
    """A dictionary's own attributes may be pickled too, and then stand before its methods."""
    shadowed = OrderedDict(STATE)
    shadowed.get = torch.device("cpu")
    assert_refused(saved(tmp_path / "w.pth", {"state_dict": shadowed}), "damaged")


def test_deeply_nested_modules_convert(tmp_path: Path) -> None:
    module = nn.Module()
    module.weight = nn.Parameter(torch.ones(1))
    for _ in range(30):
        outer = nn.Module()
        outer.inner = module
        module = outer
    file = saved(tmp_path / "w.pt", module)
    tensors = convert_weights(file, tmp_path / "o.safetensors").tensors
    assert list(tensors) == ["inner." * 30 + "weight"]
