"""Which pixels of a box are the person's, by the difference from the empty scene.

A shadow darkens the ground and leaves its colour as it is, so brightness and colour are told apart
as by Horprasert et al. ("A Statistical Approach for Real-time Robust Background Subtraction and
Shadow Detection", ICCV Frame-Rate Workshop 1999). GrabCut (Rother et al., SIGGRAPH 2004) then draws
the outline along the edges of the picture.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.opencv import cv2

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

# What differs by less, in levels of 0..255, is noise; by more, surely somebody.
FAINT, CLEAR = 16.0, 45.0
# A shadow or a reflection makes the ground so much darker or brighter, and no darker or brighter.
SHADOW, SHINE = 0.45, 1.25
# Shadows fall on the ground: the upper share of a box has none.
SHADOW_FREE = 0.6
GRABCUT_ROUNDS = 3
SMALL = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
WIDE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def person_mask(
    crop: Image, scene: npt.NDArray[np.float32], box_xyxy: npt.ArrayLike
) -> tuple[Mask, float]:
    """Tell which pixels are a person's.

    Args:
        crop: ``[h, w, 3]`` uint8 BGR, a person with some surroundings.
        scene: ``[h, w, 3]`` float32 BGR, the same place without the person, under the same light.
        box_xyxy: The person's box in pixels of the crop.

    Returns:
        ``[h, w]``, one piece without holes or nothing at all; and which share of what differs from
        the scene the outline holds.
    """
    left, top, right, bottom = (round(float(side)) for side in np.asarray(box_xyxy))
    smooth = cv2.GaussianBlur(crop, (3, 3), 0).astype(np.float32)
    empty = cv2.GaussianBlur(scene, (3, 3), 0)
    difference = np.abs(smooth - empty).max(axis=2)
    # The brightness of the scene's colour that comes nearest, and how far that is.
    brightness = (smooth * empty).sum(axis=2) / np.maximum((empty * empty).sum(axis=2), 1)
    colour = np.linalg.norm(smooth - brightness[..., None] * empty, axis=2)
    alike = (colour < FAINT) & (brightness > SHADOW) & (brightness < SHINE)
    alike[: max(0, round(top + SHADOW_FREE * (bottom - top)))] = False
    maybe = (difference > FAINT) & ~alike
    surely = (difference > CLEAR) & ~alike
    inside = np.zeros(maybe.shape, bool)
    inside[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
    rough = _largest(_closed(maybe), inside)
    if not rough.any():
        return rough, 0.0
    mask = _largest(_outline(crop, rough, surely, difference <= FAINT / 2), inside)
    # The rough mask is a pixel too wide all around.
    core = cv2.erode(rough.astype(np.uint8), SMALL) > 0
    return mask, float((core & mask).sum() / max(core.sum(), 1))


def _outline(crop: Image, rough: Mask, surely: Mask, same: Mask) -> Mask:
    """Let GrabCut draw the outline.

    Args:
        crop: ``[h, w, 3]`` uint8.
        rough: ``[h, w]``, probably the person.
        surely: Where no doubt is left that there is somebody.
        same: Where no doubt is left that there is nobody.
    """
    labels = np.where(rough, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    core = cv2.erode((rough & surely).astype(np.uint8), SMALL) > 0
    far = cv2.dilate(rough.astype(np.uint8), SMALL, iterations=3) == 0
    labels[core] = cv2.GC_FGD
    labels[far | (same & ~rough)] = cv2.GC_BGD
    if not core.any() or not (labels == cv2.GC_BGD).any():
        return rough
    cv2.setRNGSeed(0)  # GrabCut clusters colours from a random start
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(crop, labels, (0, 0, 1, 1), *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    drawn = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return _closed(drawn & cv2.dilate(rough.astype(np.uint8), SMALL).astype(bool))


def _closed(mask: Mask) -> Mask:
    """Remove specks and close gaps."""
    bits = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, SMALL)
    return np.asarray(cv2.morphologyEx(bits, cv2.MORPH_CLOSE, WIDE) > 0)


def _largest(mask: Mask, inside: Mask) -> Mask:
    """Keep the piece that holds most pixels inside the box, its holes filled."""
    count, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return np.zeros_like(mask)
    sizes = np.bincount(pieces[inside], minlength=count)
    sizes[0] = 0
    piece = (pieces == sizes.argmax()) & mask
    outlines, _ = cv2.findContours(piece.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return filled > 0


def feathered(mask: Mask) -> Image:
    """Return a mask as alpha, ``[h, w]`` uint8: one pixel soft at the edge, half on the outline."""
    return np.asarray(cv2.GaussianBlur(mask.astype(np.uint8) * 255, (3, 3), 0.8), np.uint8)
