"""A canvas that rectangles, lines and words are put on; the only place that knows Pillow.

An image is an array of red, green and blue from 0 to 255. Its text is set in the font that comes
with Pillow, so that a picture looks alike on every machine.
"""

import io
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from aurl.files import write_bytes

Picture: TypeAlias = UInt8[np.ndarray, "y x 3"]
Colour: TypeAlias = tuple[int, int, int]
Anchor: TypeAlias = Literal["lt", "mt", "lm", "mm", "rm", "ls", "ms"]
"""Where in the words the given point is: left, middle or right; top, middle or base line."""

PAPER: Colour = (255, 255, 255)
INK: Colour = (32, 36, 48)
PALE: Colour = (120, 126, 138)
RULE: Colour = (222, 225, 230)
MISSING: Colour = (236, 214, 214)
"""Of a value that is NaN: in no ramp."""

TEXT = 12
"""Size of words, in pixels."""

RAMP: tuple[Colour, ...] = (
    (255, 255, 255),
    (177, 216, 213),
    (72, 144, 168),
    (34, 70, 118),
    (14, 20, 54),
)
"""From nothing to the most; each is darker than the one before, so that it survives grey paper."""


class Canvas:
    """A white sheet of ``width`` by ``height`` pixels; x grows to the right, y downwards."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle, a pixel wide and high at least; right and bottom are outside."""
        x, y = round(left), round(top)
        self._draw.rectangle(
            (x, y, max(x, round(right) - 1), max(y, round(bottom) - 1)), fill=colour
        )

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: Colour = RULE) -> None:
        """A line, one pixel wide."""
        self._draw.line((round(x0), round(y0), round(x1), round(y1)), fill=colour)

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A filled circle."""
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def words(
        self, x: float, y: float, text: str, *, anchor: Anchor = "lm", colour: Colour = INK
    ) -> None:
        """One line of text."""
        self._draw.text((x, y), text, fill=colour, font=_font(), anchor=anchor)

    def upright(self, x: float, y: float, text: str) -> None:
        """One line of text that is read upwards; (x, y) is the middle of where it ends."""
        width = int(text_width(text)) + 2
        words = Canvas(width, TEXT + 4)
        words.words(width - 1, (TEXT + 4) / 2, text, anchor="rm")
        turned = words._image.rotate(90, expand=True)
        self._image.paste(turned, (round(x - (TEXT + 4) / 2), round(y)))

    def picture(self) -> Picture:
        """What has been drawn."""
        return np.asarray(self._image).copy()


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG")
    return stream.getvalue()


def write_png(picture: Picture, path: Path) -> bytes:
    """Write a picture to a PNG file, whole or not at all; returns what is in it."""
    encoded = png(picture)
    write_bytes(path, encoded)
    return encoded


def text_width(text: str) -> float:
    """Pixels that one line of text is wide."""
    return float(_font().getlength(text))


def shade(value: float, most: float) -> Colour:
    """The colour of a value from 0 to ``most``; beyond them, that of the nearer end."""
    if not np.isfinite(value):
        return MISSING
    place = float(np.clip(value / most, 0.0, 1.0)) if most > 0.0 else 0.0
    stops, channels = np.linspace(0.0, 1.0, len(RAMP)), zip(*RAMP, strict=True)
    red, green, blue = (round(float(np.interp(place, stops, channel))) for channel in channels)
    return red, green, blue


def is_dark(colour: Colour) -> bool:
    """Whether white words are easier to read on it than black ones."""
    return float(np.dot(colour, (0.299, 0.587, 0.114))) < 140.0


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT)
