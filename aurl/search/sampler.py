"""What to try next: Optuna's study, told the truth about every trial.

Objectives, all maximised: KL health, disentanglement, reconstruction. The sampler is made anew
for each proposal, seeded by the count of the proposals before, so that a resumed sweep proposes
what the uninterrupted one would have proposed (with one trial at a time).
"""

import json
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from aurl.config import RunConfig
from aurl.errors import OutageError, SweepError
from aurl.metrics.score import OBJECTIVES
from aurl.search.constraints import violation
from aurl.search.distributions import Value, values_of
from aurl.search.grid import cells
from aurl.search.ranking import End
from aurl.search.settings import SamplerConfig
from aurl.search.space import Space, optuna_distribution
from aurl.search.warm_start import Beginning
from aurl.seeding import stream_seed

BEGAN = "began"
"""Attribute of a study that has been given what its sweep begins with."""

NO_JOURNAL = (ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError)
"""What Optuna raises of a journal that is damaged."""

BEGIN_ANEW = (
    "Bring back a whole one, or begin a sweep of another --name with --warm-start and this folder:"
    " what completed is then known."
)
ABANDONED = "abandoned"
"""Attribute of an Optuna trial that a driver was killed over; what it was is proposed again."""

INSTEAD = "instead of"
"""Attribute of an Optuna trial that was queued again: the number of the one that is abandoned."""


class Proposals:
    """The Optuna study of one sweep, in a journal file that optuna-dashboard opens.

    One process at a time may open it.

    Args:
        path: The journal.
        space: What may vary, and the sampler.
        name: The study's name.
    """

    def __init__(self, path: Path, space: Space, name: str) -> None:
        optuna.logging.disable_default_handler()
        _mend(path)
        self._path = path
        self._space = space
        try:
            storage = JournalStorage(JournalFileBackend(str(path)))
            names = optuna.get_all_study_names(storage)  # the sweep may have had another name
            self._study = optuna.create_study(
                storage=storage,
                study_name=(names or [name])[0],
                directions=[StudyDirection.MAXIMIZE] * len(OBJECTIVES),
                load_if_exists=True,
            )
        except NO_JOURNAL as error:
            raise _damaged(path) from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names([name.removeprefix("val/") for name in OBJECTIVES])

    def begin_with(self, beginnings: Sequence[Beginning]) -> None:
        """Tell the results that are known, and queue the other configurations; once a study."""
        if self._study.user_attrs.get(BEGAN):
            return
        ranges = {p.name: optuna_distribution(p.distribution) for p in self._space.parameters}
        told = [trial.params for trial in self._study.get_trials(deepcopy=False)]
        for beginning in beginnings:
            params = self._space.named(beginning.params) or {}
            values = [(beginning.metrics or {}).get(name) for name in OBJECTIVES]
            if beginning.metrics is None:
                self._study.enqueue_trial(params, skip_if_exists=True)
            elif None not in values and params not in told:
                excess, _ = violation(beginning.metrics, self._space.constraints)
                trial = optuna.trial.create_trial(
                    values=[float(value or 0.0) for value in values],
                    params=params,
                    distributions={name: ranges[name] for name in params},
                    constraints={"infeasible": excess},
                )
                self._study.add_trial(trial)
        self._study.set_user_attr(BEGAN, True)

    def told(self, known: set[int]) -> list[dict[str, Value]]:
        """Parameters of the results that it was begun with: all but the ``known`` trials."""
        keys = {parameter.name: parameter.key for parameter in self._space.parameters}
        return [
            {keys[name]: value for name, value in trial.params.items()}
            for trial in self._trials()
            if trial.state == TrialState.COMPLETE and trial.number not in known
        ]

    def propose(self) -> tuple[int, dict[str, Value]]:
        """A new trial's number and the values of its parameters."""
        trials = self._trials()
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        number = waiting[0] if waiting else len(trials)
        kept = [trial for trial in trials if ABANDONED not in trial.user_attrs]
        sampler = _sampler(self._space.sampler, sum(trial.number < number for trial in kept))
        if self._turns:
            asked = _asked_for(trials[number]) if waiting else None
            turn = _whose_turn(self._turns, kept, asked or {})
            sampler = _fixed({**self._drawn_with(turn, kept), **turn}, sampler)
        self._study.sampler = sampler
        trial = self._study.ask()
        return trial.number, self._space.suggest(trial)

    @cached_property
    def _turns(self) -> list[dict[str, Value]]:
        """What is tried in turns, by Optuna's names: a grid's configurations, or what is compared.

        Nothing if the sampler chooses all.
        """
        compared = self._space.compared
        if self._space.sampler.name == "grid":
            return [self._space.named(cell) or {} for cell in cells(self._space.parameters)]
        if compared is None:
            return []
        return [{compared.name: value} for value in values_of(compared.distribution)]

    def _drawn_with(
        self, turn: Mapping[str, Value], trials: Sequence[FrozenTrial]
    ) -> dict[str, Value]:
        """What the first trial of a round drew at random, beside what is compared.

        A round is a trial of each value. Those that have not begun draw the same: of few trials,
        the best of a value would else be the one that drew best in all else.
        """
        compared = self._space.compared
        if compared is None:
            return {}
        known = [
            (_words({compared.name: trial.params[compared.name]}), trial)
            for trial in trials
            if compared.name in trial.params
        ]
        own = _words({compared.name: turn[compared.name]})
        place = sum(words == own for words, _ in known)
        rounds: Counter[str] = Counter()
        for index, (words, trial) in enumerate(known):
            rounds[words] += 1
            if words != own and rounds[words] == place + 1:
                is_random = index < _at_random(self._space.sampler)
                return dict(trial.params) if is_random and _asked_for(trial) is None else {}
        return {}

    def tell(self, number: int, end: End, metrics: Mapping[str, float]) -> None:
        """Tell how a trial ended; saying it again changes nothing.

        A completed trial without one of the objectives counts as failed. One that collapsed, or
        violates a constraint of the space, is told by how much: a sampler takes any feasible one
        for better.
        """
        trials = self._trials()
        self._check_holds(number, len(trials))
        trial = trials[number]
        if trial.state.is_finished():
            return
        values = [metrics.get(name) for name in OBJECTIVES]
        if end == "completed" and None not in values:
            if not trial.constraints:  # a driver that was killed just here has set it already
                excess, _ = violation(metrics, self._space.constraints)
                self._inside(trial).set_constraint("infeasible", excess)
            self._study.tell(number, [float(value or 0.0) for value in values])
        elif end == "stopped":
            self._study.tell(number, state=TrialState.PRUNED)
        else:
            self._study.tell(number, state=TrialState.FAIL)

    def fail_unknown(self, known: set[int]) -> None:
        """End the trials that were proposed but never started, as a killed driver leaves them.

        A configuration that somebody asked for is queued again.
        """
        trials = self._trials()
        self._check_holds(max(known, default=-1), len(trials))
        queued = {trial.user_attrs.get(INSTEAD) for trial in trials}
        for trial in trials:
            if trial.state == TrialState.RUNNING and trial.number not in known:
                asked = _asked_for(trial)
                if asked is not None and trial.number not in queued:
                    self._study.enqueue_trial(asked, user_attrs={INSTEAD: trial.number})
                self._inside(trial).set_user_attr(ABANDONED, True)
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _trials(self) -> list[FrozenTrial]:
        """Every trial of the study, which another program may have taken away meanwhile.

        optuna-dashboard does when it is asked to delete a study, and to rename one: that makes a
        new study, with which a resumed sweep goes on.
        """
        try:
            return self._study.get_trials(deepcopy=False)
        except KeyError as error:
            raise OutageError(
                f"{self._path} must keep its study while its sweep runs, and another program, "
                "such as optuna-dashboard, has renamed or deleted it."
            ) from error

    def _check_holds(self, number: int, count: int) -> None:
        """Refuse a journal that is not of this sweep, or that has lost its end."""
        if number >= count:
            raise SweepError(
                f"{self._path} must hold every trial that has a folder, got {count} trials and "
                f"the folder of number {number}. {BEGIN_ANEW}"
            )

    def _inside(self, trial: FrozenTrial) -> optuna.Trial:
        number = trial._trial_id  # pyrefly: ignore[protected-access]
        return optuna.Trial(self._study, number)


def study_in(journal: Path) -> optuna.Study:
    """The study of a sweep whose driver may be writing the journal meanwhile.

    Raises:
        SweepError: If the journal is missing or cannot be read.
    """
    if not journal.is_file():
        raise SweepError(f"{journal} must be a sweep's journal, got none: it is not there.")
    optuna.logging.disable_default_handler()
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        names = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=names[0], storage=storage)
    except NO_JOURNAL as error:
        raise SweepError(f"{journal} must be a sweep's journal, got a damaged file.") from error


def enqueue(journal: Path, params: Mapping[str, Value], *, is_ours: bool) -> int:
    """Queue a configuration, by Optuna's names, to be proposed before any that the sampler makes.

    Args:
        journal: The journal of its sweep.
        params: What is asked for; what is left out is proposed.
        is_ours: Whether no driver can be writing: then what a killed one left is mended.

    Returns:
        How many were queued before it.
    """
    if is_ours:
        _mend(journal)
    study = study_in(journal)
    before = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    study.enqueue_trial(dict(params))
    return len(before)


class Repeats:
    """Gives a configuration that is proposed again another seed: the same run would tell nothing.

    Spaces of a few choices, or of none, have fewer configurations than trials.

    Args:
        known: The parameters of the runs that there are.
    """

    def __init__(self, known: Iterable[Mapping[str, Value]]) -> None:
        self._times = Counter(map(_words, known))

    def seeded(self, params: Mapping[str, Value], config: RunConfig) -> RunConfig:
        """The configuration of the next run with ``params``; one that searches seeds keeps its."""
        times = self._times[_words(params)]
        self._times[_words(params)] += 1
        if not times or "seed" in params:
            return config
        return replace(config, seed=stream_seed(config.seed, "repeat", times) % 2**31)


def _words(params: Mapping[str, Value]) -> str:
    """Parameters as text, a number in one way: 1 and 1.0 are the same run."""
    same = {key: float(x) if type(x) is int else x for key, x in params.items()}
    return json.dumps(same, sort_keys=True)


def _asked_for(trial: FrozenTrial) -> dict[str, Value] | None:
    """The configuration that was queued, of a trial that was made from one."""
    return trial.system_attrs.get("fixed_params")


def _mend(path: Path) -> None:
    """Undo what a driver that was killed while writing the journal may have left.

    A torn last line would make the next one unreadable; for a lock, Optuna waits 30 seconds.
    """
    if path.exists():
        text = path.read_bytes()
        end = text.rfind(b"\n") + 1
        last = text[text.rfind(b"\n", 0, max(0, end - 1)) + 1 : end]
        if text and not (text.startswith(b'{"') and (not end or _is_json(last))):
            raise _damaged(path)  # Optuna would pass over it, and write behind it
        if end < len(text):
            os.truncate(path, end)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _damaged(path: Path) -> SweepError:
    return SweepError(f"{path} must be a sweep's journal, got a damaged file. {BEGIN_ANEW}")


def _whose_turn(
    turns: Sequence[dict[str, Value]], trials: Sequence[FrozenTrial], asked: Mapping[str, Value]
) -> dict[str, Value]:
    """The first of those that were tried least often.

    Only those that have what a queued trial asks for, if there are some.
    """
    names = {name for turn in turns for name in turn}

    def of_turns(params: Mapping[str, Value]) -> dict[str, Value]:
        return {name: value for name, value in params.items() if name in names}

    tried = Counter(_words(of_turns(trial.params)) for trial in trials)

    def order(turn: Mapping[str, Value]) -> tuple[int, int]:
        differing = sum(turn.get(name) != value for name, value in of_turns(asked).items())
        return differing, tried[_words(turn)]

    return min(turns, key=order)


def _fixed(
    values: dict[str, Value], sampler: optuna.samplers.BaseSampler
) -> optuna.samplers.BaseSampler:
    """A sampler that proposes these values, and others as ``sampler`` does."""
    with warnings.catch_warnings():  # experimental, and constraints.txt pins it
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.PartialFixedSampler(values, sampler)


def _at_random(config: SamplerConfig) -> float:
    """How many trials a sampler draws at random before it learns from them; none of a grid."""
    learns = {"tpe": config.startup_trials, "nsga2": config.population, "grid": 0}
    return learns.get(config.name, math.inf)


def _sampler(config: SamplerConfig, number: int) -> optuna.samplers.BaseSampler:
    seed = stream_seed(config.seed, "sampler", number) % 2**32
    match config.name:
        case "tpe":
            with warnings.catch_warnings():  # `group` may change; constraints.txt pins it
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.TPESampler(
                    seed=seed,
                    n_startup_trials=config.startup_trials,
                    multivariate=config.groups,
                    group=config.groups,
                )
        case "random" | "grid":  # of which no value is drawn but where somebody asked for others
            return optuna.samplers.RandomSampler(seed=seed)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=config.population)
