"""What a sweep's folder says, as tables, lines, JSON or CSV, and what it is told; without torch.

And as a report, which listens to models and takes its time; what is to be tried is held against
the search space, which imports torch as well.
"""

import argparse
import contextlib
import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from aurl.errors import ConfigError
from aurl.files import parse_settings
from aurl.plain import many, printable
from aurl.reporting.choosing import ItemT, Row, as_csv, chosen
from aurl.reporting.leaderboard import sweep_record
from aurl.reporting.tables import always_failed, leaderboard_table, status_table, sweeps_table
from aurl.reporting.watching import how_to_go_on, watch
from aurl.search.journal import is_held
from aurl.search.ranking import (
    LOG,
    Place,
    ranked,
    read_about,
    read_runs,
    read_trials,
    sweeps_in,
)
from aurl.search.rows import columns, record, status_record
from aurl.search.wishes import PAUSE, STOP, ask, ask_all

LONGEST_S = 86400.0
"""Between two looks of a watch; far longer, no clock can wait."""


def status(args: argparse.Namespace) -> int:
    """Show every trial of a sweep, then the finalists' runs with other seeds; or the sweeps."""
    if args.watch is not None:
        return _watch(args)
    if sweeps := sweeps_in(args.sweep):
        return _sweeps(sweeps, args)
    about = read_about(args.sweep)
    read = read_runs(args.sweep, about)
    trials = _chosen(read, lambda each: {**each.metrics, **status_record(each)}, args)
    if args.csv:
        _print_csv([status_record(trial) for trial in trials])
    elif args.json:
        print(json.dumps([asdict(trial) for trial in trials], indent=2, allow_nan=False))
    else:
        table = status_table(trials, among=read)
        console = Console()
        console.print(table if trials or not read else _none_of(len(read)))
        lines = always_failed([trial for trial in read if not trial.is_rerun])
        for line in (*lines, printable(how_to_go_on(args.sweep, about, read))):
            if line:
                console.print(line, soft_wrap=True, highlight=False, markup=False)
    return 0


def _sweeps(sweeps: Sequence[Path], args: argparse.Namespace) -> int:
    """Show the sweeps of a folder."""
    rows = _chosen([sweep_record(sweep) for sweep in sweeps], lambda row: row, args)
    if args.csv:
        _print_csv(rows)
    elif args.json:
        print(json.dumps(rows, indent=2, allow_nan=False))
    else:
        Console().print(sweeps_table(rows) if rows else _none_of(len(sweeps), "sweep"))
    return 0


def _watch(args: argparse.Namespace) -> int:
    if not args.watch > 0.0:
        raise ConfigError(f"--watch must be > 0 seconds, got {args.watch}.")
    if args.watch > LONGEST_S:
        raise ConfigError(f"--watch must be <= {LONGEST_S:g} seconds, got {args.watch}.")
    if args.json or args.csv or args.filter or args.sort or args.reverse:
        raise ConfigError(
            "--watch must stand alone, got it with --json, --csv, --filter, --sort or --reverse."
        )
    with contextlib.suppress(KeyboardInterrupt):  # the way to leave
        watch(args.sweep, Console(), pause_s=args.watch, wait=time.sleep)
    return 0


def leaderboard(args: argparse.Namespace) -> int:
    """Show the ranked trials of a sweep."""
    trials = read_trials(args.sweep)
    places = _chosen(ranked(trials), _with_metrics, args)
    if args.csv:
        print(as_csv([record(place) for place in places], columns(trials)), end="")
    elif args.json:
        print(json.dumps([record(place) for place in places], indent=2, allow_nan=False))
    else:
        shown = places or not trials
        table = leaderboard_table(places, with_unranked=True, among=trials)
        Console().print(table if shown else _none_of(len(trials)))
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the report of a sweep."""
    from aurl.reporting.report import PAGE, write_report  # imports torch

    out = args.out or args.sweep / "report"
    with Console(stderr=True).status("") as status:
        found = write_report(args.sweep, out, status.update)
    if args.json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        print("\n".join([*map(printable, found["answer"]), f"Report: {out / PAGE}"]))
    return 0


def stop(args: argparse.Namespace) -> int:
    """Ask for one trial of a running sweep to be stopped, or for the sweep to begin no other."""
    if args.trial is None:
        running = many(ask_all(args.sweep, STOP), "trial")
        so = f"{running} will come to an end, and no other begins.\nThe best is exported then."
        return _told(args, "end", f"{so} {_again(args)} with the rest.")
    ask(args.sweep, args.trial, STOP)
    status = f"aurl status {shlex.quote(str(args.sweep))}"
    return _told(args, "stop", f"it will at its next report. See {status}", later="stops it then")


def pause(args: argparse.Namespace) -> int:
    """Ask for one trial of a running sweep, or for all, to give up their slots."""
    if args.trial is None:
        running = many(ask_all(args.sweep, PAUSE), "trial")
        so = f"{running} will at the next report, no other begins."
        return _told(args, "pause", f"{so}\n{_again(args)} with them and the rest.")
    ask(args.sweep, args.trial, PAUSE)
    so = "it will at its next report, and goes on when the sweep is resumed."
    return _told(args, "pause", so)


def _told(args: argparse.Namespace, wish: str, so: str, *, later: str = "forgets this") -> int:
    """Say what comes of a wish; or, where no driver seems to be there for it, what comes later."""
    asked = f"{args.trial or args.sweep} is asked to {wish}"
    if is_held(args.sweep / LOG):
        print(f"{asked}: {so}")
    else:
        gone = f"no process holds {args.sweep / LOG}, so the sweep seems to run no more"
        print(f"{asked}, but {gone}. {_again(args)} with it, and {later}.")
    return 0


def _again(args: argparse.Namespace) -> str:
    return f"aurl resume {shlex.quote(str(args.sweep))} goes on"


def try_next(args: argparse.Namespace) -> int:
    """Have a configuration tried next by a sweep."""
    from aurl.search.wanted import params_of, queue  # imports torch

    if bool(args.values) == bool(args.again):
        raise ConfigError("try must be given one of KEY=VALUE and --again.")
    again = args.again
    values = params_of(args.sweep, again) if again else parse_settings(args.values, "try")
    queued = queue(args.sweep, values)
    turn = f"after {queued.before} queued before it" if queued.before else "the next to begin"
    trials = many(queued.budget, "trial")
    if queued.trials > queued.budget:
        turn += f", but all of the sweep's {trials} have begun or are queued: "
        turn += f"aurl resume {shlex.quote(str(args.sweep))} --trials {queued.trials} runs it"
    else:
        turn += f"{'' if queued.is_running else ' when the sweep is resumed'}, one of its {trials}"
    said = ", ".join(f"{key}={value}" for key, value in values.items()) or "nothing varies"
    print(printable(f"queued in {args.sweep}: {said}; {turn}."))
    return 0


def _chosen(
    items: Sequence[ItemT], row_of: Callable[[ItemT], Row], args: argparse.Namespace
) -> list[ItemT]:
    """The items that a command asks for, in the order that it asks for."""
    return chosen(items, row_of, args.filter, sort=args.sort, reverse=args.reverse)


def _with_metrics(place: Place) -> dict[str, Any]:
    """A place's row, and every metric of a trial that has a rank: no other is scored."""
    return {**(place.trial.metrics if place.rank is not None else {}), **record(place)}


def _print_csv(rows: Sequence[dict[str, Any]]) -> None:
    """Rows with every column that one of them has, as it first appears."""
    print(as_csv(rows, list(dict.fromkeys(name for row in rows for name in row))), end="")


def _none_of(count: int, what: str = "trial") -> str:
    """What a table says whose filter has left nothing."""
    return f"No {what} fulfils the filter; there are {count}."


LISTINGS: dict[str, Callable[[argparse.Namespace], int]] = {
    "status": status,
    "leaderboard": leaderboard,
    "report": report,
    "stop": stop,
    "pause": pause,
    "try": try_next,
}
