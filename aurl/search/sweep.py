"""A sweep: proposes trials, runs them on warm gangs, and leaves a folder that tells it all.

What a sweep knows stands in its folder: ``sweep.yaml`` (the question), ``study.journal`` (what was
proposed), ``trials/<id>/`` (what came of it). Tune's own files are scratch: a resumed sweep is a
new Tune run that is given the trials that have not ended.
"""

import logging
import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from aurl.config import RunConfig, from_plain
from aurl.errors import ConfigError, SweepError
from aurl.files import read_json, read_yaml
from aurl.metrics.score import OBJECTIVES
from aurl.plain import Plain
from aurl.search.cluster import connected, slots
from aurl.search.distributions import Choice
from aurl.search.front import FrontPicture
from aurl.search.gang import GangSettings, TrialSlot, shared, task_for
from aurl.search.journal import journal
from aurl.search.plan import Sweep
from aurl.search.recorder import TRIAL_ID, Display, Recorder, trial_id, trial_number
from aurl.search.sampler import Proposals
from aurl.search.scheduling import scheduler_of
from aurl.search.space import Space
from aurl.training.loop import check_fits
from aurl.training.reporters import Domain, Interval, Options, write_experiment

_log = logging.getLogger(__name__)
ATTEMPTS = 3
"""Times a trial is tried whose workers die; an exception in training is not tried again."""

INVALID_IN_A_ROW = 100
"""Proposals that make no valid run before a search space is given up."""


def run(sweep: Sweep, display: Display) -> None:
    """Run the trials that have not ended; returns when all have.

    Raises:
        SweepError: If the cluster cannot run a trial.
    """
    with journal(sweep.folder / "sweep.log"):
        _tidy(sweep)
        proposals = Proposals(sweep.folder / "study.journal", sweep.space, sweep.folder.name)
        supply = _Supply(sweep, proposals, Recorder(sweep.trials_folder, display))
        if supply.remaining == 0:
            return
        write_experiment(sweep.folder, domains(sweep.space), OBJECTIVES)
        supply.front.draw()
        try:
            growing = sweep.shape.grow_to is not None
            with (
                connected(sweep.address, growing=growing),
                tempfile.TemporaryDirectory(prefix="aurl-") as scratch,
            ):
                n_slots = slots(sweep.shape, supply.remaining)
                _tuner(sweep, supply, n_slots, scratch).fit()
        except SweepError:
            if not sweep.trials_folder.exists():  # it never began: the name stays free
                shutil.rmtree(sweep.folder)
            raise


def _tidy(sweep: Sweep) -> None:
    """Remove what a driver that was killed left half-made."""
    for pattern in (".*.part", ".*.old"):
        for path in sweep.folder.rglob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for folder in _trial_folders(sweep.trials_folder):
        if not (folder / "status.json").exists():
            shutil.rmtree(folder)


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
            scheduler=scheduler_of(sweep.space),
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
        self.front = FrontPicture(sweep.folder)
        for name, status in statuses.items():
            if status["status"] == "completed":
                self.front.add(name, status["metrics"])

    @property
    def remaining(self) -> int:
        """Trials still to run."""
        return len(self._unended) + self._new

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - or the text FINISHED
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
        """A new trial; values that together make no valid run are passed over."""
        for _ in range(INVALID_IN_A_ROW):
            number, params = self.proposals.propose()
            try:
                config = self.sweep.space.config_of(params)
                check_fits(config, self.sweep.corpus, self.sweep.shape.workers_per_trial)
            except ConfigError as error:
                _log.warning("proposal %d makes no valid run: %s", number, error)
                self.proposals.tell(number, "failed", {})
                continue
            self.recorder.propose(trial_id(number), params, config)
            return trial_id(number), config
        raise SweepError(
            f"the search space must make valid runs, got {INVALID_IN_A_ROW} in a row that are "
            f"not. See {self.sweep.folder / 'sweep.log'}, and narrow the space."
        )

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
            name = self._supply.name_of(trial.trial_id)
            self._supply.recorder.report(name, result["rows"])
            self._supply.recorder.show(name, result["look"])

    def on_trial_complete(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,  # noqa: ANN401
        **info: Any,  # noqa: ANN401
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
        if end == "completed":
            self._supply.front.add(name, metrics)
            self._supply.front.draw()
        self._supply.proposals.tell(trial_number(name), end, metrics)


def domains(space: Space) -> dict[str, Domain]:
    """What TensorBoard is told of each searched parameter; of several ranges, what spans them."""
    found: dict[str, Domain] = {}
    for parameter in space.parameters:
        match parameter.distribution, found.get(parameter.key):
            case Choice(options), Options(before):
                found[parameter.key] = Options(tuple(dict.fromkeys((*before, *options))))
            case Choice(options), _:
                found[parameter.key] = Options(options)
            case given, Interval(low, high):
                found[parameter.key] = Interval(min(low, given.low), max(high, given.high))
            case given, _:
                found[parameter.key] = Interval(given.low, given.high)
    return found


def _statuses(folder: Path) -> dict[str, dict[str, Any]]:
    paths = [each / "status.json" for each in _trial_folders(folder)]
    return {path.parent.name: read_json(path) for path in paths if path.exists()}


def _trial_folders(folder: Path) -> list[Path]:
    """The folders that bear a trial's name; the others, and what they hold, are not ours.

    Raises:
        SweepError: If one is a link, which may lead to where a sweep must not write.
    """
    found = sorted(path for path in folder.glob("t*") if TRIAL_ID.fullmatch(path.name))
    for path in found:
        if path.is_symlink():
            raise SweepError(f"{path} must be a trial's own folder, got a link. Remove it.")
    return [path for path in found if path.is_dir()]
