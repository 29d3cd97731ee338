"""How a sweep looks in a terminal: its leaderboard and its trials, as rich tables.

Text from a trial (a reason, a value) is never read as markup, nor by the terminal: an error may
hold ``[brackets]``, a file of a stranger what moves the cursor.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from aurl.metrics.score import OBJECTIVES
from aurl.plain import many, printable
from aurl.search.ranking import ENDS, SCORE, STATUSES, Place, Status, TrialStatus, counts, ranked

WIDEST = 10_000
"""Columns of what may be wide and must not be cut off: a terminal breaks its lines."""
LEAST_FAILED = 3
"""Trials with one value that must all have failed before it is said."""

STYLES: Mapping[Status, str] = {
    "completed": "green",
    "running": "cyan",
    "paused": "blue",
    "stopped": "yellow",
    "failed": "red",
    "unknown": "dim",
}


def leaderboard_table(
    places: Sequence[Place],
    *,
    with_unranked: bool = False,
    among: Sequence[TrialStatus] | None = None,
) -> Table:
    """The ranked trials; ``*`` marks the Pareto front, ``!`` what is infeasible.

    Where finalists were trained again, ``low`` is their mean score less its standard error.

    Args:
        places: From :func:`aurl.search.ranking.ranked`, in the order that is shown.
        with_unranked: Show those without a rank too, with what became of them and why; the
            caption counts them in any case.
        among: All trials of the sweep, which the caption counts; by default those of the places.
    """
    caption = _caption([place.trial for place in places], among)
    table = Table(box=SIMPLE_HEAD, caption=caption, padding=(0, 1, 0, 0), pad_edge=False)
    again = ["low"] if any(place.trial.score_low is not None for place in places) else []
    for heading in ("rank", "trial", *again, "score", "kl_health", "disent.", "recon."):
        table.add_column(heading, justify="left" if heading == "trial" else "right", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    for place in [place for place in places if place.rank is not None]:
        metrics = place.trial.metrics
        table.add_row(
            f"{place.rank}{mark_of(place) or ' '}",
            _shown(place.trial.trial),
            *(number(place.trial.score_low) for _ in again),
            *(number(metrics.get(name)) for name in (SCORE, *OBJECTIVES)),
            _shown(settings(place.trial.params)),
        )
    for place in [place for place in places if with_unranked and place.rank is None]:
        trial = place.trial
        became = Text(trial.status, style=STYLES[trial.status])
        why = _shown(f": {trial.reason}" if trial.reason else "")
        table.add_row("-", _shown(trial.trial), *["-"] * (4 + len(again)), became + why)
    return table


def status_table(
    trials: Sequence[TrialStatus], *, among: Sequence[TrialStatus] | None = None
) -> Table:
    """Every trial as it is given: how far it is, how it does, how it ended.

    Args:
        trials: Those that are shown.
        among: All of the sweep, which the caption counts; by default those.
    """
    caption = _caption(trials, among)
    table = Table(box=SIMPLE_HEAD, caption=caption, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("trial", "status", "step", "time", "score", "kl_health"):
        justify = "left" if heading in ("trial", "status") else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    table.add_column("reason", overflow="fold")
    for trial in trials:
        table.add_row(
            _shown(trial.trial),
            Text(trial.status, style=STYLES[trial.status]),
            f"{trial.step}/{trial.steps}",
            duration(trial.seconds),
            number(trial.metrics.get(SCORE)),
            number(trial.metrics.get("val/kl_health")),
            _shown(trial.reason),
        )
    return table


def sweeps_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Sweeps, each as :func:`aurl.reporting.leaderboard.sweep_record` has it."""
    table = Table(box=SIMPLE_HEAD)
    for heading in ("sweep", "trials", "best", "score", "last news"):
        justify = "right" if heading in ("score", "last news") else "left"
        table.add_column(heading, justify=justify)
    for row in rows:
        became = ", ".join(f"{row[status]} {status}" for status in STATUSES if row[status])
        became = became or row["problem"] or "none yet"
        news = f"{duration(row['silent_s'])} ago" if row["trials"] else ""
        best, score = row["best"] or "-", number(row["score"])
        table.add_row(_shown(row["sweep"]), _shown(became), best, score, news)
    return table


def always_failed(trials: Sequence[TrialStatus]) -> list[str]:
    """A sentence for each value of a parameter with which all trials failed, where others did not.

    A sampler is not told of failures, and may propose such a value for ever. One that only ever
    came together with another is not named beside it.
    """
    ended = [trial for trial in trials if trial.status in ENDS]
    failed = {trial.trial for trial in ended if trial.status == "failed"}
    having: dict[tuple[str, object], set[str]] = {}
    for trial in ended:
        for setting in trial.params.items():
            having.setdefault(setting, set()).add(trial.trial)
    doomed = {each: those for each, those in having.items() if len(those) >= LEAST_FAILED}
    named: list[set[str]] = []
    lines: list[str] = []
    for (key, value), those in sorted(doomed.items(), key=lambda each: -len(each[1])):
        if those <= failed < {trial.trial for trial in ended}:
            if not any(those <= other for other in named):
                lines.append(f"Each of the {len(those)} trials with {key}={value} failed.")
            named.append(those)
    return [printable(line) for line in lines]


def latent_use(trial: str, metrics: Mapping[str, float]) -> str:
    """What a model's latent space is worth on the test split, as lines of text."""

    def interval(name: str) -> str:
        low, high = metrics[f"test/{name}/low"], metrics[f"test/{name}/high"]
        return f"{metrics[f'test/{name}']:z.3f} [{low:z.3f}, {high:z.3f}]"

    score = "test/reconstruction_score"
    return (
        f"{trial} on the test split, with 95 % intervals by piece:\n"
        f"  z shuffled between pieces costs {interval('latent_use_nats')} nats a sequence\n"
        f"  reconstruction score from z {metrics[score]:z.3f}, "
        f"from z = 0 {metrics[f'{score}/zero_z']:z.3f}: "
        f"gain {interval('reconstruction_score/gain')}"
    )


def settings(params: Mapping[str, object]) -> str:
    """Parameters on one line, as ``beta.value=0.3 optimizer.lr=0.001``.

    For people: a key is cut to its last two parts, or as many as tell it from the trial's other
    keys, and a number to three digits. Files hold the whole.
    """
    return " ".join(f"{_ending(key, params)}={brief(value)}" for key, value in params.items())


def mark_of(place: Place) -> str:
    """``*`` behind a rank that is on the Pareto front, ``!`` behind one that is infeasible."""
    return "*" if place.front == 0 else "" if place.trial.feasible else "!"


def number(value: object) -> str:
    """A metric with three decimals, none of them ``-0.000``; ``-`` for what is not finite."""
    if isinstance(value, int | float) and math.isfinite(value):
        return f"{value:z.3f}"
    return "-"


def digits(value: float) -> str:
    """A metric with four digits; a whole number, such as a count, with all that it has."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def brief(value: object) -> str:
    """A value as text; a float with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def short_name(metric: str) -> str:
    """``reconstruction`` for ``val/reconstruction_score``."""
    return metric.removeprefix("val/").removesuffix("_score")


def _shown(text: str) -> Text:
    return Text(printable(text))


def _caption(shown: Sequence[TrialStatus], among: Sequence[TrialStatus] | None) -> Text:
    trials = shown if among is None else among
    own = [trial for trial in trials if not trial.is_rerun]
    again = [trial for trial in trials if trial.is_rerun]
    best = next((place for place in ranked(own) if place.rank == 1), None)
    lead = f"; best {best.trial.trial}" if best else ""
    lead += f"; {len(again)} runs of finalists: {_counted(again)}" if again else ""
    lead += f"; {len(trials) - len(shown)} more not shown" if len(shown) < len(trials) else ""
    head = many(len(own), "trial")
    return _shown(f"{head}: {_counted(own)}{lead}" if own else "no trials yet")


def _counted(trials: Sequence[TrialStatus]) -> str:
    return ", ".join(f"{n} {status}" for status, n in counts(trials).items() if n)


def _ending(key: str, params: Mapping[str, object]) -> str:
    parts = key.split(".")
    ends = [".".join(parts[start:]) for start in range(max(len(parts) - 2, 0), -1, -1)]
    for end in ends:
        if not any(other != key and f".{other}".endswith(f".{end}") for other in params):
            return end
    return key
