"""The original FairMOT as a contender, on a clone in miniature and on a real one.

The real one is looked for in the environment: FAIRMOT_CLONE=PATH.
"""

from __future__ import annotations

import itertools
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.contenders import OriginalFairMOT, original
from runtime.errors import UserError
from runtime.preprocess import letterbox
from tests.benchmarks.fairmot_clone import write_clone
from tests.train.test_parity import write_original
from train.models import load_model
from train.models.decode import boxes_at, top_peaks

FRAME = np.random.default_rng(0).integers(0, 255, (192, 320, 3), np.uint8)
SIZE_WH = (160, 96)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("scipy")
    return write_clone(tmp_path_factory.mktemp("fairmot"))


@pytest.fixture
def checkpoint(clone: Path, tmp_path: Path) -> Path:
    """Write a checkpoint of the miniature, as after training on several GPUs."""
    network = OriginalFairMOT("o", "rival", clone, allow_untrained=True).open("cpu").network
    state = {f"module.{key}": torch.ones_like(value) for key, value in network.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_it_runs_as_its_track_py_does(clone, checkpoint, monkeypatch, capsys):
    before, path = dict(sys.modules), list(sys.path)
    recipe = OriginalFairMOT("original", "rival", clone, checkpoint, SIZE_WH)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    contender = recipe.open("cpu")
    own = {"datasets", "models", "opts", "tracker", "tracking_utils", "utils", "dcn_v2"}
    assert {name for name in sys.modules if name.split(".")[0] in own} == {
        name for name in before if name.split(".")[0] in own
    }
    assert sys.path == path
    assert all((tensor == 1).all() for tensor in contender.network.state_dict().values())
    assert contender.trained and contender.description.arch == "dla_34"
    monkeypatch.setattr(
        original, "time", types.SimpleNamespace(perf_counter_ns=itertools.count().__next__)
    )
    for _ in range(2):
        contender.begin(25.0)
        step = contender.step(FRAME)
        # The second box is too small, the third too wide.
        assert step.tracks.ids.tolist() == [1]
        np.testing.assert_array_equal(step.tracks.boxes_xyxy, [[5, 6, 25, 46]])
        assert step.stage_ns == (1, 1, 1, 1)
    assert contender._tracker.frame_rate == 25.0
    assert capsys.readouterr() == ("", "")


def test_without_weights_it_runs_for_its_time_alone(clone):
    contender = OriginalFairMOT("o", "rival", clone, allow_untrained=True).open("cpu")
    assert not contender.trained and contender.description.arch == "dla_34, untrained"
    with pytest.raises(UserError, match="needs weights: give --original-weights"):
        OriginalFairMOT("o", "rival", clone)


def test_weights_that_do_not_fill_it_are_refused(clone, checkpoint):
    saved = torch.load(checkpoint, weights_only=True)
    del saved["state_dict"]["module.conv.bias"]
    torch.save(saved, checkpoint)
    with pytest.raises(UserError, match=r"1 of 4 tensors are missing .*, as conv.bias: give a ch"):
        OriginalFairMOT("o", "rival", clone, checkpoint).open("cpu")


def test_what_is_no_clone_or_a_broken_one_is_refused(clone, tmp_path):
    with pytest.raises(UserError, match="is not a clone of"):
        OriginalFairMOT("o", "rival", tmp_path, allow_untrained=True).open("cpu")
    broken = write_clone(tmp_path / "broken")
    (broken / "src" / "lib" / "opts.py").unlink()
    with pytest.raises(UserError, match=r"cannot be imported \(No module named 'opts'\): clone it"):
        OriginalFairMOT("o", "rival", broken, allow_untrained=True).open("cpu")
    with pytest.raises(UserError, match="multiples of 32"):
        OriginalFairMOT("o", "rival", clone, size_wh=(100, 96), allow_untrained=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_not_replaced(clone):
    with pytest.raises(UserError, match="PyTorch finds no GPU"):
        OriginalFairMOT("o", "rival", clone, allow_untrained=True).open("cuda")


@pytest.mark.clone
def test_a_real_clone_sees_what_our_network_sees(tmp_path):
    checkpoint = write_original("dla_34", tmp_path)
    clone = Path(os.environ["FAIRMOT_CLONE"])
    contender = OriginalFairMOT("o", "rival", clone, checkpoint, SIZE_WH).open("cpu")
    seen = []
    merge = contender._tracker.merge_outputs
    contender._tracker.merge_outputs = lambda found: seen.append(merge(found)[1]) or merge(found)
    contender.step(FRAME)
    theirs = contender.network(torch.from_numpy(contender._loader(FRAME))[None])[-1]

    # Half the frame's size to the pixel: there is no border, and both letterboxes average alike.
    fitted = np.empty((*SIZE_WH[::-1], 3), np.uint8)
    letterbox(FRAME, fitted)
    picture = torch.from_numpy(fitted[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    model = load_model(checkpoint, strict=True)
    with torch.inference_mode():
        ours = model(picture)
        scores, _, cells = top_peaks(ours["hm"], 500)
        boxes = boxes_at(ours, cells, 4) * 2
    for head, values in ours.items():
        error = (values - theirs[head]).norm() / theirs[head].norm()
        assert error < 1e-5, head
    kept = int((scores[0] > 0.4).sum())
    assert kept > 3
    np.testing.assert_allclose(seen[0][:kept, 4], scores[0, :kept], atol=1e-5)
    np.testing.assert_allclose(seen[0][:kept, :4], boxes[0, :kept], atol=1e-2)
