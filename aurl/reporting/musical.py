"""What a model makes up, held against music it was not trained on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from aurl.data.corpus import Corpus
from aurl.data.piece import Piece
from aurl.metrics.chords import ProgressionModel, chords
from aurl.metrics.musical_evaluation import Music, musical_evaluation
from aurl.seeding import numpy_generator

MUSIC = "test/music/"
"""What the names of musical metrics begin with; they are of the test split only."""

CHORD_WINDOWS = 1000
"""Training windows that the likelihood of a progression is estimated from."""


def musical_metrics(
    samples: Sequence[Piece], corpus: Corpus, windows: Int[np.ndarray, " window"]
) -> dict[str, float]:
    """The metrics of :mod:`aurl.metrics.musical_evaluation` under their full names.

    The control is as many training windows as there are samples, or all of half the training
    pieces where these have fewer, and the chord model is of the others; both are fixed by the
    corpus, so two models are held against the same music.

    Args:
        samples: Draws from the prior.
        corpus: The music the model was trained on.
        windows: Of the test split: the data.

    Returns:
        Finite values only; ``test/music/samples`` and ``test/music/windows`` say how many of each
        there were.
    """
    reference, other = _halves(corpus)
    found = [chords(piece) for piece in corpus.music(reference[:CHORD_WINDOWS])]
    values = musical_evaluation(
        Music.of(samples),
        Music.of(corpus.music(windows)),
        Music.of(corpus.music(other[: len(samples)])),
        piece=np.asarray(corpus.piece)[windows],
        model=ProgressionModel.of(found),
    )
    counts = {"samples": float(len(samples)), "windows": float(len(windows))}
    return {f"{MUSIC}{name}": value for name, value in {**counts, **values}.items()}


def _halves(corpus: Corpus) -> tuple[Int[np.ndarray, " window"], Int[np.ndarray, " other"]]:
    """The training windows in a fixed order, half of the pieces in each part.

    A single piece is in both.
    """
    rng = numpy_generator(0, "musical evaluation")
    windows = rng.permutation(corpus.indices("train"))
    owners = np.asarray(corpus.piece)[windows]
    pieces = rng.permutation(np.unique(owners))
    first = np.isin(owners, pieces[: -(-len(pieces) // 2)])
    return windows[first], windows[~first] if len(pieces) > 1 else windows
