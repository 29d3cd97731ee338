"""What asking for a key or a metre does to the music that a model draws, against not asking.

Run it with ``python benchmarks/context.py``. It trains a small model of the bundled tunes whose
prior knows key, mode and metre (or, with ``--out RUN``, goes on with the one in RUN), draws from
it with each context and with none, and says what share of the draws has what was asked for.
Metres are read from the tokens. Keys are found: the key whose pitch classes, counted on the
training windows of that mode and moved to the tonic, make the draw's notes likeliest. The limit is
what is found of the held-out windows that are labelled with what was asked for.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from jaxtyping import Float, Int

from aurl.config import from_plain, to_plain
from aurl.data.context import in_words, parse_context
from aurl.data.corpora import load_named
from aurl.data.corpus import Corpus
from aurl.data.piece import Piece
from aurl.files import write_yaml
from aurl.latent_config import ContextName
from aurl.metrics.bootstrap import mean_interval
from aurl.reporting.export import TrainedModel, trained_trial
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers

CONFIG = {
    "model": {"d_model": 64, "n_heads": 4, "encoder_layers": 3, "decoder_layers": 2},
    "latent": {
        "levels": [
            {"name": "global", "dim": 16, "span": "sequence"},
            {"name": "local", "dim": 8, "span": 1},
        ],
        "top_down": True,
        "context": ["key", "mode", "metre"],
    },
    "objective": {"beta": {"schedule": "constant", "value": 0.1}},
    "optimizer": {"lr": 3.0e-3},
}
NAMES: tuple[ContextName, ...] = ("key", "mode", "metre")
ASKED = ("key=A", "key=F", "key=Bb", "metre=6/8", "metre=2/4", "key=D,metre=6/8")


class KeyFinder:
    """The likeliest key of a piece, by the pitch classes of a corpus's training windows."""

    def __init__(self, corpus: Corpus) -> None:
        train = corpus.indices("train")
        counts = np.stack([pitch_classes(piece_of(corpus, window)) for window in train])
        tonic, mode = attribute(corpus, "tonic")[train], attribute(corpus, "mode")[train]
        rows: list[Float[np.ndarray, 12]] = []
        for each in (0, 1):
            of_mode = np.flatnonzero(mode == each)
            moved = [np.roll(counts[index], -int(tonic[index])) for index in of_mode]
            share = np.sum(moved, axis=0) + 1.0
            rows += [np.roll(share / share.sum(), key) for key in range(12)]
        self.log_share = np.log(np.stack(rows))

    def tonics(self, pieces: Sequence[Piece]) -> Int[np.ndarray, " piece"]:
        """The tonic of each piece's likeliest key."""
        counts = np.stack([pitch_classes(piece) for piece in pieces])
        return (counts @ self.log_share.T).argmax(axis=1) % 12


def pitch_classes(piece: Piece) -> Float[np.ndarray, "12"]:
    """How many notes of each pitch class."""
    return np.bincount(piece.notes["pitch"] % 12, minlength=12).astype(np.float64)


def piece_of(corpus: Corpus, window: int) -> Piece:
    """A window as a piece."""
    return corpus.vocabulary.decode(corpus.window(int(window)))


def attribute(corpus: Corpus, name: str) -> Float[np.ndarray, " window"]:
    """One attribute of each window."""
    return np.asarray(corpus.attributes)[:, corpus.attribute_names.index(name)]


def trained(out: Path, steps: int, corpus: Corpus) -> TrainedModel:
    """The model in ``out``, trained first if its steps are not done."""
    plain = {**CONFIG, "training": {"steps": steps, "batch_size": 32}}
    config = from_plain(plain)
    write_yaml(out / "config.yaml", to_plain(config))
    run = Run(config=config, corpus=corpus, checkpoint_folder=out / "checkpoint")
    trainer = Trainer(run, Workers())
    started, first = perf_counter(), trainer.step
    while trainer.step < steps:
        terms = trainer.take_step()
        if trainer.step % 250 == 0 or trainer.step == steps:
            trainer.save()
            print(
                f"step {trainer.step}: reconstruction {terms.reconstruction.item():.1f}, "
                f"KL {terms.kl.item():.1f} nats",
                flush=True,
            )
    if trainer.step > first:
        print(f"trained {trainer.step - first} steps in {perf_counter() - started:.0f} s")
    return trained_trial(out, corpus)


def main() -> None:
    """Train, draw, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="the run's folder (default: kept nowhere)")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--count", type=int, default=256, help="draws of each kind")
    args = parser.parse_args()
    corpus = load_named("tunes")
    with tempfile.TemporaryDirectory() as folder:
        model = trained(args.out or Path(folder), args.steps, corpus)
    finder = KeyFinder(corpus)
    none = model.samples(args.count, seed=1)
    print("asked for         has     without  difference, 95 % interval   limit   prior, nats")
    for text in ASKED:
        given = parse_context(text, NAMES)
        drawn = model.samples(args.count, seed=2, given=given)
        effects = model.effects(given)
        for name in given:
            if name == "mode":
                continue
            hits, base = (has(pieces, name, given[name], finder) for pieces in (drawn, none))
            change = mean_interval(hits - base, np.arange(len(hits)))
            limit = ceiling(corpus, name, given[name], finder)
            print(
                f"{text:16}  {hits.mean():.3f}   {base.mean():.3f}    {change.mean:+.3f} "
                f"[{change.low:+.3f}, {change.high:+.3f}]     {limit:.3f}   {effects[name]:.2f}"
                f"   ({name} {in_words(name, given[name])})",
                flush=True,
            )


def has(
    pieces: Sequence[Piece], name: ContextName, value: int, finder: KeyFinder
) -> Float[np.ndarray, " piece"]:
    """1 for each piece that has a value of a context, else 0."""
    if name == "key":
        return (finder.tonics(pieces) == value).astype(np.float64)
    metres = [piece.metres[0] for piece in pieces]
    words = [f"{metre.numerator}/{metre.denominator}" for metre in metres]
    return np.asarray([word == in_words("metre", value) for word in words], np.float64)


def ceiling(corpus: Corpus, name: ContextName, value: int, finder: KeyFinder) -> float:
    """Share of the held-out windows labelled with a value that are found to have it."""
    test = corpus.indices("test")
    labels = attribute(corpus, "tonic" if name == "key" else "metre")[test]
    chosen = [piece_of(corpus, window) for window in test[labels == value]]
    return float(has(chosen, name, value, finder).mean()) if chosen else float("nan")


if __name__ == "__main__":
    main()
