"""A sweep: proposes trials, runs them on warm gangs, and leaves a folder that tells it all.

What a sweep knows stands in its folder: ``sweep.yaml`` (the question), ``study.journal`` (what was
proposed), ``trials/<id>/`` (what came of it). Tune's own files are scratch: a resumed sweep is a
new Tune run that is given the trials that have not ended.
"""

import contextlib
import math
import shutil
from collections.abc import Generator
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from ray import tune

from aurl.errors import StorageError, SweepError
from aurl.files import remove_parts
from aurl.metrics.score import OBJECTIVES
from aurl.plain import Plain, many
from aurl.search.attempts import Attempts
from aurl.search.cluster import connected, left_idle, slots
from aurl.search.front import conditional, domains
from aurl.search.gang import ATTEMPTS, GangSettings, last_line, shared
from aurl.search.journal import journal
from aurl.search.placement import of_slot
from aurl.search.plan import Sweep
from aurl.search.probe import check_gpus, check_remote, check_storage
from aurl.search.ranking import FINALISTS, JOURNAL, LOG, SCORE, End
from aurl.search.recorder import Display, Recorder, trial_folders
from aurl.search.room import Orphans, Patience, Room
from aurl.search.sampler import Proposals
from aurl.search.scratch import scratch_folder
from aurl.search.slot import TrialSlot
from aurl.search.supply import Finals, Queue, Supply
from aurl.search.wishes import PAUSE, STOP, is_over
from aurl.training.reporters import read_rows, write_experiment


def run(sweep: Sweep, display: Display) -> int:
    """Run the trials that have not ended, then the finalists' seeds; returns when all have.

    It also returns when the time that the sweep was given is up, or somebody has asked for its
    end, and what had begun has ended.

    Returns:
        Runs that had not begun then.

    Raises:
        SweepError: If the cluster cannot run a trial.
    """
    hours = sweep.shape.hours
    until = math.inf if hours is None else monotonic() + 3600 * hours
    with journal(sweep.folder / LOG), contextlib.ExitStack() as stack:
        _tidy(sweep)
        proposals = Proposals(sweep.folder / JOURNAL, sweep.space, sweep.folder.name)
        proposals.begin_with(sweep.beginnings)
        recorder = _recorder(sweep, sweep.trials_folder, display)
        supply = Supply(sweep, proposals, recorder, until)
        scratch, missed = "", 0
        for make in (lambda: supply, lambda: _finals(sweep, display, until)):
            queue = make()
            while left := queue.left:  # once, but for runs that Tune gave back
                if not scratch:
                    space, columns = domains(sweep.space), (SCORE, *OBJECTIVES)
                    hidden = conditional(sweep.space)
                    write_experiment(sweep.folder, space, columns, conditional=hidden)
                    supply.front.draw()
                    scratch = stack.enter_context(_ray(sweep, left, display))
                with queue.outage.told():
                    _tuner(sweep, queue, left, scratch).fit()
            if missed := queue.remaining:
                why = "ended as asked" if is_over(sweep.folder) else "the time is up"
                runs = many(missed, "run")
                display.message(f"{why}: {runs} not begun, for when the sweep is resumed")
                break
        # A driver may have been killed just before it drew the last trial.
        supply.front.draw(even_if_drawn=False)
    return missed


def _finals(sweep: Sweep, display: Display, until: float) -> Finals:
    """The finalists, once the search is over: its copies at a storage are gone on with."""
    return Finals(sweep, _recorder(sweep, sweep.folder / FINALISTS, display), until)


def _recorder(sweep: Sweep, folder: Path, display: Display) -> Recorder:
    return Recorder(folder, display, sweep.remote, sweep.shape)


@contextlib.contextmanager
def _ray(sweep: Sweep, runs: int, display: Display) -> Generator[str]:
    """Ray, and a folder for what it writes and nobody reads."""
    try:
        with connected(sweep.address), scratch_folder() as scratch:
            slots(sweep.shape, runs)
            check_gpus(sweep.shape)
            for line in left_idle(sweep.shape, runs):
                display.message(line)
            if sweep.address is not None:
                check_remote(sweep.remote) if sweep.remote else check_storage(sweep.folder)
            try:
                yield scratch
            except KeyboardInterrupt:  # Ray takes seconds to end
                display.message("ending: what was finished is kept, and the workers leave")
                raise
    except SweepError:
        if not sweep.trials_folder.exists():  # it never began: the name stays free
            shutil.rmtree(sweep.folder, ignore_errors=True)  # NFS keeps what is open: its log
        raise


def _tidy(sweep: Sweep) -> None:
    """Remove what a driver that was killed left half-made, and wishes that do not hold now."""
    remove_parts(sweep.folder)
    for wish in (STOP, PAUSE):
        (sweep.folder / wish).unlink(missing_ok=True)
    for kind in (sweep.trials_folder, sweep.folder / FINALISTS):
        for folder in trial_folders(kind):
            if not (folder / "status.json").exists():
                shutil.rmtree(folder)
            (folder / PAUSE).unlink(missing_ok=True)


def _tuner(sweep: Sweep, queue: Queue, runs: int, scratch: str) -> tune.Tuner:
    settings = GangSettings(shape=sweep.shape, corpus=shared(sweep.corpus))
    slot = tune.with_resources(
        tune.with_parameters(TrialSlot, settings=settings),
        of_slot(sweep.shape),
    )
    patience = [] if sweep.address is None else [Patience(sweep.shape, queue.recorder.tell)]
    orphans = [Orphans()] if sweep.shape.is_elastic else []
    joins = sweep.address is not None and sweep.shape.grow_to is None
    n_slots = slots(sweep.shape, runs)
    return tune.Tuner(
        slot,
        tune_config=tune.TuneConfig(
            search_alg=Room(queue, sweep.shape, slots=n_slots, most=runs if joins else n_slots),
            scheduler=queue.referee,
            num_samples=runs,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=queue.folder.name,
            storage_path=scratch,
            verbose=0,
            callbacks=[_Record(queue), *orphans, *patience],
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


class _Record(tune.Callback):
    """Passes what Tune says of its trials to the recorder, the referee and the queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._attempts = Attempts()

    def __getstate__(self) -> Plain:
        return {}  # as Queue

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        self._attempts.begin(trial)
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
        if result.get("noted"):
            self._attempts.note_drain(trial)
        with self._queue.outage.noted():
            if result.get("rows"):
                name = self._queue.name_of(trial.trial_id)
                waited = result["waited_s"]
                self._queue.recorder.report(name, result["rows"], waited_s=waited)
                self._queue.recorder.show(name, result["media"])

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

    def on_trial_recover(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,  # noqa: ANN401
        **info: Any,  # noqa: ANN401
    ) -> None:
        self._attempts.wait(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        # Tune tries a trial again, but not one whose slot died between two trials.
        if self._attempts.are_left(trial) and self._queue.take_back(
            self._queue.name_of(trial.trial_id)
        ):
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
