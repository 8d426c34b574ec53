"""What a cache of a teacher's outputs is filed under."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from runtime.files import existing_file
from train.teachers.config import DetectorConfig, EmbedderConfig, OnnxTeacherConfig

# Raised whenever the same files and settings come to give other numbers.
FORMAT_VERSION = 1
BLOCK = 1 << 20
# How protobuf writes the entry that names a file with weights outside the ONNX file: key
# "location", then the length of the name (under 128, or in two bytes) and the name.
LOCATION = re.compile(rb"\x0a\x08location\x12([\x00-\x7f]|[\x80-\xff][\x01-\x7f])", re.DOTALL)


def fingerprint(config: OnnxTeacherConfig) -> str:
    """Return a digest of all that decides what a teacher says of a picture.

    That is the content of its files, the weights they keep outside included, and how they are fed
    and read; not where they lie, nor how the student uses what they say. A teacher without a
    detector also depends on the boxes it is given.

    Args:
        config: The teacher.

    Returns:
        64 hexadecimal digits.

    Raises:
        UserError: A file is missing or cannot be read.
    """
    parts: dict[str, object] = {"version": FORMAT_VERSION}
    for key, section in (("detector", config.detector), ("embedder", config.embedder)):
        if section is not None:
            parts[key] = _section(key, section)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _section(key: str, section: DetectorConfig | EmbedderConfig) -> dict[str, object]:
    path = existing_file(section.path, f"{key}.path")
    files = [path, *outside_files(path)]
    return {
        "files": [_digest(file) for file in files],
        "settings": section.model_dump(mode="json", exclude={"path"}),
    }


def outside_files(path: Path) -> list[Path]:
    """Return the files beside an ONNX file that hold some of its weights, sorted.

    Their names are looked for in its bytes, as the package that reads ONNX files is not part of
    what training needs. Like ONNX Runtime, this stays in the file's folder.
    """
    content = path.read_bytes()
    names = set()
    for match in LOCATION.finditer(content):
        size = match.group(1)
        length = size[0] if len(size) == 1 else (size[0] & 0x7F) | size[1] << 7
        names.add(content[match.end() : match.end() + length].decode(errors="replace"))
    folder = path.resolve().parent
    files = {(folder / name).resolve() for name in names if "\0" not in name}
    return sorted(file for file in files if file.is_relative_to(folder) and file.is_file())


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
