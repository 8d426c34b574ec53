"""``kd-bench regress``: whether models, or the code around them, got slower since a measurement.

Times of two machines do not compare, and hardly those of one machine on two days. Ratios do: of
two models that were timed in turns, and of a frame's time over that of its network. So the ratios
of now are compared with those of then, and a new file is timed beside the old one where that is
still there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.contenders import ExportedModel, exported_models
from benchmarks.timing.frames import source_sha256
from benchmarks.timing.latency import entry_medians, measure
from benchmarks.timing.statistics import Ratio, paired_ratio, ratio_of_ratios
from runtime.console import print_table, warn
from runtime.errors import UserError
from runtime.files import existing_file, file_sha256

# An interval over fewer rounds means little.
LEAST_ROUNDS = 5
MAX_RATIO = 1.05
# What seems slower is measured once more: rounds do not show what differs from run to run, such as
# where in memory a model came to lie.
ATTEMPTS = 2
NEW = " (new)"

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One thing that may have become slower.

    Attributes:
        what: In words, such that "... takes 1.2 times as long" is a sentence.
        kind: ``pair``, ``overhead`` or ``file``.
        ratio: How many times as long it takes now as then.
    """

    what: str
    kind: str
    ratio: Ratio

    def is_slower(self, max_ratio: float) -> bool:
        """Tell whether it takes more than ``max_ratio`` times as long, beyond what noise does."""
        return self.ratio.low > max_ratio

    def sentence(self, max_ratio: float) -> str:
        """Say it in one line."""
        ratio = self.ratio
        return (
            f"{self.what} takes {ratio.ratio:.3f} times as long ({ratio.low:.3f} to "
            f"{ratio.high:.3f}), allowed is {max_ratio:g}"
        )


@dataclass(frozen=True)
class Rounds:
    """The figures of each round of a measurement, by model in its order.

    Attributes:
        totals: Median ms of a frame, ``[rounds]``.
        overheads: Time of a frame over that of its network, ``[rounds]``; of some models only.
    """

    totals: dict[str, FloatArray]
    overheads: dict[str, FloatArray]

    @classmethod
    def of(cls, result: dict[str, Any]) -> Rounds:
        """Read what ``benchmarks.timing.latency.measure`` returned."""
        count = result["settings"]["rounds"]
        totals, overheads = {}, {}
        for entry in result["models"]:
            totals[entry["model"]] = entry_medians(entry, count)
            if "overhead" in entry:
                overheads[entry["model"]] = np.asarray(entry["overhead"]["rounds"], np.float64)
        figures = [*totals.values(), *overheads.values()]
        if not figures or not all(len(own) == count for own in figures):
            raise ValueError("rounds are missing")
        if not all((np.isfinite(own) & (own > 0)).all() for own in figures):
            raise ValueError("a time is not positive")
        return cls(totals, overheads)


def regress(
    base_file: str | os.PathLike[str],
    replacements: Sequence[str] = (),
    frames: int | None = None,
    rounds: int | None = None,
    max_ratio: float = MAX_RATIO,
) -> dict[str, Any]:
    """Measure again what a file of ``kd-bench latency`` holds, and compare.

    What seems slower is measured a second time, and counts only if it is slower then as well.

    Args:
        base_file: The file, called BASE; paths in it are as they were given then.
        replacements: ``NAME=FILE``, files to measure in place of those named in it.
        frames: Frames per round; as then when not given.
        rounds: Number of rounds; as then when not given.
        max_ratio: How many times as long something may take.

    Returns:
        ``checks`` (``what``, ``kind``, ``ratio``, ``low``, ``high``, ``confidence``, ``slower``),
        ``findings`` with a sentence for each that is slower, ``max_ratio``, ``base`` and
        ``latency``, what was measured last.

    Raises:
        UserError: BASE is damaged or has too few rounds; a model or the source is missing or is
            not the one of then.
    """
    base, then = read_base(Path(base_file))
    recipes, replaced = choose_models(base["files"]["models"], replacements)
    source, settings = base["files"]["source"], base["settings"]
    path = unchanged_source(source["path"], source["sha256"]) if source else None
    confirmed: set[str] | None = None
    for _ in range(ATTEMPTS):
        now = measure(
            recipes,
            path,
            frames or settings["frames_per_round"],
            rounds or settings["rounds"],
            settings["threads"],
            settings["backend"],
            alone=False,
        )
        checks = compare(then, Rounds.of(now), replaced)
        found = {check.what for check in checks if check.is_slower(max_ratio)}
        confirmed = found if confirmed is None else confirmed & found
        if not confirmed:
            break
    slower = [check for check in checks if check.what in (confirmed or ())]
    cpu, other = now["environment"]["cpu"], base["environment"]["cpu"]
    if cpu != other:
        warn(f"BASE was measured on {other}, this is {cpu}: ratios may differ as well, renew BASE")
    return {
        "checks": [
            {
                "what": check.what,
                "kind": check.kind,
                **check.ratio.to_dict(),
                "slower": check in slower,
            }
            for check in checks
        ],
        "findings": [check.sentence(max_ratio) for check in slower],
        "max_ratio": max_ratio,
        "base": Path(base_file).name,
        "latency": now,
    }


def read_base(path: Path) -> tuple[dict[str, Any], Rounds]:
    """Read a file of ``kd-bench latency``, and see that all is there that is needed.

    Raises:
        UserError: It is missing or damaged, or has too few rounds.
    """
    try:
        base = json.loads(existing_file(path, "measurement").read_text(encoding="utf-8"))
        rounds = Rounds.of(base)
        settings, files = base["settings"], base["files"]
        needed = [settings["threads"], settings["backend"], settings["frames_per_round"]]
        needed += [base["environment"]["cpu"], files["source"] and files["source"]["sha256"]]
        paths = {name: (file["path"], file["sha256"]) for name, file in files["models"].items()}
        if paths.keys() != rounds.totals.keys():
            raise ValueError("not all models are files")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be measured again ({error!r}): make it with kd-bench latency --json"
        ) from error
    if settings["rounds"] < LEAST_ROUNDS:
        raise UserError(
            f"{path} has {settings['rounds']} rounds, too few to tell noise from change: measure "
            f"it with --rounds {LEAST_ROUNDS} at least"
        )
    return base, rounds


def choose_models(
    files: dict[str, dict[str, str]], replacements: Sequence[str]
) -> tuple[list[ExportedModel], frozenset[str]]:
    """Choose what is measured in place of the models of BASE.

    Args:
        files: ``path`` and ``sha256`` by name.
        replacements: ``NAME=FILE``.

    Returns:
        The models, with the names and in the order of BASE; behind them the new files, named with
        ``NEW``, whose old one is there as well. And the names of which only the new file is there.

    Raises:
        UserError: A file is missing or changed and has no replacement, or a name is not in BASE.
    """
    new = {recipe.name: recipe for recipe in exported_models(replacements)}
    for name in new:
        if name not in files:
            raise UserError(f"BASE has no model {name}: choose from {', '.join(files)}")
    kept, added, replaced = [], [], set()
    for name, file in files.items():
        path = Path(file["path"])
        trouble = "is missing" if not path.is_file() else ""
        if not trouble and file_sha256(path) != file["sha256"]:
            trouble = "has changed since BASE was measured"
        if trouble and name not in new:
            raise UserError(f"{path} {trouble}: put another in its place, --model {name}=FILE")
        kept.append(new[name] if trouble else ExportedModel(name, "", path))
        if trouble:
            replaced.add(name)
        elif name in new:
            added.append(ExportedModel(name + NEW, "", new[name].path))
    return [*kept, *added], frozenset(replaced)


def unchanged_source(path: str, sha256: str | None) -> str:
    """Return the path of a source that is what it was.

    Args:
        path: As it was given then.
        sha256: Of then; None where it was neither file nor folder.

    Raises:
        UserError: It is missing or changed.
    """
    if source_sha256(path) != sha256:
        trouble = "has changed since BASE was measured" if Path(path).exists() else "is missing"
        raise UserError(f"source {path} {trouble}: bring it back, or measure BASE again")
    return path


def compare(then: Rounds, now: Rounds, replaced: frozenset[str] = frozenset()) -> list[Check]:
    """Compare two measurements of the same models.

    A pair tells that one model got slower against another. Where neither file was replaced, either
    may be the one; else a replaced file is judged by the other, since what is meant to be faster
    makes the other look slow. Overhead is judged of unchanged files only: a faster network leaves
    the code around it a larger share.

    Args:
        then: The earlier one.
        now: The later one; models it has more, named with ``NEW``, are compared with the one
            without it by their times of now.
        replaced: Models whose file is another one than then.
    """
    checks = []
    first, *others = then.totals
    for other in others:
        for one, against in ((first, other), (other, first)):
            if against in replaced and one not in replaced:
                continue
            ratio = ratio_of_ratios(
                now.totals[one] / now.totals[against], then.totals[one] / then.totals[against]
            )
            checks.append(Check(f"{one} against {against}", "pair", ratio))
    for name, before in then.overheads.items():
        if name in now.overheads and name not in replaced:
            ratio = ratio_of_ratios(now.overheads[name], before)
            checks.append(Check(f"a frame of {name} against its network", "overhead", ratio))
    for name in [name for name in now.totals if name not in then.totals]:
        old = name.removesuffix(NEW)
        ratio = paired_ratio(now.totals[name], now.totals[old])
        checks.append(Check(f"{name} against the file of BASE", "file", ratio))
    return checks


def print_regress(result: dict[str, Any]) -> None:
    """Print what ``regress`` returned as a table on standard output."""
    rows = [
        [row["what"], row["ratio"], row["low"], row["high"], "yes" if row["slower"] else "no"]
        for row in result["checks"]
    ]
    print_table(
        f"How many times as long as in {result['base']}, 95 % bootstrap interval; allowed is "
        f"{result['max_ratio']:g}",
        ("what", "ratio", "low", "high", "slower"),
        rows,
    )
