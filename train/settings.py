"""What the sections of all configurations share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
