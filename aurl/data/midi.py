"""MIDI files in and out: the only place that knows the MIDI library.

Reading goes through :func:`aurl.data.midi_bytes.reduced` first, so the library meets only bytes
that were checked and only events that matter. What a file can do wrong is a :class:`DataError`
whose message starts with a reason code (``unreadable: …``, ``no_notes: …``, ``too_large: …``);
no file costs more than seconds or some tens of megabytes.

The music is taken as it is written: note-offs close notes first in, first out; a note that is
never closed is left out, as every reader does; a note of no length was struck, and gets one tick.
"""

import io
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import miditoolkit
import numpy as np
from mido.midifiles.meta import KeySignatureError

from aurl.data.midi_bytes import reduced
from aurl.data.piece import NOTE, Change, Key, Metre, Piece, Tempo, bar_length, sorted_notes
from aurl.errors import DataError
from aurl.files import atomic
from aurl.plain import printable

MAX_BYTES = 4 * 2**20
"""Size of one file. The largest symphonies in MIDI collections are under a megabyte."""

MAX_NOTES_PER_BAR = 1_024
"""Struck within one bar of the file; a full orchestra in 32nds stays below it."""

MAJOR = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
MINOR = ("Cm", "C#m", "Dm", "Ebm", "Em", "Fm", "F#m", "Gm", "G#m", "Am", "Bbm", "Bm")
LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def read_bytes(path: Path) -> bytes:
    """The bytes of a MIDI file, if it is a file and of a size that one may have.

    Raises:
        DataError: ``unreadable`` or ``too_large``.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError("unreadable: not a regular file.")
        if status.st_size > MAX_BYTES:
            raise DataError(f"too_large: {status.st_size} bytes, at most {MAX_BYTES} are read.")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"unreadable: {error.strerror}.") from error


def read_midi(path: Path) -> Piece:
    """Read a MIDI file as it is written, at its own resolution.

    MIDI has no word for an incomplete first bar: ``pickup`` is 0; see :mod:`aurl.data.bars`.

    Raises:
        DataError: The reason code, then what was found: ``unreadable``, ``too_large``,
            ``bad_division``, ``bad_metre``, ``absurd_length``, ``too_many_notes``,
            ``too_many_changes``, ``no_notes``.
    """
    return read_midi_counted(path)[0]


def read_midi_counted(path: Path) -> tuple[Piece, int]:
    """:func:`read_midi`, and how many notes of the file are left out: those never closed."""
    checked, n_unclosed = reduced(read_bytes(path))
    try:
        midi = miditoolkit.MidiFile(file=io.BytesIO(checked))
    except (
        OSError,
        EOFError,
        ValueError,
        LookupError,
        ArithmeticError,
        MemoryError,
        KeySignatureError,
    ) as error:
        reason = printable(str(error)) or "without a message"
        raise DataError(f"unreadable: {type(error).__name__}, {reason}.") from error
    return _piece(midi, printable(path.stem)), n_unclosed


def write_midi(piece: Piece, path: Path) -> None:
    """Write a piece as MIDI, whole or not at all; the same piece gives the same bytes.

    One track an instrument. Tempos are kept to the microsecond a quarter. ``pickup`` and
    ``length`` are not carried, and notes of one instrument and pitch that overlap come back with
    their ends exchanged: MIDI cannot say otherwise.
    """
    midi = miditoolkit.MidiFile(ticks_per_beat=piece.ticks_per_quarter)
    midi.time_signature_changes = [
        miditoolkit.TimeSignature(each.numerator, each.denominator, each.tick)
        for each in piece.metres
    ]
    midi.tempo_changes = [miditoolkit.TempoChange(each.bpm, each.tick) for each in piece.tempos]
    midi.key_signature_changes = [
        miditoolkit.KeySignature((MINOR if each.is_minor else MAJOR)[each.tonic], each.tick)
        for each in piece.keys
    ]
    for is_drum, program in sorted(set(piece.notes[["is_drum", "program"]].tolist())):
        own = (piece.notes["is_drum"] == is_drum) & (piece.notes["program"] == program)
        instrument = miditoolkit.Instrument(program=program, is_drum=is_drum)
        instrument.notes = [
            miditoolkit.Note(velocity, pitch, onset, onset + duration)
            for onset, duration, pitch, velocity, _, _ in piece.notes[own].tolist()
        ]
        midi.instruments.append(instrument)
    with atomic(path) as temporary:
        midi.dump(str(temporary))


def _piece(midi: miditoolkit.MidiFile, name: str) -> Piece:
    notes = sorted_notes(
        np.array(
            [
                (
                    note.start,
                    max(note.end - note.start, 1),
                    note.pitch,
                    note.velocity,
                    0 if instrument.is_drum else int(instrument.program),
                    instrument.is_drum,
                )
                for instrument in midi.instruments
                for note in instrument.notes
            ],
            NOTE,
        )
    )
    if not len(notes):
        raise DataError("no_notes: not one of its notes ends.")
    metres = _changes(
        Metre(tick=each.time, numerator=each.numerator, denominator=each.denominator)
        for each in midi.time_signature_changes
    )
    per_quarter = midi.ticks_per_beat
    for metre in metres:
        if bar_length(metre, per_quarter) < 1:
            raise DataError(
                f"bad_metre: {metre.numerator}/{metre.denominator} has bars of less than a tick "
                f"at {per_quarter} ticks a quarter."
            )
    piece = Piece(
        ticks_per_quarter=per_quarter,
        notes=notes,
        metres=_from_start(metres, Metre(tick=0, numerator=4, denominator=4)),
        tempos=_from_start(
            _changes(Tempo(tick=each.time, bpm=each.tempo) for each in midi.tempo_changes),
            Tempo(tick=0, bpm=120.0),
        ),
        keys=_changes(_key(str(each.key_name), each.time) for each in midi.key_signature_changes),
        name=name,
    )
    _check_density(piece)
    return piece


def _check_density(piece: Piece) -> None:
    per_bar = np.diff(np.searchsorted(piece.notes["onset"], piece.bar_lines()))
    if per_bar.max() > MAX_NOTES_PER_BAR:
        raise DataError(
            f"too_many_notes: {per_bar.max()} in bar {per_bar.argmax() + 1}, "
            f"at most {MAX_NOTES_PER_BAR} are read."
        )


def _key(name: str, tick: int) -> Key:
    is_minor = name.endswith("m")
    accidental = name.count("#") - name.count("b")
    return Key(tick=tick, tonic=(LETTERS[name[0]] + accidental) % 12, is_minor=is_minor)


def _changes(found: Iterable[Change]) -> tuple[Change, ...]:
    """What really changes, in time order: the last of one tick counts, repeats do not."""
    by_tick = {each.tick: each for each in sorted(found, key=lambda each: each.tick)}
    changes: list[Change] = []
    for each in by_tick.values():
        if not changes or _value(changes[-1]) != _value(each):
            changes.append(each)
    return tuple(changes)


def _value(change: Metre | Tempo | Key) -> tuple[object, ...]:
    match change:
        case Metre():
            return (change.numerator, change.denominator)
        case Tempo():
            return (change.bpm,)
        case Key():
            return (change.tonic, change.is_minor)


def _from_start(changes: Sequence[Change], default: Change) -> tuple[Change, ...]:
    return tuple(changes) if changes and changes[0].tick == 0 else (default, *changes)
