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
from aurl.drawing.canvas import write_png
from aurl.drawing.charts import Axis, Mark, scatter
from aurl.drawing.piano_roll import piano_roll
from aurl.drawing.svg import Drawing
from aurl.files import atomic, write_text
from aurl.reporting.html import Html, element
from aurl.reporting.sheets import Players, chart, document

SHEET = "sheet.html"
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
    players = Players()
    shown = [_track(out, track, players, wanted) for track in tracks]
    charts: list[Html] = []
    for name, drawing in (_maps(plane) if plane else {}).items():
        write_text(out / f"{name}.svg", drawing.document())
        charts.append(chart(drawing, f"{name}.svg"))
    said = [element("p", line) for line in lines]
    parts = [element("section", *said)] * bool(said)
    if shown:
        heading = element("h2", "Listen")
        parts.append(element("section", heading, element("div", *shown, class_="players steps")))
    if charts:
        heading = element("h2", "Codes in the plane")
        words = "A dot is a window; the stronger, the higher it is in what the chart names."
        grid = element("div", *charts, class_="grid")
        parts.append(element("section", heading, element("p", words), grid))
    header = element("header", element("h1", title))
    write_text(out / SHEET, document(title, header, element("main", *parts)))


def _track(out: Path, track: Track, players: Players, wanted: Wanted) -> Html:
    piece = read_midi(out / f"{track.name}.mid")
    bars = len(piece.bar_lines()) - 1
    roll = piano_roll(piece, width=max(480, 56 + BAR_WIDTH * bars), height=150)
    sound = rendered(piece)
    if wanted.png:
        write_png(roll, out / f"{track.name}.png")
    if wanted.wav:
        with atomic(out / f"{track.name}.wav") as temporary:
            temporary.write_bytes(wav(sound))
    return players.player(track.caption, roll, sound, file=track.name)


def _maps(plane: Mapping[str, Any]) -> dict[str, Drawing]:
    """The plane once for each attribute, its points the stronger the higher they are in it."""
    points = np.asarray(plane["points"], np.float64).reshape(-1, 2)
    axes = [_around(f"axis {number + 1}", points[:, number]) for number in range(2)]
    found: dict[str, Drawing] = {}
    for name, values in plane["attributes"].items():
        known = np.array([np.nan if value is None else value for value in values], np.float64)
        low, high = np.nanmin(known, initial=np.inf), np.nanmax(known, initial=-np.inf)
        marks = [
            Mark(
                x=float(x),
                y=float(y),
                key=str(window),
                tip=f"{name} {value:.3g}",
                role="graded",
                strength=0.08 + 0.92 * float((value - low) / (high - low) if high > low else 1.0),
            )
            for (x, y), value, window in zip(points, known, plane["windows"], strict=True)
            if np.isfinite(value)
        ]
        if marks:
            found[f"map_{name}"] = scatter(marks, axes[0], axes[1], title=name)
    return found


def _around(name: str, values: np.ndarray) -> Axis:
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    room = 0.05 * (high - low) or 1.0
    return Axis(name=name, low=low - room, high=high + room)
