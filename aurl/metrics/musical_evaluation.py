"""Generated music held against the music of a corpus, with other music of that corpus as control.

Source: own choice of measures, each cited in its own module: :mod:`aurl.metrics.music`,
:mod:`aurl.metrics.chords`, :mod:`aurl.metrics.distances`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aurl.data.piece import Piece
from aurl.metrics.bootstrap import Interval
from aurl.metrics.chords import ProgressionModel, chord_type_counts, chords, progression_validity
from aurl.metrics.distances import classes, distances
from aurl.metrics.music import FEATURES, duration_counts, features, pitch_class_counts

PROGRESSION = "harmonic_progression_nats"
SCALARS = (*FEATURES, PROGRESSION)
"""What is one number a piece."""

HISTOGRAMS = ("pitch_class", "duration", "chord_type")
"""What is counted in a piece."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Music:
    """What was measured in a set of pieces."""

    features: Float[np.ndarray, "piece feature"]
    """The columns are :data:`~aurl.metrics.music.FEATURES`."""

    histograms: Mapping[str, Int[np.ndarray, "piece _"]]
    """Counts, by the names of :data:`HISTOGRAMS`."""

    chords: Sequence[Int[np.ndarray, " _"]]
    """The chord of each segment, by piece."""

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> "Music":
        """Measure pieces.

        Raises:
            ValueError: If there is none.
        """
        if not pieces:
            raise ValueError("pieces must hold one piece or more, got none.")
        found = [chords(piece) for piece in pieces]
        return cls(
            features=np.stack([features(piece) for piece in pieces]),
            histograms={
                "pitch_class": np.stack([pitch_class_counts(piece) for piece in pieces]),
                "duration": np.stack([duration_counts(piece) for piece in pieces]),
                "chord_type": np.stack([chord_type_counts(each) for each in found]),
            },
            chords=found,
        )

    def scalars(self, model: ProgressionModel) -> dict[str, Float[np.ndarray, " piece"]]:
        """The columns named in :data:`SCALARS`; NaN where a piece does not have one."""
        nats = np.array([model.nats(found) for found in self.chords])
        return {**dict(zip(FEATURES, self.features.T, strict=True)), PROGRESSION: nats}


def musical_evaluation(
    samples: Music,
    data: Music,
    control: Music,
    *,
    piece: Int[np.ndarray, " row"],
    model: ProgressionModel,
) -> dict[str, float]:
    """Every musical metric by its name, such as ``scale_consistency/overlap/control``.

    A plain name is the mean over the samples that have the quantity, 0 if none does; ``/data`` is
    the same of the data. ``/control`` is what the control would get in the samples' place.

    Args:
        samples: Of the model.
        data: Held out; what both others are compared with.
        control: Other music of the corpus, as many windows as there are samples.
        piece: Piece of every row of the data.
        model: Of a part of the corpus that is in none of the others.

    Returns:
        Finite values only. ``overlap`` and ``kl_nats`` without a name before them are means over
        all quantities.
    """
    scalars = {"": samples.scalars(model), "/data": data.scalars(model)}
    values = {
        f"{name}{whose}": _mean(columns[name])
        for whose, columns in scalars.items()
        for name in SCALARS
    }
    of_control = control.scalars(model)
    limits = scalars["/data"][PROGRESSION]
    for whose, columns in {**scalars, "/control": of_control}.items():
        valid = progression_validity(columns[PROGRESSION], limits)
        values[f"harmonic_progression_validity{whose}"] = valid
    theirs = _tables(data, scalars["/data"], scalars["/data"])
    ours = distances(_tables(samples, scalars[""], scalars["/data"]), theirs, piece)
    floor = distances(_tables(control, of_control, scalars["/data"]), theirs, piece)
    for name, distance in ours.items():
        start = f"{name}/" if name else ""
        values |= _named(f"{start}overlap", distance.overlap, floor[name].overlap)
        values |= _named(f"{start}kl_nats", distance.kl_nats, floor[name].kl_nats)
    return values


def _tables(
    music: Music,
    scalars: Mapping[str, Float[np.ndarray, " piece"]],
    data: Mapping[str, Float[np.ndarray, " row"]],
) -> dict[str, Int[np.ndarray, "piece _"]]:
    binned = {name: classes(scalars[name], data[name]) for name in SCALARS}
    return {**binned, **music.histograms}


def _mean(values: Float[np.ndarray, " piece"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def _named(name: str, ours: Interval, control: Interval) -> dict[str, float]:
    return {
        name: ours.mean,
        f"{name}/low": ours.low,
        f"{name}/high": ours.high,
        f"{name}/control": control.mean,
    }
