"""What a tool of the latent space wrote, as one page to see and hear, and as pictures and sound.

The page is made from the MIDI files that the tool has just written, so what is heard is what they
hold. It is one file that needs nothing else: see :mod:`aurl.reporting.sheets`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aurl.audio import rendered, wav
from aurl.data.midi import read_midi
from aurl.data.piece import GRID, NOTE, Piece
from aurl.drawing.canvas import write_png
from aurl.drawing.piano_roll import piano_roll
from aurl.errors import DataError
from aurl.files import write_bytes, write_text
from aurl.reporting.html import Html, element
from aurl.reporting.planes import MOST_DOTS, maps
from aurl.reporting.sheets import Players, chart, document

SHEET = "sheet.html"
SOUND_SECONDS = 900.0
"""Sound that the page holds: 20 dimensions of seven steps of two bars, 19 MB."""

BAR_WIDTH = 52
"""Pixels of a bar, in a roll of many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """A MIDI file that a tool wrote, and what is to be said of it."""

    name: str
    """Of the file, without its ending."""

    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is wanted beside the page."""

    wav: bool
    png: bool


def write_sheet(
    out: Path,
    title: str,
    lines: Sequence[str],
    tracks: Sequence[Track],
    *,
    plane: Mapping[str, Any] | None,
    wanted: Wanted,
) -> None:
    """Write ``sheet.html`` into a tool's folder, and WAV and PNG beside its MIDI if wanted.

    Args:
        out: The folder.
        title: Of the page.
        lines: What the tool has to say, besides what stands at its tracks.
        tracks: What there is to hear, in order.
        plane: What ``map.json`` holds, if codes were put in a plane.
        wanted: Which files.
    """
    players = Players(SOUND_SECONDS)
    shown = [_track(out, track, players, wanted) for track in tracks]
    charts: list[Html] = []
    for name, drawing in (maps(plane) if plane else {}).items():
        write_text(out / f"{name}.svg", drawing.document())
        charts.append(chart(drawing, f"{name}.svg"))
    said = [element("p", line) for line in lines]
    parts = [element("section", *said)] * bool(said)
    if shown:
        heading = element("h2", "Listen")
        parts.append(element("section", heading, element("div", *shown, class_="players steps")))
    if charts:
        heading = element("h2", "Codes in the plane")
        words = (
            f"A dot is a window of the training music, {MOST_DOTS} at most; its colour is what "
            "the chart names. map.json has all of them."
        )
        grid = element("div", *charts, class_="grid")
        parts.append(element("section", heading, element("p", words), grid))
    header = element("header", element("h1", title))
    write_text(out / SHEET, document(title, header, element("main", *parts)))


def _track(out: Path, track: Track, players: Players, wanted: Wanted) -> Html:
    path = out / f"{track.name}.mid"
    try:
        piece = _read(path)
        sound = rendered(piece)
    except DataError as error:
        raise DataError(
            f"{path} is written, but cannot be shown, so there is no {SHEET}: {error}"
        ) from error
    bars = len(piece.bar_lines()) - 1
    roll = piano_roll(piece, width=max(480, 56 + BAR_WIDTH * bars), height=150)
    if wanted.png:
        write_png(roll, out / f"{track.name}.png")
    if wanted.wav:
        write_bytes(out / f"{track.name}.wav", wav(sound))
    endings = ("mid", "wav") if wanted.wav else ("mid",)
    return players.player(track.caption, roll, sound, file=track.name, endings=endings)


def _read(path: Path) -> Piece:
    """The music of a file that a tool wrote; where a model says nothing, a bar of silence."""
    try:
        return read_midi(path)
    except DataError as error:
        if not str(error).startswith("no_notes:"):
            raise
        return Piece(ticks_per_quarter=GRID, notes=np.zeros(0, NOTE), length=4 * GRID)
