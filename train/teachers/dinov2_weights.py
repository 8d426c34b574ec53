"""The networks of DINOv2, filled from the files people have."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from runtime.errors import UserError
from train.models.loading import match_weights
from train.models.weights import read_weights

PATCH = 14
# Position embeddings were trained at 518 x 518 pixels, on 37 x 37 patches.
GRID = 37


@dataclass(frozen=True)
class Size:
    """How large a network is.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        heads: Heads of its attention.
    """

    width: int
    depth: int
    heads: int


# As in arXiv 2304.07193.
SIZES = {"small": Size(384, 12, 6), "base": Size(768, 12, 12), "large": Size(1024, 24, 16)}
# Its MLP is another one; it is known only to be named.
GIANT_WIDTH = 1536

# What training needs beside the network, and what was trained on top of it.
UNUSED = {"mask_token", "head", "linear_head", "classifier", "dino_head", "ibot_head"}
# To timm's names, from the published ones and those of transformers, in this order.
RENAMES = [
    (r"^(?:(?:teacher|backbone|dinov2|dinov2_with_registers)\.)+", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.", ""),
    (r"^register_tokens$", "reg_token"),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
    # Blocks in chunks, as distributed training saves them: the second number is the block's.
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),
]


def load_dinov2(path: str | os.PathLike[str], size: str) -> VisionTransformer:
    """Build the network that a file holds and fill it.

    The class token carries its position embedding already, so that networks with registers and
    without are built alike.

    Args:
        path: Weights named as in timm, in the published checkpoints, or in transformers, with
            registers or without.
        size: Name in ``SIZES``.

    Returns:
        The network in eval mode, with ``num_reg_tokens`` as the file has them. Every one of its
        tensors comes from the file.

    Raises:
        UserError: The file cannot be read, holds another size, or does not fill the network.
    """
    tensors = timm_tensors(read_weights(path).tensors)
    held = _size_of(tensors)
    if held is not None and held != size:
        todo = f"set size: {held}" if held in SIZES else f"one of {', '.join(SIZES)} can teach"
        raise UserError(
            f"checkpoint {path} holds dinov2 {held}, the configuration says {size}: {todo}, or "
            "give other weights"
        )
    registers = tensors.get("reg_token")
    count = registers.shape[1] if registers is not None and registers.ndim == 3 else 0
    # Nothing is made up that the file would have to overwrite.
    with torch.device("meta"):
        model = build_dinov2(SIZES[size], count)
    fitting, report = match_weights(model, tensors, _used)
    report.require_complete(path, f"dinov2 {size}", "download it again, or give other weights")
    whole = [name for name, tensor in fitting.items() if not tensor.is_floating_point()]
    if whole:
        raise UserError(
            f"checkpoint {path} holds whole numbers in {len(whole)} tensors such as {whole[0]}: "
            "give weights that are not quantised"
        )
    filled = {name: tensor.float() for name, tensor in fitting.items()}
    model.load_state_dict(filled, assign=True)
    return model.eval()


def build_dinov2(size: Size, registers: int) -> VisionTransformer:
    """Build a network without its weights.

    Args:
        size: How large.
        registers: Number of register tokens (arXiv 2309.16588), 0 or 4 in the published ones.
    """
    return VisionTransformer(
        img_size=GRID * PATCH,
        patch_size=PATCH,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
        init_values=1.0,
        reg_tokens=registers,
        no_embed_class=True,
        num_classes=0,
        weight_init="skip",
    )


def timm_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names, and in the form, of timm's networks with registers.

    Queries, keys and values become one tensor, and the position embedding of the class token is
    added to that token. What is not known keeps its name.

    Args:
        tensors: Tensors by their names in the file.

    Examples:
        >>> parts = ("query", "key", "value")
        >>> name = "dinov2.encoder.layer.3.attention.attention.{}.bias"
        >>> fused = timm_tensors({name.format(part): torch.ones(2) for part in parts})
        >>> {name: tuple(tensor.shape) for name, tensor in fused.items()}
        {'blocks.3.attn.qkv.bias': (6,)}
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        key = timm_name(name)
        # Of two tensors for one place neither can be chosen; the second stays, and is refused.
        named[name if key in named else key] = tensor
    for name in [name for name in named if ".attn.query." in name]:
        names = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        parts = [named[part] for part in names if part in named]
        if len(parts) == 3 and all(part.shape == parts[0].shape for part in parts):
            named[name.replace(".query.", ".qkv.")] = torch.cat(parts)
            for part_name in names:
                del named[part_name]
    token, positions = named.get("cls_token"), named.get("pos_embed")
    if (
        token is not None
        and positions is not None
        and positions.ndim == 3
        and positions.shape[1] == GRID**2 + 1
        and token.shape == positions[:, :1].shape
    ):
        named["cls_token"] = token + positions[:, :1]
        named["pos_embed"] = positions[:, 1:]
    return named


def timm_name(name: str) -> str:
    """Return timm's name of a tensor.

    Examples:
        >>> timm_name("dinov2.encoder.layer.3.layer_scale1.lambda1")
        'blocks.3.ls1.gamma'
        >>> timm_name("backbone.blocks.1.5.norm1.bias"), timm_name("blocks.5.norm1.bias")
        ('blocks.5.norm1.bias', 'blocks.5.norm1.bias')
    """
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _used(name: str) -> str | None:
    return None if name.split(".")[0] in UNUSED else name


def _size_of(tensors: Mapping[str, Tensor]) -> str | None:
    """Name the size of a DINOv2; None where it is not known to be one."""
    kernel = tensors.get("patch_embed.proj.weight")
    if kernel is None or kernel.shape[1:] != (3, PATCH, PATCH):
        return None
    # Other transformers of these widths and patches have no layer scale.
    if not any(name.endswith(".ls1.gamma") for name in tensors):
        return None
    widths = {size.width: name for name, size in SIZES.items()} | {GIANT_WIDTH: "giant"}
    return widths.get(len(kernel))
