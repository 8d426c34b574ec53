"""What the sections of all configurations share."""

from __future__ import annotations

import os
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.errors import UserError
from runtime.files import existing_file

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


class Settings(BaseModel):
    """Base of all sections: unknown keys are errors, values cannot be changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def one_line(error: Exception) -> str:
    """Return an exception's message without its line breaks."""
    return " ".join(str(error).split())


def in_words(error: ValidationError) -> str:
    """Say where a configuration is wrong, and how, in one line."""
    faults = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"]) or "as a whole"
        unknown = fault["type"] == "extra_forbidden"
        faults.append(f"{where}: {'there is no such key' if unknown else fault['msg']}")
    return "; ".join(faults)


def read_yaml(path: str | os.PathLike[str], what: str = "configuration") -> dict[str, Any]:
    """Read a YAML file that holds keys.

    Args:
        path: The file.
        what: What it is, for the message.

    Raises:
        UserError: It is missing, no YAML, or holds something else.
    """
    file = existing_file(path, what)
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{what} {file} is not YAML: {one_line(error)}") from error
    if not isinstance(entries, dict):
        raise UserError(f"{what} {file} must hold keys and values")
    return entries
