"""The network of DINOv2 written down a second time, slowly, and weights for it under all names.

Matrices and loops in double precision, fed with weights from a formula. It takes no part of its
arithmetic from what it is there to check, interpolation included.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tests.train.parity.formula import uniform
from train.teachers.dinov2_weights import Size

TINY = Size(width=24, depth=3, heads=2)
State = dict[str, Tensor]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def published(registers: int = 0, size: Size = TINY) -> State:
    """Return weights from a formula, named and shaped as the published checkpoints."""
    width = size.width
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + 37 * 37, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    if registers:
        shapes["register_tokens"] = (1, registers, width)
    linears = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    for block in range(size.depth):
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            shapes[f"blocks.{block}.{name}"] = (width,)
        for name, (outputs, inputs) in linears.items():
            shapes[f"blocks.{block}.{name}.weight"] = (outputs * width, inputs * width)
            shapes[f"blocks.{block}.{name}.bias"] = (outputs * width,)
        for name in ("ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{block}.{name}"] = (width,)
    return {name: formula(name, shape) for name, shape in shapes.items()}


def formula(name: str, shape: tuple[int, ...]) -> Tensor:
    values = uniform(name, shape)
    if name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "gamma")):
        values = 0.8 + 0.4 * values
    elif name.endswith("weight"):
        values = values * math.sqrt(6 / math.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def in_timm(state: State) -> State:
    """Name and shape published weights as timm's files have them."""
    state = {name: tensor for name, tensor in state.items() if name != "mask_token"}
    if "register_tokens" in state:
        state["reg_token"] = state.pop("register_tokens")
        state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
        state["pos_embed"] = state["pos_embed"][:, 1:]
    return state


def in_chunks(state: State) -> State:
    """Name them as a distributed training's file does, with the heads it has beside."""
    named = {name.replace("blocks.", "blocks.1.", 1): tensor for name, tensor in state.items()}
    named = {f"backbone.{name}": tensor for name, tensor in named.items()}
    return named | {"dino_head.mlp.0.weight": torch.ones(2, 2)}


def in_transformers(state: State, prefix: str = "") -> State:
    """Name and split them as transformers does."""
    renames = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "mask_token": "embeddings.mask_token",
        "register_tokens": "embeddings.register_tokens",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    named: State = {}
    for name, tensor in state.items():
        if not name.startswith("blocks."):
            named[prefix + renames[name]] = tensor
            continue
        _, block, rest = name.split(".", 2)
        layer = f"{prefix}encoder.layer.{block}."
        if rest.startswith("attn.qkv."):
            kind = rest.rsplit(".", 1)[1]
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                named[f"{layer}attention.attention.{part}.{kind}"] = piece.clone()
            continue
        rest = rest.replace("attn.proj.", "attention.output.dense.")
        rest = rest.replace("ls1.gamma", "layer_scale1.lambda1")
        named[layer + rest.replace("ls2.gamma", "layer_scale2.lambda1")] = tensor
    return named


def cubic(distance: float, a: float) -> float:
    """Return the weight of a place at this distance (Keys, 1981, eq. 4)."""
    d = abs(distance)
    if d < 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def resampling(old: int, new: int, smooth: bool, offset: float = 0.0) -> Tensor:
    """Return the bicubic matrix ``[new, old]``.

    Args:
        smooth: As Pillow: the kernel (a = -0.5) grows where the side shrinks, and is cut off and
            normalised at the border. Otherwise as PyTorch's plain one: a = -0.75, border repeated.
        offset: Added to the new side to find how far apart its places are in the old one.
    """
    matrix = torch.zeros(new, old, dtype=torch.float64)
    step = old / (new + offset)
    for row in range(new):
        centre = (row + 0.5) * step - 0.5
        if smooth:
            spread = max(step, 1.0)
            weights = [cubic((column - centre) / spread, -0.5) for column in range(old)]
            matrix[row] = torch.tensor(weights, dtype=torch.float64) / sum(weights)
        else:
            first = math.floor(centre) - 1
            for column in range(first, first + 4):
                inside = min(max(column, 0), old - 1)
                matrix[row, inside] += cubic(column - centre, -0.75)
    return matrix


def reference(
    state: State, images: Tensor, scale: float = 1.0, layer: int | None = None, size: Size = TINY
) -> Tensor:
    """Compute the patch features ``[N, F, rows, columns]`` of the published network, slowly."""
    state = {name: tensor.double() for name, tensor in state.items()}
    smooth = "register_tokens" in state
    height, width = images.shape[-2:]
    rows, columns = round(height * scale / 14), round(width * scale / 14)
    down, right = (
        resampling(old, 14 * new, smooth=True) for old, new in ((height, rows), (width, columns))
    )
    pictures = (down @ images.double() @ right.T).clamp(0, 1)
    pictures = (pictures - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    # Every patch becomes a row of numbers: channel, then row, then column within it.
    patches = pictures.unflatten(3, (columns, 14)).unflatten(2, (rows, 14))
    patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    kernel = state["patch_embed.proj.weight"].flatten(1)
    tokens = patches @ kernel.T + state["patch_embed.proj.bias"]
    offset = 0.0 if smooth else 0.1
    down, right = (resampling(37, new, smooth, offset) for new in (rows, columns))
    own = state["pos_embed"][0, 1:].reshape(37, 37, -1).permute(2, 0, 1)
    tokens = tokens + (down @ own @ right.T).flatten(1).T
    first = (state["cls_token"] + state["pos_embed"][:, :1]).expand(len(images), -1, -1)
    registers = state.get("register_tokens", first[:1, :0]).expand(len(images), -1, -1)
    tokens = torch.cat([first, registers, tokens], dim=1)
    for block in range(size.depth if layer is None else layer):
        own_state = {
            name.removeprefix(f"blocks.{block}."): tensor
            for name, tensor in state.items()
            if name.startswith(f"blocks.{block}.")
        }
        tokens = tokens + attention(norm(tokens, own_state, "norm1"), own_state, size.heads)
        hidden = linear(norm(tokens, own_state, "norm2"), own_state, "mlp.fc1")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        tokens = tokens + own_state["ls2.gamma"] * linear(hidden, own_state, "mlp.fc2")
    if layer is None:
        tokens = norm(tokens, state, "norm")
    patches = tokens[:, 1 + registers.shape[1] :]
    return patches.transpose(1, 2).reshape(len(images), -1, rows, columns)


def norm(tokens: Tensor, state: State, name: str) -> Tensor:
    centred = tokens - tokens.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return centred / spread * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(tokens: Tensor, state: State, name: str) -> Tensor:
    return tokens @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def attention(tokens: Tensor, state: State, heads: int) -> Tensor:
    """Return what attention adds, one head after the other."""
    query, key, value = linear(tokens, state, "attn.qkv").chunk(3, dim=-1)
    seen = []
    for q, k, v in zip(
        query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True
    ):
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        seen.append(scores.softmax(-1) @ v)
    return state["ls1.gamma"] * linear(torch.cat(seen, -1), state, "attn.proj")
