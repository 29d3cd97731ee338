import struct
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from damaged_midi import CASES, END, METRE, TEMPO, header, note, notes, number, song, track
from hypothesis import given
from made_pieces import Plan, made, notes_of, plans, tune

from aurl.data.midi import MAX_BYTES, read_midi, write_midi
from aurl.data.midi_bytes import MAX_CHANGES, MAX_STACK
from aurl.data.piece import Key, Metre, Piece, Tempo
from aurl.errors import DataError
from aurl.plain import printable


def parsed(data: bytes) -> Piece:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        return read_midi(Path(file.name))


@pytest.mark.parametrize("name", CASES)
def test_read_midi_makes_of_a_damaged_file_what_is_there(name: str, tmp_path: Path) -> None:
    data, outcome = CASES[name]
    path = tmp_path / f"{name}.mid"
    path.write_bytes(data)
    started = time.process_time()
    if isinstance(outcome, int):
        assert len(read_midi(path).notes) == outcome
    else:
        with pytest.raises(DataError, match=rf"^{outcome}: .*\.$"):
            read_midi(path)
    assert (
        time.process_time() - started < 20.0
    )  # type checks of every event make this 7 times slower


def test_the_collection_of_damage_is_large_and_varied() -> None:
    assert len(CASES) >= 80
    assert len({data for data, _ in CASES.values()}) == len(CASES)
    codes = {outcome for _, outcome in CASES.values() if isinstance(outcome, str)}
    assert len(codes) >= 7


def carried(plan: Plan) -> Piece:
    """The piece of a plan less what MIDI cannot say: overlaps of one pitch, idle changes."""
    piece = made(plan, name="tune")
    free: dict[tuple[int, int, bool], int] = {}
    rows: list[tuple[int, int, int, int, int, bool]] = []
    for row in piece.notes.tolist():
        onset, duration, pitch, _, program, is_drum = row
        if onset >= free.get((pitch, program, is_drum), 0):
            rows.append(row)
            free[pitch, program, is_drum] = onset + duration
    return Piece(
        ticks_per_quarter=piece.ticks_per_quarter,
        notes=notes_of(rows),
        metres=tuple(m for m in piece.metres if m.tick == 0),
        tempos=tuple(Tempo(tick=t.tick, bpm=60e6 / round(60e6 / t.bpm)) for t in piece.tempos[:1]),
        keys=tuple(k for k in piece.keys[:1] if k.tick <= max(free.values(), default=0)),
        name="tune",
    )


@given(plans(pickups=False))
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, plan: Plan
) -> None:
    piece = carried(plan)
    path = tmp_path_factory.mktemp("midi") / "tune.mid"
    write_midi(piece, path)
    if len(piece.notes):
        assert read_midi(path) == piece
    else:
        with pytest.raises(DataError, match=r"^no_notes: "):
            read_midi(path)


def test_changes_of_metre_tempo_and_key_are_written_and_read(tmp_path: Path) -> None:
    piece = Piece(
        ticks_per_quarter=480,
        notes=notes_of(
            [(0, 480, 60, 80, 0, False), (3840, 480, 61, 9, 5, False), (0, 9, 36, 127, 0, True)]
        ),
        metres=(
            Metre(tick=0, numerator=4, denominator=4),
            Metre(tick=1920, numerator=6, denominator=8),
        ),
        tempos=(Tempo(tick=0, bpm=120.0), Tempo(tick=960, bpm=60e6 / 700_001)),
        keys=tuple(
            Key(tick=12 * index, tonic=index % 12, is_minor=index >= 12) for index in range(24)
        ),
        name="changes",
    )
    write_midi(piece, tmp_path / "changes.mid")
    assert read_midi(tmp_path / "changes.mid") == piece


def test_the_same_piece_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    piece = tune([60, 62, 64])
    write_midi(piece, tmp_path / "a.mid")
    write_midi(piece, tmp_path / "b.mid")
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mid", "b.mid"]


def test_metres_tempos_and_keys_are_found_in_any_track() -> None:
    late = b"\x83\x60\xff\x51\x03\x0f\x42\x40" + b"\x00\xff\x59\x02\x07\x00"
    data = header(1, 2) + track(notes(8) + TEMPO + END) + track(late + END)
    piece = parsed(data)
    assert [(tempo.tick, tempo.bpm) for tempo in piece.tempos] == [
        (0, 120),
        (480, 60),
        (1920, 120),
    ]
    assert piece.keys == (Key(tick=480, tonic=1, is_minor=False),)


def test_repeats_of_a_metre_in_mid_bar_are_no_change() -> None:
    piece = parsed(song(METRE + note() + METRE + note()))
    assert piece.metres == (Metre(tick=0, numerator=4, denominator=4),)


def test_the_last_of_two_metres_at_one_tick_counts() -> None:
    piece = parsed(song(METRE + b"\x00\xff\x58\x04\x03\x02\x18\x08" + note()))
    assert piece.metres == (Metre(tick=0, numerator=3, denominator=4),)


def test_before_the_first_metre_there_is_common_time() -> None:
    piece = parsed(song(note() + b"\x00\xff\x58\x04\x03\x02\x18\x08" + note()))
    assert [metre.numerator for metre in piece.metres] == [4, 3]


def test_patterns_of_a_format_2_file_follow_one_another() -> None:
    piece = parsed(CASES["format_2"][0])
    assert np.array_equal(piece.notes["onset"], np.arange(64) * 240)


def test_drums_are_channel_10_and_have_no_program() -> None:
    piece = parsed(song(b"\x00\xc9\x20" + b"\x00\x99\x24\x50\x60\x89\x24\x00"))
    assert piece.notes[["program", "is_drum"]].tolist() == [(0, True)]


def test_a_note_of_no_length_gets_one_tick() -> None:
    assert parsed(CASES["notes_of_no_length"][0]).notes["duration"].tolist() == [1] * 8


def test_wrong_tempos_keys_and_data_bytes_are_dropped_not_clamped() -> None:
    assert parsed(CASES["tempo_0"][0]).tempos == (Tempo(tick=0, bpm=120.0),)
    assert parsed(CASES["key_of_99_flats"][0]).keys == ()
    assert 127 not in parsed(CASES["pitch_200"][0]).notes["pitch"]
    assert 127 not in parsed(CASES["velocity_255"][0]).notes["velocity"]
    assert set(parsed(CASES["program_200"][0]).notes["program"].tolist()) == {0}


def test_names_come_from_the_file_name_and_are_safe_to_print(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2Jb\n.mid"
    path.write_bytes(CASES["name_is_an_escape"][0])
    assert read_midi(path).name == r"a\x1b[2Jb\n"
    assert printable("Für Élise ♯") == "Für Élise ♯"
    assert printable("\udcff") == r"\udcff"


def test_an_instrument_is_the_one_chosen_before_the_note() -> None:
    pressed = b"\x00\xd0\x40\x00\x41"  # of one byte, the second by running status
    one = pressed + b"\x00\xc0\x05" + note() + b"\x00\xc0\x07\x00\xc0\x08" + note(62)
    assert parsed(song(one)).notes["program"].tolist() == [5, 8]
    held = b"\x00\x90\x30\x50" + one + b"\x00\x80\x30\x00"
    assert parsed(song(held)).notes["program"].tolist() == [0, 5, 8]
    twice = b"\x00\x90\x3c\x50" + b"\x10\xc0\x07" + b"\x00\x90\x3c\x50"
    ends = b"\x10\x90\x3c\x00" + b"\x20\x90\x3c\x00"  # the first that was struck, the first
    found = parsed(song(twice + ends)).notes[["onset", "duration", "program"]]
    assert found.tolist() == [(0, 32, 0), (16, 48, 7)]


def test_programs_chosen_in_another_track_that_plays_along_count() -> None:
    setup = b"\x00\xc0\x28\x00\xc1\x29\x81\x70\xc0\x2a" + END  # 40 and 41, then 42 at 240
    other = note(62).replace(b"\x90", b"\x91").replace(b"\x80\x3e", b"\x81\x3e")
    players = [
        note() + note(61) + END,
        other + END,
        note(63) + b"\x00\xc0\x07" + note(64) + END,  # until its own track chooses
        b"\x00\xc0\x08" + note(65) + END,
    ]
    together = header(1, 5) + b"".join(map(track, [setup, *players]))
    found = parsed(together).notes
    by_pitch = dict(zip(found["pitch"].tolist(), found["program"].tolist(), strict=True))
    assert by_pitch == {60: 40, 61: 42, 62: 41, 63: 40, 64: 7, 65: 8}
    late = header(1, 2) + track(note() + END) + track(b"\x00\xc0\x28" + note(61) + END)
    assert parsed(late).notes["program"].tolist() == [0, 40]  # the first track comes first
    choices = [track(b"\x81\x70\xc0\x2a" + END), track(setup[:3] + END)]  # 42 at 240, 40 at 0
    found = parsed(header(1, 3) + b"".join(choices) + track(note() + note(61) + END)).notes
    assert found["program"].tolist() == [40, 42], "whatever the order of their tracks"
    apart = header(2, 2) + track(setup) + track(note() + END)
    assert parsed(apart).notes["program"].tolist() == [0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(
            b"".join(
                b"\x01\xff\x51\x03" + struct.pack(">I", 400_000 + i)[1:]
                for i in range(MAX_CHANGES + 1)
            )
            + note(),
            rf"^too_many_changes: over {MAX_CHANGES} of metre, tempo and key\.$",
            id="changes",
        ),
        pytest.param(
            b"\x10\x90\x3c\x50" * (MAX_STACK + 1) + b"\x10\x80\x3c\x00",
            rf"^too_many_notes: {MAX_STACK + 1} of one pitch at once\.$",
            id="stack",
        ),
    ],
)
def test_a_file_that_would_cost_too_much_is_refused_before_it_does(
    body: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        parsed(song(TEMPO + body))


def test_a_file_of_programs_for_other_tracks_is_refused_before_it_costs_much() -> None:
    choices = b"\x00\xc0\x28" * (MAX_CHANGES + 1)
    alone = header(1, 2) + track(choices + note() + END) + track(b"\x00\xc0\x07" + note(61) + END)
    assert parsed(alone).notes["program"].tolist() == [7, 40]
    needed = header(1, 2) + track(choices + note() + END) + track(note(61) + END)
    with pytest.raises(DataError, match=rf"^too_many_changes: over {MAX_CHANGES} of program\.$"):
        parsed(needed)


def test_read_midi_says_why_a_path_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^unreadable: No such file or directory\.$"):
        read_midi(tmp_path / "missing.mid")
    with pytest.raises(DataError, match=r"^unreadable: not a regular file\.$"):
        read_midi(tmp_path)
    (tmp_path / "large.mid").write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(DataError, match=rf"^too_large: {MAX_BYTES + 1} bytes, at most"):
        read_midi(tmp_path / "large.mid")


@pytest.mark.parametrize("value", [0, 0x7F, 0x80, 0x3FFF, 0x4000, 0x0FFFFFFF])
def test_lengths_of_any_size_are_read_as_they_are_written(value: int) -> None:
    assert len(number(value)) == max(1, -(-value.bit_length() // 7))
    if value <= 0x4000:
        body = number(value) + b"\x90\x3c\x50\x60\x80\x3c\x00"
        assert parsed(song(body)).notes["onset"].tolist() == [value]
