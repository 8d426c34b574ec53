"""Reading MATLAB files of version 5 to 7.2, as pedestrian datasets publish their annotations.

SciPy gives the same MATLAB value in several forms: a cell array of one struct, a struct array of
one element and a struct are nested differently, and squeezing them loses which is which. Here every
value has one form: a struct array is a list of dictionaries (a single struct a list of one), a cell
array a list, text a string, and numbers an array as stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.files import existing_file

Struct: TypeAlias = dict[str, Any]


def read_mat(path: Path, what: str = "annotation file") -> dict[str, Any]:
    """Read the variables of a MATLAB file.

    Args:
        path: The file; its suffix does not matter (``.mat``, ``.vbb``).
        what: What it holds, for the message.

    Returns:
        The variables by name, in the form this module describes.

    Raises:
        UserError: SciPy is not installed, or the file is missing, damaged, or of version 7.3, which
            is another format (HDF5).
    """
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise UserError(f"{path} is a MATLAB file, which needs SciPy: pip install scipy") from error

    file = existing_file(path, what)
    try:
        content = loadmat(str(file), appendmat=False)
    except NotImplementedError as error:
        raise UserError(
            f"{what} {file} is a MATLAB 7.3 file (HDF5): save it again in MATLAB with "
            "save(..., '-v7')"
        ) from error
    except Exception as error:  # SciPy lets those of zlib, struct and others through
        raise UserError(
            f"{what} {file} is not a whole MATLAB file ({error}): copy it again"
        ) from error
    return {name: plain(value) for name, value in content.items() if not name.startswith("__")}


def plain(value: Any) -> Any:
    """Bring a value of ``scipy.io.loadmat`` into the form this module describes.

    Examples:
        >>> plain(np.array(["person"])), plain(np.array([[1, 2]]))
        ('person', array([[1, 2]]))
        >>> cell = np.empty((1, 2), object)
        >>> cell[0, 0], cell[0, 1] = np.array(["a"]), np.zeros((0, 0))
        >>> plain(cell)
        ['a', array([], shape=(0, 0), dtype=float64)]
    """
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.names is not None:
        names = value.dtype.names
        return [{name: plain(element[name]) for name in names} for element in _elements(value)]
    if value.dtype == object:
        return [plain(element) for element in _elements(value)]
    if value.dtype.kind in "US":
        rows = [str(row) for row in value.reshape(-1)]
        return rows[0] if len(rows) == 1 else rows or ""
    return value


def _elements(value: npt.NDArray[Any]) -> list[Any]:
    # MATLAB counts down the columns first.
    return list(value.reshape(-1, order="F"))


def variable(content: Mapping[str, Any], names: tuple[str, ...], file: Path) -> Any:
    """Return the first variable of these names.

    Raises:
        UserError: The file has none of them.
    """
    for name in names:
        if name in content:
            return content[name]
    raise UserError(
        f"{file} has no variable {' or '.join(names)} (found {', '.join(content) or 'none'}): "
        "check that it is the dataset's own annotation file"
    )


def structs(value: Any) -> list[Struct]:
    """Return the structs of a struct array, or of a cell array that holds one struct a cell.

    An empty MATLAB value, ``[]`` or ``{}``, has none.

    Raises:
        ValueError: The value is something else.

    Examples:
        >>> structs([{"id": 1}]), structs([[{"id": 1}], [{"id": 2}]]), structs(np.zeros((0, 0)))
        ([{'id': 1}], [{'id': 1}, {'id': 2}], [])
    """
    if isinstance(value, np.ndarray) and not value.size:
        return []
    if not isinstance(value, list):
        raise ValueError(f"expected a struct array, found {_describe(value)}")
    found: list[Struct] = []
    for element in value:
        if isinstance(element, dict):
            found.append(element)
        else:
            found.extend(structs(element))
    return found


def texts(value: Any) -> list[str]:
    """Return the strings of a cell array; nested cells of one string are opened.

    Raises:
        ValueError: There is something else in it.

    Examples:
        >>> texts(["a", ["b"]]), texts("c"), texts(np.zeros((0, 0)))
        (['a', 'b'], ['c'], [])
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, np.ndarray) and not value.size:
        return []
    if not isinstance(value, list):
        raise ValueError(f"expected a cell array of text, found {_describe(value)}")
    return [text for element in value for text in texts(element)]


def numbers(value: Any, columns: int) -> npt.NDArray[np.float64]:
    """Return an array of numbers as rows, ``[N, columns]`` float64; an empty value has no rows.

    Raises:
        ValueError: It is not numeric, or of another width.

    Examples:
        >>> numbers(np.array([[1, 2, 3, 4]], np.uint8), 4), numbers(np.zeros((0, 0)), 4).shape
        (array([[1., 2., 3., 4.]]), (0, 4))
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list | str) and not value:
        return np.zeros((0, columns))
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise ValueError(f"expected numbers, found {_describe(value)}")
    if not value.size:
        return np.zeros((0, columns))
    if value.ndim != 2 or value.shape[1] != columns:
        raise ValueError(f"expected {columns} columns, found an array of shape {value.shape}")
    return value.astype(np.float64)


def _describe(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"a {type(value).__name__}"
