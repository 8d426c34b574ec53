"""Deformable convolution: every form against the formula, and against the other forms."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models.deform import FORMS, DeformConv2d, Form, use_form

every_form = pytest.mark.parametrize("form", sorted(FORMS))


class Case(NamedTuple):
    """Arguments of a convolution, in the order the forms take them."""

    inputs: Tensor
    offset: Tensor
    mask: Tensor
    weight: Tensor
    bias: Tensor
    stride: int
    padding: int

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self[:5]


def make_case(
    *,
    batch: int = 2,
    size: tuple[int, int] = (5, 7),
    channels: tuple[int, int] = (3, 4),
    kernel: int = 3,
    stride: int = 1,
    padding: int = 1,
    reach: float = 2.0,
    dtype: torch.dtype = torch.float32,
) -> Case:
    """Return random arguments; ``reach`` is the spread of the shifts in cells."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in size)
    taps = kernel**2
    return Case(
        inputs=normal(batch, channels[0], *size),
        offset=reach * normal(batch, 2 * taps, rows, columns),
        mask=normal(batch, taps, rows, columns).sigmoid(),
        weight=normal(channels[1], channels[0], kernel, kernel) / math.sqrt(channels[0] * taps),
        bias=normal(channels[1]),
        stride=stride,
        padding=padding,
    )


def cell(plane: np.ndarray, y: int, x: int) -> float:
    height, width = plane.shape
    return float(plane[y, x]) if 0 <= y < height and 0 <= x < width else 0.0


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """Interpolate with the kernel of the paper: max(0, 1 - |distance|) along each axis."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            near = max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column))
            total += near * cell(plane, row, column)
    return total


def by_the_formula(case: Case) -> np.ndarray:
    inputs, offset, mask, weight, bias = (
        tensor.detach().double().numpy() for tensor in case.tensors
    )
    outputs = np.empty((len(inputs), len(weight), *offset.shape[2:]))
    kernel = weight.shape[-1]
    for image, output, row, column in np.ndindex(*outputs.shape):
        total = bias[output]
        for tap, (tap_y, tap_x) in enumerate(np.ndindex(kernel, kernel)):
            shift_y, shift_x = offset[image, 2 * tap : 2 * tap + 2, row, column]
            y = row * case.stride - case.padding + tap_y + shift_y
            x = column * case.stride - case.padding + tap_x + shift_x
            for channel, plane in enumerate(inputs[image]):
                value = mask[image, tap, row, column] * bilinear(plane, y, x)
                total += weight[output, channel, tap_y, tap_x] * value
        outputs[image, output, row, column] = total
    return outputs


def lively(layer: DeformConv2d) -> DeformConv2d:
    """Give a fresh layer shifts of about a cell, shares and a bias."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in (*layer.conv_offset_mask.parameters(), layer.bias):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return layer


@every_form
def test_an_empty_batch_gives_an_empty_batch(form: Form) -> None:
    layer = DeformConv2d(2, 3, stride=2)
    use_form(layer, form)
    with torch.no_grad():
        assert layer(torch.zeros(0, 2, 5, 4)).shape == (0, 3, 3, 2)
    outputs = layer(torch.zeros(0, 2, 5, 4))
    outputs.sum().backward()
    assert layer.weight.grad is not None and not layer.weight.grad.any()


@every_form
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 1},
        {"stride": 2},
        {"padding": 0},
        {"padding": 3, "batch": 1},
        {"kernel": 1, "padding": 0},
        {"kernel": 5, "padding": 2, "size": (6, 5), "batch": 1},
        {"size": (1, 1)},
        {"size": (1, 6)},
        {"reach": 20.0},
    ],
    ids=str,
)
def test_every_form_equals_the_formula(form: Form, options: dict) -> None:
    case = make_case(**options)
    outputs = FORMS[form](*case)
    np.testing.assert_allclose(outputs.numpy(), by_the_formula(case), atol=1e-5)


@every_form
def test_positions_at_the_borders(form: Form) -> None:
    # A 1x1 kernel that looks at chosen places of a map without zeros: at and beside -1, 0, the last
    # cell and one after it, far away, and at cells.
    height, width = 3, 4
    ys = torch.tensor([-9, -1.5, -1, -0.75, 0, 1, 1.5, 2, 2.25, 3, 3.5, 40], dtype=torch.float32)
    xs = torch.tensor([-7, -1, -0.5, 0, 2, 2.5, 3, 3.25, 4, 4.5, 1e6], dtype=torch.float32)
    inputs = torch.arange(1.0, height * width + 1).view(1, 1, height, width)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    # One position per image, so the shift from position 0 of the map is the place itself.
    places = torch.stack((y.flatten(), x.flatten()), 1)
    count = len(places)
    offset = torch.zeros(count, 2, height, width)
    offset[:, :, 0, 0] = places
    mask = torch.ones(count, 1, height, width)
    outputs = FORMS[form](
        inputs.expand(count, -1, -1, -1), offset, mask, torch.ones(1, 1, 1, 1), torch.zeros(1), 1, 0
    )
    expected = [bilinear(inputs[0, 0].numpy(), float(y), float(x)) for y, x in places]
    np.testing.assert_allclose(outputs[:, 0, 0, 0].numpy(), expected, atol=1e-5)
    seen = (places > -1).all(1) & (places[:, 0] < height) & (places[:, 1] < width)
    assert 0 < seen.sum() < count
    assert not outputs[:, 0, 0, 0][~seen].abs().gt(1e-5).any()


@pytest.mark.parametrize("form", ["plain", "gather"])
def test_forms_agree_on_a_larger_map(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    # Several chunks of the gather, and a last one that is not full.
    monkeypatch.setattr("train.models.deform.CHUNK", 700)
    case = make_case(batch=1, size=(38, 50), channels=(16, 8), reach=3.0)
    with torch.no_grad():
        torch.testing.assert_close(
            FORMS[form](*case), FORMS["operator"](*case), atol=1e-5, rtol=1e-5
        )


@every_form
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_are_those_of_the_function(form: Form, stride: int) -> None:
    case = make_case(
        batch=1, size=(4, 3), channels=(2, 2), stride=stride, reach=0.0, dtype=torch.float64
    )
    # Away from whole cells, where the derivative jumps; some positions are outside.
    generator = torch.Generator().manual_seed(5)
    whole = torch.randint(-2, 3, case.offset.shape, generator=generator)
    part = 0.1 + 0.8 * torch.rand(case.offset.shape, generator=generator, dtype=torch.float64)
    case = case._replace(offset=whole + part)
    tensors = [tensor.requires_grad_() for tensor in case.tensors]
    assert torch.autograd.gradcheck(lambda *args: FORMS[form](*args, stride, 1), tensors)


def gradients(form: Form, case: Case) -> list[Tensor]:
    tensors = [tensor.clone().requires_grad_() for tensor in case.tensors]
    outputs = FORMS[form](*tensors, case.stride, case.padding)
    upstream = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    return list(torch.autograd.grad(outputs, tensors, upstream.to(outputs.dtype)))


@pytest.mark.parametrize("form", ["plain", "gather"])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_agree_with_the_operator(form: Form, stride: int) -> None:
    case = make_case(size=(9, 8), channels=(5, 6), stride=stride, dtype=torch.float64)
    for found, expected in zip(gradients(form, case), gradients("operator", case), strict=True):
        assert expected.any()
        torch.testing.assert_close(found, expected)


def test_gradients_of_whole_cells_agree_with_the_operator() -> None:
    # A fresh layer looks at whole cells, and along the border at exactly one cell outside: there
    # the derivative has two values, and both forms are to take the same. With padding 2 it looks at
    # exactly the height and the width, too.
    case = make_case(reach=0.0, padding=2, dtype=torch.float64)
    for found, expected in zip(gradients("gather", case), gradients("operator", case), strict=True):
        torch.testing.assert_close(found, expected)


@every_form
def test_a_fresh_layer_is_half_a_convolution(form: Form) -> None:
    layer = DeformConv2d(3, 4, kernel_size=5, stride=2, padding=2)
    use_form(layer, form)
    inputs = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    expected = F.conv2d(inputs, layer.weight, None, 2, 2) * 0.5
    torch.testing.assert_close(layer(inputs), expected, atol=1e-5, rtol=1e-5)


def test_a_fresh_layer_starts_like_the_original() -> None:
    layer = DeformConv2d(64, 32)
    assert {key: tuple(value.shape) for key, value in layer.state_dict().items()} == {
        "weight": (32, 64, 3, 3),
        "bias": (32,),
        "conv_offset_mask.weight": (27, 64, 3, 3),
        "conv_offset_mask.bias": (27,),
    }
    bound = 1 / math.sqrt(64 * 9)
    assert 0.99 * bound < layer.weight.max() <= bound
    assert -bound <= layer.weight.min() < -0.99 * bound
    assert layer.weight.mean().abs() < bound / 50
    assert not any(tensor.any() for key, tensor in layer.state_dict().items() if key != "weight")


@every_form
def test_the_layer_splits_its_prediction_into_shifts_and_shares(form: Form) -> None:
    layer = lively(DeformConv2d(3, 4, stride=2))
    use_form(layer, form)
    inputs = torch.randn(1, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    predicted = layer.conv_offset_mask(inputs)
    case = Case(
        inputs, predicted[:, :18], predicted[:, 18:].sigmoid(), layer.weight, layer.bias, 2, 1
    )
    with torch.no_grad():
        outputs = layer(inputs)
    assert case.offset.abs().max() > 0.5
    np.testing.assert_allclose(outputs.numpy(), by_the_formula(case), atol=1e-5)


@every_form
def test_channels_last_inputs(form: Form) -> None:
    layer = lively(DeformConv2d(6, 4))
    use_form(layer, form)
    inputs = torch.randn(2, 6, 7, 5, generator=torch.Generator().manual_seed(0))
    last = inputs.to(memory_format=torch.channels_last)
    assert not last.is_contiguous()
    torch.testing.assert_close(layer(last), layer(inputs), atol=1e-5, rtol=1e-5)


@every_form
def test_autocast_keeps_the_positions(form: Form) -> None:
    layer = lively(DeformConv2d(4, 4))
    use_form(layer, form)
    with torch.no_grad():
        # Far shifts, which bfloat16 rounds to a sixteenth of a cell.
        layer.conv_offset_mask.bias[:18] = torch.linspace(10.3, 15.3, 18)
    inputs = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    inputs = inputs.bfloat16().float()
    expected = layer(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(inputs)
        assert outputs.dtype == nn.Conv2d(4, 4, 3)(inputs).dtype == torch.bfloat16
        from_bfloat16 = layer(inputs.bfloat16())
        outputs.float().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
    assert torch.equal(outputs, from_bfloat16)
    # Nothing but the result is rounded.
    torch.testing.assert_close(outputs, expected.bfloat16())


def test_auto_is_the_gather_on_a_cpu_and_use_form_reaches_every_layer() -> None:
    model = nn.Sequential(DeformConv2d(2, 2), nn.Sequential(nn.ReLU(), DeformConv2d(2, 2)))
    layers = [layer for layer in model.modules() if isinstance(layer, DeformConv2d)]
    inputs = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    lively(layers[0])
    assert [layer.form for layer in layers] == ["auto", "auto"]
    automatic = model(inputs)
    use_form(model, "gather")
    assert [layer.form for layer in layers] == ["gather", "gather"]
    assert torch.equal(model(inputs), automatic)
    use_form(model, "plain")
    torch.testing.assert_close(model(inputs), automatic, atol=1e-5, rtol=1e-5)


def test_shifts_are_learned() -> None:
    # The wanted picture is the input moved by half a cell to the right: a 1x1 kernel can only copy
    # a place, so the loss falls because the place moves.
    generator = torch.Generator().manual_seed(0)
    inputs = F.avg_pool2d(torch.randn(4, 1, 20, 20, generator=generator), 5, 1)
    wanted = (inputs + F.pad(inputs, (1, 0))[..., :-1]) / 2
    layer = DeformConv2d(1, 1, kernel_size=1, padding=0)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    optimizer = torch.optim.Adam(layer.conv_offset_mask.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = F.mse_loss(layer(inputs)[..., 1:], wanted[..., 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 20
    shift_y, shift_x, _ = layer.conv_offset_mask.bias.tolist()
    assert shift_x == pytest.approx(-0.5, abs=0.1) and shift_y == pytest.approx(0, abs=0.1)
