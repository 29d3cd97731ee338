"""The tokenizer: a piece to tokens of the `metrical` vocabulary, and back.

The law: ``decode(encode(piece))`` is the piece for every piece on the grid whose tempos and
velocities the vocabulary can say, up to what is not music to it: its name, its keys, a change
that changes nothing, and silence up to the last bar line, which becomes its ``length``.

Three things are moved or rounded on purpose. A pickup stands at the end of a whole first bar, so
that it decodes with the silence in front. A tempo lasts from a bar line: of the changes inside a
bar the last one holds from its start. A bar that a change of metre cuts short is written as a bar
of the length it has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Int, Integer, Shaped, UInt16

from aurl.data.metrical_layout import (
    BAR_TICKS,
    DRUMS,
    MAX_DURATION,
    METRES,
    Kind,
    MetricalLayout,
    program_values,
    tempo_value,
    tempos,
)
from aurl.data.piece import GRID, NOTE, Metre, Piece, Tempo, bar_length
from aurl.data.step_grammar import accepted_of_one
from aurl.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bar:
    start: int  # ticks; negative for the whole bar in which a pickup stands
    stop: int
    metre: int  # the value of METRE
    tempo: int  # the value of TEMPO


def encode(
    piece: Piece, vocabulary: MetricalLayout, n_bars: int | None = None
) -> UInt16[np.ndarray, " token"]:
    """The piece as tokens, ``START`` to ``END``.

    Args:
        piece: On the grid (see :func:`aurl.data.piece.quantized`).
        vocabulary: What can be said.
        n_bars: Write exactly so many bars; by default those that hold the piece, at least one. A
            note may sound on past the last of them.

    Raises:
        ValueError: If the piece is not on the grid.
        DataError: If a metre, a program or a note cannot be said; the message begins with
            ``metre:``, ``program:`` or ``notes:``.
    """
    if piece.ticks_per_quarter != GRID:
        raise ValueError(
            f"piece.ticks_per_quarter must be {GRID}, got {piece.ticks_per_quarter}. "
            "Call quantized(piece) first."
        )
    if n_bars is not None and n_bars < 1:
        raise ValueError(f"n_bars must be >= 1, got {n_bars}.")
    bars = list(_bars(piece, n_bars or max(piece.n_bars, 1)))
    onsets = piece.notes["onset"]
    if len(onsets) and onsets[-1] >= bars[-1].stop:
        raise DataError(
            f"notes: every onset must be before the end of bar {len(bars)} at tick "
            f"{bars[-1].stop}, got {onsets[-1]}."
        )
    notes = _notes_as_values(piece.notes, vocabulary)
    edges = np.searchsorted(onsets, [*(bar.start for bar in bars), bars[-1].stop]).tolist()
    ids = [vocabulary.start]
    metre = tempo = None
    for bar, first, last in zip(bars, edges[:-1], edges[1:], strict=True):
        ids.append(vocabulary.bar)
        if bar.metre != metre:
            metre = bar.metre
            ids.append(vocabulary.ids(Kind.METRE)[metre])
        if vocabulary.tempo and bar.tempo != tempo:
            tempo = bar.tempo
            ids.append(vocabulary.ids(Kind.TEMPO)[tempo])
        ids.extend(_bar_tokens(notes[first:last], bar.start, vocabulary))
    ids.append(vocabulary.end)
    return np.asarray(ids, np.uint16)


def decode(tokens: Integer[np.ndarray, " token"], vocabulary: MetricalLayout) -> Piece:
    """The piece that a sequence says; what comes after its ``END`` is not read.

    Notes keep the order and time they were written at; its ``length`` reaches the last bar line.

    Raises:
        DataError: If the grammar refuses a token, or there is no ``END``; the message names the
            place.
    """
    read = torch.from_numpy(_whole(tokens, vocabulary))[None]
    tables = vocabulary.tables(read.device)
    kind, value = tables.kind[read[0]].numpy(), tables.value[read[0]].numpy()
    force = dict(zip(_SAID_ONCE, vocabulary.in_force(read, _SAID_ONCE)[:, 0].numpy(), strict=True))
    begins = np.flatnonzero(kind == Kind.BAR)
    ends = np.append(begins[1:], len(kind) - 1) - 1  # the last token of each bar
    metres, speeds = force[Kind.METRE][ends], force[Kind.TEMPO][ends]
    lines = np.cumsum([0, *np.asarray(BAR_TICKS)[metres]])
    at = np.flatnonzero(kind == Kind.PITCH)
    bar = np.searchsorted(begins, at) - 1
    long = kind == Kind.DURATION
    of = np.searchsorted(at, np.flatnonzero(long)) - 1
    notes = np.zeros(len(at), NOTE)
    notes["onset"] = lines[bar] + force[Kind.POSITION][at]
    notes["pitch"] = value[at]
    np.add.at(notes["duration"], of, value[long] + 1)
    drums = force[Kind.PROGRAM][at] == DRUMS
    notes["is_drum"] = drums
    notes["program"] = np.where(drums, 0, force[Kind.PROGRAM][at])
    notes["velocity"] = vocabulary.default_velocity
    if vocabulary.velocity_bins:
        notes["velocity"] = vocabulary.velocities()[force[Kind.VELOCITY][at]]
    return Piece(
        ticks_per_quarter=GRID,
        notes=notes,
        metres=tuple(
            Metre(tick=int(lines[index]), numerator=METRES[value][0], denominator=METRES[value][1])
            for index, value in _changes(metres)
        ),
        tempos=tuple(
            Tempo(tick=int(lines[index]), bpm=tempos()[value]) for index, value in _changes(speeds)
        )
        if vocabulary.tempo
        else (Tempo(tick=0, bpm=vocabulary.default_tempo),),
        length=int(lines[-1]),
    )


_SAID_ONCE = (Kind.METRE, Kind.POSITION, Kind.PROGRAM, Kind.VELOCITY, Kind.TEMPO)


def _changes(values: Int[np.ndarray, " bar"]) -> list[tuple[int, int]]:
    """The bars at which a value begins, with the value."""
    return [
        (index, int(value))
        for index, value in enumerate(values)
        if index == 0 or value != values[index - 1]
    ]


def _whole(
    tokens: Integer[np.ndarray, " token"], vocabulary: MetricalLayout
) -> Int[np.ndarray, " read"]:
    """The tokens up to END, checked."""
    ids = tokens.astype(np.int64)
    ids = ids[: int((ids == vocabulary.end).argmax()) + 1] if vocabulary.end in ids else ids
    outside = np.flatnonzero((ids < 0) | (ids >= vocabulary.size))
    if len(outside):
        raise DataError(
            f"token {outside[0]} must be an id in 0..{vocabulary.size - 1}, got {ids[outside[0]]}."
        )
    n_bars = max(int((ids == vocabulary.bar).sum()), 1)
    good = accepted_of_one(vocabulary, ids, n_bars)
    if good < len(ids):
        after = f"after {vocabulary.describe(int(ids[good - 1]))}" if good else "at the beginning"
        raise DataError(
            f"token {good} must be one the grammar allows {after}, "
            f"got {vocabulary.describe(int(ids[good]))}."
        )
    if vocabulary.end not in ids:
        raise DataError(f"token {len(ids)} must be there: the sequence has no END.")
    return ids


_Note = tuple[int, int, int, int, int]  # onset, program value, velocity value, pitch, duration


def _notes_as_values(
    notes: Shaped[np.ndarray, " note"], vocabulary: MetricalLayout
) -> list[_Note]:
    programs = program_values(notes)
    other = programs != vocabulary.default_program
    if not vocabulary.programs and other.any():
        found = "drums" if programs[other][0] == DRUMS else programs[other][0]
        raise DataError(
            f"program: every note must be of program {vocabulary.default_program} for a "
            f"vocabulary without programs, got {found}."
        )
    found = np.stack([notes["onset"], programs, notes["pitch"]], axis=1)
    same = (found[1:] == found[:-1]).all(axis=1)
    if same.any():
        raise DataError(
            f"notes: there must be one note of a pitch and program at an onset, got pitch "
            f"{notes['pitch'][1:][same][0]} twice at tick {notes['onset'][1:][same][0]}."
        )
    velocities = vocabulary.velocity_values(notes["velocity"].astype(np.int64))
    columns = (notes["onset"], programs, velocities, notes["pitch"], notes["duration"])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _bar_tokens(notes: Sequence[_Note], start: int, vocabulary: MetricalLayout) -> Iterator[int]:
    position_ids, pitch_ids = vocabulary.ids(Kind.POSITION), vocabulary.ids(Kind.PITCH)
    program_ids, velocity_ids = vocabulary.ids(Kind.PROGRAM), vocabulary.ids(Kind.VELOCITY)
    duration_ids = vocabulary.ids(Kind.DURATION)
    in_force = vocabulary.tables(torch.device("cpu")).initial
    program, velocity = in_force[Kind.PROGRAM].item(), in_force[Kind.VELOCITY].item()
    before = None
    for onset, to_program, to_velocity, pitch, duration in notes:
        if onset != before:
            before = onset
            yield position_ids[onset - start]
        if to_program != program:
            program = to_program
            yield program_ids[program]
        if to_velocity != velocity:
            velocity = to_velocity
            yield velocity_ids[velocity]
        yield pitch_ids[pitch]
        full, rest = divmod(duration - 1, MAX_DURATION)
        yield from [duration_ids[-1]] * full
        yield duration_ids[rest]


def _bars(piece: Piece, n_bars: int) -> Iterator[_Bar]:
    lines = piece.bar_lines(n_bars)[: n_bars + 1].tolist()
    for index, (start, stop) in enumerate(pairwise(lines)):
        metre = piece.metre_at(start)
        if index == 0 and piece.pickup == stop:
            start = stop - bar_length(metre, GRID)  # the whole bar
        bpm = [tempo.bpm for tempo in piece.tempos if tempo.tick < stop][-1]
        yield _Bar(
            start=start,
            stop=stop,
            metre=_metre_value(metre, stop - start),
            tempo=tempo_value(bpm),
        )


def _metre_value(metre: Metre, ticks: int) -> int:
    """The METRE of a bar of this metre that lasts so many ticks."""
    whole = (metre.numerator, metre.denominator)
    if whole in METRES and BAR_TICKS[METRES.index(whole)] == ticks:
        return METRES.index(whole)
    for value, (_, denominator) in enumerate(METRES):
        if BAR_TICKS[value] == ticks < bar_length(metre, GRID) and denominator >= min(
            metre.denominator, 32
        ):
            return value
    raise DataError(
        f"metre: a bar must be of a metre n/1 to n/32, n <= 32, and at most 192 ticks, "
        f"got {metre.numerator}/{metre.denominator} for {ticks} ticks at a bar line."
    )
