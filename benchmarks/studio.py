"""How long a move on the page of ``aurl studio`` takes the server: four bars, from codes to JSON.

Run it with ``python benchmarks/studio.py``, or with ``--model FOLDER`` on an export by quick's
settings. Without one, a model of ``search_spaces/quick.yaml`` is trained on the bundled tunes for
100 steps, which is enough to write as many notes as a trained one. Moves are of held-out windows,
two each, decoded by one thread in numpy and, for comparison, in torch.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch

from aurl.analysis.subject import Subject
from aurl.data.corpora import load_named
from aurl.data.corpus import Corpus
from aurl.model import generation
from aurl.reporting.export import TrainedModel
from aurl.reporting.loading import Model, load
from aurl.search.plan import within_budget
from aurl.search.space_file import load_space
from aurl.studio.move import Move
from aurl.studio.studio import Studio
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers
from benchmarks.evaluation_cost import CHOSEN, SPACE

STEPS = 100
MOVES = 40
MOST_MS = 150.0


def main() -> None:
    """Print what a move takes, and of what."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, help="an export; default: one is trained")
    args = parser.parse_args()
    torch.set_num_threads(1)
    corpus = load_named("tunes")
    model = load(args.model) if args.model else _trained(corpus)
    studio = Studio.of("benchmark", model, None)
    moves = _moves(studio, corpus)
    studio.drawn(moves[0])
    medians: list[float] = []
    for name, most in (("torch", 0), ("numpy", generation.MOST_SEQUENCES)):
        generation.MOST_SEQUENCES = most  # pyrefly: ignore[bad-assignment]
        spent, notes = zip(*(_timed(studio, move) for move in moves), strict=True)
        medians.append(float(np.median(spent)))
        print(
            f"{name}: median {medians[-1]:6.1f} ms, "
            f"90 % within {np.percentile(spent, 90):6.1f} ms, "
            f"longest {max(spent):6.1f} ms; {np.median(notes):.0f} notes"
        )
    print(f"numpy is {medians[0] / medians[1]:.1f} times as fast; {MOST_MS:g} ms were promised")


def _trained(corpus: Corpus) -> Model:
    space, _ = within_budget(load_space(SPACE), corpus, 1)
    config = space.config_of(CHOSEN)
    with TemporaryDirectory() as folder:
        run = Run(config=config, corpus=corpus, checkpoint_folder=Path(folder) / "checkpoint")
        trainer = Trainer(run, Workers())
        for _ in range(STEPS):
            trainer.take_step()
    return Model(
        trained=TrainedModel(
            model=trainer.model.double().eval(),
            config=config,
            max_tokens=corpus.max_tokens,
            made_by={},
        )
    )


def _moves(studio: Studio, corpus: Corpus) -> list[Move]:
    """Held-out windows, two a move, with one slider moved."""
    windows = np.random.default_rng(0).permutation(corpus.indices("test"))[: 2 * MOVES]
    codes, _ = Subject(studio.instrument.model.trained.model, corpus).posterior(windows)
    controls = studio.instrument.controls
    still = Move(
        first=((0.0,),),
        last=((0.0,),),
        levels=("path",) * len(studio.instrument.layout.levels),
        sliders=(1.0, *(0.0 for _ in controls.sliders[1:])),
        faders=(0.0,) * len(controls.faders),
    )
    pairs = [tuple(map(tuple, pair)) for pair in codes.reshape(MOVES, 2, -1).tolist()]
    return [replace(still, first=pair, last=pair) for pair in pairs]


def _timed(studio: Studio, move: Move) -> tuple[float, int]:
    """Milliseconds of a move, and its notes."""
    started = perf_counter()
    told = studio.drawn(move)
    json.dumps(told)
    return 1e3 * (perf_counter() - started), len(told["notes"])


if __name__ == "__main__":
    main()
