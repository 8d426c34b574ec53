"""Who walks there: bodies, clothes and things carried, drawn per identity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from train.data.synth.camera import Array
from train.data.synth.canvas import Colour, shade, tile
from train.data.synth.pose import PARTS, Part

# Colours are BGR. Street clothing is mostly dark and dull; a few pieces are vivid.
_DULL = [
    (28, 26, 25), (40, 38, 38), (58, 40, 30), (70, 48, 34), (72, 70, 68), (105, 102, 100),
    (48, 62, 84), (62, 84, 108), (60, 72, 62), (46, 40, 66), (120, 128, 134), (90, 78, 60),
]  # fmt: skip
_VIVID = [
    (38, 34, 178), (180, 92, 36), (60, 140, 58), (46, 190, 220), (190, 120, 180), (60, 110, 225),
    (225, 222, 220), (235, 236, 238), (200, 170, 110), (120, 60, 150), (150, 160, 60),
    (140, 180, 205), (90, 40, 130), (210, 190, 170),
]  # fmt: skip
_TROUSERS = [
    (96, 62, 40), (118, 82, 56), (140, 104, 78), (30, 28, 28), (44, 42, 44), (78, 76, 76),
    (110, 140, 158), (120, 118, 112), (58, 50, 42), (70, 92, 100), (170, 150, 128), (52, 38, 30),
]  # fmt: skip
_SKIN = [
    (178, 198, 232), (150, 178, 220), (128, 160, 208), (108, 140, 190), (84, 112, 164),
    (62, 86, 130), (44, 62, 98),
]  # fmt: skip
_HAIR = [
    (22, 20, 22), (26, 26, 30), (30, 34, 44), (36, 50, 72), (30, 40, 58), (44, 62, 88),
    (96, 142, 178), (150, 152, 154), (36, 48, 92), (70, 70, 72),
]  # fmt: skip
_SHOES = [(26, 24, 26), (40, 44, 56), (60, 84, 112), (215, 215, 215), (90, 90, 92), (60, 50, 150)]

_T = TypeVar("_T")
_Wear = Callable[..., None]


@dataclass(frozen=True)
class Outfit:
    """Everything that another person may happen to wear too."""

    upper: Colour
    lower: Colour
    shoes: Colour
    kind: str
    """``jacket``, ``open`` (jacket over a shirt), ``shirt`` (long sleeves), ``tee``, ``dress``."""
    legs: str
    """``trousers``, ``shorts`` or ``bare`` (under a dress or skirt)."""
    pattern: str
    accent: Colour
    skirt: bool


@dataclass(frozen=True)
class Appearance:
    """One identity as the figure drawing needs it.

    Attributes:
        height_m: Body height.
        build: Factor on widths.
        radii: ``[P, 2]`` radii of the parts' ends in body heights; 0 for a part not worn.
        colours: ``[P]`` BGR.
        torso: BGR of the torso.
        patches: ``[D, 4]`` areas on the torso: lower and upper height (0 hem, 1 shoulder), then
            first and last angle around the body in radians from the front to the left.
        patch_colours: ``[D]`` BGR.
        hem: How far the torso's clothing reaches below the hip, in body heights.
        elbow: ``[2]`` extra bend of the elbows.
        swing: ``[2]`` factor on the arms' swing.
        phase: Where in the walking cycle the person starts.
        folds: ``[48, 24]`` factor on brightness, the folds of the clothes.
    """

    height_m: float
    build: float
    radii: Array
    colours: list[Colour]
    torso: Colour
    patches: Array
    patch_colours: list[Colour]
    hem: float
    elbow: tuple[float, float]
    swing: tuple[float, float]
    phase: float
    folds: npt.NDArray[np.float32] = field(repr=False)


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Draw clothes."""
    kind = str(
        rng.choice(["jacket", "open", "shirt", "tee", "dress"], p=[0.3, 0.18, 0.2, 0.24, 0.08])
    )
    summer = kind in ("tee", "dress")
    upper = _jitter(rng, _pick(rng, _VIVID if rng.random() < (0.62 if summer else 0.36) else _DULL))
    skirt = kind == "dress" or (kind != "open" and rng.random() < 0.08)
    shorts = kind == "tee" and not skirt and rng.random() < 0.4
    legs = "shorts" if shorts else "bare" if skirt and rng.random() < 0.6 else "trousers"
    lower = _jitter(rng, _pick(rng, _TROUSERS if rng.random() < 0.93 else _VIVID))
    if kind == "dress":
        lower = upper
    patterns = ["plain", "stripes", "plaid", "print", "block", "hem"]
    pattern = str(rng.choice(patterns, p=[0.44, 0.14, 0.08, 0.16, 0.1, 0.08]))
    accent = _jitter(rng, _pick(rng, _VIVID if rng.random() < 0.7 else _DULL))
    shoes = _jitter(rng, _pick(rng, _SHOES))
    return Outfit(upper, lower, shoes, kind, legs, pattern, accent, skirt)


def sample_appearance(rng: np.random.Generator, outfit: Outfit) -> Appearance:
    """Draw a person in given clothes.

    Args:
        rng: Source of randomness.
        outfit: The clothes; colours are varied a little, as between two copies of a garment.
    """
    outfit = dataclasses.replace(
        outfit,
        upper=_jitter(rng, outfit.upper, 0.05),
        lower=_jitter(rng, outfit.lower, 0.05) if outfit.kind != "dress" else outfit.lower,
    )
    height = float(np.clip(rng.normal(1.71, 0.09), 1.46, 1.96))
    if rng.random() < 0.06:
        height = float(rng.uniform(1.1, 1.4))
    build = float(np.clip(rng.normal(1.04, 0.11), 0.84, 1.4))
    radii, colours = np.zeros((PARTS, 2)), [(0.0, 0.0, 0.0)] * PARTS

    def wear(part: int, first: float, last: float, colour: Colour, both: bool = False) -> None:
        for index in (part, part + 1) if both else (part,):
            radii[index] = first, last
            colours[index] = colour

    skin, hair = _jitter(rng, _pick(rng, _SKIN), 0.06), _jitter(rng, _pick(rng, _HAIR), 0.12)
    _dress(outfit, skin, build, wear)
    _head(rng, skin, hair, outfit, wear)
    patches, patch_colours = _patches(outfit, rng)
    elbow, swing = [0.0, 0.0], [1.0, 1.0]
    if rng.random() < 0.24:
        colour = _jitter(rng, _pick(rng, _DULL + _VIVID[:6]))
        wear(Part.PACK, 0.066, 0.058, colour)
        for first in (0.45, -0.75):
            patches.append((0.42, 1.0, first, first + 0.3))
            patch_colours.append(shade(colour, 0.85))
    elif rng.random() < 0.32:
        wear(Part.BAG, 0.042, 0.042, _jitter(rng, _pick(rng, _DULL + _VIVID)))
        swing[1] = 0.25 if rng.random() < 0.5 else 0.7
    if rng.random() < 0.12:
        # A phone or a cup: the forearm is held up.
        elbow[0], swing[0] = float(rng.uniform(1.0, 1.9)), 0.15
    elif rng.random() < 0.12:
        # Hands in the pockets.
        elbow, swing = [0.45, 0.45], [0.1, 0.1 if swing[1] == 1.0 else swing[1]]
    hem = {"jacket": 0.0, "open": 0.01, "shirt": -0.01, "tee": -0.01, "dress": 0.0}[outfit.kind]
    if outfit.kind in ("jacket", "open") and rng.random() < 0.25:
        hem = float(rng.uniform(0.06, 0.15))
    return Appearance(
        height, build, radii, colours, outfit.upper,
        np.array(patches, np.float64).reshape(-1, 4), patch_colours, hem,
        (elbow[0], elbow[1]), (swing[0], swing[1]),
        float(rng.uniform(0, 2 * np.pi)), _folds(rng),
    )  # fmt: skip


def _dress(outfit: Outfit, skin: Colour, build: float, wear: _Wear) -> None:
    loose = 0.5 + 0.5 * build
    bare = outfit.legs == "bare"
    shin = skin if outfit.legs in ("bare", "shorts") else outfit.lower
    thigh = skin if bare else outfit.lower
    width = 1.0 if shin is outfit.lower else 0.82
    wear(Part.FOOT_L, 0.021, 0.016, outfit.shoes, both=True)
    wear(Part.SHIN_L, 0.036 * loose * width, 0.026 * loose * width, shin, both=True)
    wear(Part.THIGH_L, 0.052 * build, 0.037 * loose, thigh, both=True)
    if outfit.skirt:
        wear(Part.SKIRT, 0.07 * build, 0.086 * build, outfit.lower)
    bulky = 1.12 if outfit.kind in ("jacket", "open") else 1.0
    sleeve = skin if outfit.kind in ("tee", "dress") else outfit.upper
    wear(Part.UPPER_L, 0.034 * loose * bulky, 0.028 * loose * bulky, sleeve, both=True)
    wear(Part.FOREARM_L, 0.027 * loose * bulky, 0.021 * loose * bulky, sleeve, both=True)
    if sleeve is skin:
        wear(Part.SLEEVE_L, 0.04 * loose, 0.037 * loose, outfit.upper, both=True)
    wear(Part.HAND_L, 0.019, 0.016, skin, both=True)
    wear(Part.NECK, 0.031, 0.029, skin)


def _head(
    rng: np.random.Generator, skin: Colour, hair: Colour, outfit: Outfit, wear: _Wear
) -> None:
    wear(Part.FACE, 0.040, 0.046, skin)
    bald = rng.random() < 0.08
    wear(Part.HAIR, 0.044 if bald else 0.051, 0.047 if bald else 0.053, skin if bald else hair)
    if rng.random() < 0.36 and not bald:
        wear(Part.TAIL, 0.045, 0.036 if rng.random() < 0.6 else 0.018, hair)
    if rng.random() < 0.16:
        colour = _jitter(rng, _pick(rng, _DULL + _VIVID))
        wear(Part.HAT, 0.054, 0.046, colour)
        if rng.random() < 0.6:
            wear(Part.BRIM, 0.034, 0.024, shade(colour, 0.8))
    elif outfit.kind == "jacket" and rng.random() < 0.12:
        # A hood, up.
        wear(Part.HAIR, 0.056, 0.058, outfit.upper)
        wear(Part.TAIL, 0.052, 0.05, outfit.upper)


def _patches(
    outfit: Outfit, rng: np.random.Generator
) -> tuple[list[tuple[float, float, float, float]], list[Colour]]:
    """Return what is on the torso's surface, undermost first."""
    areas: list[tuple[float, float, float, float]] = []
    colours: list[Colour] = []
    around = (-np.pi, np.pi)

    def add(low: float, high: float, first: float, last: float, colour: Colour) -> None:
        areas.append((low, high, first, last))
        colours.append(colour)

    if outfit.pattern == "stripes":
        count = int(rng.integers(4, 9))
        for index in range(count):
            low = (index + 0.3) / count
            add(low, low + 0.45 / count, *around, outfit.accent)
    elif outfit.pattern == "plaid":
        for low in np.arange(0.05, 1.0, 0.19):
            add(low, low + 0.06, *around, shade(outfit.accent, 0.9))
        for angle in np.arange(-np.pi, np.pi, 0.6):
            add(0.0, 1.0, angle, angle + 0.16, outfit.accent)
    elif outfit.pattern == "print":
        low, half = float(rng.uniform(0.5, 0.62)), float(rng.uniform(0.3, 0.7))
        back = np.pi if rng.random() < 0.4 else 0.0
        add(low, low + float(rng.uniform(0.1, 0.26)), back - half, back + half, outfit.accent)
    elif outfit.pattern == "block":
        low = float(rng.uniform(0.45, 0.7))
        add(low, 1.0, *around, outfit.accent)
    elif outfit.pattern == "hem":
        add(0.0, 0.12, *around, outfit.accent)
    if outfit.kind == "open":
        half = float(rng.uniform(0.25, 0.5))
        add(-0.05, 1.0, -half, half, outfit.accent)
    elif outfit.kind == "jacket":
        add(0.0, 1.0, -0.05, 0.05, shade(outfit.upper, 0.55))
        add(0.93, 1.0, *around, shade(outfit.upper, 0.75))
    elif outfit.kind in ("tee", "shirt"):
        add(-0.04, 0.03, *around, shade(outfit.lower, 0.6))
    return areas, colours


def _folds(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    rough = tile(rng, 48, 1.1)[:, :24]
    fine = cv2.resize(tile(rng, 32, 0.4)[:, :12], (24, 48), interpolation=cv2.INTER_CUBIC)
    return np.clip(1 + 0.085 * rough + 0.035 * fine, 0.7, 1.35).astype(np.float32)


def _pick(rng: np.random.Generator, choices: Sequence[_T]) -> _T:
    return choices[int(rng.integers(len(choices)))]


def _jitter(rng: np.random.Generator, bgr: Colour, amount: float = 0.12) -> Colour:
    """Vary brightness, and each channel a little."""
    factor = 1 + amount * rng.normal()
    blue, green, red = (
        float(
            np.clip(channel * factor * (1 + 0.4 * amount * rng.normal()) + rng.normal() * 2, 6, 246)
        )
        for channel in bgr
    )
    return blue, green, red
