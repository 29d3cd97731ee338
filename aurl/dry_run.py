"""What a sweep would do, and what it may cost, without doing it."""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from rich.console import Console

from aurl.config import RunConfig
from aurl.data.corpus import Corpus
from aurl.errors import ConfigError
from aurl.plain import many, printable
from aurl.reporting.tables import duration
from aurl.search.cluster import connected, left_idle, slots
from aurl.search.plan import Sweep, final_runs
from aurl.search.probe import check_gpus
from aurl.search.ranking import ABOUT, ENDS, read_trials
from aurl.training.evaluate import Evaluator
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers

TIMED_STEPS = 5
WARM_UP_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of one device, as measured here on the base configuration of a space."""

    step_s: float
    evaluation_s: float
    """Of an evaluation on the way."""
    final_s: float
    """Of the last one."""

    def trial_s(self, config: RunConfig) -> float:
        """Of a whole trial."""
        steps = config.training.steps
        on_the_way = math.ceil(steps / config.evaluation.every) - 1
        return self.step_s * steps + self.evaluation_s * on_the_way + self.final_s


def measure(config: RunConfig, corpus: Corpus) -> Cost:
    """Time a few steps and both evaluations of a run, in this process, on its CPU.

    Raises:
        ConfigError: If the configuration makes no run.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Run(config=config, corpus=corpus, checkpoint_folder=Path(folder) / "checkpoint")
        trainer = Trainer(run, Workers())
    for _ in range(WARM_UP_STEPS):
        trainer.take_step()
    started = perf_counter()
    for _ in range(TIMED_STEPS):
        trainer.take_step()
    step_s = (perf_counter() - started) / TIMED_STEPS
    evaluator = Evaluator(corpus, trainer.store, config, split="val")
    evaluator.evaluate(trainer.model, final=False)
    started = perf_counter()
    evaluator.evaluate(trainer.model, final=False)
    evaluation_s = perf_counter() - started
    started = perf_counter()
    evaluator.evaluate(trainer.model, final=True)
    return Cost(step_s=step_s, evaluation_s=evaluation_s, final_s=perf_counter() - started)


def dry_run(sweep: Sweep) -> int:
    """Print what a sweep would do; its folder is neither made nor changed.

    Raises:
        SweepError: If the cluster cannot run a trial.
    """
    console = Console(highlight=False, markup=False)
    for line in lines(sweep):
        console.print(line, soft_wrap=True)
    return 0


def lines(sweep: Sweep) -> list[str]:
    """The question, the folder, the trials, what runs at a time, and the cost.

    Raises:
        SweepError: If the cluster cannot run a trial.
    """
    space, shape = sweep.space, sweep.shape
    ended = _ended(sweep.folder)
    left = max(0, space.budget.trials - ended)
    # Which trials will be finalists is known once the last has ended.
    finals = space.n_runs - space.budget.trials if left else len(final_runs(sweep))
    runs = max(1, left, finals)
    with connected(sweep.address):
        at_a_time = slots(shape, runs)
        check_gpus(shape)
        idle = " ".join(left_idle(shape, runs))
    gpus = f" with {many(shape.gpus_per_worker, 'GPU')} each" if shape.gpus_per_worker else ""
    least, most = shape.workers_at_least, shape.workers_per_trial
    workers = f"{'' if least is None else f'{least} to '}{many(most, 'worker')}"
    found = "left as it is" if (sweep.folder / ABOUT).exists() else "not there yet and not made"
    where = "this machine" if sweep.address is None else f"the Ray cluster {sweep.address}"
    said = {
        "question": space.question,
        "folder": f"{sweep.folder}, {found}: this is a dry run",
        "music": f"{sweep.corpus.name}, {len(sweep.corpus.indices('train'))} windows to train on",
        "trials": f"{left} of {space.budget.trials}"
        + (f": {ended} ended before" if ended else ""),
        "finalists": f"{many(finals, 'run')} with other seeds" if finals or space.seeds else "",
        "steps": f"{space.budget.steps_per_trial} a run",
        "compared": space.compared.key if space.compared else "",
        "search": f"{space.sampler.name}, scheduler {space.scheduler.name}, "
        f"stopper {space.stopper.name}",
        "resources": f"{workers} of 1 CPU{gpus} for a trial, on {where}",
        "slots": f"{many(at_a_time, 'trial')} at a time",
        "idle": idle,
        "hours": "" if shape.hours is None else f"{shape.hours:g}, after which no run begins",
        "note": sweep.note,
        "cost": _cost(sweep, left, finals, at_a_time),
    }
    return [printable(f"{name:10} {words}") for name, words in said.items() if words]


def _ended(folder: Path) -> int:
    if not (folder / "trials").is_dir():
        return 0
    return sum(trial.status in ENDS for trial in read_trials(folder))


def _cost(sweep: Sweep, left: int, finals: int, at_a_time: int) -> str:
    """What trials and, after them, finalists cost, by a few steps of the base configuration."""
    runs = left + finals
    if sweep.address is not None or sweep.shape.gpus_per_worker:
        return (
            "unknown: trials would run on other devices than this process, which times steps on "
            f"its own CPU. They come to {runs * sweep.space.budget.steps_per_trial} steps at most"
        )
    config = sweep.space.config_of({})
    try:
        cost = measure(config, sweep.corpus)
    except ConfigError as error:
        return f"unknown: the base configuration makes no run to time. {error}"
    trial_s = cost.trial_s(config)
    workers = sweep.shape.workers_per_trial
    rounds = math.ceil(left / at_a_time) + math.ceil(finals / at_a_time)
    return (
        f"about {runs * trial_s / 3600:.2g} device-hours, {duration(rounds * trial_s / workers)} "
        f"on {many(at_a_time * workers, 'CPU')}: a run takes {trial_s:.3g} s of one "
        f"({cost.step_s:.2g} s a step, evaluations {cost.evaluation_s:.2g} s and "
        f"{cost.final_s:.2g} s at the end; timed just now over {TIMED_STEPS} steps of the base "
        "configuration). Searched sizes change that, stopped trials take less, and starting "
        "Ray, pictures and the export come on top"
    )
