"""Tensors out of the checkpoints people have: no code of a file is ever run."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from runtime.errors import UserError
from runtime.files import atomic_path, existing_file
from train.models.stand_ins import StandIn, named_globals, stand_ins

# Entries that hold the weights, best first: averaged weights are what inference uses. `average` and
# its `state` are those of kd-train's own state.pt.
CONTAINERS = (
    "ema",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "average",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "state",
    "teacher",
)
# Containers in containers; a hostile file may nest them without end.
DEEPEST = 4
# Enough to tell a tar archive, whose mark stands at byte 257.
HEAD_BYTES = 512


@dataclass(frozen=True)
class Weights:
    """What a checkpoint holds.

    Attributes:
        tensors: Tensors on the CPU by name, in the file's order; half precision became float32.
        metadata: A safetensors file's own entries; empty for other files.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)


def read_weights(path: str | os.PathLike[str], *, open_objects: bool = False) -> Weights:
    """Read the tensors of a checkpoint.

    Safetensors files are known by their content, everything else is read with
    ``torch.load(weights_only=True)``. The weights are looked for under the names in ``CONTAINERS``,
    and what ``DataParallel`` and ``torch.compile`` put before names is taken off. Entries that are
    no tensors are left out.

    Args:
        path: The file.
        open_objects: Whether to read pickled modules too. Stand-ins take the place of every class
            and function they name, and the tensors are gathered from those.

    Returns:
        The tensors and the metadata.

    Raises:
        UserError: There is no such file, it is not a checkpoint, is damaged, holds no tensors, or
            names code that would have to run.
    """
    file = existing_file(path, "checkpoint")
    with file.open("rb") as handle:
        head = handle.read(HEAD_BYTES)
    _check_head(file, head)
    metadata: dict[str, str] = {}
    payload: Any
    if head[8:9] == b"{" or (file.suffix == ".safetensors" and not head.startswith(b"PK")):
        payload, metadata = _read_safetensors(file)
    else:
        payload = _read_pickle(file, named_globals(file) if open_objects else [])
    try:
        found = gather_tensors(payload)
        tensors = plain_names({key: _full(value) for key, value in found.items()})
    except Exception as error:  # a hostile file may hold anything, in any depth and size
        _refuse_damaged(file, error)
    if not tensors:
        raise UserError(
            f"checkpoint {file} holds no tensors under names: give a file of a network's weights"
        )
    return Weights(tensors, metadata)


def convert_weights(source: str | os.PathLike[str], out: str | os.PathLike[str]) -> Weights:
    """Write the tensors of any checkpoint as safetensors, without running any code of it.

    Args:
        source: A checkpoint; it may be a pickled module.
        out: File to write, ``*.safetensors``.

    Returns:
        What was written.

    Raises:
        UserError: The source cannot be read, or the file cannot be written.
    """
    final = Path(out)
    if final.suffix != ".safetensors":
        raise UserError(f"{final} is not named *.safetensors: choose such a name for the output")
    weights = read_weights(source, open_objects=True)
    write_safetensors(final, weights.tensors, {"format": "pt"} | weights.metadata)
    return weights


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file.

    Args:
        path: The file.
        tensors: Tensors by name, on any device.
        metadata: Entries for its header.

    Raises:
        UserError: The file cannot be written.
    """
    # Tied weights share their memory, which the format does not know.
    own = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        # The library's own writing reports a full disk as an error of its own kind.
        temporary.write_bytes(save(own, dict(metadata)))


def gather_tensors(payload: Any, levels: int = DEEPEST) -> dict[str, Tensor]:
    """Return the tensors of a loaded checkpoint, opening the containers in ``CONTAINERS``.

    Args:
        payload: What ``torch.load`` returned.
        levels: How many containers may lie in each other.

    Examples:
        >>> weight = torch.ones(2)
        >>> averaged = {"fc.weight": 2 * weight}
        >>> gather_tensors({"epoch": 3, "model": {"fc.weight": weight}, "ema": averaged})
        {'fc.weight': tensor([2., 2.])}
        >>> gather_tensors({"fc.weight": weight, "epoch": 3})
        {'fc.weight': tensor([1., 1.])}
    """
    if isinstance(payload, StandIn):
        payload = payload.contents()
    if not isinstance(payload, Mapping):
        return {}
    for name in CONTAINERS if levels else ():
        tensors = gather_tensors(payload.get(name), levels - 1)
        if tensors:
            return tensors
    return {key: value for key, value in payload.items() if isinstance(key, str) and _usable(value)}


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off what ``DataParallel`` (``module.``) and ``torch.compile`` (``_orig_mod.``) add.

    ``model.`` stays: networks have parts of that name.

    Examples:
        >>> weight = torch.ones(1)
        >>> list(plain_names({"module._orig_mod.hm.bias": weight, "model.0.bias": weight}))
        ['hm.bias', 'model.0.bias']
    """
    plain = {}
    for key, value in tensors.items():
        name = re.sub(r"(^|\.)_orig_mod\.", r"\1", key)
        plain[re.sub(r"^(module\.)+", "", name)] = value
    # Two tensors of one name would mean that the prefix tells them apart.
    return plain if len(plain) == len(tensors) else dict(tensors)


def _usable(value: Any) -> bool:
    """Tell whether a value is a tensor with plain numbers in memory."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _full(value: Tensor) -> Tensor:
    value = value.detach()
    return value.float() if value.is_floating_point() and value.element_size() < 4 else value


def _check_head(file: Path, head: bytes) -> None:
    """Refuse what its first bytes show to be something else."""
    if not head:
        raise UserError(f"checkpoint {file} is empty: download or save it again")
    if head[257:262] == b"ustar":
        raise UserError(
            f"checkpoint {file} is a tar archive: give the file inside it, or, if a torch older "
            "than 0.1.10 wrote it, save it again with a newer one"
        )
    # A character may be cut at the end of the bytes read.
    text = head.decode("utf-8", errors="replace").rstrip("�")
    if all(letter.isprintable() or letter.isspace() for letter in text) and "�" not in text:
        is_page = text.lstrip().lower().startswith(("<!doctype html", "<html"))
        what = "a web page saved under its name" if is_page else "a text file"
        raise UserError(f"checkpoint {file} is {what}: download the checkpoint itself")


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, framework="pt") as archive:
            names = archive.keys()
            return {key: archive.get_tensor(key) for key in names}, archive.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"checkpoint {file} is not a whole safetensors file ({error}): copy or download it "
            "again"
        ) from error


def _read_pickle(file: Path, names: list[str]) -> Any:
    """Load what ``torch.save`` wrote, with stand-ins for ``names``."""
    _check_archive(file)
    try:
        with (
            file.open("rb") as handle,
            warnings.catch_warnings(),
            torch.serialization.safe_globals(stand_ins(names)),
        ):
            warnings.simplefilter("ignore")
            return torch.load(handle, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        _refuse_code(file, error, converting=bool(names))
    except Exception as error:  # a damaged or foreign file fails in many ways
        _refuse_damaged(file, error)


def _check_archive(file: Path) -> None:
    """Refuse a zip archive that is TorchScript or fails its checksums, which torch ignores."""
    if not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        _refuse_damaged(file, error)
    if any(name.endswith("/constants.pkl") for name in members):
        raise UserError(
            f"checkpoint {file} is a TorchScript archive: give the checkpoint it was made from"
        )
    if not any(name.endswith("/data.pkl") for name in members):
        raise UserError(
            f"checkpoint {file} is a zip archive without a checkpoint's parts: unpack it and give "
            "the checkpoint inside"
        )
    if damaged is not None:
        _refuse_damaged(file, ValueError(f"{damaged} fails its checksum"))


def _refuse_code(file: Path, error: Exception, converting: bool) -> NoReturn:
    """Say that a pickle is more than tensors, or no pickle of torch."""
    told = re.search(r"GLOBAL (\S+)", str(error))
    if converting and told:
        raise UserError(
            f"checkpoint {file} asks for {_shown([told[1]])}, which no network's weights need: "
            "nothing of it was run; do not use this file"
        )
    if converting:
        raise UserError(
            f"checkpoint {file} holds objects that only their own code could restore: save the "
            "network's state_dict() with the project it came from"
        )
    names = [told[1]] if told else []
    if zipfile.is_zipfile(file):
        names = named_globals(file) or names
    if not names:
        _refuse_damaged(file, ValueError("its pickle is not one of tensors"))
    raise UserError(
        f"checkpoint {file} names code ({_shown(names)}), and loading that would run it: "
        f"gather its tensors safely with `kd-train convert {file} OUT.safetensors`"
    )


def _refuse_damaged(file: Path, error: Exception) -> NoReturn:
    reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
    raise UserError(
        f"checkpoint {file} is damaged, cut short or no checkpoint ({reason}): download or save it "
        "again"
    ) from error


def _shown(names: list[str]) -> str:
    """Show the first names, without the control characters a hostile file may put there."""
    first = ["".join(letter for letter in name if letter.isprintable())[:60] for name in names[:3]]
    return ", ".join(first) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
