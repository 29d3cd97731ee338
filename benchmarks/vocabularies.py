"""What the vocabularies cost and keep: tokens a note and a bar on the bundled tunes, in one run.

Run it with ``python benchmarks/vocabularies.py``. Every tune is encoded whole, in `metrical` (bars
and beats) and in `events` (seconds); a bar is the tune's own in both. Each is decoded again: the
largest error of an onset is that of the tokens alone, against the file.
"""

import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from aurl.data.bars import with_pickup
from aurl.data.clock import TICKS_PER_SECOND, seconds
from aurl.data.corpora import TUNES
from aurl.data.events import Events
from aurl.data.metrical import choose_vocabulary
from aurl.data.midi import read_midi
from aurl.data.piece import Piece, quantized


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(TUNES) as archive:
        archive.extractall(folder)
        played = [read_midi(path) for path in sorted(Path(folder).rglob("*.mid"))]
    gridded = [with_pickup(quantized(piece)) for piece in played]
    metrical, events = choose_vocabulary(gridded, velocity_bins=0), Events()
    n_notes = sum(len(piece.notes) for piece in gridded)
    n_bars = sum(piece.n_bars for piece in gridded)
    not_said = Counter[str]()
    exact, worst, lengths = 0, 0.0, Counter[str]()
    for piece, grid in zip(played, gridded, strict=True):
        tokens = metrical.encode(grid)
        lengths["metrical"] += len(tokens)
        start = -grid.pickup % int(metrical.decode(tokens).bar_lines()[1]) if grid.pickup else 0
        exact += _same(metrical.decode(tokens), grid, start)
        tokens = events.encode(piece)
        lengths["events"] += len(tokens)
        said, counts = events.said(piece)
        not_said.update(counts)
        decoded = events.decode(tokens)
        if not np.array_equal(decoded.notes, said.notes):
            raise AssertionError(f"{piece.name} does not come back as it was said.")
        worst = max(worst, _onset_error(piece, decoded))
    print(f"{len(played)} tunes, {n_notes} notes, {n_bars} bars")
    for name, count in lengths.items():
        print(f"{name:9} {count / n_notes:6.3f} tokens a note, {count / n_bars:6.2f} a bar")
    print(f"events / metrical: {lengths['events'] / lengths['metrical']:.3f}")
    print(f"metrical: {exact} of {len(played)} tunes come back note for note on the grid")
    print(f"events: worst onset {1000 * worst:.4f} ms off, at most {500 / TICKS_PER_SECOND:.4f}")
    print(f"events: notes left out or changed: {dict(not_said) or 'none'}")


def _same(decoded: Piece, grid: Piece, start: int) -> bool:
    columns = ["onset", "duration", "pitch", "program", "is_drum"]
    notes = grid.notes.copy()
    notes["onset"] += start  # a pickup decodes with the silence in front
    return np.array_equal(decoded.notes[columns], notes[columns])


def _onset_error(piece: Piece, decoded: Piece) -> float:
    """Seconds, of the worst onset of a pitch; every onset has one that is the nearest."""
    true, found = seconds(piece, piece.notes["onset"]), decoded.notes["onset"] / TICKS_PER_SECOND
    worst = 0.0
    for pitch in np.unique(piece.notes["pitch"]):
        of, near = true[piece.notes["pitch"] == pitch], found[decoded.notes["pitch"] == pitch]
        worst = max(worst, float(np.abs(of[:, None] - near).min(axis=1).max()))
    return worst


if __name__ == "__main__":
    main()
