"""What each dimension moves: the attributes that rise or fall in what is decoded when it is moved.

A dimension tells about an attribute (:mod:`aurl.analysis.names`) without deciding it: others may
tell the same, and the decoder may heed them. So a dimension that is to be moved by hand is
moved here, in held-out windows, and what is heard at both ends is compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from aurl.analysis.readings import Readings, musical_readings
from aurl.analysis.study import Study, spread
from aurl.analysis.traversal import Effect, Ground, effects
from aurl.data.context import class_in_words
from aurl.data.piece import Piece

WINDOWS = 16
"""Held-out windows in which dimensions are moved."""

REACH = 2.0
"""How far each way, in standard deviations."""

LEAST = 0.05
"""Deviations of the attribute a standard deviation of the dimension, below which it does not count
as moved: all of a slider's way is then a third of a deviation."""

LEAST_SHARE = 0.1
"""Of the windows of a class that counts: a rarer one would have huge effects by few windows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Graded:
    """Attributes that have an order, and of the others each class: 1 where it is, else 0."""

    base: Readings
    classes: list[tuple[int, float]]
    """Column and value of each class."""

    @staticmethod
    def of(values: Float[np.ndarray, "window attribute"]) -> "Graded":
        """Those of the musical attributes; classes are what is neither rare nor everywhere.

        Args:
            values: Of the music, by :func:`~aurl.analysis.readings.musical_readings`.
        """
        base = musical_readings()
        found: list[tuple[int, float]] = []
        for column in np.flatnonzero(base.categorical).tolist():
            known = values[np.isfinite(values[:, column]), column]
            classes, counts = np.unique(known, return_counts=True)
            shares = counts / max(len(known), 1)
            kept = (shares >= LEAST_SHARE) & (shares <= 1.0 - LEAST_SHARE)
            found += [(column, float(value)) for value in classes[kept]]
        return Graded(base=base, classes=found)

    def readings(self) -> Readings:
        """A way to read them from pieces."""
        ordered = ~self.base.categorical
        names = [name for name, kept in zip(self.base.names, ordered, strict=True) if kept]
        names += [
            f"{self.base.names[column]} {class_in_words(self.base.names[column], value)}"
            for column, value in self.classes
        ]

        def read(pieces: Sequence[Piece]) -> Float[np.ndarray, "piece attribute"]:
            return self.columns(self.base.read(pieces))

        return Readings(names=tuple(names), categorical=np.zeros(len(names), np.bool_), read=read)

    def columns(
        self, values: Float[np.ndarray, "piece attribute"]
    ) -> Float[np.ndarray, "piece graded"]:
        """They themselves, of what the base has read."""
        columns = [values[:, column] for column in np.flatnonzero(~self.base.categorical)]
        for column, value in self.classes:
            known = np.isfinite(values[:, column])
            columns.append(np.where(known, values[:, column] == value, np.nan))
        return np.stack(columns, axis=1)


def moved_by_dimension(study: Study) -> list[list[Effect]]:
    """Of each dimension the attributes that it moves, the most moved first.

    Effects are in standard deviations of the attribute over the music, a standard deviation of the
    dimension; those below :data:`LEAST` are left out, and those whose own 95 % interval does not
    leave out 0. Of as many effects that are none, one in twenty is not left out. An attribute
    without order counts by its classes: ``metre 6/8``. Dead dimensions are not moved, and so move
    nothing.
    """
    subject = study.subject
    values = study.values
    graded = Graded.of(values)
    readings = graded.readings()
    windows = study.drawn("test", WINDOWS)
    z, _ = subject.posterior(windows)
    steps = np.asarray([-REACH, REACH])
    dimension, live = subject.layout.dimension.numpy(), np.flatnonzero(study.live)
    shifts = np.where(dimension == live[:, None], study.aggregate.std, 0.0)
    along = z[None, :, None] + steps[:, None] * shifts[:, None, None]
    heard = readings.read(subject.pieces(along.reshape(-1, z.shape[1])))
    curves = heard.reshape(len(live), len(z), len(steps), -1)
    scale = spread(graded.columns(values))
    ground = Ground(readings=readings, scale=scale, pieces=study.pieces_of(windows))
    found: list[list[Effect]] = [[] for _ in range(subject.layout.n_dimensions)]
    for index, curve in zip(live.tolist(), curves, strict=True):
        found[index] = [
            each
            for each in effects(curve, steps, ground)
            if each.is_certain and abs(each.size.mean) >= LEAST
        ]
    return found
