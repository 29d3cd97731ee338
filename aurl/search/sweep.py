"""A sweep: proposes trials, runs them on warm gangs, and leaves a folder that tells it all.

What a sweep knows stands in its folder: ``sweep.yaml`` (the question), ``study.journal`` (what was
proposed), ``trials/<id>/`` (what came of it). Tune's own files are scratch: a resumed sweep is a
new Tune run that is given the trials that have not ended.
"""

import contextlib
import logging
import platform
import subprocess
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher

from aurl.config import RunConfig, from_plain
from aurl.data import corpus as corpora
from aurl.data.corpus import Corpus
from aurl.errors import SweepError
from aurl.files import read_json, read_yaml, write_yaml
from aurl.metrics.score import OBJECTIVES
from aurl.plain import Plain
from aurl.search.cluster import Shape, connected, slots
from aurl.search.gang import GangSettings, TrialSlot, shared, task_for
from aurl.search.journal import journal
from aurl.search.recorder import Display, Recorder, trial_id, trial_number
from aurl.search.sampler import Proposals
from aurl.search.space import Choice, Space, examples, space_of
from aurl.training.loop import check_fits
from aurl.training.reporters import Domain, Interval, Options, write_experiment

_log = logging.getLogger(__name__)
ATTEMPTS = 3
"""Times a trial is tried whose workers die; an exception in training is not tried again."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What the command line says about a sweep."""

    space: Path
    out: Path = Path("sweeps")
    name: str = ""
    data: str = ""
    trials: int | None = None
    address: str | None = None
    shape: Shape = field(default_factory=Shape)
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    resume: bool = False

    @property
    def folder(self) -> Path:
        """Where the sweep is kept."""
        return self.out / (self.name or self.space.stem)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep that is ready to run."""

    folder: Path
    space: Space
    corpus: Corpus
    shape: Shape
    address: str | None

    @property
    def trials_folder(self) -> Path:
        """One folder a trial."""
        return self.folder / "trials"


def plan(options: SweepOptions) -> Sweep:
    """Check everything that can be checked before Ray starts; write ``sweep.yaml``.

    Raises:
        ConfigError: If the space or a setting is wrong.
        DataError: If the corpus cannot be used.
        SweepError: If the folder exists, or does not fit what is to be resumed.
    """
    folder = options.folder
    about = folder / "sweep.yaml"
    exists = about.exists()
    if folder.exists() and not (exists and options.resume):
        what = "a sweep" if exists else "something else"
        advice = "Add --resume to go on with it, or" if exists else "Please"
        raise SweepError(
            f"--name must be new, got {folder.name!r}: {folder} holds {what}. "
            f"{advice} choose another --name."
        )
    values = read_yaml(options.space)
    overrides = dict(options.overrides)
    if options.data:
        overrides["data.corpus"] = options.data
    if options.trials is not None:
        values = {**values, "budget": {**values.get("budget", {}), "trials": options.trials}}
    space = space_of(values, overrides=overrides)
    corpus = corpora.load_named(str(space.base["data"]["corpus"]))
    space = _on_corpus(space, corpus)
    for example in examples(space):
        check_fits(space.config_of(example), corpus, options.shape.workers_per_trial)
    record = {
        "question": space.question,
        "space": values,
        "overrides": overrides,
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint},
        "workers_per_trial": options.shape.workers_per_trial,
        "made_by": provenance(),
    }
    if exists:
        _check_same(read_yaml(about), record, folder)
    try:
        write_yaml(about, record)
    except OSError as error:
        raise SweepError(
            f"--out must be a folder that can be written, got {options.out}: {error.strerror}."
        ) from error
    return Sweep(
        folder=folder, space=space, corpus=corpus, shape=options.shape, address=options.address
    )


def run(sweep: Sweep, display: Display) -> None:
    """Run the trials that have not ended; returns when all have.

    Raises:
        SweepError: If the cluster cannot run a trial.
    """
    with journal(sweep.folder / "sweep.log"), connected(sweep.address):
        proposals = Proposals(sweep.folder / "study.journal", sweep.space, sweep.folder.name)
        recorder = Recorder(sweep.trials_folder, display)
        write_experiment(sweep.folder, domains(sweep.space), OBJECTIVES)
        supply = _Supply(sweep, proposals, recorder)
        if supply.remaining == 0:
            return
        n_slots = slots(sweep.shape, supply.remaining)
        with tempfile.TemporaryDirectory(prefix="aurl-tune-") as scratch:
            _tuner(sweep, supply, n_slots, scratch).fit()


def _tuner(sweep: Sweep, supply: "_Supply", n_slots: int, scratch: str) -> tune.Tuner:
    settings = GangSettings(
        workers=sweep.shape.workers_per_trial,
        gpus_per_worker=sweep.shape.gpus_per_worker,
        scratch=scratch,
        corpus=shared(sweep.corpus),
    )
    slot = tune.with_resources(
        tune.with_parameters(TrialSlot, settings=settings),
        tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}]),
    )
    return tune.Tuner(
        slot,
        tune_config=tune.TuneConfig(
            search_alg=supply,
            scheduler=_scheduler(sweep.space),
            num_samples=supply.remaining,
            max_concurrent_trials=n_slots,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            callbacks=[_Record(supply)],
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _scheduler(space: Space) -> TrialScheduler | None:
    if space.scheduler.name == "none":
        return None
    steps = space.budget.steps_per_trial
    grace = max(1, min(steps - 1, round(space.scheduler.grace * steps)))
    return AsyncHyperBandScheduler(
        time_attr="step",
        metric="rung_score",
        mode="max",
        grace_period=grace,
        max_t=max(grace, steps - 1),  # a rung at the last step would stop what has finished
        reduction_factor=space.scheduler.reduction_factor,
        stop_last_trials=False,
    )


class _Supply(Searcher):
    """Gives Tune the trials that did not end before, then new proposals."""

    def __init__(self, sweep: Sweep, proposals: Proposals, recorder: Recorder) -> None:
        super().__init__(metric="rung_score", mode="max")
        self.sweep = sweep
        self.proposals = proposals
        self.recorder = recorder
        statuses = _statuses(sweep.trials_folder)
        for name, status in statuses.items():
            if status["status"] != "running":
                proposals.tell(trial_number(name), status["status"], status["metrics"])
        self._unended = deque(
            name for name, status in statuses.items() if status["status"] == "running"
        )
        proposals.fail_unknown({trial_number(name) for name in statuses})
        self._new = max(0, sweep.space.budget.trials - len(statuses))
        self._names: dict[str, str] = {}

    @property
    def remaining(self) -> int:
        """Trials still to run."""
        return len(self._unended) + self._new

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self._unended:
            name = self._unended.popleft()
            config = from_plain(read_yaml(self.sweep.trials_folder / name / "config.yaml"))
        elif self._new:
            self._new -= 1
            name, config = self._propose()
        else:
            return Searcher.FINISHED
        self._names[trial_id] = name
        return {"task": task_for(self.sweep.trials_folder / name, config)}

    def _propose(self) -> tuple[str, RunConfig]:
        number, params = self.proposals.propose()
        config = self.sweep.space.config_of(params)
        name = trial_id(number)
        self.recorder.propose(name, params, config)
        return name, config

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,
    ) -> None:
        pass  # _Record tells Optuna, from the same facts that it writes

    def __getstate__(self) -> Plain:
        return {}  # Tune pickles its searcher beside its own files, which nobody reads back

    def name_of(self, tune_trial_id: str) -> str:
        """Our name of a Tune trial."""
        return self._names[tune_trial_id]

    def save(self, checkpoint_path: str) -> None:
        pass  # the sweep's folder is the state

    def restore(self, checkpoint_path: str) -> None:
        raise SweepError(f"a sweep resumes from its own folder, not from {checkpoint_path}.")


class _Record(tune.Callback):
    """Passes what Tune says of its trials to the recorder and to Optuna."""

    def __init__(self, supply: _Supply) -> None:
        self._supply = supply

    def __getstate__(self) -> Plain:
        return {}  # as _Supply

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        self._supply.recorder.start(self._supply.name_of(trial.trial_id))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,  # noqa: ANN401
        result: dict[str, Any],
        **info: Any,  # noqa: ANN401
    ) -> None:
        if result.get("rows"):
            self._supply.recorder.report(self._supply.name_of(trial.trial_id), result["rows"])

    def on_trial_complete(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        last = trial.last_result
        if last.get("failure"):
            self._end(trial, "failed", last["failure"])
        elif last.get("done") and not last.get("rows"):
            self._end(trial, "completed", "")
        else:
            self._end(
                trial,
                "stopped",
                f"asha: a rung score of {last['rung_score']:.3f} at step {last['step']} was not "
                "among the best that had come that far",
            )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        lines = str(trial.get_pickled_error() or trial.get_error()).strip().splitlines()
        self._end(trial, "failed", lines[-1].strip() if lines else "its workers died")

    def _end(self, trial: Any, end: Any, reason: str) -> None:  # noqa: ANN401
        name = self._supply.name_of(trial.trial_id)
        metrics = self._supply.recorder.end(name, end, reason)
        self._supply.proposals.tell(trial_number(name), end, metrics)


def domains(space: Space) -> dict[str, Domain]:
    """What TensorBoard is told of each searched parameter."""
    return {
        parameter.key: (
            Options(parameter.distribution.options)
            if isinstance(parameter.distribution, Choice)
            else Interval(parameter.distribution.low, parameter.distribution.high)
        )
        for parameter in space.parameters
    }


def provenance() -> Plain:
    """Versions and, where there is one, the git commit that results were made by."""
    packages = ("aurl", "torch", "ray", "optuna", "numpy", "miditoolkit")
    here = Path(__file__).parents[2]
    commit = ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        commit = done.stdout.strip()
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        **({"git_commit": commit} if commit else {}),
    }


def _on_corpus(space: Space, corpus: Corpus) -> Space:
    base = {**space.base, "data": {"corpus": corpus.name, "fingerprint": corpus.fingerprint}}
    return replace(space, base=base)


def _check_same(before: Plain, now: Plain, folder: Path) -> None:
    """Refuse to resume a sweep as a different one; more trials are welcome."""

    def essence(record: Plain) -> Plain:
        space = {key: value for key, value in record["space"].items() if key != "budget"}
        steps = record["space"].get("budget", {}).get("steps_per_trial")
        same = ("overrides", "corpus", "workers_per_trial")
        return {"space": space, "steps": steps, **{key: record[key] for key in same}}

    old, new = essence(before), essence(now)
    for key, value in old.items():
        if new[key] != value:
            raise SweepError(
                f"--resume must be given the {key} that {folder.name} was started with, got a "
                f"different one. See {folder / 'sweep.yaml'}, or start a new sweep with --name."
            )


def _statuses(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: read_json(path) for path in sorted(folder.glob("t*/status.json"))}
