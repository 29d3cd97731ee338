"""Damaged and odd MIDI files, byte by byte, each with what a reader must make of it.

``CASES`` maps a file name to its bytes and what comes of them: the number of notes that are really
there, or the reason code with which the file is refused.
"""

import gzip
import struct
from pathlib import Path

N_NOTES = 32
END = b"\x00\xff\x2f\x00"
TEMPO = b"\x00\xff\x51\x03\x07\xa1\x20"
METRE = b"\x00\xff\x58\x04\x04\x02\x18\x08"
FAR = b"\xff\xff\xff\x7f"  # the largest delta: 0x0FFFFFFF ticks


def number(value: int) -> bytes:
    """A variable-length number."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def header(kind: int = 0, n_tracks: int = 1, division: int = 480, size: int = 6) -> bytes:
    """An MThd chunk that may lie."""
    return b"MThd" + struct.pack(">IHHH", size, kind, n_tracks, division & 0xFFFF)


def track(body: bytes, *, claimed: int | None = None) -> bytes:
    """An MTrk chunk that may lie about its size."""
    return b"MTrk" + struct.pack(">I", len(body) if claimed is None else claimed) + body


def note(pitch: int = 60, *, delta: int = 0, ticks: int = 240, velocity: int = 80) -> bytes:
    """One note, on and off."""
    struck = number(delta) + bytes([0x90, pitch, velocity])
    return struck + number(ticks) + bytes([0x80, pitch, 0])


def notes(count: int = N_NOTES) -> bytes:
    """A line of notes that goes somewhere."""
    return b"".join(note(60 + index * 5 % 17) for index in range(count))


def song(body: bytes, division: int = 480) -> bytes:
    """A format-0 file around the events of one track."""
    return header(division=division) + track(body + END)


def meta(kind: int, data: bytes) -> bytes:
    """A meta event at delta 0."""
    return bytes([0, 0xFF, kind]) + number(len(data)) + data


GOOD = song(TEMPO + METRE + notes())
BODY = TEMPO + METRE + notes()
ONE_MEGABYTE_OF_TEXT = meta(0x01, b"x" * 1_000_000)

CASES: dict[str, tuple[bytes, int | str]] = {
    # what is not a MIDI file, or not all of one
    "empty": (b"", "unreadable"),
    "one_byte": (b"M", "unreadable"),
    "magic_only": (b"MThd", "unreadable"),
    "wrong_magic": (b"MTrk" + GOOD[4:], "unreadable"),
    "random_bytes": (bytes((index * 7919 + 13) % 256 for index in range(4096)), "unreadable"),
    "html": (b"<!DOCTYPE html><title>404</title>", "unreadable"),
    "gzip": (gzip.compress(GOOD, mtime=0), "unreadable"),
    "abc_text": (b"X:1\nT:Reel\nK:D\nABC\n", "unreadable"),
    "riff_rmid": (
        b"RIFF"
        + struct.pack("<I", len(GOOD) + 12)
        + b"RMID"
        + b"data"
        + struct.pack("<I", len(GOOD))
        + GOOD,
        N_NOTES,
    ),
    "riff_with_an_odd_chunk": (
        b"RIFF\x00\x00\x00\x00RMIDDISP\x03\x00\x00\x00abc\x00data"
        + struct.pack("<I", len(GOOD))
        + GOOD,
        N_NOTES,
    ),
    "riff_without_data": (b"RIFF\x04\x00\x00\x00RMID", "unreadable"),
    "truncated_header": (GOOD[:10], "unreadable"),
    "truncated_before_track": (GOOD[:14], "unreadable"),
    "truncated_in_track_id": (GOOD[:17], "unreadable"),
    "truncated_in_first_event": (GOOD[:24], "unreadable"),
    "truncated_in_the_middle": (GOOD[: len(GOOD) // 2], "unreadable"),
    "truncated_before_end_of_track": (GOOD[:-4], "unreadable"),
    "truncated_by_one_byte": (GOOD[:-1], "unreadable"),
    "zeros_after_the_track": (GOOD + bytes(64), N_NOTES),
    "half_an_unknown_chunk_after_the_track": (GOOD + b"XFIH\x7f\xff\xff\xffabc", N_NOTES),
    # the header
    "header_of_8_bytes": (header(size=8) + b"\x00\x00" + track(BODY + END), N_NOTES),
    "header_of_5_bytes": (header(size=5) + track(BODY + END), "unreadable"),
    "header_claims_4_gib": (header(size=0xFFFFFFFF) + track(BODY + END), "unreadable"),
    "format_1": (
        header(1, 2) + track(TEMPO + METRE + END) + track(notes() + END),
        N_NOTES,
    ),
    "format_2": (header(2, 2) + 2 * track(BODY + END), 2 * N_NOTES),
    "format_9": (header(9) + track(BODY + END), "unreadable"),
    "no_tracks": (header(n_tracks=0), "no_notes"),
    "claims_0_tracks_has_1": (header(n_tracks=0) + track(BODY + END), N_NOTES),
    "claims_1_track_has_3": (header(1, 1) + 3 * track(BODY + END), 3 * N_NOTES),
    "claims_3_tracks_has_1": (header(1, 3) + track(BODY + END), "unreadable"),
    "claims_65535_tracks": (header(1, 0xFFFF) + track(BODY + END), "unreadable"),
    "two_thousand_tracks": (header(1, 2000) + 2000 * track(END), "too_large"),
    "division_0": (song(BODY, division=0), "bad_division"),
    "division_smpte_24": (song(BODY, division=0xE850), "bad_division"),
    "division_smpte_30": (song(BODY, division=-6360), "bad_division"),
    "division_1": (song(notes(), division=1), N_NOTES),
    "division_32767": (song(notes(), division=32767), N_NOTES),
    # the track
    "track_claims_4_gib": (header() + track(BODY + END, claimed=0xFFFFFFFF), "unreadable"),
    "track_claims_too_little": (header() + track(BODY + END, claimed=30), "unreadable"),
    "track_claims_nothing": (header() + track(BODY + END, claimed=0), "unreadable"),
    "track_is_empty": (header() + track(b""), "no_notes"),
    "track_without_end": (header() + track(BODY), N_NOTES),
    "notes_after_end_of_track": (header() + track(notes(8) + END + notes(24) + END), 8),
    "unknown_chunk_between": (
        header(1, 2) + track(TEMPO + END) + b"XFIH\x00\x00\x00\x03abc" + track(notes() + END),
        N_NOTES,
    ),
    # events
    "running_status": (
        song(notes(1) + b"\x00\x90\x40\x50\x60\x40\x00" + b"\x00\x41\x50\x60\x41\x00"),
        3,
    ),
    "running_status_without_status": (song(b"\x00\x40\x50" + notes()), "unreadable"),
    "undefined_status": (song(b"\x00\xf4" + notes()), "unreadable"),
    "realtime_between_notes": (song(notes(4) + b"\x00\xf8" + notes(4)), 8),
    "pitch_200": (song(notes() + b"\x00\x90\xc8\x50\x60\x80\xc8\x00"), N_NOTES),
    "velocity_255": (song(notes() + b"\x00\x90\x3c\xff\x60\x80\x3c\x00"), N_NOTES),
    "program_200": (song(b"\x00\xc0\xc8" + notes()), N_NOTES),
    "controller_168": (song(b"\x00\xb0\xa8\xff" + notes()), N_NOTES),
    "five_byte_delta": (song(b"\xff\xff\xff\xff\x7f\x90\x3c\x50" + notes()), "unreadable"),
    "sysex": (song(b"\x00\xf0\x05\x7e\x7f\x09\x01\xf7" + notes()), N_NOTES),
    "sysex_without_f7": (song(b"\x00\xf0\x04\x7e\x7f\x09\x01" + notes()), N_NOTES),
    "sysex_claims_256_mib": (song(b"\x00\xf0" + FAR + notes()), "unreadable"),
    "text_claims_256_mib": (song(b"\x00\xff\x01" + FAR + notes()), "unreadable"),
    "three_megabytes_of_text": (song(3 * ONE_MEGABYTE_OF_TEXT + notes()), N_NOTES),
    "five_megabytes_of_text": (song(5 * ONE_MEGABYTE_OF_TEXT + notes()), "too_large"),
    # metas
    "tempo_0": (song(b"\x00\xff\x51\x03\x00\x00\x00" + notes()), N_NOTES),
    "tempo_of_one_byte": (song(meta(0x51, b"\x07") + notes()), N_NOTES),
    "metre_0_4": (song(meta(0x58, b"\x00\x02\x18\x08") + notes()), "bad_metre"),
    "metre_4_over_128": (song(meta(0x58, b"\x04\x07\x18\x08") + notes()), "bad_metre"),
    "metre_of_bars_under_a_tick": (
        song(meta(0x58, b"\x01\x06\x18\x08") + notes(), division=1),
        "bad_metre",
    ),
    "metre_of_one_byte": (song(meta(0x58, b"\x03") + notes()), N_NOTES),
    "metre_0_4_after_the_last_note": (
        song(notes() + b"\x60\xff\x58\x04\x00\x02\x18\x08"),
        N_NOTES,
    ),
    "key_of_99_flats": (song(meta(0x59, bytes([256 - 99, 0])) + notes()), N_NOTES),
    "key_of_mode_255": (song(meta(0x59, b"\xff\xff") + notes()), N_NOTES),
    "name_is_a_path": (song(meta(0x03, b"../../etc/passwd\x00") + notes()), N_NOTES),
    "name_is_an_escape": (song(meta(0x03, b"\x1b[2J\x1b]0;gone\x07") + notes()), N_NOTES),
    "name_is_not_text": (song(meta(0x03, bytes(range(256))) + notes()), N_NOTES),
    # notes
    "no_notes": (song(TEMPO + METRE), "no_notes"),
    "only_hanging_notes": (
        song(b"".join(b"\x10\x90" + bytes([60 + i, 80]) for i in range(8))),
        "no_notes",
    ),
    "some_hanging_notes": (song(notes(8) + b"\x00\x90\x3d\x50"), 8),
    "only_note_offs": (
        song(b"".join(b"\x10\x80" + bytes([60 + i, 0]) for i in range(8))),
        "no_notes",
    ),
    "notes_of_no_length": (song(b"".join(note(60 + i, ticks=0, delta=60) for i in range(8))), 8),
    "notes_on_top_of_each_other": (
        song(b"\x00\x90\x3c\x50" * 3 + b"\x60\x80\x3c\x00" * 3),
        3,
    ),
    "first_note_absurdly_late": (song(FAR + b"\x90\x3c\x50\x60\x80\x3c\x00"), "absurd_length"),
    "note_absurdly_long": (song(b"\x00\x90\x3c\x50" + FAR + b"\x80\x3c\x00"), "absurd_length"),
    "times_beyond_32_bits": (
        song(b"".join(FAR + b"\x90\x3c\x50" + FAR + b"\x80\x3c\x00" for _ in range(8))),
        "absurd_length",
    ),
    "end_of_track_absurdly_late": (header() + track(notes() + FAR + END[1:]), N_NOTES),
    "2048_notes_on_a_tick": (
        song(
            b"".join(b"\x00\x90" + bytes([index % 128, 80]) for index in range(2048))
            + b"\x60\x80\x00\x00"
            + b"".join(b"\x00\x80" + bytes([index % 128, 0]) for index in range(1, 2048))
        ),
        "too_many_notes",
    ),
    "400000_notes": (song(b"\x00\x90" + b"\x3c\x50\x01\x3c\x00\x00" * 400_000), "too_many_notes"),
    "pitches_0_and_127": (song(note(0) + note(127)), 2),
    "on_every_channel": (
        song(b"".join(bytes([0, 0x90 | c, 60, 80, 96, 0x80 | c, 60, 0]) for c in range(16))),
        16,
    ),
}


def write_all(folder: Path) -> None:
    """Every case as ``<name>.mid``, and the damage that is not in bytes."""
    folder.mkdir(parents=True)
    for name, (data, _) in CASES.items():
        (folder / f"{name}.mid").write_bytes(data)
    (folder / "a_folder.mid").mkdir()
    (folder / "a_loop").symlink_to(folder, target_is_directory=True)
    (folder / "to_nowhere.mid").symlink_to(folder / "missing.mid")
