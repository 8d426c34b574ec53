import struct
import sys

import numpy as np
import pytest
from scipy.io import savemat

from runtime.errors import UserError
from tests.train.prepare.matlab import cell, row, struct_array
from train.data.prepare.mat import numbers, read_mat, structs, texts, variable


def test_empty_values(tmp_path):
    file = tmp_path / "empty.mat"
    savemat(file, {"cells": np.empty((0, 0), object), "none": np.zeros((0, 0)), "text": ""})
    content = read_mat(file)
    assert texts(content["cells"]) == [] and structs(content["cells"]) == []
    assert structs(content["none"]) == [] and texts(content["none"]) == []
    assert numbers(content["none"], 4).shape == (0, 4)
    assert content["text"] == ""


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_one_and_several_elements_have_the_same_form(tmp_path, column, compressed):
    file = tmp_path / "a.mat"
    rows = [{"name": "a", "box": row(1, 2, 3, 4)}, {"name": "b", "box": np.zeros((0, 0))}]
    savemat(
        file,
        {
            "one": struct_array(rows[:1], column),
            "two": struct_array(rows, column),
            "cells": cell([struct_array([item]) for item in rows], column),
            "words": cell(["x", "longer"], column),
            "word": cell(["x"], column),
        },
        do_compression=compressed,
    )
    content = read_mat(file)
    assert [item["name"] for item in structs(content["one"])] == ["a"]
    assert [item["name"] for item in structs(content["two"])] == ["a", "b"]
    assert [item["name"] for item in structs(content["cells"])] == ["a", "b"]
    assert numbers(content["two"][0]["box"], 4).tolist() == [[1, 2, 3, 4]]
    assert numbers(content["two"][1]["box"], 4).shape == (0, 4)
    assert texts(content["words"]) == ["x", "longer"] and texts(content["word"]) == ["x"]


def test_missing_variable_names_those_there(tmp_path):
    file = tmp_path / "a.mat"
    savemat(file, {"other": 1})
    with pytest.raises(UserError, match=r"a\.mat has no variable A \(found other\)"):
        variable(read_mat(file), ("A",), file)


def test_what_is_no_matlab_file(tmp_path):
    file = tmp_path / "a.mat"
    for content in (b"", b"text", bytes(200)):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.mat is not a whole MATLAB file"):
            read_mat(file)
    with pytest.raises(UserError, match="does not exist"):
        read_mat(tmp_path / "b.mat")


def test_cut_file(tmp_path):
    file = tmp_path / "a.mat"
    savemat(file, {"A": np.arange(1000.0)})
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match="not a whole MATLAB file"):
        read_mat(file)


def test_version_7_3_is_named(tmp_path):
    file = tmp_path / "a.mat"
    head = b"MATLAB 7.3 MAT-file".ljust(124, b" ") + struct.pack("<H", 0x0200) + b"IM"
    file.write_bytes(head + b"\x89HDF\r\n\x1a\n" + bytes(400))
    with pytest.raises(UserError, match=r"MATLAB 7\.3 file .HDF5.: save it again"):
        read_mat(file)


def test_without_scipy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(UserError, match="pip install scipy"):
        read_mat(tmp_path / "a.mat")


def test_wrong_kinds():
    for function in (structs, texts):
        with pytest.raises(ValueError, match="expected a"):
            function(np.ones((1, 1)))
    with pytest.raises(ValueError, match="expected 4 columns"):
        numbers(np.ones((1, 5)), 4)
    with pytest.raises(ValueError, match="expected numbers"):
        numbers("text", 4)
