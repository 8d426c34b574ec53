"""How figures and other people's words are written, on the page and in the Markdown."""

from __future__ import annotations

import math
from typing import Any

LABEL_LENGTH = 32


def scrub(text: str) -> str:
    """Replace what cannot be drawn or would turn the text around it, and keep line breaks.

    Examples:
        >>> scrub("a\\u202eb\\tc")
        'a�b c'
    """
    # Two unseen letters join and part others, in Persian as in families of emoji.
    kept = "\n\u200c\u200d"
    spaced = text.replace("\t", " ").replace("\r\n", "\n").replace("\r", "\n")
    return "".join(one if one.isprintable() or one in kept else "\ufffd" for one in spaced)


def one_line(value: Any) -> str:
    """Return a name without line breaks and without what no font can draw."""
    return scrub(" ".join(str(value).split()))


def short(name: str, length: int = LABEL_LENGTH) -> str:
    """Cut a long name so that it fits into a plot.

    Examples:
        >>> short("a" * 40)
        'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…'
    """
    return name if len(name) <= length else name[: length - 1] + "…"


def counted(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun.

    Examples:
        >>> counted(1, "switch", "switches"), counted(0, "model")
        ('1 switch', '0 models')
    """
    return f"{count} {one if count == 1 else many or one + 's'}"


def figure(value: float) -> str:
    """Write a measured figure with three digits that count, and no more than three decimals.

    Examples:
        >>> figure(0.01234), figure(7.43), figure(14.84), figure(652.81), figure(12345.6)
        ('0.012', '7.43', '14.8', '653', '12346')
    """
    decimals = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{3 if abs(value) < 0.9995 else decimals}f}"


def format_value(value: Any) -> str:
    """Format any value of a JSON file for a table.

    Examples:
        >>> format_value(0.25), format_value(3.2e-07), format_value([1.5, 2]), format_value(True)
        ('0.25', '3.2e-07', '1.5, 2', 'yes')
        >>> format_value(0.99999)  # not 1
        '0.99999'
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        digits = 6 if 0.999 < abs(value) < 1 else 4
        return f"{value:.{digits}g}" if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return ", ".join(format_value(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_value(item)}" for key, item in value.items())
    return "–" if value is None else str(value)


def si_count(value: float) -> str:
    """Format a count with its magnitude.

    Examples:
        >>> si_count(950), si_count(3_480_000), si_count(20_350_000)
        ('950', '3.48 M', '20.4 M')
    """
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:#.3g}".rstrip(".") + suffix
    return f"{value:g}"


def file_size(size_bytes: float) -> str:
    """Format a file's size in decimal units.

    Examples:
        >>> file_size(13_900_000), file_size(4_200)
        ('13.9 MB', '4.2 kB')
    """
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"
