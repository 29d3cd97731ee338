"""Trials heard: draws from the prior, reconstructions, and a path between two windows.

Windows are of the validation split: the test split is for the export (docs/decisions/0005).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from aurl.analysis.interpolation import path, smoothness, usual_path
from aurl.analysis.subject import Subject
from aurl.audio import Sound, rendered
from aurl.data.arrange import in_sequence
from aurl.data.piece import Piece
from aurl.drawing.canvas import Picture
from aurl.drawing.piano_roll import Captions, piano_roll, sheet
from aurl.reporting.export import TrainedModel
from aurl.reporting.loading import trained_run
from aurl.training.evaluate import in_order

Kind: TypeAlias = Literal["samples", "reconstructions", "interpolation"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SAMPLES = 3
WINDOWS = 3
STEPS = 5
"""Of the interpolation, both ends included."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Performance:
    """Something to listen to, and what it looks like."""

    kind: Kind
    name: str
    """As part of a file's name."""

    title: str
    piece: Piece
    roll: Picture
    sound: Sound


def perform(folder: Path) -> list[Performance]:
    """What there is to hear of a trial, decoded from its last checkpoint.

    Args:
        folder: Of the trial, or of a run by ``aurl train``.

    Raises:
        ConfigError: If its configuration cannot be read.
        DataError: If its checkpoint cannot be used, or its music is not where it was.
    """
    trained, corpus = trained_run(folder)
    samples = [
        _performance("samples", f"sample_{number}", f"Sample {number}", piece)
        for number, piece in enumerate(trained.samples(SAMPLES), 1)
    ]
    subject = Subject(trained.model, corpus)
    return [*samples, *_reconstructions(subject), _interpolation(trained, subject)]


def _reconstructions(subject: Subject) -> list[Performance]:
    chosen = in_order(subject.corpus, "val")[:WINDOWS]  # so numbered in the pictures
    decoded = subject.pieces(subject.posterior(chosen)[0])
    found: list[Performance] = []
    for number, (window, made) in enumerate(zip(chosen.tolist(), decoded, strict=True), 1):
        original = subject.model.vocabulary.decode(subject.corpus.window(window))
        for name, piece in (("original", original), ("reconstruction", made)):
            file = f"window_{number}_{name}"
            found.append(_performance("reconstructions", file, f"Window {number}, {name}", piece))
    return found


def _interpolation(trained: TrainedModel, subject: Subject) -> Performance:
    """A path heard step after step and seen side by side, in one frame."""
    chosen = in_order(subject.corpus, "val")[:2]
    ends = subject.posterior(chosen)[0]
    kind = usual_path(trained.model.prior)
    codes = path(trained.model.prior, ends[0], ends[-1], np.linspace(0.0, 1.0, STEPS), kind)
    music = subject.pieces(codes)
    title = f"{STEPS} steps, {kind} path, smoothness {smoothness(music):.2f}"
    columns = [f"step {number}" for number in range(1, STEPS + 1)]
    captions = Captions(title=title, rows=[""], columns=columns)
    piece = in_sequence(music, bars_each=trained.n_bars, gap_bars=0)
    return Performance(
        kind="interpolation",
        name="interpolation",
        title=title,
        piece=piece,
        roll=sheet([music], captions, cell=(150, 110)),
        sound=rendered(piece),
    )


def _performance(kind: Kind, name: str, title: str, piece: Piece) -> Performance:
    roll = piano_roll(piece, width=480, height=150)
    return Performance(
        kind=kind, name=name, title=title, piece=piece, roll=roll, sound=rendered(piece)
    )
