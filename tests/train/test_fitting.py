"""Fitting weights into a model: what is loaded, and what is told of the rest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from runtime.errors import UserError
from tests.train.test_loading import assert_same, foreign, nano, weights_of
from train.models import REGISTRY, build_model
from train.models.loading import LoadReport, fit_weights


def test_nothing_to_load_leaves_the_model_as_it_is() -> None:
    model = nano()
    before = weights_of(model)
    report = fit_weights(model, {}, REGISTRY["nano"].rename)
    assert_same(model, before)
    assert not report
    assert not report.loaded
    assert set(report.missing) == {key for key in before if not key.endswith("tracked")}
    with pytest.raises(UserError, match="not one of its kernels"):
        report.require_some("w.pth")


def test_a_model_without_tensors_is_complete() -> None:
    assert fit_weights(nn.ReLU(), {}, str)
    assert not fit_weights(nn.ReLU(), {"weight": torch.ones(1)}, str)


def test_a_bias_that_fits_by_chance_is_as_good_as_nothing() -> None:
    report = fit_weights(nn.Linear(3, 1), {"weight": torch.ones(1, 9), "bias": torch.ones(1)}, str)
    assert report.loaded == ("bias",)
    with pytest.raises(UserError, match="not one of its kernels"):
        report.require_some("w.pth")


def test_all_that_fits_is_loaded() -> None:
    source, target = nano(), nano()
    report = fit_weights(target, foreign(source), REGISTRY["nano"].rename)
    assert report
    assert not (report.missing or report.mismatched or report.unexpected or report.unused)
    assert_same(target, source.state_dict())
    report.require_complete("w.pth")
    report.require_some("w.pth")


def test_every_tensor_is_told_once() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    weights = {
        "0.weight": torch.ones(3, 2),
        "0.bias": torch.ones(4),
        "1.weight": torch.ones(3),
        "1.num_batches_tracked": torch.tensor(5),
        "fc.weight": torch.ones(9),
        "extra": torch.ones(1),
        "extra.num_batches_tracked": torch.tensor(5),
    }
    report = fit_weights(model, weights, lambda key: None if key.startswith("fc.") else key)
    assert report.loaded == ("0.weight", "1.weight")
    assert report.missing == ("1.bias", "1.running_mean", "1.running_var")
    assert [str(mismatch) for mismatch in report.mismatched] == ["0.bias 4 -> 3"]
    assert report.unexpected == ("extra",)
    assert report.unused == ("fc.weight",)
    assert model[1].num_batches_tracked == 5
    with pytest.raises(UserError) as caught:
        report.require_complete("w.pth")
    assert str(caught.value).startswith(
        "checkpoint w.pth does not fit the model, 2 of 6 tensors do: 3 missing (1.bias, "
        "1.running_mean, 1.running_var); 1 of another shape (0.bias 4 -> 3); 1 unknown to the "
        "model (extra)"
    )


def test_counters_and_unused_tensors_do_not_count() -> None:
    model = nn.BatchNorm1d(3)
    weights = weights_of(model)
    del weights["num_batches_tracked"]
    weights["fc.bias"] = torch.ones(3)
    assert fit_weights(model, weights, lambda key: None if key.startswith("fc.") else key)


def test_two_tensors_for_one_place_do_not_pass_unseen() -> None:
    weights = {"a.weight": torch.ones(2, 2), "b.weight": torch.zeros(2, 2), "a.bias": torch.ones(2)}
    model = nn.Linear(2, 2)
    report = fit_weights(model, weights, lambda key: key[2:])
    assert report.unexpected == ("b.weight",) and not report
    assert torch.equal(model.weight, torch.ones(2, 2))


def test_one_table_tells_the_parts_and_one_line_the_shapes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = foreign(nano(num_classes=80, embedding_dim=512))
    weights = {key: value for key, value in weights.items() if not key.startswith("smooth")}
    report = fit_weights(nano(embedding_dim=128), weights, REGISTRY["nano"].rename)
    report.print_table("nano from w.pth")
    title, _, *lines = capsys.readouterr().out.splitlines()
    assert title == "nano from w.pth"
    cells = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert cells["part"] == ["loaded", "missing", "other", "shape", "unknown", "unused"]
    assert cells["laterals"] == ["6", "-", "-", "-", "-"]
    assert cells["smooth"] == ["-", "5", "-", "-", "-"]
    assert cells["hm"] == cells["id"] == ["2", "-", "2", "-", "-"]
    assert cells["wh"] == cells["reg"] == ["4", "-", "-", "-", "-"]
    assert lines[-1] == (
        "missing or of another shape, so fresh, in smooth, hm, id: hm.2.weight 80x64x1x1 -> "
        "1x64x1x1, hm.2.bias 80 -> 1, id.2.weight 512x64x1x1 -> 128x64x1x1, id.2.bias 512 -> 128"
    )


def test_long_lists_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    report = fit_weights(nano(), foreign(build_model("small")), REGISTRY["nano"].rename)
    report.print_table("nano from small.pth")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.count("->") == 4 and last.endswith(f"and {len(report.mismatched) - 4} more")
    assert len(report.mismatched) > 10


def test_an_empty_report_is_true() -> None:
    assert LoadReport()
