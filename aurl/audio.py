r"""Pieces as sound: an additive synthesiser in numpy, and WAV files of what it plays.

A note is a sum of partials at multiples of its frequency, :math:`440 \cdot 2^{(p - 69) / 12}`,
under an envelope; how strong the partials are and how the sound dies away depend on the General
MIDI family of its program. Drums are noise and falling tones. Nothing is downloaded and no
soundfont is needed; docs/decisions/0011 says why. The same piece gives the same bytes.
"""

import io
import struct
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from aurl.data.clock import seconds
from aurl.data.piece import Piece
from aurl.errors import DataError
from aurl.files import write_bytes

RATE = 16_000
"""Samples a second: partials up to 8 kHz, a megabyte for half a minute."""

MOST_SECONDS = 1_800
PARTIALS = 12
LOUDEST = 0.9
GAIN = 0.5
"""Of a note at full velocity; where notes add up to more than ``LOUDEST``, all are lowered."""

Sound: TypeAlias = Float[np.ndarray, " sample"]
"""One channel, in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Timbre:
    """How an instrument sounds."""

    fall: float
    """Partial k has strength ``k ** -fall``."""

    even: float
    """Times this for even partials: near 0 is hollow, as a clarinet."""

    attack_s: float
    decay_s: float
    """Time to fall to 37 % while the note is held; 0 holds it."""

    release_s: float = 0.06


_PLUCKED = Timbre(1.3, 0.9, 0.004, 0.7)
TIMBRES: tuple[Timbre, ...] = (
    Timbre(1.5, 1.0, 0.004, 0.9, 0.10),  # piano
    Timbre(2.2, 0.5, 0.002, 0.6, 0.20),  # chromatic percussion
    Timbre(1.4, 0.8, 0.010, 0.0),  # organ
    _PLUCKED,  # guitar
    Timbre(1.8, 0.9, 0.005, 0.8),  # bass
    Timbre(1.2, 1.0, 0.050, 0.0, 0.12),  # strings
    Timbre(1.3, 1.0, 0.070, 0.0, 0.15),  # ensemble
    Timbre(1.0, 1.0, 0.030, 0.0),  # brass
    Timbre(1.1, 0.3, 0.020, 0.0),  # reed
    Timbre(2.4, 0.7, 0.040, 0.0),  # pipe
    Timbre(1.0, 1.0, 0.005, 0.0),  # synthesiser, leading
    Timbre(1.5, 0.8, 0.150, 0.0, 0.25),  # synthesiser, pad
    Timbre(1.5, 0.6, 0.100, 1.5, 0.25),  # synthesiser, effects
    _PLUCKED,  # instruments of the world
    Timbre(2.0, 0.4, 0.002, 0.3),  # percussive
    Timbre(1.0, 0.5, 0.010, 0.5),  # sound effects
)
"""Of the General MIDI families, eight programs each."""

KICKS = (35, 36)
METALS = (42, 44, 46, 49, 51, 52, 53, 54, 55, 56, 57, 59)
LONG_METALS = (46, 49, 51, 52, 55, 57, 59)


def rendered(piece: Piece) -> Sound:
    """The sound of a piece, from its beginning to its last note's end or its ``length``.

    Raises:
        DataError: If it lasts more than ``MOST_SECONDS``.
    """
    notes = piece.notes
    ends_at = np.asarray([max(piece.end, piece.length)])
    lasts = float(seconds(piece, ends_at)[0])
    if lasts > MOST_SECONDS:
        raise DataError(
            f"a piece must last {MOST_SECONDS} s at most to be played, got {lasts:.0f}. "
            "Ask for less at a time."
        )
    starts = seconds(piece, notes["onset"])
    held = seconds(piece, notes["onset"] + notes["duration"]) - starts
    known: dict[tuple[int, int, int], Sound] = {}
    sound = np.zeros(round(lasts * RATE) + 1)
    rows = zip(starts.tolist(), held.tolist(), notes.tolist(), strict=True)
    for start, length, (_, _, pitch, velocity, program, is_drum) in rows:
        family = -1 if is_drum else program // 8
        key = (pitch, family, round(length * RATE))
        if key not in known:
            known[key] = _drum(pitch) if is_drum else _note(pitch, TIMBRES[family], key[2])
        played = known[key]
        first = round(start * RATE)
        lacking = first + len(played) - len(sound)
        if lacking > 0:  # what still rings after the end
            sound = np.concatenate([sound, np.zeros(lacking)])
        sound[first : first + len(played)] += GAIN * (velocity / 127) ** 1.5 * played
    loudest = float(np.abs(sound).max(initial=0.0))
    return sound * min(1.0, LOUDEST / loudest) if loudest > 0.0 else sound


def wav(sound: Sound) -> bytes:
    """A sound as a WAV file: 16 bits, one channel."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(sound.clip(-1.0, 1.0) * 32_767).astype("<i2").tobytes())
    return stream.getvalue()


def small_wav(sound: Sound) -> bytes:
    """A sound as a WAV file of half the size, for pages: 8 bits, by the mu-law.

    Every browser plays it. The error grows with the sound: it is about 38 dB below it.

    Source:
        ITU-T G.711 (1988): https://www.itu.int/rec/T-REC-G.711
    """
    level = np.abs(sound.clip(-1.0, 1.0)) * 32_635.0 + 132.0
    exponent = np.floor(np.log2(level)).astype(np.int64) - 7
    mantissa = (level / 2.0 ** (exponent + 3)).astype(np.int64) & 15
    codes = ~(np.where(sound < 0.0, 128, 0) | (exponent << 4) | mantissa) & 255
    data = codes.astype(np.uint8).tobytes()
    about = struct.pack("<HHIIHHH", 7, 1, RATE, RATE, 1, 8, 0)  # 7 is the mu-law
    chunks = ((b"fmt ", about), (b"fact", struct.pack("<I", len(data))), (b"data", data))
    body = b"WAVE" + b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write_wav(piece: Piece, path: Path) -> None:
    """Write what a piece sounds like, whole or not at all.

    Raises:
        DataError: As :func:`rendered`.
    """
    write_bytes(path, wav(rendered(piece)))


def _note(pitch: int, timbre: Timbre, n_held: int) -> Sound:
    """One note, held for so many samples and then let go."""
    frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
    time = np.arange(n_held + round(timbre.release_s * RATE)) / RATE
    sound = np.zeros(len(time))
    total = 0.0
    for partial in range(1, PARTIALS + 1):
        if partial > 1 and frequency * partial >= 0.45 * RATE:
            break
        strength = partial**-timbre.fall * (timbre.even if partial % 2 == 0 else 1.0)
        sound += strength * np.sin(2.0 * np.pi * frequency * partial * time)
        total += strength
    envelope = np.minimum(1.0, time / timbre.attack_s)
    if timbre.decay_s:
        envelope *= np.exp(-time / (timbre.decay_s * 2.0 ** ((60 - pitch) / 24)))
    let_go = np.clip((time - n_held / RATE) / timbre.release_s, 0.0, 1.0)
    return sound / total * envelope * (1.0 - let_go) ** 2


def _drum(pitch: int) -> Sound:
    """One stroke, however long it is held."""
    time = np.arange(round(0.5 * RATE)) / RATE
    noise = np.random.default_rng(pitch).uniform(-1.0, 1.0, len(time))
    if pitch in KICKS:
        return _falling(time, 55.0) * np.exp(-time / 0.10)
    if pitch in METALS:
        bright = np.diff(noise, prepend=0.0)
        return 0.5 * bright * np.exp(-time / (0.25 if pitch in LONG_METALS else 0.03))
    if pitch in (37, 38, 39, 40):
        return (0.6 * noise + 0.4 * _falling(time, 180.0)) * np.exp(-time / 0.07)
    return _falling(time, 60.0 + 4.0 * (pitch % 32)) * np.exp(-time / 0.12)


def _falling(time: Float[np.ndarray, " sample"], frequency: float) -> Sound:
    """A tone that starts an octave too high and falls to ``frequency``."""
    fall_s = 0.03
    turns = frequency * (time + fall_s * (1.0 - np.exp(-time / fall_s)))
    return np.sin(2.0 * np.pi * turns)
