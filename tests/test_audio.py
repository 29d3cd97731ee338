"""Sound, measured: when it is heard, at which pitch, how loud."""

import io
import struct
import wave
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from aurl.audio import LOUDEST, RATE, TIMBRES, rendered, small_wav, wav, write_wav
from aurl.data.piece import NOTE, Piece, Tempo
from aurl.errors import DataError


def piece(*notes: tuple[int, int, int], **columns: int) -> Piece:
    """Notes of onset, duration in ticks of a 24th of half a second, and pitch."""
    rows = np.zeros(len(notes), NOTE)
    rows["onset"], rows["duration"], rows["pitch"] = np.asarray(notes).reshape(-1, 3).T
    rows["velocity"] = 100
    for name, value in columns.items():
        rows[name] = value
    return Piece(ticks_per_quarter=24, notes=rows, length=96)


def loudness(sound: np.ndarray, start_s: float, stop_s: float) -> float:
    part = sound[round(start_s * RATE) : round(stop_s * RATE)]
    return float(np.sqrt((part**2).mean()))


def heard_hz(sound: np.ndarray) -> float:
    """The lowest frequency that stands out."""
    spectrum = np.abs(np.fft.rfft(sound))
    first = int(np.flatnonzero(spectrum > 0.5 * spectrum.max())[0])
    around = slice(max(first - 3, 0), first + 4)
    return float(around.start + spectrum[around].argmax()) * RATE / len(sound)


@pytest.mark.parametrize("family", range(16))
@pytest.mark.parametrize(("pitch", "hz"), [(45, 110.0), (69, 440.0), (84, 1046.5)])
def test_a_note_sounds_at_its_frequency(family: int, pitch: int, hz: float) -> None:
    sound = rendered(piece((0, 96, pitch), program=8 * family))
    assert heard_hz(sound[: 2 * RATE]) == pytest.approx(hz, abs=1.0)


def test_notes_sound_when_they_are_written() -> None:
    sound = rendered(piece((48, 24, 60), program=16))
    assert loudness(sound, 0.0, 0.99) == 0.0
    assert loudness(sound, 1.05, 1.45) > 0.02
    assert loudness(sound, 1.6, 2.0) == 0.0
    assert len(sound) == 2 * RATE + 1


def test_a_note_lasts_as_long_as_it_is_held_and_has_no_tone_that_cannot_be_played() -> None:
    sound = rendered(piece((0, 12, 60), (48, 24, 60), program=16))
    assert loudness(sound, 0.4, 0.99) == 0.0
    assert loudness(sound, 1.35, 1.45) > 0.02
    spectrum = np.abs(np.fft.rfft(rendered(piece((0, 96, 108), program=16))))
    hz = np.arange(len(spectrum)) * RATE / (2 * (len(spectrum) - 1))
    assert spectrum[np.abs(hz - 4186.0) > 300.0].max() < 0.05 * spectrum.max()


def test_time_follows_the_tempo() -> None:
    slow = replace(piece((48, 24, 60), program=16), tempos=(Tempo(tick=0, bpm=60.0),))
    sound = rendered(slow)
    assert loudness(sound, 1.0, 1.9) == 0.0
    assert loudness(sound, 2.1, 2.9) > 0.02


def test_louder_notes_are_louder_and_nothing_is_clipped() -> None:
    soft, loud = (rendered(piece((0, 96, 60), velocity=v)) for v in (30, 127))
    assert loudness(loud, 0.0, 1.0) == pytest.approx(
        loudness(soft, 0.0, 1.0) * (127 / 30) ** 1.5, rel=1e-6
    )
    crowd = rendered(piece(*[(0, 96, pitch) for pitch in range(30, 90)], program=80))
    assert np.abs(crowd).max() == pytest.approx(LOUDEST)


def test_plucked_notes_die_away_and_held_ones_do_not() -> None:
    plucked, held = (rendered(piece((0, 96, 72), program=p)) for p in (24, 16))
    assert loudness(plucked, 1.5, 1.9) < 0.3 * loudness(plucked, 0.05, 0.4)
    assert loudness(held, 1.5, 1.9) == pytest.approx(loudness(held, 0.05, 0.4), rel=0.05)


def test_families_and_drums_differ() -> None:
    sounds = [rendered(piece((0, 96, 60), program=8 * family))[:RATE] for family in range(16)]
    alike = [np.allclose(a, b) for a, b in combinations(sounds, 2)]
    assert sum(alike) == 1  # guitars and the other plucked ones
    kick, hat = (rendered(piece((0, 24, pitch), is_drum=1)) for pitch in (36, 42))
    bright = [np.abs(np.fft.rfft(sound))[len(sound) // 4 :].sum() for sound in (kick, hat)]
    assert bright[1] > 5 * bright[0]
    assert heard_hz(kick[RATE // 20 : RATE // 2]) < 80.0
    assert len(TIMBRES) == 16


def test_a_last_note_rings_out_and_silence_is_silent() -> None:
    sound = rendered(piece((72, 24, 60)))
    assert len(sound) > 2 * RATE + 1
    assert sound[-1] == pytest.approx(0.0, abs=1e-6)
    assert not rendered(piece()).any()


def test_a_wav_file_is_the_sound_and_the_same_every_time(tmp_path: Path) -> None:
    music = piece((0, 24, 60), (24, 24, 64), (48, 48, 36))
    write_wav(music, tmp_path / "new/a.wav")
    data = (tmp_path / "new/a.wav").read_bytes()
    assert data == wav(rendered(music))
    with wave.open(io.BytesIO(data)) as file:
        about = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert about == (1, 2, RATE)
    np.testing.assert_allclose(frames / 32_767, rendered(music), atol=1 / 32_767)


def test_what_lasts_too_long_is_refused_before_it_is_played() -> None:
    with pytest.raises(DataError, match=r"a piece must last 1800 s at most to be played, got 200"):
        rendered(replace(piece((0, 24, 60)), length=24 * 4000))


def test_the_small_file_is_the_same_sound_up_to_the_error_of_the_mu_law() -> None:
    sound = rendered(piece((0, 24, 60), (24, 48, 67)))
    data = small_wav(sound)
    name, size, kind = struct.unpack("<4sI4s", data[:12])
    assert (name, size, kind) == (b"RIFF", len(data) - 8, b"WAVE")
    assert struct.unpack("<4sIHHIIHHH", data[12:38]) == (b"fmt ", 18, 7, 1, RATE, RATE, 1, 8, 0)
    assert struct.unpack("<4sII4sI", data[38:58]) == (b"fact", 4, len(sound), b"data", len(sound))
    codes = ~np.frombuffer(data[58 : 58 + len(sound)], np.uint8)
    level = (((codes & 15).astype(np.int64) << 3) + 132 << (codes >> 4 & 7)) - 132
    heard = np.where(codes & 128, -level, level) / 32_635.0  # as G.711 expands it
    assert loudness(heard - sound, 0.0, 2.0) < 0.015 * loudness(sound, 0.0, 2.0)  # -36 dB
    edges = np.array([0.0, 1.0, -1.0, 2.0, -2.0])
    assert len(small_wav(edges)) == 58 + 5 + 1  # an odd number is filled up
