"""What a sweep's findings come to: its answer, its costs, how trials ended, what it stands on.

Everything here is plain values and sentences; how it looks is decided elsewhere.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from aurl.metrics.score import OBJECTIVES
from aurl.plain import Plain, many
from aurl.reporting.comparisons import said, spoiled
from aurl.reporting.findings import Findings
from aurl.reporting.intent import searched_as
from aurl.reporting.tables import always_failed, duration, number, settings
from aurl.search.distributions import values_of
from aurl.search.parameter import Parameter
from aurl.search.ranking import ABOUT, SCORE, STATUSES, UNENDED, TrialStatus, counts
from aurl.search.rows import record
from aurl.search.space import Space

FEW_TRIALS = 20
"""Completed trials below which an importance is called a hint."""

MOST_CHOSEN = 6
"""Parameters that the answer names."""

MOST_DEVICES = 1_000_000
"""Of a trial; a record that says more is not believed."""

HELD = (
    "The same for every trial, but for what was searched: what is held or fixed takes the place "
    "of base, and budget.tokens_per_step may make batches smaller. The rest is at its default, in "
    "each config.yaml."
)
"""What :func:`held` gives, in words."""

_NUMBER = re.compile(r"[-+]?(?<![\w.])\d[\d.]*(?:e[-+]?\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """A way in which trials ended without a rank, or got one as infeasible."""

    status: str
    reason: str
    """Of the first of them; the others' differ in numbers only."""

    trials: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What some of the runs took."""

    what: str
    runs: int
    device_hours: float


def answer(found: Findings) -> list[str]:
    """What the sweep says to its question, in a few sentences; the first is the answer."""
    ended = {status: n for status, n in counts(found.trials).items() if n}
    told = ", ".join(f"{n} {status}" for status, n in ended.items()) or "none started"
    place = next(iter(found.ranked), None)
    if place is None:
        kind = "No answer yet" if found.is_running else "No answer"
        among = "its trials" if found.planned is None else many(found.planned, "trial")
        return [f"{kind}: of {among} none has completed ({told})."]
    best, so_far = place.trial, " so far" if found.is_running else ""
    scores = ", ".join(
        f"{name.removeprefix('val/')} {number(best.metrics.get(name))}" for name in OBJECTIVES
    )
    chosen = _chosen(found, best)
    lines = [
        f"Best{so_far} is {best.trial} with {chosen}: score {number(best.metrics.get(SCORE))} "
        f"({scores})."
    ]
    lines += said(found.comparisons)
    if not best.feasible:
        lines.append(f"No completed trial is feasible; {best.trial} is {best.reason}.")
    on_front = sum(each.front == 0 for each in found.ranked)
    of = "how many were" if found.planned is None else f"of {found.planned}"
    unsaid = " is not on record" if found.planned is None else ""
    lines.append(
        f"{on_front} of {len(found.ranked)} completed trials are on the Pareto front; {of} "
        f"planned{unsaid}: {told}."
    )
    return [
        *lines,
        *_seeds(best),
        *spoiled(found.places),
        *_what_mattered(found),
        *_at_ends(found),
    ]


def _chosen(found: Findings, trial: TrialStatus) -> str:
    """What a trial has of the parameters that the question is about; of many, what mattered."""
    parameters = found.space.parameters if found.space else ()
    asked = {each.key for each in parameters if each.role == "scientific"}
    keys = [key for key in trial.params if not asked or key in asked]
    if not keys:
        return "the base configuration"
    shown = keys
    if len(keys) > MOST_CHOSEN:
        shares: dict[str, float] = {}
        for each in found.importances[:1]:
            for name, share in each.shares.items():
                key = name.partition(" (")[0]
                shares[key] = max(share, shares.get(key, 0.0))
        first = sorted(keys, key=lambda key: -shares.get(key, 0.0))[:MOST_CHOSEN]
        shown = [key for key in keys if key in first]
    more = f" and {len(keys) - len(shown)} more" if len(shown) < len(keys) else ""
    return settings({key: trial.params[key] for key in shown}) + more


def _seeds(best: TrialStatus) -> list[str]:
    scores = best.known_seed_scores
    if not best.seed_scores:
        return []
    if best.score_low is None:
        return [
            f"Of {len(best.seed_scores)} runs of {best.trial} with other seeds {len(scores)} have "
            "a score."
        ]
    mean = sum(scores) / len(scores)
    return [
        f"Trained again with {len(scores)} other seeds, {best.trial} has {mean:.3f} in the mean, "
        f"less its standard error {best.score_low:.3f}."
    ]


def _what_mattered(found: Findings) -> list[str]:
    for each in found.importances:
        if each.target == SCORE:
            name, share = next(iter(each.shares.items()))
            hint = "a hint only" if each.trials < FEW_TRIALS else f"from {each.trials} trials"
            few = f", from {each.trials} trials" if each.trials < FEW_TRIALS else ""
            return [
                f"What moved the score most is {name}: {share:.2f} of what single parameters "
                f"explain, be it much or next to nothing ({hint}{few})."
            ]
    return []


def _at_ends(found: Findings) -> list[str]:
    names = [each.parameter.name for each in found.at_ends]
    if not names:
        return []
    where = "is at the end of its range" if len(names) == 1 else "are at the ends of their ranges"
    best = found.best[0].trial
    return [f"{', '.join(names)} of {best} {where}: a better value may lie outside."]


def endings(found: Findings) -> list[Ending]:
    """How trials ended that have no rank, or are infeasible; the most frequent first.

    Reasons that differ in numbers only are one.
    """
    groups: dict[tuple[str, str], list[TrialStatus]] = {}
    for place in found.places:
        trial = place.trial
        if place.rank is not None and trial.feasible:
            continue
        status = "infeasible" if place.rank is not None else trial.status
        groups.setdefault((status, _NUMBER.sub("#", trial.reason)), []).append(trial)
    rows = [
        Ending(status=status, reason=those[0].reason, trials=[t.trial for t in those])
        for (status, _), those in groups.items()
        if status not in UNENDED
    ]
    return sorted(rows, key=lambda row: (-len(row.trials), row.status, row.reason))


def costs(found: Findings) -> list[Cost]:
    """Device-hours by what became of the runs; those of the finalists' other seeds apart.

    A trial's seconds count for each worker it had, and for the share of a GPU that a worker had;
    starting Ray and waiting for a place are not in them. Where there were GPUs, nothing else
    counts.
    """
    kind = "gpu" if device(found) == "GPU" else "cpu"
    groups: list[tuple[str, list[TrialStatus]]] = [
        (status, [trial for trial in found.trials if trial.status == status])
        for status in STATUSES
    ]
    groups.append(("other seeds", list(found.reruns)))
    return [
        Cost(
            what=what,
            runs=len(runs),
            device_hours=sum(_held_s(found, run).get(kind, 0.0) for run in runs) / 3600.0,
        )
        for what, runs in groups
        if runs
    ]


def device(found: Findings) -> str:
    """What an hour of cost is an hour of."""
    runs = (*found.trials, *found.reruns)
    return "GPU" if any("gpu" in _held_s(found, run) for run in runs) else "CPU worker"


def _held_s(found: Findings, run: TrialStatus) -> Mapping[str, float]:
    """Device-seconds of a run by kind; where nobody said, by what the sweep asks for."""
    if run.device_seconds is not None:
        return run.device_seconds
    workers = _as_float(found.about.get("workers_per_trial"), 1.0)
    gpus = _as_float(found.about.get("gpus_per_worker"), 0.0)
    return {"gpu" if gpus else "cpu": run.seconds * workers * (gpus or 1.0)}


def _as_float(value: object, otherwise: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    return float(value) if 0 <= value <= MOST_DEVICES else otherwise


def caveats(found: Findings) -> list[str]:
    """What the answer stands on, and therefore what it does not say."""
    lines = [
        "Scores are of the validation split, which also chose the best: they flatter it. The "
        "export in best/, once the sweep has ended, has the metrics of the test split.",
    ]
    space = found.space
    if "resumed_by" in found.about:
        lines.append(f"The sweep was resumed by other versions than began it: see {ABOUT}.")
    if isinstance(warm := found.about.get("warm_start"), dict):
        began = cast("Plain", warm)
        lines.append(
            f"It began with what {began.get('from')} had found, {began.get('told')} results of "
            "which count for importances, and are no trials here."
        )
    if found.is_running:
        lines.insert(
            0, f"Not all runs have ended; the last news is {duration(found.silent_s)} old."
        )
    lines += _left_out(found)
    if space is None:
        return lines
    corpus = found.about.get("corpus")
    music = cast("Plain", corpus).get("name") if isinstance(corpus, dict) else "one corpus"
    budget, sampler, scheduler = space.budget, space.sampler, space.scheduler
    lines.append(
        f"{budget.steps_per_trial} steps a trial on {music}: what is best at this length, on this "
        "music, need not be best elsewhere."
    )
    lines.append(_of_one_seed(space))
    stopped = counts(found.trials)["stopped"]
    if stopped:
        lines.append(
            f"Stopped early: {many(stopped, 'trial')} (scheduler {scheduler.name}, stopper "
            f"{space.stopper.name}). They have no rank; what they would have come to is not known."
        )
    if sampler.name not in ("random", "grid"):
        lines.append(
            f"{sampler.name} looks where results were good, so importances and slices are of an "
            "uneven sample, and a value that was tried more often had more chances to be best."
            f"{_even(found, space.compared)}"
        )
    return lines


def _of_one_seed(space: Space) -> str:
    """Which scores say nothing of the seed's noise."""
    if space.seeds is None:
        return "One training seed a configuration: differences smaller than the seed's are noise."
    best, each = "Only the best", ""
    if (count := space.seeds.finalists) > 1:
        best += f" {count}"
    if space.compared is not None:
        best += f" of each {space.compared.key}"
        each = " These tell apart what was found, not what a longer search would find of each."
    return (
        f"{best} {'is' if count == 1 else 'are'} trained with other seeds ({space.seeds.runs} "
        f"each); every other score is of one seed.{each}"
    )


def _even(found: Findings, compared: Parameter | None) -> str:
    """That no value of what is compared had more trials, unless one was asked for."""
    if compared is None:
        return ""
    tried = Counter(trial.params.get(compared.key) for trial in found.trials)
    times = [tried[value] for value in values_of(compared.distribution)]
    return f" Those of {compared.key} had as many." if max(times) - min(times) <= 1 else ""


def _left_out(found: Findings) -> list[str]:
    runs = (*found.trials, *found.reruns)
    without = sum(_held_s(found, run).get("cpu", 0.0) for run in runs)
    if not without or device(found) != "GPU":
        return []
    return [f"The cost leaves out {duration(without)} of workers that had no GPU."]


def held(found: Findings) -> dict[str, dict[str, str]]:
    """What was the same for all trials, by where it stands: dotted keys and values as text."""
    sections = searched_as(found.about)
    names = ("fixed", "base", "budget", "sampler", "scheduler", "stopper", "constraints")
    shown = {
        "held on the command line": found.about.get("overrides"),
        **{name: sections.get(name) for name in names},
        "corpus": found.about.get("corpus"),
        "made by": found.about.get("made_by"),
    }
    flat = {name: _dotted(value) for name, value in shown.items() if isinstance(value, dict)}
    return {name: values for name, values in flat.items() if values}


def _dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _dotted(cast("Plain", value), f"{prefix}{key}.")
        else:
            is_text = isinstance(value, str)
            found[f"{prefix}{key}"] = value if is_text else json.dumps(value, default=str)
    return found


def findings_record(found: Findings) -> dict[str, Any]:
    """The findings as plain data: ``report.json``."""
    return {
        "sweep": found.name,
        "at": found.at,
        "question": found.question,
        "answer": answer(found),
        "planned": found.planned,
        "counts": counts(found.trials),
        "places": [record(place) for place in found.places],
        "comparisons": [
            {
                "parameter": each.parameter.name,
                "told_from": each.told_from,
                "values": [
                    {
                        "value": tried.value,
                        **tried.counts,
                        "best": tried.best and tried.best.trial.trial,
                        "median_score": tried.median,
                        "trained_again": tried.again and tried.again.trial.trial,
                        "over_seeds": {
                            name: tried.over_seeds(name) for name in (SCORE, *OBJECTIVES)
                        },
                    }
                    for tried in each.values
                ],
            }
            for each in found.comparisons
        ],
        "importances": [asdict(each) for each in found.importances],
        "ranges": [
            {
                "parameter": each.parameter.name,
                "low": each.low,
                "high": each.high,
                "end": each.end or None,
                "trials": {one.trial: one.value for one in each.placed},
            }
            for each in found.ranges
        ],
        "endings": [asdict(each) for each in endings(found)],
        "always_failed": always_failed(found.trials),
        "costs": [asdict(each) for each in costs(found)],
        "device": device(found),
        "caveats": caveats(found),
        "held": held(found),
        "notes": list(found.notes),
    }
