"""What a sweep gives Tune to run: the trials of its search, then its finalists' other seeds."""

import logging
import math
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from ray.tune.search import Searcher

from aurl.config import RunConfig
from aurl.errors import ConfigError, SweepError
from aurl.plain import Plain
from aurl.search.front import FrontPicture
from aurl.search.gang import ATTEMPTS, task_for
from aurl.search.outage import Outage
from aurl.search.plan import Sweep, final_runs
from aurl.search.provenance import config_in
from aurl.search.ranking import FINALISTS, End
from aurl.search.recorder import Recorder, statuses, trial_id, trial_number, unended
from aurl.search.sampler import Proposals, Repeats
from aurl.search.scheduling import Referee, scheduler_of
from aurl.search.stopper import HealthStopper
from aurl.search.wishes import is_over
from aurl.training.fits import check_fits

_log = logging.getLogger(__name__)
INVALID_IN_A_ROW = 100
"""Proposals that make no valid run before a search space is given up."""


class Queue(Searcher):
    """Gives Tune one run after another, and is told how each ends.

    Args:
        folder: Where each run has its folder.
        recorder: The writer of these.
        referee: Who decides that a run is stopped.
        until: By the clock of :func:`time.monotonic`, when no other run begins.
    """

    def __init__(
        self, folder: Path, recorder: Recorder, referee: Referee, until: float = math.inf
    ) -> None:
        super().__init__(metric="rung_score", mode="max")
        self.folder = folder
        self.until = until
        self.recorder = recorder
        self.referee = referee
        self.outage = Outage()
        self._names: dict[str, str] = {}
        self._configs: dict[str, RunConfig] = {}
        self._times = Counter[str]()  # that each run was given to Tune
        self._again = deque[str]()

    @property
    def left(self) -> int:
        """Runs to give to Tune: those that it gave back and, until the sweep is over, others."""
        return len(self._again) + (0 if self.is_over else self.remaining)

    @property
    def is_over(self) -> bool:
        """Whether the time is up, or somebody has asked for the sweep's end."""
        return monotonic() >= self.until or is_over(self.folder.parent)

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

    def next_run(self) -> tuple[str, RunConfig]:
        """Name and configuration of the next run, of those that remain; its folder is there."""
        raise NotImplementedError

    def ended(self, name: str, end: End, metrics: Mapping[str, float]) -> None:
        """A run has ended, and its folder says so."""

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - or the text FINISHED
        """A task for Tune, as long as there is one; see Ray."""
        self.outage.check()
        if not self.left:
            return Searcher.FINISHED
        if self._again:
            name = self._again.popleft()
        else:
            name, config = self.next_run()
            self._configs[name] = config
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
        """See Ray."""  # the sweep's record says how it ended, from the same facts that it writes

    def __getstate__(self) -> Plain:
        return {}  # Tune pickles its searcher beside its own files, which nobody reads back

    def save(self, checkpoint_path: str) -> None:
        """See Ray."""  # the sweep's folder is the state

    def restore(self, checkpoint_path: str) -> None:
        """See Ray."""
        raise SweepError(f"a sweep resumes from its own folder, not from {checkpoint_path}.")


class Supply(Queue):
    """The trials of the search: those that did not end before, then new proposals."""

    def __init__(
        self, sweep: Sweep, proposals: Proposals, recorder: Recorder, until: float = math.inf
    ) -> None:
        stopper = HealthStopper(sweep.space.stopper, sweep.space.budget.steps_per_trial)
        judge = stopper if sweep.space.stopper.name == "health" else None
        scheduler = scheduler_of(sweep.space, sweep.trials_folder)
        referee = Referee(scheduler, judge, sweep.corpus, sweep.trials_folder)
        super().__init__(sweep.trials_folder, recorder, referee, until)
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

    def next_run(self) -> tuple[str, RunConfig]:
        """See :class:`Queue`."""
        if self._unended:
            name = self._unended.popleft()
            return name, config_in(self.folder / name)
        self._new -= 1
        return self._propose()

    def ended(self, name: str, end: End, metrics: Mapping[str, float]) -> None:
        """See :class:`Queue`: Optuna is told, and the front is drawn."""
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


class Finals(Queue):
    """The finalists, each with other seeds; none is stopped, for each is to have its score.

    Optuna is not told of them: they are no proposals.
    """

    def __init__(self, sweep: Sweep, recorder: Recorder, until: float = math.inf) -> None:
        folder = sweep.folder / FINALISTS
        super().__init__(folder, recorder, Referee(None, None, sweep.corpus, folder), until)
        self._runs = deque(final_runs(sweep))

    @property
    def remaining(self) -> int:
        """Runs still to do."""
        return len(self._runs)

    def next_run(self) -> tuple[str, RunConfig]:
        """See :class:`Queue`."""
        name, params, config = self._runs.popleft()
        if not (self.folder / name / "status.json").exists():
            self.recorder.propose(name, params, config)
        return name, config
