"""What evaluation costs inside a trial of the quick search space, part by part, in one run.

Run it with ``python benchmarks/evaluation_cost.py``. One trial of ``search_spaces/quick.yaml`` is
trained on the bundled tunes by one thread, as long and evaluated as often as in a sweep. Seconds
are CPU seconds. It fails if all evaluations together take a tenth of the training's time or more.
Importing scikit-learn, once in each process that scores disentanglement, is printed by itself.
"""

from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import torch

from aurl.data.corpora import load_named
from aurl.search.plan import within_budget
from aurl.search.space_file import load_space
from aurl.training import evaluate
from aurl.training.evaluate import Evaluator
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers

SPACE = Path(__file__).parents[1] / "search_spaces" / "quick.yaml"
CHOSEN = {
    "objective.beta.schedule": "constant",
    "objective.beta.value": 0.1,
    "objective.free_bits.threshold": 0.0,
    "latent.levels.global.dim": 16,
    "latent.levels.local.dim": 8,
    "latent.levels.fine.dim": 4,
}
PARTS = {
    "Measured": "codes, likelihood, z shuffled",
    "codes_of": "codes of the other windows",
    "Reconstructions": "free reconstructions",
    "importance_metrics": "importance weights",
    "disentanglement": "disentanglement",
}
"""Names in ``aurl.training.evaluate`` whose calls are timed."""

MOST = 0.10


def main() -> None:
    """Print the seconds of each part and their share of the training's."""
    torch.set_num_threads(1)
    started = process_time()
    import_module("sklearn.ensemble")
    print(f"importing scikit-learn          {process_time() - started:6.2f} s, once a process")
    corpus = load_named("tunes")
    space, _ = within_budget(load_space(SPACE), corpus, 1)
    config = space.config_of(CHOSEN)
    spent: defaultdict[str, float] = defaultdict(float)
    for name in PARTS:
        setattr(evaluate, name, _timed(getattr(evaluate, name), name, spent))
    with TemporaryDirectory() as folder:
        run = Run(config=config, corpus=corpus, checkpoint_folder=Path(folder) / "checkpoint")
        trainer = Trainer(run, Workers())
        evaluator = Evaluator(corpus, trainer.store, config, split="val")
        take_step = _timed(trainer.take_step, "training", spent)
        measure = _timed(evaluator.evaluate, "evaluation", spent)
        while trainer.step < config.training.steps:
            take_step()
            last = trainer.step == config.training.steps
            if last or trainer.step % config.evaluation.every == 0:
                before = spent["evaluation"]
                measure(trainer.model, final=last)
                seconds = spent["evaluation"] - before
                print(f"evaluation at step {trainer.step:<4}         {seconds:6.2f} s")
    for name, words in PARTS.items():
        print(f"  {words:30}{spent[name]:6.2f} s, {spent[name] / spent['training']:6.1%}")
    share = spent["evaluation"] / spent["training"]
    print(f"all evaluations                 {spent['evaluation']:6.2f} s, {share:6.1%}")
    print(f"training, {config.training.steps} steps             {spent['training']:6.2f} s")
    if share >= MOST:
        raise SystemExit(f"evaluation must cost less than {MOST:.0%} of training, got {share:.1%}")


def _timed(
    call: Callable[..., Any], name: str, spent: defaultdict[str, float]
) -> Callable[..., Any]:
    """The same call, its CPU seconds added up under ``name``."""

    def timed(*arguments: Any, **options: Any) -> Any:
        started = process_time()
        try:
            return call(*arguments, **options)
        finally:
            spent[name] += process_time() - started

    return timed


if __name__ == "__main__":
    main()
