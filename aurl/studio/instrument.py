"""The instrument: a move to codes, codes to music."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from aurl.analysis.interpolation import path, usual_path
from aurl.analysis.swaps import part_of
from aurl.data.arrange import in_sequence
from aurl.data.clock import seconds
from aurl.data.piece import Piece
from aurl.errors import ConfigError
from aurl.model.latents import LatentLayout
from aurl.reporting.loading import Model
from aurl.studio.controls import Controls
from aurl.studio.move import Move


@dataclass(frozen=True, kw_only=True, eq=False)
class Instrument:
    """A model and what can be moved."""

    model: Model
    controls: Controls

    @property
    def layout(self) -> LatentLayout:
        """Levels, slots and dimensions."""
        return self.model.trained.model.layout

    def check(self, move: Move) -> None:
        """Refuse a move that was made for another model.

        Raises:
            ConfigError: If something of it has another number of entries.
        """
        for name, found, wanted in (
            ("levels", len(move.levels), len(self.layout.levels)),
            ("sliders", len(move.sliders), len(self.controls.sliders)),
            ("faders", len(move.faders), len(self.controls.faders)),
        ):
            if found != wanted:
                raise ConfigError(f"{name} must have {wanted} entries, got {found}.")
        size = self.layout.size
        for name, codes in (("first", move.first), ("last", move.last)):
            for code in codes:
                if len(code) != size or not np.isfinite(code).all():
                    raise ConfigError(
                        f"{name} must hold {size} finite numbers a window, got {len(code)}."
                    )

    def codes(self, move: Move) -> Float[np.ndarray, "window coordinate"]:
        """The codes of a move: the path, then levels, then sliders, then faders.

        Raises:
            ConfigError: As :meth:`check`.
        """
        self.check(move)
        first, last = np.asarray(move.first), np.asarray(move.last)
        prior, at = self.model.trained.model.prior, np.asarray([move.at])
        pairs, kind = zip(first, last, strict=True), usual_path(prior)
        z = np.concatenate([path(prior, *pair, at, kind) for pair in pairs])
        mean = self.controls.aggregate.mean
        sources = {"path": z, "first": first, "last": last, "mean": mean}
        for level, chosen in zip(self.layout.levels, move.levels, strict=True):
            z = np.where(part_of(self.layout, level.name), sources[chosen], z)
        dimension = self.layout.dimension.numpy()
        for slider, moved in zip(self.controls.sliders, move.sliders, strict=True):
            z = z + moved * np.where(
                dimension == slider.dimension, self.controls.aggregate.std, 0.0
            )
        for fader, moved in zip(self.controls.faders, move.faders, strict=True):
            z = z + moved * fader.vector
        return z

    def music(self, move: Move) -> Piece:
        """What is heard of a move: its windows one after another.

        Raises:
            ConfigError: As :meth:`check`.
        """
        pieces = self.model.decode(self.codes(move), temperature=move.temperature, seed=move.seed)
        return in_sequence(pieces, bars_each=self.model.n_bars, gap_bars=0)


def drawable(piece: Piece) -> dict[str, Any]:
    """A piece for the page: what it draws in quarter notes, what it plays in seconds.

    Returns:
        ``notes``, each ``[onset, length, start, held, pitch, velocity, program, is_drum]``, the
        first two in quarters and the next two in seconds; ``lines``, the bar lines; ``quarters``
        and ``seconds``, how long the piece is.
    """
    notes, per_quarter = piece.notes, piece.ticks_per_quarter
    starts = seconds(piece, notes["onset"])
    held = seconds(piece, notes["onset"] + notes["duration"]) - starts
    rows = zip(
        (notes["onset"] / per_quarter).round(6).tolist(),
        (notes["duration"] / per_quarter).round(6).tolist(),
        starts.round(6).tolist(),
        held.round(6).tolist(),
        *(notes[name].tolist() for name in ("pitch", "velocity", "program", "is_drum")),
        strict=True,
    )
    end = piece.bar_lines()[-1:]
    return {
        "notes": [list(row) for row in rows],
        "lines": (piece.bar_lines() / per_quarter).tolist(),
        "quarters": float(end[0] / per_quarter),
        "seconds": float(seconds(piece, end)[0]),
    }
