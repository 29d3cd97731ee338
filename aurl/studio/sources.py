"""Where the pieces on the page come from: the prior, held-out music, a file that was dropped."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from aurl.analysis.subject import Subject
from aurl.data.events import Events
from aurl.data.isolation import Failure, Limits, each_isolated
from aurl.data.piece import Piece, sliced
from aurl.data.sources import read_source
from aurl.errors import DataError
from aurl.model.generation import prior_block
from aurl.plain import printable
from aurl.reporting.loading import Model
from aurl.seeding import numpy_generator
from aurl.studio.move import MOST_WINDOWS

MOST_ENCODED = 32
"""Windows of a file that are encoded."""

UPLOAD = Limits(seconds=10.0, memory_bytes=2**29)
"""What reading a dropped file may cost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One window of a piece."""

    bar: int
    """Its first bar, from 1."""

    code: list[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The codes of a piece."""

    name: str
    rows: list[Row]
    note: str = ""
    """What of it is not here, and why."""


def drawn(model: Model, seed: int) -> Source:
    """Codes from the prior, each window by itself."""
    z = prior_block(model.trained.model, seed, 0)[:MOST_WINDOWS].double().numpy()
    rows = [Row(bar=1 + index * model.n_bars, code=code) for index, code in enumerate(z.tolist())]
    return Source(name=f"draw {seed} from the prior", rows=rows)


def held_out(subject: Subject, seed: int) -> Source:
    """A piece of the test split, by the order of a fixed shuffle."""
    corpus = subject.corpus
    windows = corpus.indices("test")
    pieces = np.unique(np.asarray(corpus.piece)[windows])
    chosen = int(numpy_generator(0, "studio").permutation(pieces)[seed % len(pieces)])
    own = windows[np.asarray(corpus.piece)[windows] == chosen]
    first_bar = np.asarray(corpus.first_bar)[own]
    own, first_bar = own[np.argsort(first_bar)][:MOST_ENCODED], np.sort(first_bar)[:MOST_ENCODED]
    codes, _ = subject.posterior(own)
    rows = [
        Row(bar=int(bar) + 1, code=code)
        for bar, code in zip(first_bar, codes.tolist(), strict=True)
    ]
    named = chosen < len(corpus.piece_names)
    name = printable(Path(corpus.piece_names[chosen]).stem) if named else f"held-out {chosen}"
    return Source(name=name, rows=rows)


def dropped(model: Model, data: bytes, name: str) -> Source:
    """The codes of a MIDI file, read in a process that it may ruin.

    Windows that the model's tokens cannot say are left out, and the source says so.

    Raises:
        DataError: If the file cannot be read, or none of its windows can be said.
    """
    shown = printable(name) or "the file"
    piece = _read(model, data, shown)
    lines = piece.bar_lines()[:: model.n_bars]
    bars = model.n_bars * np.unique(np.searchsorted(lines, piece.notes["onset"], "right") - 1)
    kept: list[Row] = []
    refused: list[str] = []
    for bar in bars[:MOST_ENCODED].tolist():
        try:
            (code,) = model.encode(sliced(piece, bar, model.n_bars)).tolist()
        except DataError as error:
            refused.append(f"bars {bar + 1} to {bar + model.n_bars} {_why(error)}")
        else:
            kept.append(Row(bar=bar + 1, code=code))
    if not kept:
        raise DataError(f"{shown} has no window that the model can say: {refused[0]}")
    note = f"{_rearranged(model, piece)} {_note(refused, len(bars))}".strip()
    return Source(name=shown, rows=kept, note=note)


def _read(model: Model, data: bytes, shown: str) -> Piece:
    """A file as the model's corpus would have it."""
    read = partial(read_source, is_timed=isinstance(model.trained.vocabulary, Events))
    with tempfile.TemporaryDirectory(prefix="aurl-studio-") as folder:
        path = Path(folder) / "dropped.mid"
        path.write_bytes(data)
        ((_, outcome),) = each_isolated(read, [path], workers=1, limits=UPLOAD)
    if isinstance(outcome, Failure):
        raise DataError(
            f"{shown} cannot be read: {outcome.reason}, {printable(outcome.detail)} "
            "A MIDI file can be dropped here."
        )
    return replace(outcome, name="")


def _rearranged(model: Model, piece: Piece) -> str:
    """What of a piece a model of one instrument does not read as it is."""
    notes, program = piece.notes, model.only_program
    if program is None:
        return ""
    n_drums = int(notes["is_drum"].sum())
    others = bool((notes["program"][~notes["is_drum"]] != program).any())
    said = ["Read as one instrument, which is all that the model has."] * others
    said += [f"{n_drums} drum notes are left out."] * (n_drums > 0)
    return " ".join(said)


def _why(error: DataError) -> str:
    """What :meth:`Model.encode` says after the place."""
    return str(error).partition(" of the piece ")[2] or str(error)


def _note(refused: Sequence[str], found: int) -> str:
    said: list[str] = []
    if refused:
        others = f" So do {len(refused) - 1} others." if len(refused) > 1 else ""
        said.append(f"Left out: {refused[0]}{others}")
    if found > MOST_ENCODED:
        said.append(f"Of {found} windows with notes, the first {MOST_ENCODED} are here.")
    return " ".join(said)
