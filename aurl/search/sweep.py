"""A sweep: proposes trials, runs them on warm gangs, and leaves a folder that tells it all.

What a sweep knows stands in its folder: ``sweep.yaml`` (the question), ``study.journal`` (what was
proposed), ``trials/<id>/`` (what came of it). Tune's own files are scratch: a resumed sweep is a
new Tune run that is given the trials that have not ended.
"""

import contextlib
import logging
import shutil
from collections import Counter, deque
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Literal

from ray import tune
from ray.tune.search import Searcher

from aurl.config import RunConfig
from aurl.errors import ConfigError, StorageError, SweepError
from aurl.files import remove_parts
from aurl.metrics.score import OBJECTIVES
from aurl.plain import Plain
from aurl.search.cluster import connected, idle_gpus, slots
from aurl.search.front import FrontPicture, conditional, domains
from aurl.search.gang import ATTEMPTS, GangSettings, last_line, shared, task_for
from aurl.search.journal import journal
from aurl.search.outage import Outage
from aurl.search.plan import Sweep, final_runs
from aurl.search.probe import check_gpus, check_remote, check_storage
from aurl.search.provenance import config_in
from aurl.search.ranking import FINALISTS, JOURNAL, LOG, SCORE, End
from aurl.search.recorder import (
    Display,
    Recorder,
    statuses,
    trial_folders,
    trial_id,
    trial_number,
    unended,
)
from aurl.search.room import Orphans, Patience, Room
from aurl.search.sampler import Proposals, Repeats
from aurl.search.scheduling import Referee, scheduler_of
from aurl.search.scratch import scratch_folder
from aurl.search.slot import TrialSlot
from aurl.search.stopper import HealthStopper
from aurl.search.wishes import PAUSE
from aurl.training.fits import check_fits
from aurl.training.reporters import read_rows, write_experiment

_log = logging.getLogger(__name__)
INVALID_IN_A_ROW = 100
"""Proposals that make no valid run before a search space is given up."""


def run(sweep: Sweep, display: Display) -> None:
    """Run the trials that have not ended, then the finalists' seeds; returns when all have.

    Raises:
        SweepError: If the cluster cannot run a trial.
    """
    with journal(sweep.folder / LOG), contextlib.ExitStack() as stack:
        _tidy(sweep)
        proposals = Proposals(sweep.folder / JOURNAL, sweep.space, sweep.folder.name)
        proposals.begin_with(sweep.beginnings)
        supply = _Supply(sweep, proposals, _recorder(sweep, sweep.trials_folder, display))
        scratch = ""
        for make in (lambda: supply, lambda: _Finals(sweep, display)):
            queue = make()
            while queue.left:  # once, but for runs that Tune gave back
                if not scratch:
                    space, columns = domains(sweep.space), (SCORE, *OBJECTIVES)
                    hidden = conditional(sweep.space)
                    write_experiment(sweep.folder, space, columns, conditional=hidden)
                    supply.front.draw()
                    scratch = stack.enter_context(_ray(sweep, display))
                tuner = _tuner(sweep, queue, slots(sweep.shape, queue.left), scratch)
                with queue.outage.told():
                    tuner.fit()
        if not scratch:  # a driver may have been killed just before it drew the last trial
            supply.front.draw(even_if_drawn=False)


def _recorder(sweep: Sweep, folder: Path, display: Display) -> Recorder:
    return Recorder(folder, display, sweep.remote, sweep.shape)


@contextlib.contextmanager
def _ray(sweep: Sweep, display: Display) -> Generator[str]:
    """Ray, and a folder for what it writes and nobody reads."""
    try:
        with connected(sweep.address), scratch_folder() as scratch:
            check_gpus(sweep.shape)
            if words := idle_gpus(sweep.shape):
                display.message(words)
            if sweep.address is not None:
                check_remote(sweep.remote) if sweep.remote else check_storage(sweep.folder)
            try:
                yield scratch
            except KeyboardInterrupt:  # Ray takes seconds to end
                display.message("ending: what was finished is kept, and the workers leave")
                raise
    except SweepError:
        if not sweep.trials_folder.exists():  # it never began: the name stays free
            shutil.rmtree(sweep.folder)
        raise


def _tidy(sweep: Sweep) -> None:
    """Remove what a driver that was killed left half-made, and wishes that trials be paused."""
    remove_parts(sweep.folder)
    for kind in (sweep.trials_folder, sweep.folder / FINALISTS):
        for folder in trial_folders(kind):
            if not (folder / "status.json").exists():
                shutil.rmtree(folder)
            (folder / PAUSE).unlink(missing_ok=True)


def _tuner(sweep: Sweep, queue: "_Queue", n_slots: int, scratch: str) -> tune.Tuner:
    settings = GangSettings(shape=sweep.shape, scratch=scratch, corpus=shared(sweep.corpus))
    slot = tune.with_resources(
        tune.with_parameters(TrialSlot, settings=settings),
        tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}]),
    )
    patience = [] if sweep.address is None else [Patience(sweep.shape, queue.recorder.tell)]
    joins = sweep.address is not None and sweep.shape.grow_to is None
    most = queue.left if joins else n_slots
    return tune.Tuner(
        slot,
        tune_config=tune.TuneConfig(
            search_alg=Room(queue, sweep.shape, slots=n_slots, most=most),
            scheduler=queue.referee,
            num_samples=queue.left,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=queue.folder.name,
            storage_path=scratch,
            verbose=0,
            callbacks=[_Record(queue), Orphans(), *patience],
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


class _Queue(Searcher):
    """Gives Tune one run after another, and is told how each ends.

    Args:
        folder: Where each run has its folder.
        recorder: The writer of these.
        referee: Who decides that a run is stopped.
    """

    def __init__(self, folder: Path, recorder: Recorder, referee: Referee) -> None:
        super().__init__(metric="rung_score", mode="max")
        self.folder = folder
        self.recorder = recorder
        self.referee = referee
        self.outage = Outage()
        self._names: dict[str, str] = {}
        self._configs: dict[str, RunConfig] = {}
        self._times = Counter[str]()  # that each run was given to Tune
        self._again = deque[str]()

    @property
    def left(self) -> int:
        """Runs to give to Tune, also those that it gave back."""
        return self.remaining + len(self._again)

    def take_back(self, name: str) -> bool:
        """Keep a run that Tune could not begin, to be given again; False after so many times."""
        is_taken = self._times[name] < ATTEMPTS
        if is_taken:
            self._again.append(name)
        return is_taken

    @property
    def remaining(self) -> int:
        """Runs still to do."""
        raise NotImplementedError

    def next_run(self) -> tuple[str, RunConfig] | None:
        """Name and configuration of the next run; its folder is there. None if there is none."""
        raise NotImplementedError

    def ended(self, name: str, end: End, metrics: Mapping[str, float]) -> None:
        """A run has ended, and its folder says so."""

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - or the text FINISHED
        self.outage.check()
        if self._again:
            name = self._again.popleft()
        elif found := self.next_run():
            name, self._configs[found[0]] = found
        else:
            return Searcher.FINISHED
        self._names[trial_id] = name
        self._times[name] += 1
        return {"task": task_for(self.folder / name, self._configs[name])}

    def name_of(self, tune_trial_id: str) -> str:
        """Our name of a Tune trial."""
        return self._names[tune_trial_id]

    def steps_of(self, name: str) -> int:
        """Optimizer steps of a run that Tune was given."""
        return self._configs[name].training.steps

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,
    ) -> None:
        pass  # _Record says how it ended, from the same facts that it writes

    def __getstate__(self) -> Plain:
        return {}  # Tune pickles its searcher beside its own files, which nobody reads back

    def save(self, checkpoint_path: str) -> None:
        pass  # the sweep's folder is the state

    def restore(self, checkpoint_path: str) -> None:
        raise SweepError(f"a sweep resumes from its own folder, not from {checkpoint_path}.")


class _Supply(_Queue):
    """The trials of the search: those that did not end before, then new proposals."""

    def __init__(self, sweep: Sweep, proposals: Proposals, recorder: Recorder) -> None:
        stopper = HealthStopper(sweep.space.stopper, sweep.space.budget.steps_per_trial)
        judge = stopper if sweep.space.stopper.name == "health" else None
        referee = Referee(scheduler_of(sweep.space), judge, sweep.corpus, sweep.trials_folder)
        super().__init__(sweep.trials_folder, recorder, referee)
        self.sweep = sweep
        self.proposals = proposals
        self.front = FrontPicture(sweep.folder, sweep.space.constraints)
        found = statuses(sweep.trials_folder)
        self._unended = deque(unended(found))
        for name, status in found.items():
            if status["status"] == "completed":
                self.front.add(name, status["metrics"])
            if name not in self._unended:
                proposals.tell(trial_number(name), status["status"], status["metrics"])
                referee.remember(name, sweep.space.budget.steps_per_trial)
        known = {trial_number(name) for name in found}
        proposals.fail_unknown(known)
        tried = (status["params"] for status in found.values())
        self._repeats = Repeats([*tried, *proposals.told(known)])
        self._new = max(0, sweep.space.budget.trials - len(found))

    @property
    def remaining(self) -> int:
        """Trials still to run."""
        return len(self._unended) + self._new

    def next_run(self) -> tuple[str, RunConfig] | None:
        """See :class:`_Queue`."""
        if self._unended:
            name = self._unended.popleft()
            return name, config_in(self.folder / name)
        if self._new:
            self._new -= 1
            return self._propose()
        return None

    def ended(self, name: str, end: End, metrics: Mapping[str, float]) -> None:
        """See :class:`_Queue`: Optuna is told, and the front is drawn."""
        self.proposals.tell(trial_number(name), end, metrics)
        if end == "completed":
            self.front.add(name, metrics)
        if self.front.is_due or self.remaining == 0:
            self.front.draw()

    def _propose(self) -> tuple[str, RunConfig]:
        """A new trial; values that together make no valid run are passed over."""
        why = ""
        for _ in range(INVALID_IN_A_ROW):
            number, params = self.proposals.propose()
            try:
                config = self.sweep.space.config_of(params)
                check_fits(config, self.sweep.corpus, self.sweep.shape.workers_per_trial)
            except ConfigError as error:
                _log.warning("proposal %d makes no valid run: %s", number, error)
                self.proposals.tell(number, "failed", {})
                why = str(error)
                continue
            config = self._repeats.seeded(params, config)
            self.recorder.propose(trial_id(number), params, config)
            return trial_id(number), config
        raise SweepError(
            f"the search space must make valid runs, got {INVALID_IN_A_ROW} in a row that are "
            f"not. The last: {why} Narrow the space."
        )


class _Finals(_Queue):
    """The finalists, each with other seeds; none is stopped, for each is to have its score.

    Optuna is not told of them: they are no proposals.
    """

    def __init__(self, sweep: Sweep, display: Display) -> None:
        folder = sweep.folder / FINALISTS
        recorder = _recorder(sweep, folder, display)
        super().__init__(folder, recorder, Referee(None, None, sweep.corpus, folder))
        self._runs = deque(final_runs(sweep))

    @property
    def remaining(self) -> int:
        """Runs still to do."""
        return len(self._runs)

    def next_run(self) -> tuple[str, RunConfig] | None:
        """See :class:`_Queue`."""
        if not self._runs:
            return None
        name, params, config = self._runs.popleft()
        if not (self.folder / name / "status.json").exists():
            self.recorder.propose(name, params, config)
        return name, config


class _Record(tune.Callback):
    """Passes what Tune says of its trials to the recorder, the referee and the queue."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue

    def __getstate__(self) -> Plain:
        return {}  # as _Queue

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        with self._queue.outage.noted():
            name = self._queue.name_of(trial.trial_id)
            self._queue.recorder.start(name)
            rows = read_rows(self._queue.folder / name)
            self._queue.referee.begin(name, rows, self._queue.steps_of(name))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,  # noqa: ANN401
        result: dict[str, Any],
        **info: Any,  # noqa: ANN401
    ) -> None:
        with self._queue.outage.noted():
            if result.get("rows"):
                name = self._queue.name_of(trial.trial_id)
                waited = result["waited_s"]
                self._queue.recorder.report(name, result["rows"], waited_s=waited)
                self._queue.recorder.show(name, result["look"])

    def on_trial_complete(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,  # noqa: ANN401
        **info: Any,  # noqa: ANN401
    ) -> None:
        last = trial.last_result
        if last.get("outage"):
            with self._queue.outage.noted():
                raise StorageError(last["failure"])
        if last.get("failure"):
            self._end(trial, "failed", last["failure"])
        elif last.get("done") and not last.get("rows"):
            self._end(trial, "completed", "")
        else:
            verdict = self._queue.referee.verdict(trial.trial_id, last)
            self._end(trial, verdict.end, verdict.reason)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        # Tune tries a trial again, but not one whose slot died between two trials.
        tries_left = trial.should_recover()
        if tries_left and self._queue.take_back(self._queue.name_of(trial.trial_id)):
            return
        error = trial.get_pickled_error() or trial.get_error() or "its slot died"
        self._end(trial, "failed", last_line(getattr(error, "cause", error)))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ANN401
        self._queue.outage.check()  # Tune has swallowed it

    def _end(self, trial: Any, end: End | Literal["paused"], reason: str) -> None:  # noqa: ANN401
        with self._queue.outage.noted():
            name = self._queue.name_of(trial.trial_id)
            if end == "paused":
                self._queue.recorder.pause(name, reason)
                return
            self._queue.ended(name, end, self._queue.recorder.end(name, end, reason))
