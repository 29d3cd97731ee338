"""Which searched parameters mattered: Optuna's own evaluators, on the sweep's own journal.

PED-ANOVA (Watanabe, Bansal and Hutter 2023, https://arxiv.org/abs/2304.10255; with conditional
parameters https://arxiv.org/abs/2601.20800) says what sets the trials nearest to the Pareto front
apart from the others. fANOVA (Hutter, Hoos and Leyton-Brown 2014) says which parameter's main
effect explains the variance of one score in a random forest. Shares add up to 1 among the
parameters that are compared, which are those that had more than one value, whether they mean much
or little: of one alone they would say nothing, and with few trials, they are hints.
Of six parameters that move nothing, the first had 0.36 by fANOVA with 8 trials and 0.34 with 20,
in the median; one in twenty times more than 0.59 and 0.56.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import optuna
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from aurl.metrics.score import OBJECTIVES, trial_score
from aurl.search.ranking import SCORE
from aurl.search.sampler import study_in
from aurl.seeding import numpy_generator

Evaluator: TypeAlias = Literal["PED-ANOVA", "fANOVA"]
FRONT = "nearness to the Pareto front"
LEAST_TRIALS = 4
"""Completed trials below which nothing is said."""

TREES = 32
"""Of fANOVA's forest, half as many as Optuna takes by itself: 200 trials of many parameters then
take seconds."""

MOST_FANOVA = 256
"""Completed trials that fANOVA is given; of more it is given so many, drawn evenly. Its time grows
faster than they do: four targets of 1,000 trials took 34 s of a processor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """What parameters mattered for one thing."""

    target: str
    """A metric, or :data:`FRONT`."""

    evaluator: Evaluator
    trials: int
    """Completed trials that it was computed from; fANOVA from :data:`MOST_FANOVA` at most."""

    shares: Mapping[str, float]
    """By Optuna's name of a parameter, the largest first; they add up to 1."""


def importances(journal: Path) -> list[Importance]:
    """The importances for the front, for the score and for each objective.

    Conditional parameters have a share of :data:`FRONT` only: fANOVA compares what every trial
    has.

    Args:
        journal: A sweep's ``study.journal``, which is read and not changed; its sweep may run.

    Returns:
        Nothing if fewer than :data:`LEAST_TRIALS` trials completed, and none for a target that
        is the same in all of them, or for which fewer than two parameters can be compared.

    Raises:
        SweepError: If the journal is missing or cannot be read.
    """
    study = study_in(journal)
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(trials) < LEAST_TRIALS:
        return []
    compared = _varied(trials)
    found: list[Importance] = []

    def add(target: str, evaluator: Evaluator, count: int, by: Mapping[str, float]) -> None:
        shares = {name: float(share) for name, share in by.items() if name in compared}
        whole = sum(shares.values())  # not 1: PED-ANOVA gives what has one value a share, too
        shares = {name: share / (whole or 1.0) for name, share in shares.items()}
        if len(shares) > 1:
            found.append(
                Importance(target=target, evaluator=evaluator, trials=count, shares=shares)
            )

    with warnings.catch_warnings():  # of few trials, which the reader is told of
        warnings.simplefilter("ignore")
        if len({tuple(trial.values or ()) for trial in trials}) > 1:  # else all are on the front
            near = optuna.importance.get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator()
            )
            add(FRONT, "PED-ANOVA", len(trials), near)
        some = _drawn(study, trials)
        for target, value in _targets().items():
            add(target, "fANOVA", min(len(trials), MOST_FANOVA), _fanova(some, value))
    return found


def _varied(trials: Sequence[FrozenTrial]) -> set[str]:
    """The parameters that had more than one value."""
    values: dict[str, set[object]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(value)
    return {name for name, those in values.items() if len(those) > 1}


def _fanova(study: optuna.Study, value: Callable[[FrozenTrial], float]) -> dict[str, float]:
    """The shares by fANOVA; none of what is the same in every trial, or of parameters that are."""
    forest = FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    try:
        return optuna.importance.get_param_importances(study, evaluator=forest, target=value)
    except RuntimeError:  # "zero total variance in all trees"
        return {}


def _drawn(study: optuna.Study, trials: Sequence[FrozenTrial]) -> optuna.Study:
    """A study of :data:`MOST_FANOVA` of its completed trials; itself if there are no more."""
    if len(trials) <= MOST_FANOVA:
        return study
    chosen = numpy_generator(0, "fanova").permutation(len(trials))[:MOST_FANOVA]
    some = optuna.create_study(directions=study.directions)
    some.add_trials([trials[index] for index in sorted(chosen.tolist())])
    return some


def _targets() -> dict[str, Callable[[FrozenTrial], float]]:
    def objective(index: int) -> Callable[[FrozenTrial], float]:
        return lambda trial: trial.values[index]  # pyrefly: ignore[unsupported-operation]

    return {
        SCORE: lambda trial: trial_score(*trial.values),  # pyrefly: ignore[not-iterable]
        **{name: objective(index) for index, name in enumerate(OBJECTIVES)},
    }
