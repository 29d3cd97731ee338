"""A piece as files: MIDI, and beside it what it sounds and looks like."""

from pathlib import Path

from aurl.audio import write_wav
from aurl.data.midi import write_midi
from aurl.data.piece import Piece
from aurl.drawing.canvas import write_png
from aurl.drawing.piano_roll import piano_roll


def write_music(piece: Piece, path: Path, *, wav: bool, png: bool) -> None:
    """Write a piece as MIDI, and beside it as WAV and as a piano roll if they are asked for.

    Raises:
        DataError: If its sound would be too long.
    """
    write_midi(piece, path)
    if wav:
        write_wav(piece, path.with_suffix(".wav"))
    if png:
        write_png(piano_roll(piece), path.with_suffix(".png"))
