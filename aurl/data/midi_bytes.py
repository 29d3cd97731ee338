"""The bytes of a MIDI file, walked with suspicion and reduced to what a piece needs.

:func:`reduced` runs before any library sees the file. It believes no length it has not compared
with the bytes that are there, and it gives back a small, whole, format-1 file that holds notes,
program changes, metres, tempos and keys and nothing else: text, controllers, system-exclusive
data and chunks of other makers are left out, so none of them can cost the music or the time.

What is merely wrong is dropped by itself (a data byte over 127, a tempo of 0, a key signature of
99 flats); what makes the rest of the file meaningless refuses it (a track that ends inside an
event, a length past the end of the file). Nothing is ever clamped to a value the file did not say.
Every refusal is a :class:`DataError` whose message starts with its reason code.

Source:
    Standard MIDI Files 1.0 (RP-001), MIDI Manufacturers Association, 1996.
"""

import struct
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from aurl.errors import DataError

MAX_NOTES = 100_000
"""Notes in one file; the parser reads 20 000-50 000 a second."""

MAX_QUARTERS = 20_000
"""Quarter notes from the start to the last note: 2 h 46 min at 120 a minute."""

MAX_TRACKS = 1_024
MAX_CHANGES = 10_000
"""Of metre, tempo and key together; and of programs, where tracks are of those of others."""

MAX_STACK = 256
"""Notes of one pitch that sound at once on one channel; pairing takes time quadratic in them."""

END_OF_TRACK, TEMPO, METRE, KEY = 0x2F, 0x51, 0x58, 0x59
META, SYSEX, SYSEX_MORE = 0xFF, 0xF0, 0xF7
NOTE_OFF, NOTE_ON, PROGRAM, PRESSURE = 0x80, 0x90, 0xC0, 0xD0
SYSTEM_LENGTHS = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, **dict.fromkeys((0xF8, 0xFA, 0xFB, 0xFC), 0)}
TRACK_ID = b"MTrk"
PIANO = b"\x00"
"""The program of a channel before any is chosen."""


class Event(NamedTuple):
    """One event: absolute tick, status byte (0xFF for a meta event), and its data."""

    tick: int
    status: int
    data: bytes


class Header(NamedTuple):
    """The fields of the MThd chunk."""

    kind: int
    n_tracks: int
    ticks_per_quarter: int


def reduced(data: bytes) -> tuple[bytes, int]:
    """The music of a MIDI file as a new MIDI file, and how many of its notes are never closed.

    The metres, tempos and keys of all tracks are gathered in the first track; the tracks of a
    format-2 file, which are independent patterns, follow one another. What comes after the last
    note is left out.

    Raises:
        DataError: ``unreadable``, ``too_large`` (tracks), ``bad_division``, ``bad_metre``,
            ``absurd_length``, ``too_many_notes``, ``too_many_changes`` or ``no_notes``, then what
            was found.
    """
    header, bodies = _chunks(_unwrapped(data))
    music = _Music(header.ticks_per_quarter)
    programs = _Programs(bodies if header.kind == 1 else ())
    for number, body in enumerate(bodies, start=1):
        offset = music.last_note if header.kind == 2 else 0
        played = music.played(_kept(body, number, offset), number, programs)
        music.tracks.append(list(played))
    if not music.n_notes:
        raise DataError(f"no_notes: {len(bodies)} tracks without a note.")
    changes = [each for each in music.changes if each.tick <= music.last_note]
    changes.sort(key=lambda event: event.tick)
    _check_metres(changes)
    tracks = [track for track in music.tracks if track]
    return _written(header.ticks_per_quarter, [changes, *tracks]), music.n_unclosed


class _Music:
    """What has been kept of a file so far; each limit is checked as soon as it can be passed."""

    def __init__(self, ticks_per_quarter: int) -> None:
        self.ticks_per_quarter = ticks_per_quarter
        self.changes: list[Event] = []
        self.tracks: list[list[Event]] = []
        self.n_notes = self.n_unclosed = 0
        self.last_note = 0

    def played(
        self, events: Iterator[Event], number: int, programs: "_Programs"
    ) -> Iterator[Event]:
        """The events of one track that make notes; changes are set aside.

        A note is of the program chosen when it was struck, by its own track if that has chosen one
        for the channel. What chooses a program is written again wherever a note begins or ends
        under another, as the parser asks at its end; a note-off that closes nothing is left out,
        so that only notes cost anything later.
        """
        sounding: defaultdict[tuple[int, int], deque[bytes]] = defaultdict(deque)
        chosen: list[bytes | None] = [None] * 16
        written = [PIANO] * 16
        for event in events:
            kind, channel = event.status & 0xF0, event.status & 0x0F
            struck = kind == NOTE_ON and event.data[1] > 0
            open_notes = sounding[channel, event.data[0]]
            if event.status == META:
                self._change(event)
            elif kind == PROGRAM:
                chosen[channel] = event.data
            elif struck or open_notes:
                if struck:
                    own = chosen[channel]
                    program = programs.at(channel, event.tick, number) if own is None else own
                    open_notes.append(program)
                elif len(open_notes) > MAX_STACK:
                    raise DataError(f"too_many_notes: {len(open_notes)} of one pitch at once.")
                else:
                    program = open_notes.popleft()
                if written[channel] != program:
                    written[channel] = program
                    yield Event(event.tick, PROGRAM | channel, program)
                yield self._note(event, n_new=int(struck))
        self.n_unclosed += sum(map(len, sounding.values()))

    def _change(self, event: Event) -> None:
        self.changes.append(event)
        if len(self.changes) > MAX_CHANGES:
            raise DataError(f"too_many_changes: over {MAX_CHANGES} of metre, tempo and key.")

    def _note(self, event: Event, n_new: int) -> Event:
        self.n_notes += n_new
        self.last_note = max(self.last_note, event.tick)
        if self.n_notes > MAX_NOTES:
            raise DataError(f"too_many_notes: more than {MAX_NOTES}.")
        if self.last_note > MAX_QUARTERS * self.ticks_per_quarter:
            raise DataError(
                f"absurd_length: a note at quarter {self.last_note // self.ticks_per_quarter}, "
                f"at most {MAX_QUARTERS} are read."
            )
        return event


class _Programs:
    """What is chosen for each channel by tracks that play together, as those of format 1 do.

    A channel is one instrument for all of them: some files choose every program in a track of its
    own. Read only if a track needs it.

    Args:
        bodies: Of the tracks; none where each stands alone.
    """

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self._bodies = bodies

    def at(self, channel: int, tick: int, number: int) -> bytes:
        """The program of a channel when track ``number`` comes to a tick; tracks take turns."""
        rows = self._chosen[channel]
        place = bisect_left(rows, (tick, number), key=lambda row: row[:2])
        return rows[place - 1][2] if place else PIANO

    @cached_property
    def _chosen(self) -> list[list[tuple[int, int, bytes]]]:
        """Tick, track and program of every choice, by channel, in time order."""
        found: list[list[tuple[int, int, bytes]]] = [[] for _ in range(16)]
        count = 0
        for number, body in enumerate(self._bodies, start=1):
            for tick, status, data in _kept(body, number, 0):
                if status & 0xF0 == PROGRAM:
                    found[status & 0x0F].append((tick, number, data))
                    count += 1
                    if count > MAX_CHANGES:
                        raise DataError(f"too_many_changes: over {MAX_CHANGES} of program.")
        for rows in found:
            rows.sort(key=lambda row: row[:2])
        return found


def _unwrapped(data: bytes) -> bytes:
    """What a RIFF file of form RMID carries; other data as it is."""
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return data
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data":
            return data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    raise DataError("unreadable: a RIFF file without MIDI data.")


def _chunks(data: bytes) -> tuple[Header, list[bytes]]:
    if data[:4] != b"MThd":
        found = f"it starts with {data[:4].hex(' ')}" if data else "it is empty"
        raise DataError(f"unreadable: not a MIDI file, {found}.")
    header, at = _header(data)
    bodies: list[bytes] = []
    while at + 8 <= len(data):
        name, size = struct.unpack_from(">4sI", data, at)
        if name != TRACK_ID and len(bodies) >= header.n_tracks:
            _check_ended(bodies)
            break  # padding after the last track
        if size > len(data) - at - 8:
            raise DataError(
                f"unreadable: a chunk claims {size} bytes, {len(data) - at - 8} are left."
            )
        if name == TRACK_ID:
            bodies.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    if len(bodies) < header.n_tracks:
        raise DataError(
            f"unreadable: the header claims {header.n_tracks} tracks, {len(bodies)} are there."
        )
    if len(bodies) > MAX_TRACKS:
        raise DataError(f"too_large: {len(bodies)} tracks, at most {MAX_TRACKS} are read.")
    return header, bodies


def _check_ended(bodies: list[bytes]) -> None:
    if bodies and not bodies[-1].endswith(bytes([META, END_OF_TRACK, 0])):
        raise DataError("unreadable: the last track has no end and more bytes follow it.")


def _header(data: bytes) -> tuple[Header, int]:
    size = struct.unpack_from(">I", data, 4)[0] if len(data) >= 8 else 0
    if not 6 <= size <= len(data) - 8:
        raise DataError(f"unreadable: the header claims {size} bytes of {max(len(data) - 8, 0)}.")
    kind, n_tracks, division = struct.unpack_from(">HHh", data, 8)
    if kind > 2:
        raise DataError(f"unreadable: format {kind} is not 0, 1 or 2.")
    if division <= 0:
        unit = "no ticks a quarter" if division == 0 else "SMPTE time code, not quarters"
        raise DataError(f"bad_division: the file counts time in {unit} ({division}).")
    return Header(kind, n_tracks, division), 8 + size


def _kept(body: bytes, number: int, offset: int) -> Iterator[Event]:
    """The events of a track that a piece needs and that say something possible."""
    try:
        for tick, status, data in _events(body):
            kept = _meta(data) if status == META else _played(status, data)
            if kept is not None:
                yield Event(tick + offset, status, kept)
    except IndexError:
        raise DataError(f"unreadable: track {number} ends inside an event.") from None
    except ValueError as error:
        raise DataError(f"unreadable: track {number} {error}.") from None


def _played(status: int, data: bytes) -> bytes | None:
    kind = status & 0xF0
    return data if kind in (NOTE_OFF, NOTE_ON, PROGRAM) and max(data) < 128 else None


def _meta(data: bytes) -> bytes | None:
    kind, values = data[0], data[1:]
    if kind == TEMPO and len(values) == 3 and any(values):
        return data
    if kind == METRE and len(values) >= 2:
        return bytes([METRE, *values[:2], 24, 8])
    if kind == KEY and len(values) == 2 and values[1] in (0, 1):
        sharps = values[0] - 256 if values[0] > 127 else values[0]
        return data if -7 <= sharps <= 7 else None
    return None


def _events(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Every channel and meta event up to the end of the track; IndexError where bytes run out."""
    at, tick, running = 0, 0, 0
    while at < len(body):
        delta, at = _number(body, at)
        tick += delta
        first = body[at]
        if first == META:
            length, start = _number(body, at + 2)
            if body[at + 1] == END_OF_TRACK:
                return
            yield tick, META, body[at + 1 : at + 2] + body[start : _checked(body, start + length)]
            at = start + length
        elif first >= SYSEX:
            at = _after_system(body, at)
        else:
            running, at = (first, at + 1) if first >= NOTE_OFF else (running, at)
            if not running:
                raise ValueError("uses running status before any status")
            start, at = at, at + (1 if running & 0xE0 == PROGRAM else 2)
            yield tick, running, body[start : _checked(body, at)]


def _after_system(body: bytes, at: int) -> int:
    status = body[at]
    if status in (SYSEX, SYSEX_MORE):
        length, start = _number(body, at + 1)
        return _checked(body, start + length)
    if status not in SYSTEM_LENGTHS:
        raise ValueError(f"holds the undefined status {status:#04x}")
    return _checked(body, at + 1 + SYSTEM_LENGTHS[status])


def _checked(body: bytes, stop: int) -> int:
    if stop > len(body):
        raise IndexError
    return stop


def _number(body: bytes, at: int) -> tuple[int, int]:
    """A variable-length number of at most four bytes, and where it ends."""
    value = 0
    for index in range(at, at + 4):
        byte = body[index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, index + 1
    raise ValueError("holds a number of more than four bytes")


def _check_metres(changes: list[Event]) -> None:
    for event in changes:
        kind, numerator, exponent = event.data[:3]
        if kind == METRE and not (numerator and exponent <= 6):
            raise DataError(f"bad_metre: {numerator}/2^{exponent} at tick {event.tick}.")


def _written(ticks_per_quarter: int, tracks: list[list[Event]]) -> bytes:
    chunks = [b"MThd" + struct.pack(">IHHh", 6, 1, len(tracks), ticks_per_quarter)]
    for track in tracks:
        body = bytearray()
        tick = 0
        for event in track:
            body += _encoded(event.tick - tick)
            body.append(event.status)
            if event.status == META:
                body += bytes([event.data[0], len(event.data) - 1]) + event.data[1:]
            else:
                body += event.data
            tick = event.tick
        body += bytes([0, META, END_OF_TRACK, 0])
        chunks.append(TRACK_ID + struct.pack(">I", len(body)) + body)
    return b"".join(chunks)


def _encoded(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))
