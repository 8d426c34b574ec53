"""Fitting foreign weights into a model, and telling what became of every tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from runtime.console import print_table
from runtime.errors import UserError

Rename = Callable[[str], str | None]

# A counter that batch normalisation keeps and inference does not use.
COUNTER = "num_batches_tracked"
CHOOSE_ANOTHER = "choose the model it was made for, or its number of classes and embedding width"
SHOWN_MISMATCHES = 4
SHOWN_KEYS = 3


@dataclass(frozen=True)
class Mismatch:
    """A tensor that both have in different shapes.

    Attributes:
        key: Its name in the model.
        in_file: Its shape in the file.
        in_model: Its shape in the model.

    Examples:
        >>> str(Mismatch("heads.id.2.weight", (512, 256, 1, 1), (128, 256, 1, 1)))
        'id.2.weight 512x256x1x1 -> 128x256x1x1'
    """

    key: str
    in_file: tuple[int, ...]
    in_model: tuple[int, ...]

    def __str__(self) -> str:
        return f"{short_name(self.key)} {_shape(self.in_file)} -> {_shape(self.in_model)}"


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor. Counters of batch normalisation are in none of the lists.

    It is true when all of the model was loaded and the file holds nothing that does not belong to
    it.

    Attributes:
        loaded: Names in the model, in its order.
        missing: Names in the model that the file does not have.
        mismatched: Tensors of another shape.
        unexpected: Names in the file that the model does not know.
        unused: Names in the file that are known to be of no use to the model.
        kernels: How many of the loaded tensors have two or more dimensions. A bias of one number
            fits any network's.
    """

    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    unexpected: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    kernels: int = 0

    def __bool__(self) -> bool:
        return not (self.missing or self.mismatched or self.unexpected)

    def require_complete(
        self, path: str | os.PathLike[str], model: str = "the model", advice: str = CHOOSE_ANOTHER
    ) -> None:
        """Refuse a file that does not fill the model, or holds more than it.

        Args:
            path: The file, for the message.
            model: What to call the model in the message.
            advice: What to do, for the message.

        Raises:
            UserError: The report is not true; the message counts what is wrong and names the first.
        """
        if self:
            return
        faults = (
            ("missing", [short_name(key) for key in self.missing]),
            ("of another shape", [str(mismatch) for mismatch in self.mismatched]),
            ("unknown to the model", list(self.unexpected)),
        )
        told = "; ".join(f"{len(keys)} {fault} ({_first(keys)})" for fault, keys in faults if keys)
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        raise UserError(
            f"checkpoint {path} does not fit {model}, {len(self.loaded)} of {total} tensors do: "
            f"{told}; {advice}"
        )

    def require_some(self, path: str | os.PathLike[str]) -> None:
        """Refuse a file of which nothing was loaded, or biases alone.

        Args:
            path: The file, for the message.

        Raises:
            UserError: No kernel was loaded.
        """
        if not self.kernels:
            held = [*self.unexpected, *(mismatch.key for mismatch in self.mismatched), *self.unused]
            raise UserError(
                f"checkpoint {path} does not fit the model, not one of its kernels does "
                f"({_first(held)}): choose the model it was made for"
            )

    def print_table(self, title: str) -> None:
        """Print a row per part of the network, and a line with what starts fresh and why.

        Args:
            title: Line above the table.
        """
        columns = [
            self.loaded,
            self.missing,
            [mismatch.key for mismatch in self.mismatched],
            self.unexpected,
            self.unused,
        ]
        counts = [_count_parts(keys) for keys in columns]
        parts = dict.fromkeys(part for count in counts for part in count)
        print_table(
            title,
            ("part", "loaded", "missing", "other shape", "unknown", "unused"),
            [(part, *(count.get(part) for count in counts)) for part in parts],
        )
        fresh = dict.fromkeys([*counts[1], *counts[2]])
        if fresh:
            shapes = _first([str(mismatch) for mismatch in self.mismatched], SHOWN_MISMATCHES)
            print(
                f"missing or of another shape, so fresh, in {', '.join(fresh)}"
                + (f": {shapes}" if shapes else "")
            )


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], rename: Rename) -> LoadReport:
    """Load into a model what fits it in name and shape.

    Args:
        model: The model; what does not fit stays as it is.
        weights: Tensors by their names in the file.
        rename: Maps a name in the file to the model's; None for a tensor without use.

    Returns:
        What became of every tensor.

    Examples:
        >>> import torch
        >>> weights = {"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(5)}
        >>> report = fit_weights(nn.Linear(3, 2), weights, lambda name: name.removeprefix("fc."))
        >>> report.loaded, [str(mismatch) for mismatch in report.mismatched], bool(report)
        (('weight',), ['bias 5 -> 2'], False)
    """
    fitting, report = match_weights(model, weights, rename)
    model.load_state_dict(fitting, strict=False)
    return report


def match_weights(
    model: nn.Module, weights: Mapping[str, Tensor], rename: Rename
) -> tuple[dict[str, Tensor], LoadReport]:
    """Tell what ``fit_weights`` would load; the model may be on the meta device.

    Args:
        model: The model.
        weights: Tensors by their names in the file.
        rename: See ``fit_weights``.

    Returns:
        The tensors that fit, by their names in the model, and the report.
    """
    own = model.state_dict()
    fitting: dict[str, Tensor] = {}
    mismatched: dict[str, Mismatch] = {}
    unexpected, unused = [], []
    for name, tensor in weights.items():
        key = rename(name)
        if key is None:
            unused.append(name)
        elif key not in own or key in fitting or key in mismatched:
            unexpected.append(name)
        elif own[key].shape == tensor.shape:
            fitting[key] = tensor
        else:
            mismatched[key] = Mismatch(key, tuple(tensor.shape), tuple(own[key].shape))
    return fitting, LoadReport(
        loaded=_without_counters(key for key in own if key in fitting),
        missing=_without_counters(
            key for key in own if key not in fitting and key not in mismatched
        ),
        mismatched=tuple(value for key, value in mismatched.items() if not key.endswith(COUNTER)),
        unexpected=_without_counters(unexpected),
        unused=_without_counters(unused),
        kernels=sum(tensor.ndim > 1 for tensor in fitting.values()),
    )


def short_name(key: str) -> str:
    """Return a tensor's name without the level that parts body and heads.

    Examples:
        >>> short_name("heads.id.2.weight"), short_name("body.base.level0.0.weight")
        ('id.2.weight', 'base.level0.0.weight')
    """
    return key.removeprefix("heads.").removeprefix("body.")


def _count_parts(keys: Iterable[str]) -> dict[str, int]:
    """Count tensors per part of the network, such as ``base``, ``dla_up``, ``hm``."""
    counts: dict[str, int] = {}
    for key in keys:
        part = short_name(key).split(".")[0]
        counts[part] = counts.get(part, 0) + 1
    return counts


def _without_counters(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(key for key in keys if not key.endswith(COUNTER))


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _first(keys: list[str], count: int = SHOWN_KEYS) -> str:
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more
