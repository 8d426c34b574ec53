"""What is compared: a configuration read from YAML, and the runs that follow from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from runtime.errors import UserError
from train.config import TrainConfig
from train.settings import Positive, Settings, in_words, read_yaml

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
# Files of the comparison itself lie beside the folders of the settings.
RESERVED_PREFIX = "compare."


def _folder_name(name: str) -> str:
    if not NAME_PATTERN.fullmatch(name) or name.lower().startswith(RESERVED_PREFIX):
        raise ValueError(
            f"{name[:70]!r} is to be the name of a folder: take up to 64 letters, digits, '.', "
            f"'_', '+' and '-', a letter or digit first, and not {RESERVED_PREFIX!r}"
        )
    return name


SettingName = Annotated[str, AfterValidator(_folder_name)]
# In YAML a name with nothing behind it has the value null.
Overrides = Annotated[dict[str, Any], BeforeValidator(lambda given: {} if given is None else given)]


class CompareConfig(Settings):
    """A comparison.

    Attributes:
        base: A training configuration, as a path relative to the comparison's own file, or given
            in place. Paths inside it are relative to where the command runs.
        seeds: Every setting is trained once with each.
        settings: Name and overrides of each setting, merged key by key into the base; lists are
            replaced. The others are held against the first.
        test: MOTChallenge folders with ground truth that the finished models track.
        threads: CPU threads; None leaves the base's.
    """

    base: Path | dict[str, Any]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    settings: Annotated[dict[SettingName, Overrides], Field(min_length=1)]
    test: Annotated[list[Path], Field(min_length=1)]
    threads: Positive | None = None

    @model_validator(mode="after")
    def _distinct(self) -> CompareConfig:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds}: one occurs twice")
        known: dict[str, str] = {}
        for name in self.settings:
            # Some file systems take them for one folder.
            other = known.setdefault(name.lower(), name)
            if other != name:
                raise ValueError(f"settings {other!r} and {name!r} differ in case alone")
        return self


@dataclass(frozen=True)
class PlannedRun:
    """One training run of a comparison.

    Attributes:
        setting: Name of its setting.
        seed: Its seed.
        entries: Its whole training configuration, as YAML would give it.
        folder: Where the run goes.
    """

    setting: str
    seed: int
    entries: dict[str, Any]
    folder: Path

    def __str__(self) -> str:
        return f"{self.setting}, seed {self.seed}"

    @property
    def config_file(self) -> Path:
        """The run's configuration, beside its folder."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log_file(self) -> Path:
        """What the run prints, beside its folder."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def fingerprint(self) -> str:
        """Tells this configuration from others."""
        return fingerprint(self.entries)


def read_comparison(path: Path, out: Path) -> tuple[CompareConfig, list[PlannedRun]]:
    """Read a comparison and check every run's configuration.

    Args:
        path: YAML file, see ``CompareConfig``.
        out: Folder for the runs.

    Returns:
        The configuration, and the runs seed by seed, so that a stop leaves whole rounds.

    Raises:
        UserError: A file is no YAML, or the configuration of the comparison or of a run is wrong.
    """
    try:
        config = CompareConfig.model_validate(read_yaml(path))
    except ValidationError as error:
        # A name is part of the message, and may be anything.
        words = " ".join(in_words(error).split())
        raise UserError(f"comparison {path}: {words}") from error
    base = config.base
    entries = base if isinstance(base, dict) else read_yaml(Path(path).parent / base)
    return config, list(_plan(config, entries, out))


def _plan(config: CompareConfig, base: Mapping[str, Any], out: Path) -> Iterator[PlannedRun]:
    for seed in config.seeds:
        for name, overrides in config.settings.items():
            if "seed" in overrides:
                raise UserError(
                    f"settings.{name} has a seed: all settings take the comparison's seeds"
                )
            entries = merge(base, overrides) | {"seed": seed}
            if config.threads is not None:
                entries["threads"] = config.threads
            _check(name, entries)
            yield PlannedRun(name, seed, entries, out / name / f"seed-{seed}")


def _check(name: str, entries: dict[str, Any]) -> None:
    try:
        settings = TrainConfig.model_validate(entries)
    except ValidationError as error:
        raise UserError(f"setting {name}: {in_words(error)}") from error
    if settings.schedule.max_minutes is not None:
        raise UserError(
            f"setting {name} has schedule.max_minutes: under a bound in time the settings would "
            "see different numbers of pictures, depending on the machine's load; take it out, or "
            "set it to null"
        )


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested entries key by key; neither argument is changed.

    Args:
        base: The entries.
        overrides: What replaces or joins them.

    Examples:
        >>> merge({"a": {"b": 1, "c": [1, 2]}, "d": 3}, {"a": {"c": [9]}, "e": None})
        {'a': {'b': 1, 'c': [9]}, 'd': 3, 'e': None}
    """
    merged = dict(base)
    for key, value in overrides.items():
        before = merged.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        merged[key] = merge(before, value) if both else value  # type: ignore[arg-type]
    return merged


def fingerprint(entries: Mapping[str, Any]) -> str:
    """Return the SHA-256 of entries, whatever the order of their keys."""
    text = json.dumps(entries, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
