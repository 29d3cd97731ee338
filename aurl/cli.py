"""The command line: parse, call, and turn every expected error into one line and exit code 2."""

import argparse
import io
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from aurl.errors import AurlError, OutageError, RunFailedError
from aurl.interrupts import terminated_as_interrupted
from aurl.options import parser
from aurl.plain import printable

INTERRUPTED = 130
LATENT = ("traverse", "interpolate", "swap", "analyze", "studio")
"""The commands of :mod:`aurl.latent_commands`, which need no Ray."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``aurl`` and ``run_sweep.py``.

    Returns:
        0 if all went well, 1 if a run failed, 2 if what was asked for is wrong, 130 on Ctrl-C.
    """
    # Read when torch is loaded. OpenMP's threads spin for each other by default: beside other work
    # on the same cores an export took 137 s, and takes 38.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):  # a terminal, or a pipe, of few letters ends nothing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = _ended(_parsed(argv))
    store = sys.modules.get("aurl.training.store")  # for which no command is to wait
    if store is not None and store.owes_an_answer():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    whole = parser()
    args, left = whole.parse_known_args(argv)
    is_word = len(left) == 1 and not left[0].startswith("-")
    if args.command == "submit" and args.space is None and is_word:
        args.space = Path(left[0])  # argparse finds no second word that is left out after options
    elif left:
        what = f"unrecognized arguments: {' '.join(left)}"
        whole.exit(2, f"aurl: {what}. See: aurl {args.command} --help\n")
    return args


def _ended(args: argparse.Namespace) -> int:
    try:
        with terminated_as_interrupted():
            return _command(args.command)(args)
    except AurlError as error:
        more = f" {_how_to_go_on(args)}" if isinstance(error, OutageError) else ""
        print(f"aurl: {printable(str(error))}{more}", file=sys.stderr)
        return 1 if isinstance(error, RunFailedError) else 2
    except KeyboardInterrupt:
        print(f"aurl: interrupted. {_how_to_go_on(args)}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    except OSError as error:  # a disk that is full, a folder that cannot be written
        where = error.filename2 or error.filename or "a file"
        print(f"aurl: {where}: {error.strerror or error}. {_how_to_go_on(args)}", file=sys.stderr)
        return 2


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    own = {"sweep": sweep, "resume": resume, "metrics": metrics, "doctor": doctor}
    if name in own:
        return own[name]
    if name in ("status", "leaderboard", "report", "stop", "pause", "try"):
        from aurl.listings import LISTINGS

        return LISTINGS[name]
    if name in LATENT:
        from aurl import latent_commands  # imports torch, for which --help must not wait

        return latent_commands.COMMANDS[name]
    if name == "submit":
        from aurl.submit import submit

        return submit
    from aurl.commands import COMMANDS  # imports Ray as well

    return COMMANDS[name]


def sweep(args: argparse.Namespace) -> int:
    """The main job: run or resume a sweep, then rank it and export the best."""
    from aurl.commands import conclude, shape_of
    from aurl.files import parse_settings
    from aurl.reporting.progress import Progress
    from aurl.search.journal import copy_of_stdout
    from aurl.search.plan import SweepOptions, plan
    from aurl.search.provenance import command_line
    from aurl.search.sweep import run

    options = SweepOptions(
        space=args.space,
        out=args.out,
        name=args.name,
        data=args.data,
        trials=args.trials,
        address=args.address,
        shape=shape_of(args),
        overrides=parse_settings(args.set),
        resume=args.resume,
        storage=args.storage,
        warm_start=args.warm_start,
        command=command_line(sys.argv),
    )
    if args.dry_run:
        from aurl.dry_run import dry_run

        return dry_run(plan(options, write=False))
    planned = plan(options)
    console = copy_of_stdout()
    console.print(printable(planned.space.question), style="bold", markup=False)
    if planned.note:
        console.print(planned.note, markup=False)
    budget = planned.space.budget
    progress = Progress(console, planned.space.n_runs, budget.steps_per_trial)
    ended = progress.announce_ended(planned.folder)
    with progress:
        if ended < budget.trials:
            progress.message("starting Ray and its workers")
        missed = run(planned, progress)
    return conclude(planned, console, missed=missed)


def resume(args: argparse.Namespace) -> int:
    """Go on with a sweep by its record, as :func:`sweep` does with its space and ``--resume``."""
    from aurl.search.record import recorded

    record = recorded(args.sweep)
    folder = args.sweep if args.sweep.name not in ("", "..") else args.sweep.resolve()
    args.out, args.name, args.storage = folder.parent, folder.name, record.storage
    if args.workers_per_trial is None:
        args.workers_per_trial = str(record.workers_per_trial)
    if args.gpus_per_worker is None:
        args.gpus_per_worker = record.gpus_per_worker
    return sweep(args)


def metrics(args: argparse.Namespace) -> int:
    """Score the codes of any framework against known factors."""
    from aurl.reporting.codes import read_codes
    from aurl.reporting.score_tables import score_tables
    from aurl.reporting.scores import chosen_metrics, score_record
    from aurl.reporting.tables import WIDEST

    chosen = chosen_metrics(args.metrics)
    codes = read_codes(args.codes)
    console = Console(stderr=True)
    with console.status("") as status:
        record = score_record(codes, chosen, status.update)
    if args.json:
        print(json.dumps(record, indent=2, allow_nan=False))
    else:
        Console(width=WIDEST).print(score_tables(record), highlight=False, markup=False)
    return 0


def doctor(args: argparse.Namespace) -> int:
    """Say what this machine can do, whatever it lacks; exit code 1 if something is missing."""
    from aurl.reporting.doctor import examine

    findings = examine(Path.cwd())
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = "ok     " if finding.ok else "missing"
            print(f"{mark} {finding.what}: {finding.detail}")
            if finding.fix:
                print(f"        -> {finding.fix}")
    return 0 if all(finding.ok for finding in findings) else 1


def _how_to_go_on(args: argparse.Namespace) -> str:
    if args.command not in ("sweep", "resume", "train"):
        return "Nothing was left half-written."
    given = [shlex.quote(word) for word in sys.argv[1:]]
    if args.command == "sweep":
        program = f"python {sys.argv[0]}" if sys.argv[0].endswith(".py") else "aurl"
        words = [program, *given, *([] if args.resume else ["--resume"])]
    else:
        words = ["aurl", *given]
    return f"What was finished is kept. Go on with: {' '.join(words)}"
