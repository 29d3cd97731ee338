r"""Musical features of a piece: how its notes, bars and silences are laid out.

Each is one number a piece. Where a piece does not have it (no notes, one bar where two are
compared) it is NaN, "not defined", and never a number that looks like a grade: silence has no key
and no groove. :mod:`aurl.metrics.distances` counts "not defined" as a value of its own.

No feature is better when it is higher or lower. A drone on one note has pitch-class entropy 0,
scale consistency 1 and groove consistency 1; what a feature says of generated music is how far it
is from that of the data.

Time is exact, in ticks: nothing is sampled, so nothing depends on the resolution of the file. A
step is a sixteenth note, a quarter of a quarter, from its tick up to the next.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int, Shaped

from aurl.data.attributes import pitch_class_entropy, polyphony
from aurl.data.piece import Piece

FEATURES: tuple[str, ...] = (
    "pitch_class_entropy",
    "scale_consistency",
    "groove_consistency",
    "rhythmic_pattern_coherence",
    "polyphony",
    "polyphony_rate",
    "empty_bar_rate",
    "note_density",
    "repetition",
)
STEPS_PER_QUARTER = 4
NOTE_VALUES = (3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 36, 48, 72, 96)
"""Durations in 24ths of a quarter note: thirty-second to whole, dotted and triplet ones too."""

_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_SCALES = np.zeros((12, 12), np.int64)
for _root in range(12):
    _SCALES[_root, [(_root + degree) % 12 for degree in _MAJOR]] = 1


def features(piece: Piece) -> Float[np.ndarray, " feature"]:
    """The value of each of :data:`FEATURES`; NaN where it is not defined."""
    pitched = _pitched(piece)
    values = {
        "pitch_class_entropy": pitch_class_entropy(pitched),
        "scale_consistency": scale_consistency(pitched),
        "groove_consistency": groove_consistency(piece),
        "rhythmic_pattern_coherence": rhythmic_pattern_coherence(piece),
        "polyphony": polyphony(pitched),
        "polyphony_rate": polyphony_rate(piece),
        "empty_bar_rate": empty_bar_rate(piece),
        "note_density": note_density(piece),
        "repetition": repetition(piece),
    }
    return np.asarray([values[name] for name in FEATURES], np.float64)


def scale_consistency(notes: Shaped[np.ndarray, " note"]) -> float:
    """Largest share of the notes that is in one scale, in [7/12, 1].

    Of even noise it is 0.76 with 16 notes and 0.61 with 1,000, in the mean.
    The scales are the 24 major and natural minor ones, of which 12 differ. NaN without notes.

    Args:
        notes: Without drums.

    Source:
        Mogren 2016 (C-RNN-GAN), https://arxiv.org/abs/1611.09904; the scales as in MusPy.
    """
    if not len(notes):
        return np.nan
    counts = np.bincount(notes["pitch"] % 12, minlength=12)
    return float((_SCALES @ counts).max() / len(notes))


def groove_consistency(piece: Piece) -> float:
    r"""Mean agreement of the onset patterns of neighbouring bars, step by step, in [0, 1].

    .. math:: \mathrm{mean}_b\; 1 - |G_b \oplus G_{b+1}| / Q

    with G the steps of a bar in which a note begins and Q the steps of the longer bar; drums
    count. Shared silence agrees too, so sparse music is near 1: read it beside
    :func:`rhythmic_pattern_coherence`. NaN without two neighbouring bars of which one has an
    onset.

    Source:
        Dong et al. 2020 (MusPy), ``groove_consistency``, https://arxiv.org/abs/2008.01951, after
        Wu and Yang 2020, https://arxiv.org/abs/2008.01307; in sixteenths, whatever the ticks are.
    """
    patterns = _onset_patterns(piece)
    found = [
        1.0 - len(one ^ other) / max(n_one, n_other)
        for (one, n_one), (other, n_other) in pairwise(patterns)
        if one or other
    ]
    return float(np.mean(found)) if found else np.nan


def rhythmic_pattern_coherence(piece: Piece) -> float:
    r"""Mean share of onsets that neighbouring bars have in common, in [0, 1].

    .. math:: \mathrm{mean}_b\; 2\,|G_b \cap G_{b+1}| / (|G_b| + |G_{b+1}|)

    with G as in :func:`groove_consistency`. Shared silence counts for nothing, so two bars with
    one onset each, in different places, score 0 (and 0.875 as groove consistency). NaN without two
    neighbouring bars of which one has an onset.

    Source:
        Own; the coefficient is that of Dice 1945, Ecology 26(3).
    """
    found = [
        2.0 * len(one & other) / (len(one) + len(other))
        for (one, _), (other, _) in pairwise(_onset_patterns(piece))
        if one or other
    ]
    return float(np.mean(found)) if found else np.nan


def polyphony_rate(piece: Piece) -> float:
    """Share of the piece's time in which two notes or more sound, in [0, 1]; drums do not count.

    0 without notes, NaN if it lasts no time.

    Source:
        Dong et al. 2020 (MusPy), ``polyphony_rate``, https://arxiv.org/abs/2008.01951: two or
        more, not more than two.
    """
    total = int(piece.bar_lines()[-1])
    if total == 0:
        return np.nan
    notes = _pitched(piece)
    times = np.concatenate([notes["onset"], notes["onset"] + notes["duration"]])
    change = np.repeat([1, -1], len(notes))
    order = np.argsort(times, kind="stable")
    sounding = np.cumsum(change[order])[:-1]
    return float(np.diff(times[order])[sounding >= 2].sum() / total)


def empty_bar_rate(piece: Piece) -> float:
    """Share of the bars in which no note sounds, in [0, 1]; drums are notes.

    A note that ends on a bar line does not sound in the next bar. 1 without notes, NaN without
    bars.

    Source:
        Dong et al. 2018 (MuseGAN), ``EB``, https://arxiv.org/abs/1709.06298
    """
    lines = piece.bar_lines()
    if len(lines) < 2:
        return np.nan
    onset, end = piece.notes["onset"], piece.notes["onset"] + piece.notes["duration"]
    sounds = (onset < lines[1:, None]) & (end > lines[:-1, None])
    return float(1.0 - sounds.any(axis=1).mean())


def note_density(piece: Piece) -> float:
    """Notes a quarter note of the piece's bars, from 0 on; drums count.

    0 without notes, NaN if the piece lasts no time.

    Source:
        von Rütte et al. 2023 (FIGARO), https://arxiv.org/abs/2201.10936, by quarter notes.
    """
    total = int(piece.bar_lines()[-1])
    return len(piece.notes) * piece.ticks_per_quarter / total if total else np.nan


def repetition(piece: Piece) -> float:
    """Share of the bars with onsets that are a repeat of an earlier bar, in [0, 1).

    Two bars are the same if their notes are, by place in the bar, pitch, duration and whether they
    are drums; loudness and instrument do not count. NaN without notes.

    Source:
        Own; exact repeats, as a lower bound of what is heard as one.
    """
    notes = piece.notes
    if not len(notes):
        return np.nan
    lines = piece.bar_lines()
    bar = np.searchsorted(lines, notes["onset"], side="right") - 1
    place = notes["onset"] - lines[bar]
    rows = zip(place, notes["pitch"], notes["is_drum"], notes["duration"], strict=True)
    contents: dict[int, list[tuple[int, ...]]] = {}
    for index, row in zip(bar.tolist(), rows, strict=True):
        contents.setdefault(index, []).append(tuple(int(value) for value in row))
    different = {tuple(sorted(content)) for content in contents.values()}
    return 1.0 - len(different) / len(contents)


def pitch_class_counts(piece: Piece) -> Int[np.ndarray, "12"]:
    """How many notes there are of each pitch class, 0 = C; drums do not count."""
    return np.bincount(_pitched(piece)["pitch"] % 12, minlength=12).astype(np.int64)


def duration_counts(piece: Piece) -> Int[np.ndarray, " note_value"]:
    """How many notes are nearest, by ratio, to each of :data:`NOTE_VALUES`.

    Drums do not count; a longer note than a whole one counts as a whole one.
    """
    values = np.asarray(NOTE_VALUES, np.float64)
    edges = np.sqrt(values[1:] * values[:-1])
    ticks = _pitched(piece)["duration"] * 24 / piece.ticks_per_quarter
    return np.bincount(np.searchsorted(edges, ticks), minlength=len(values)).astype(np.int64)


def _pitched(piece: Piece) -> Shaped[np.ndarray, " pitched"]:
    return piece.notes[~piece.notes["is_drum"]]


def _onset_patterns(piece: Piece) -> Iterator[tuple[set[int], int]]:
    """Of each bar the steps in which a note begins, and how many steps it has."""
    onsets = piece.notes["onset"]
    lines = piece.bar_lines()
    edges = np.searchsorted(onsets, lines)
    for bar, (start, stop) in enumerate(pairwise(lines.tolist())):
        inside = onsets[edges[bar] : edges[bar + 1]] - start
        steps = inside * STEPS_PER_QUARTER // piece.ticks_per_quarter
        n_steps = -(-(stop - start) * STEPS_PER_QUARTER // piece.ticks_per_quarter)
        yield set(steps.tolist()), n_steps
