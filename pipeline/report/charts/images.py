"""Images as PNG: the first layer, and mistakes with their gradients.

No text that a run chose itself appears in them.
"""

from __future__ import annotations

import base64
import io
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.dataset import ImageShape, as_images

MAX_UNITS = 100  # hidden units that are drawn
PAGE_WIDTH = 560  # pixels of the page that an image may take


class Picture(NamedTuple):
    """A PNG for an <img>."""

    source: str  # data:image/png;base64,…
    width: int  # in pixels of the page; each of the picture's is a square of several
    height: int
    images: int  # in it


def draw_weights(W1: NDArray[np.floating], image_shape: ImageShape) -> Picture:
    """Draw the weights W1 (D, H) of each hidden unit as an image, in descending norm.

    Each image is scaled on its own, from its smallest weight (black) to its largest (white).
    """
    units = np.argsort(-np.linalg.norm(W1, axis=0), kind="stable")[:MAX_UNITS]
    return draw_images(_stretched(as_images(W1.T[units], image_shape)), PAGE_WIDTH)


def draw_images(images: NDArray[np.uint8], width: int) -> Picture:
    """Lay out images (n, height, width, channels) as a square, at most `width` pixels wide."""
    sheet = _sheet(images)
    zoom = max(1, width // sheet.shape[1])
    return Picture(_png(sheet), zoom * sheet.shape[1], zoom * sheet.shape[0], len(images))


def draw_pair(image: NDArray[np.floating], gradient: NDArray[np.floating], width: int) -> Picture:
    """An image (height, width, channels) with the size of the gradient by each of its pixels.

    The image is scaled from its darkest to its brightest value, the gradient's absolute value, the
    largest over channels (Simonyan, Vedaldi and Zisserman, 2014), from 0 (black) to its largest.
    """
    size = np.abs(gradient).max(axis=2, keepdims=True)
    saliency = np.rint(255 * size / (size.max() or 1)).astype(np.uint8)
    pair = [_stretched(image[None])[0], np.broadcast_to(saliency, image.shape)]
    return draw_images(np.stack(pair), width)


def _stretched(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    low = images.min(axis=(1, 2, 3), keepdims=True)
    span = images.max(axis=(1, 2, 3), keepdims=True) - low
    scaled = 255 * (images - low) / np.where(span > 0, span, 1)
    return np.asarray(np.rint(scaled), np.uint8)


def _sheet(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay out images (n, height, width, channels) as a square of RGBA, a clear pixel apart."""
    n, height, width, _ = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 4), np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        sheet[top : top + height, left : left + width, :3] = image
        sheet[top : top + height, left : left + width, 3] = 255
    return sheet


def _png(pixels: NDArray[np.uint8]) -> str:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
