"""The description inside an ONNX file, read without any ONNX library.

A device that builds its own engine has TensorRT and need not have ``onnx``. An ONNX file is a
protocol buffer ``ModelProto``, and the metadata stand in its field 14, each entry a message of key
(field 1) and value (field 2); see ``onnx.proto`` and the protocol buffers' encoding. Of the graph,
field 7, nothing is read but where its weights say they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runtime.errors import UserError
from runtime.model_info import ModelInfo

GRAPH_FIELD, METADATA_FIELD = 7, 14  # of a model
INITIALIZER_FIELD = 5  # of a graph
EXTERNAL_DATA_FIELD = 13  # of a tensor
KEY_FIELD, VALUE_FIELD = 1, 2

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
LONGEST_VARINT = 10  # bytes


def read_model_info(path: str | os.PathLike[str]) -> ModelInfo:
    """Read what an exported ONNX file says about itself.

    Args:
        path: The ONNX file.

    Raises:
        UserError: It is no ONNX file, none of ``kd-export``, or keeps weights in another file.
    """
    file = Path(path)
    try:
        with file.open("rb") as handle:
            end = file.stat().st_size
            spans = _fields(handle, METADATA_FIELD, 0, end)
            metadata = dict(_entry(handle, *span) for span in spans)
            places = _external_places(handle, end)
    except ValueError as error:
        raise UserError(
            f"{file} is no ONNX file or is cut short ({error}): export it again with kd-export"
        ) from error
    info = ModelInfo.from_metadata(metadata, str(file))
    if places:
        raise UserError(
            f"{file} has weights in a file of their own, {min(places)}, which is easily lost or "
            "exchanged: export it again with kd-export, which keeps all in one file"
        )
    return info


def _external_places(handle: BinaryIO, end: int) -> set[str]:
    """Return the files that hold weights of a model instead of the model itself."""
    places = set()
    for graph in _fields(handle, GRAPH_FIELD, 0, end):
        for tensor in _fields(handle, INITIALIZER_FIELD, *graph):
            for span in _fields(handle, EXTERNAL_DATA_FIELD, *tensor):
                key, value = _entry(handle, *span)
                if key == "location":
                    places.add(value)
    return places


def _entry(handle: BinaryIO, start: int, end: int) -> tuple[str, str]:
    """Read a message of a key and a value."""
    words = []
    for number in (KEY_FIELD, VALUE_FIELD):
        begin, stop = next(_fields(handle, number, start, end), (start, start))
        handle.seek(begin)
        words.append(handle.read(stop - begin).decode())
    return words[0], words[1]


def _fields(handle: BinaryIO, wanted: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where the contents of one field of a message begin and end, as often as it occurs.

    Args:
        handle: The file, read from anywhere in between.
        wanted: Number of the field; it must hold bytes.
        start: First byte of the message.
        end: The byte behind it.

    Raises:
        ValueError: It is no such message.
    """
    while start < end:
        handle.seek(start)
        tag = _varint(handle)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            _varint(handle)
            start = handle.tell()
            continue
        if wire_type not in (FIXED64, BYTES, FIXED32):
            raise ValueError(f"wire type {wire_type} at byte {handle.tell()}")
        length = {FIXED64: 8, FIXED32: 4}.get(wire_type)
        if length is None:
            length = _varint(handle)
        begin = handle.tell()
        start = begin + length
        if start > end:
            raise ValueError(f"{length} bytes announced at byte {begin} of {end}")
        if number == wanted and wire_type == BYTES:
            yield begin, start


def _varint(handle: BinaryIO) -> int:
    """Read a number of variable length.

    Examples:
        >>> import io
        >>> _varint(io.BytesIO(bytes([0b1010_1100, 0b10])))
        300
    """
    value = 0
    for position in range(LONGEST_VARINT):
        byte = handle.read(1)
        if not byte:
            raise ValueError("the file ends within a number")
        value |= (byte[0] & 0x7F) << (7 * position)
        if byte[0] < 0x80:
            return value
    raise ValueError(f"a number without end at byte {handle.tell()}")
