"""A tiny corpus of random but lawful pieces, and configurations small enough for a test."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from aurl.config import RunConfig, from_plain, to_plain
from aurl.data.attributes import ATTRIBUTES, attributes
from aurl.data.corpus import Corpus
from aurl.data.metrical import Metrical
from aurl.data.piece import NOTE, Piece, sorted_notes
from aurl.data.tokenizer import encode
from aurl.plain import overridden

VOCABULARY = Metrical(velocity_bins=0, programs=False, tempo=False)
N_BARS = 2
SMALL: dict[str, Any] = {
    "model.d_model": 16,
    "model.n_heads": 2,
    "model.encoder_layers": 3,
    "model.decoder_layers": 2,
    "latent.levels": [
        {"name": "global", "dim": 4, "span": "sequence"},
        {"name": "local", "dim": 3, "span": 1},
        {"name": "fine", "dim": 2, "span": 0.5},
    ],
    "training.steps": 8,
    "training.batch_size": 8,
    "training.log_every": 2,
    "evaluation.every": 4,
    "evaluation.windows": 16,
    "evaluation.final_windows": 24,
    "evaluation.reconstructions": 4,
    "evaluation.samples": 8,
}


def small_config(**changes: Any) -> RunConfig:
    """A small run; keys are dotted with two underscores: ``training__steps=4``."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return from_plain(overridden(to_plain(RunConfig()), {**SMALL, **dotted}))


def random_piece(rng: np.random.Generator, n_notes: int = 8) -> Piece:
    """Two bars of 4/4: one note on some of the eighths."""
    onsets = 12 * np.sort(rng.choice(16, size=n_notes, replace=False))
    notes = np.zeros(n_notes, dtype=NOTE)
    notes["onset"] = onsets
    notes["duration"] = 12
    notes["pitch"] = rng.integers(55, 80) + rng.integers(-5, 6, size=n_notes)
    notes["velocity"] = 80
    return Piece(ticks_per_quarter=24, notes=sorted_notes(notes), length=192)


@cache
def tiny_corpus(n_windows: int = 96) -> Corpus:
    """Windows of random pieces, four of each; two thirds train, the rest val and test."""
    rng = np.random.default_rng(0)
    pieces = [random_piece(rng, 4 + index % 8) for index in range(n_windows)]
    rows = [encode(piece, VOCABULARY) for piece in pieces]
    owner = np.arange(n_windows) // 4
    return Corpus(
        vocabulary=VOCABULARY,
        n_bars=N_BARS,
        tokens=np.concatenate(rows).astype(np.uint16),
        offsets=np.cumsum([0, *map(len, rows)]),
        piece=owner.astype(np.int32),
        first_bar=np.zeros(n_windows, np.int32),
        split=np.select([owner % 6 < 4, owner % 6 == 4], [0, 1], default=2).astype(np.int8),
        attributes=np.stack([attributes(piece) for piece in pieces]).astype(np.float32),
        attribute_names=ATTRIBUTES,
        piece_names=tuple(f"piece {index}" for index in range(owner[-1] + 1)),
        name="tiny",
        licence="none needed: random notes",
    )


def untimed(rows: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Rows of a run without what no two runs have alike."""
    measured = ("time/", "throughput/", "memory/")
    return [{k: v for k, v in row.items() if not k.startswith(measured)} for row in rows]
