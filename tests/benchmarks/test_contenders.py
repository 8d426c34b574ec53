"""Contenders: what they give, and how they are named and refused; not how fast they are."""

from __future__ import annotations

import dataclasses
import importlib.util
import multiprocessing
import pickle
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

from benchmarks.association.entries import entries, find_entry
from benchmarks.association.peers import Ours, Settings
from benchmarks.contenders import STAGES, DetectorWithTracker, Recipe, exported_models, rivals
from benchmarks.contenders import detector as detector_module
from benchmarks.contenders.opening import weights
from runtime.cli import main as kd_run
from runtime.errors import UserError
from runtime.sources import open_source
from tests.runtime.conftest import write_video
from tests.stub_model import write_stub_model
from tests.train.tiny_onnx import CELLS, STRIDES, answering, mean_colour

pytest.importorskip("onnxruntime")

FRAME = np.full((96, 128, 3), 30, np.uint8)
OPTIONS = {"strides": STRIDES}
# Of a cell with the score 0.9: column 2 and row 1 of stride 8, and sides of 16 and 24 pixels. The
# picture is shrunk to a third, its width to 43 of 128 pixels.
BOX = np.array([8, 0, 24, 24]) * [128 / 43, 3, 128 / 43, 3]


def tiny_detector(path: Path) -> Path:
    """Write a raw YOLOX that sees somebody for sure, somebody perhaps, and nobody else."""
    raw = np.zeros((1, CELLS, 6), np.float32)
    raw[0, 10] = [0, 0.5, np.log(2), np.log(3), 0.9, 1]
    raw[0, 30] = [0, 0, 0, 0, 0.3, 1]
    return answering(path, out=raw)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contenders")
    tiny_detector(folder / "tiny.onnx")
    mean_colour(folder / "looks.onnx", ["N", 3, 16, 8])
    write_stub_model(folder / "stub.onnx")
    (folder / "text.onnx").write_text("no model", encoding="utf-8")
    return folder


def pair(files: Path, tracker: str = "kd-mot", **changes: object) -> DetectorWithTracker:
    recipe = DetectorWithTracker("tiny", "rival", files / "tiny.onnx", tracker, options=OPTIONS)
    return dataclasses.replace(recipe, **changes)


def test_an_exported_model_gives_the_tracks_of_kd_run(files, tmp_path, monkeypatch):
    video = write_video(tmp_path / "blobs.avi")
    arguments = ["kd-run", video, "--model", files / "stub.onnx", "--out", tmp_path, "--no-overlay"]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit) as end:
        kd_run()
    assert end.value.code == 0
    (recipe,) = exported_models([files / "stub.onnx"])
    rows = []
    with recipe.open() as contender, open_source(video) as source:
        contender.begin(source.fps)
        for number, frame in enumerate(source, start=1):
            rows += contender.step(frame).tracks.to_mot_rows(number)
    assert len(rows) > 20
    assert rows == (tmp_path / "tracks.txt").read_text(encoding="utf-8").splitlines()


def test_a_pair_tracks_what_the_detector_sees(files):
    contender = pair(files).open(threads=1)
    for _ in range(2):
        contender.begin(25.0)
        for _ in range(3):
            before = time.perf_counter_ns()
            step = contender.step(FRAME)
            whole = time.perf_counter_ns() - before
            assert step.tracks.ids.tolist() == [1]
            np.testing.assert_allclose(step.tracks.boxes_xyxy, [BOX], atol=0.5)
            assert len(step.stage_ns) == len(STAGES)
            assert min(step.stage_ns) > 0 and sum(step.stage_ns) <= whole
    told = contender.description
    assert (told.file, told.size_wh, told.tracker) == ("tiny.onnx", (64, 32), "kd-mot, motion only")
    assert told.bytes == (files / "tiny.onnx").stat().st_size


def test_every_part_counts_as_its_stage(files, monkeypatch):
    now = [0]
    clock = types.SimpleNamespace(perf_counter_ns=lambda: now[0])
    contender = pair(files, embedder=files / "looks.onnx").open()
    monkeypatch.setattr(detector_module, "time", clock)

    def slowly(owner, name, nanoseconds):
        original = getattr(owner, name)

        def slow(*arguments):
            now[0] += nanoseconds
            return original(*arguments)

        monkeypatch.setattr(owner, name, slow)

    slowly(contender._detector, "prepare", 1)
    slowly(contender._detector, "infer", 20)
    slowly(contender._detector, "read", 300)
    slowly(contender, "_embed", 4000)
    for name in ("prepare", "update", "read"):
        slowly(contender._tracker, name, 50000)
    assert contender.step(FRAME).stage_ns == (1, 4020, 300, 150000)


def test_only_who_is_seen_for_sure_is_described(files, monkeypatch):
    seen = []
    update = Ours.update
    monkeypatch.setattr(Ours, "update", lambda *given: seen.append(given[1]) or update(*given))
    pair(files, embedder=files / "looks.onnx").open().step(FRAME)
    pair(files).open().step(FRAME)
    described, plain = seen
    np.testing.assert_allclose(described.scores, [0.9, 0.3], atol=1e-6)
    lengths = np.linalg.norm(described.embeddings, axis=1)
    np.testing.assert_allclose(lengths, [1, 0], atol=1e-3)
    assert plain.embeddings is None


PEER = """
told = []

class BYTETracker:
    def __init__(self, **settings):
        told.append(settings)

    def update(self, rows):
        told.append(rows.copy())
        return [[*row[:4], 7 + number] for number, row in enumerate(rows)]
"""


def test_a_peer_is_told_rate_and_threshold_and_gets_low_scores(files, tmp_path, monkeypatch):
    (tmp_path / "pyxtrackers.py").write_text(PEER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    contender = pair(files, "pyxtrackers:bytetrack", score_threshold=0.5).open()
    contender.begin(7.0)
    assert contender.step(FRAME).tracks.ids.tolist() == [7, 8]
    settings, rows = sys.modules.pop("pyxtrackers").told[-2:]
    assert settings == {"frame_rate": 7.0, "track_thresh": 0.5, "track_buffer": 30}
    np.testing.assert_allclose(rows[:, 4], [0.9, 0.3], atol=1e-6)


def test_a_package_that_lacks_another_is_one_line(files, tmp_path, monkeypatch):
    (tmp_path / "trackers.py").write_text("import no_such_module_x", encoding="utf-8")
    (tmp_path / "supervision.py").write_text("Detections = None", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"needs no_such_module_x, .*: pip install trackers$"):
        pair(files, "trackers:sort").open()
    sys.modules.pop("supervision", None)


@pytest.mark.parametrize(
    ("name", "installed", "found"),
    [
        ("bytetrack", ("pyxtrackers", "trackers", "ioutrack"), "pyxtrackers BYTETracker"),
        ("bytetrack", ("ioutrack", "trackers", "similari"), "trackers ByteTrackTracker"),
        ("bytetrack", ("ioutrack",), "ioutrack ByteTrack"),
        ("ocsort", ("ioutrack", "trackers"), "trackers OCSORTTracker"),
        ("pyxtrackers", ("pyxtrackers", "trackers"), "pyxtrackers BYTETracker"),
        ("similari", ("similari",), "similari Sort"),
        ("trackers:botsort", ("pyxtrackers", "trackers"), "trackers BoTSORTTracker"),
        ("kd-mot", (), "kd-mot, motion only"),
    ],
)
def test_a_tracker_is_found_by_kind_or_package_or_both(monkeypatch, name, installed, found):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: module in installed or None)
    assert find_entry(name).name == found


def test_missing_and_unknown_trackers_say_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(UserError, match=r"bytetrack is not installed: pip install .*pyxtrackers$"):
        find_entry("bytetrack")
    with pytest.raises(UserError) as told:
        find_entry("bitetrack")
    named = str(told.value).split("choose one of ")[1].split(", ")
    assert {"kd-mot", "bytetrack", "trackers:ocsort", "similari:visual"} <= set(named)
    assert [entry.name for entry in entries() if entry.missing is None] == [
        "kd-mot, fairmot",
        "kd-mot, default",
        "kd-mot, motion only",
    ]


def test_rivals_are_named_after_their_parts(files):
    found = rivals(files / "tiny.onnx", ["kd-mot"], files / "looks.onnx", 0.5)
    assert [(recipe.name, recipe.role) for recipe in found] == [
        ("tiny+kd-mot", "rival"),
        ("tiny+kd-mot+looks", "rival"),
    ]
    assert [recipe.score_threshold for recipe in found] == [0.5, 0.5]
    assert [recipe.parameters for recipe in found] == [CELLS * 6] * 2
    assert weights(files / "tiny.onnx") == (CELLS * 6, "fp32")
    assert rivals() == []


def test_a_detector_of_another_kind_is_described_in_a_file(files, tmp_path):
    boxes, scores = np.array([[0, 0, 16, 16]], np.float32), np.array([0.8], np.float32)
    other = answering(tmp_path / "other.onnx", b=boxes, s=scores)
    file = tmp_path / "other.yaml"
    file.write_text(f"path: {other}\noutput: boxes\nfit: stretch\n", encoding="utf-8")
    (recipe,) = rivals(file, ["kd-mot"])
    assert recipe.name == "other+kd-mot"
    np.testing.assert_allclose(recipe.open().step(FRAME).tracks.boxes_xyxy, [[0, 0, 32, 48]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detector": "absent.onnx"}, "detector .*absent.onnx does not exist"),
        ({"detector": "text.onnx"}, "text.onnx is no ONNX file"),
        ({"embedder": "absent.onnx"}, "embedder .*absent.onnx does not exist"),
        ({"trackers": ["kd-mot", "kd-mot"]}, "--tracker kd-mot is given twice"),
        ({"score_threshold": 60}, "score threshold 60 is not between 0 and 1"),
        ({"original_weights": "text.onnx"}, "--original-weights goes with --original"),
        ({"detector": None, "embedder": "looks.onnx"}, "--embedder goes with --detector"),
        ({"original": "."}, "needs weights: give --original-weights"),
        ({"original": ".", "original_weights": "absent.pth"}, "absent.pth does not exist"),
    ],
)
def test_what_cannot_be_compared_is_one_line(files, arguments, message):
    whole = {"detector": "tiny.onnx", "trackers": ["kd-mot"], **arguments}
    for key, value in whole.items():
        if isinstance(value, str):
            whole[key] = files / value
    with pytest.raises(UserError, match=message) as told:
        rivals(**whole)
    assert "\n" not in str(told.value)


def test_what_cannot_be_opened_is_one_line(files, monkeypatch):
    with pytest.raises(UserError, match="tiny: stride: there is no such key"):
        pair(files, options={"stride": 8}).open()
    with pytest.raises(UserError, match=r"has 40 cells, strides \[4\] of 64x32 make 128"):
        pair(files, options={"strides": [4]}).open()
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: True)
    with pytest.raises(UserError, match="ioutrack does not look at embeddings"):
        pair(files, "ioutrack", embedder=files / "looks.onnx").open()
    with pytest.raises(UserError, match="similari:visual looks at embeddings: give --embedder"):
        pair(files, "similari:visual").open()


def test_settings_follow_the_rate_of_frames():
    assert [Settings(fps).lost_frames for fps in (30.0, 25.0, 7.0, 0.5)] == [30, 25, 7, 1]


def first_ids(recipe: Recipe) -> list[int]:
    """Open a contender and show it a frame; run in another process."""
    with recipe.open(threads=1) as contender:
        return contender.step(np.full((64, 96, 3), 255, np.uint8)).tracks.ids.tolist()


def test_recipes_open_in_another_process(files):
    recipes = [*exported_models([files / "stub.onnx"]), pair(files)]
    assert pickle.loads(pickle.dumps(recipes)) == recipes
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        ids = pool.map(first_ids, recipes)
    assert all(found and found[0] == 1 for found in ids)
