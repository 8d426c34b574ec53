"""Models from checkpoints: of other projects, of this one, and as a start for training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from runtime.errors import UserError
from train.config import TrainConfig
from train.models import REGISTRY, TrackingModel, build_model, load_model, save_model
from train.models.checkpoint import DESCRIPTION_KEY, load_into
from train.models.head_widths import HeadWidths, read_heads
from train.models.loading import match_weights
from train.models.registry import ModelEntry
from train.models.residual import SPECS, ResidualBody
from train.state import MODEL_FILE
from train.trainer import Trainer


def nano(**widths: Any) -> TrackingModel:
    return build_model("nano", **widths).eval()


def foreign(model: TrackingModel) -> dict[str, Tensor]:
    """Return a model's weights under the names that FairMOT's family uses."""
    return {
        key.removeprefix("heads.").removeprefix("body."): value
        for key, value in model.state_dict().items()
    }


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    """Write a checkpoint as FairMOT does."""
    torch.save({"epoch": 30, "state_dict": state, "optimizer": {"state": {}}}, path)
    return path


def described(path: Path, model: TrackingModel) -> Path:
    classes = tuple(f"kind{index}" for index in range(model.num_classes))
    save_model(path, model, classes=classes, input_wh=(96, 64))
    return path


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same(model: nn.Module, expected: dict[str, Tensor], without: str = "-") -> None:
    state = model.state_dict()
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        assert key.startswith(without) or torch.equal(state[key], value), key


def test_a_checkpoint_of_another_project_loads_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = nano(num_classes=3, embedding_dim=24)
    state = {f"module.{key}": value for key, value in foreign(source).items()}
    model = load_model(saved(tmp_path / "w.pth", state), "nano", strict=True)
    assert (model.num_classes, model.embedding_dim, model.input_wh) == (3, 24, None)
    assert model.classes == ("class0", "class1", "class2")
    assert not model.training
    assert_same(model, source.state_dict())
    assert capsys.readouterr().out == ""


def test_a_detector_has_no_embedding_and_one_class_is_a_person(tmp_path: Path) -> None:
    source = nano(embedding_dim=0)
    model = load_model(saved(tmp_path / "w.pth", foreign(source)), "nano", strict=True)
    assert (model.embedding_dim, model.classes) == (0, ("person",))
    assert_same(model, source.state_dict())


def test_a_bare_file_needs_a_name(published: Callable[[str], None], tmp_path: Path) -> None:
    published("small")
    file = tmp_path / "bare.safetensors"
    save_file(nano(embedding_dim=24).state_dict(), file)
    with pytest.raises(UserError, match="--arch"):
        load_model(file)
    assert load_model(file, "nano", strict=True).embedding_dim == 24
    with pytest.raises(UserError, match="does not fit the model"):
        load_model(file, "small", strict=True)
    with pytest.raises(UserError, match="there is no model 'huge'"):
        load_model(file, "huge")


@pytest.mark.parametrize(
    ("asked", "fresh"), [({"num_classes": 4}, "heads.hm"), ({"embedding_dim": 16}, "heads.id")]
)
def test_another_width_keeps_all_else(
    asked: dict[str, int], fresh: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = nano(embedding_dim=24)
    for file in (
        saved(tmp_path / "w.pth", foreign(source)),
        described(tmp_path / "w.safetensors", source),
    ):
        model = load_model(file, "nano", **asked)
        expected = nano(**{"embedding_dim": 24, **asked}).state_dict()
        expected |= {k: v for k, v in source.state_dict().items() if not k.startswith(fresh)}
        assert_same(model, expected, without=fresh)
        assert len(model.classes) == asked.get("num_classes", 1)
        assert capsys.readouterr().out.splitlines()[0] == f"nano from {file}"
        with pytest.raises(UserError, match="2 of another shape"):
            load_model(file, "nano", strict=True, **asked)


def test_a_body_alone_starts_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = nano()
    state = {k.removeprefix("body."): v for k, v in source.body.state_dict().items()}
    file = saved(tmp_path / "body.pth", state)
    model = load_model(file, "nano")
    assert_same(model.body, source.body.state_dict())
    assert (model.num_classes, model.embedding_dim) == (1, REGISTRY["nano"].embedding_dim)
    assert "so fresh, in hm, wh, reg, id" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"16 missing \(hm.0.weight"):
        load_model(file, "nano", strict=True)


def test_a_file_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    file = saved(
        tmp_path / "w.pth", {"encoder.weight": torch.ones(3), "stem.0.bias": torch.ones(2)}
    )
    for strict in (True, False):
        with pytest.raises(UserError, match=r"encoder\.weight"):
            load_model(file, "nano", strict=strict)
    with pytest.raises(UserError, match="not one of its kernels"):
        load_into(nano(), file)


def build_wide(
    name: str,
    *,
    num_classes: int,
    embedding_dim: int,
    head_channels: int = 64,
    ltrb: bool = True,
) -> TrackingModel:
    return TrackingModel(
        name,
        ResidualBody(SPECS["nano"], 8),
        feature_channels=64,
        stride=8,
        num_classes=num_classes,
        embedding_dim=embedding_dim,
        head_channels=head_channels,
        ltrb=ltrb,
    )


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes one model the only one that other projects publish; the real ones take seconds."""

    def only(published_name: str) -> None:
        for name, entry in list(REGISTRY.items()):
            changed = dataclasses.replace(entry, recognisable=name == published_name)
            monkeypatch.setitem(REGISTRY, name, changed)

    return only


@pytest.fixture
def wide(published: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose heads can be told, and that other projects publish."""
    monkeypatch.setitem(REGISTRY, "wide", ModelEntry(build_wide, 64, ""))
    published("wide")


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("ltrb", [True, False])
@pytest.mark.parametrize("head_channels", [64, 32])
@pytest.mark.parametrize("name", ["wide", None])
def test_heads_are_built_as_the_file_has_them(
    ltrb: bool, head_channels: int, name: str | None, tmp_path: Path
) -> None:
    """As CenterNet's detectors on COCO: 80 classes, width and height, no embedding."""
    options = {"head_channels": head_channels, "ltrb": ltrb}
    source = build_model("wide", num_classes=80, embedding_dim=0, **options)
    model = load_model(saved(tmp_path / "w.pth", foreign(source)), name, strict=True)
    assert (model.name, model.num_classes, model.embedding_dim) == ("wide", 80, 0)
    assert_same(model, source.state_dict())


@pytest.mark.usefixtures("wide")
def test_asked_options_win_over_the_file(tmp_path: Path) -> None:
    source = build_model("wide", head_channels=32)
    file = saved(tmp_path / "w.pth", foreign(source))
    model = load_model(file, "wide", options={"head_channels": 16})
    assert model.heads["hm"][0].out_channels == 16


def test_a_model_without_the_option_tells_what_does_not_fit(tmp_path: Path) -> None:
    state = foreign(nano())
    state["wh.2.weight"], state["wh.2.bias"] = torch.ones(2, 64, 1, 1), torch.ones(2)
    file = saved(tmp_path / "w.pth", state)
    with pytest.raises(UserError, match=r"wh\.2\.weight 2x64x1x1 -> 4x64x1x1"):
        load_model(file, "nano", strict=True)


def test_only_a_model_that_is_filled_is_recognised(
    published: Callable[[str], None], tmp_path: Path
) -> None:
    published("small")
    state = foreign(build_model("small", num_classes=2))
    assert load_model(saved(tmp_path / "w.pth", state)).name == "small"
    with pytest.raises(UserError, match="name the model"):
        load_model(saved(tmp_path / "more.pth", {**state, "more": torch.ones(1)}))
    del state["stem.0.weight"]
    with pytest.raises(UserError, match="name the model"):
        load_model(saved(tmp_path / "less.pth", state))


def test_no_published_network_is_taken_for_another() -> None:
    models = {}
    for name, entry in REGISTRY.items():
        if entry.recognisable:
            with torch.device("meta"):
                models[name] = build_model(name, embedding_dim=16)
    for held, source in models.items():
        weights = source.state_dict()
        filled = [
            name
            for name, model in models.items()
            if match_weights(model, weights, REGISTRY[name].rename)[1]
        ]
        assert filled == [held]


def test_heads_without_shapes_tell_nothing() -> None:
    assert read_heads({}, str) == HeadWidths()
    assert read_heads({"heads.hm.0.bias": torch.ones(3)}, str) == HeadWidths()
    assert read_heads({"fc.weight": torch.ones(3)}, lambda _: None) == HeadWidths()
    single = read_heads({"hm.weight": torch.ones(5, 9, 1, 1)}, lambda key: f"heads.{key}")
    assert single == HeadWidths(num_classes=5, embedding_dim=0)


# Our own files.


def test_a_described_file_is_exact_or_damaged(tmp_path: Path) -> None:
    file = described(tmp_path / "w.safetensors", nano(num_classes=2))
    assert load_model(file).classes == ("kind0", "kind1")
    assert load_model(tmp_path / "w.safetensors", "nano").input_wh == (96, 64)
    with pytest.raises(UserError, match="holds nano, not small"):
        load_model(file, "small")
    description = '{"name": "nano", "num_classes": 3, "embedding_dim": 64, "options": {}, '
    description += '"classes": ["a", "b", "c"], "input_wh": null}'
    save_file(nano(num_classes=2).state_dict(), file, {DESCRIPTION_KEY: description})
    with pytest.raises(UserError, match="does not fit the model"):
        load_model(file)


@pytest.mark.parametrize(
    "description", ["", "[]", "{}", "{", '{"name": "nano"}', '{"name": "nano", "num_classes": "x"}']
)
def test_a_damaged_description_is_told(description: str, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file(nano().state_dict(), file, {DESCRIPTION_KEY: description})
    with pytest.raises(UserError, match="damaged description") as caught:
        load_model(file)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    for content in (b"", b"hello", bytes(300)):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.safetensors") as caught:
            load_model(tmp_path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"nothing\.safetensors"):
        load_model("nothing.safetensors")


# Training starts from them.


def with_init(config: dict[str, Any], init: Path) -> TrainConfig:
    return TrainConfig.model_validate({**config, "init": str(init)})


def test_training_starts_from_what_fits(
    tiny_config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = nano(num_classes=3, embedding_dim=24)
    file = saved(tmp_path / "w.pth", foreign(source))
    trainer = Trainer(with_init(tiny_config, file), tmp_path)
    assert (trainer.model.num_classes, trainer.model.embedding_dim) == (1, 8)
    assert_same(trainer.model.body, source.body.state_dict())
    assert_same(trainer.model.heads["wh"], source.heads["wh"].state_dict())
    assert capsys.readouterr().out.splitlines()[0] == f"nano from {file}"
    with pytest.raises(UserError, match="4 of another shape"):
        Trainer(with_init(tiny_config, file), tmp_path, strict=True)
    with pytest.raises(UserError, match="holds small, not nano"):
        small = described(tmp_path / "small.safetensors", build_model("small"))
        Trainer(with_init(tiny_config, small), tmp_path)


def test_training_starts_from_its_own_kind(
    tiny_config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = nano(embedding_dim=8)
    described(tmp_path / MODEL_FILE, source)
    for init in (tmp_path, saved(tmp_path / "w.pth", foreign(source))):
        trainer = Trainer(with_init(tiny_config, init), tmp_path, strict=True)
        assert_same(trainer.model, source.state_dict())
    assert capsys.readouterr().out == ""


def test_a_resumed_run_does_not_need_its_start(tiny_config: dict[str, Any], tmp_path: Path) -> None:
    file = saved(tmp_path / "w.pth", foreign(nano(embedding_dim=8)))
    out = tmp_path / "run"
    out.mkdir()
    config = with_init(tiny_config, file)
    Trainer(config, out).run()
    # The averaged weights of the run's state are what another run starts from.
    fresh = nano(embedding_dim=8)
    assert load_into(fresh, out / "state.pt", strict=True)
    assert_same(fresh, load_model(out).state_dict())
    file.unlink()
    assert Trainer(config, out, resume=True).clock.epoch == 2


def test_a_teacher_without_a_head_is_refused(
    tiny_config: dict[str, Any], published: Callable[[str], None], tmp_path: Path
) -> None:
    published("nano")
    partial = {key: value for key, value in foreign(nano()).items() if not key.startswith("hm")}
    file = saved(tmp_path / "w.pth", partial)

    def taught_by(checkpoint: Path) -> TrainConfig:
        teacher = {"kind": "fairmot", "checkpoint": str(checkpoint)}
        return TrainConfig.model_validate({**tiny_config, "distill": {"teachers": [teacher]}})

    config = taught_by(file)
    with pytest.raises(UserError, match="name the model"):
        Trainer(config, tmp_path)
    whole = described(tmp_path / "whole.safetensors", nano())
    with safe_open(whole, framework="pt") as archive:
        description = archive.metadata()
    names = {REGISTRY["nano"].rename(key): value for key, value in partial.items()}
    save_file(names, tmp_path / "w.safetensors", description)
    config = taught_by(tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"4 missing \(hm.0.weight"):
        Trainer(config, tmp_path)
