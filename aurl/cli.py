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
from typing import Any, NoReturn

from rich.console import Console

from aurl.errors import AurlError, OutageError, RunFailedError
from aurl.interrupts import terminated_as_interrupted
from aurl.model_options import add_latent_commands, add_metrics, add_model_commands
from aurl.plain import printable
from aurl.reporting.choosing import add_choice
from aurl.studio.options import add_studio

INTERRUPTED = 130
STORAGE = "where checkpoints are kept, such as s3://bucket/folder (default: with the trials)"
WARM_START = "begin with what another sweep found, or with a YAML file of configurations"
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
    parser = _parser()
    args, left = parser.parse_known_args(argv)
    is_word = len(left) == 1 and not left[0].startswith("-")
    if args.command == "submit" and args.space is None and is_word:
        args.space = Path(left[0])  # argparse finds no second word that is left out after options
    elif left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
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
    own = {"sweep": sweep, "metrics": metrics, "doctor": doctor}
    if name in own:
        return own[name]
    if name in ("status", "leaderboard", "report", "stop", "pause"):
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
    from aurl.commands import conclude, overrides_of, shape_of
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
        overrides=overrides_of(args.set),
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
        run(planned, progress)
    return conclude(planned, console)


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
    if args.command not in ("sweep", "train"):
        return "Nothing was left half-written."
    given = [shlex.quote(word) for word in sys.argv[1:]]
    if args.command == "sweep":
        program = f"python {sys.argv[0]}" if sys.argv[0].endswith(".py") else "aurl"
        words = [program, *given, *([] if args.resume else ["--resume"])]
    else:
        words = ["aurl", *given]
    return f"What was finished is kept. Go on with: {' '.join(words)}"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in one line, as everything else does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"aurl: {message}. See: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="aurl", description="Hyperparameter search for variational autoencoders of music."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_sweep(commands)
    _add_submit(commands)
    _add_prepare(commands)
    _add_train(commands)
    for name, words in (
        ("status", "table of a sweep's trials, running ones too"),
        ("leaderboard", "ranked trials: finalists by other seeds, Pareto front, then score"),
    ):
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("sweep", type=Path, help="a sweep's folder")
        add_choice(command)
        if name == "status":
            command.add_argument(
                "--watch",
                type=float,
                nargs="?",
                const=2.0,
                metavar="SECONDS",
                help="show it anew every so often (default 2) until all trials have ended",
            )
    words = "a sweep as one web page: its answer, its front, what mattered, how it sounds"
    report = commands.add_parser("report", help=words, description=words)
    report.add_argument("sweep", type=Path, help="a sweep's folder; it may be running")
    report.add_argument("--out", type=Path, help="the report's folder (default SWEEP/report)")
    report.add_argument("--json", action="store_true", help="for another program to read")
    for name, until in (("stop", ""), ("pause", ", until the sweep is resumed")):
        words = f"{name} one trial of a sweep that runs, at its next report{until}"
        wish = commands.add_parser(name, help=words, description=words)
        wish.add_argument("sweep", type=Path, help="a sweep's folder")
        wish.add_argument("trial", help="such as t0003")
    _add_export(commands)
    add_model_commands(commands)
    add_latent_commands(commands)
    add_studio(commands)
    add_metrics(commands)
    _add_space(commands)
    words = "what this machine can do, and the command that adds what is missing"
    doctor = commands.add_parser("doctor", help=words, description=words)
    doctor.add_argument("--json", action="store_true", help="for another program to read")
    return parser


def _add_sweep(commands: Any) -> None:  # noqa: ANN401 - argparse's type is private
    words = "search a space: the main job"
    sweep = commands.add_parser("sweep", help=words, description=words)
    sweep.add_argument("space", type=Path, help="search space, such as search_spaces/quick.yaml")
    sweep.add_argument("--data", default="", help="tunes, melodies, or a folder by `aurl prepare`")
    sweep.add_argument("--trials", type=int, help="trials in all, in place of the space's budget")
    sweep.add_argument("--name", default="", help="the sweep's name (default: the space's)")
    sweep.add_argument("--out", type=Path, default=Path("sweeps"), help="where sweeps are kept")
    sweep.add_argument("--warm-start", type=Path, metavar="SWEEP", help=WARM_START)
    sweep.add_argument("--resume", action="store_true", help="go on with the sweep of that name")
    sweep.add_argument(
        "--dry-run",
        action="store_true",
        help="say what it would do and what it may cost, and do nothing",
    )
    sweep.add_argument("--storage", default="", metavar="URI", help=STORAGE)
    _add_cluster_options(sweep)
    _add_set(sweep)


def _add_submit(commands: Any) -> None:  # noqa: ANN401 - argparse's type is private
    words = "a sweep as a job of a cluster far away; follow it, leave, come back"
    submit = commands.add_parser("submit", help=words, description=words)
    submit.add_argument("dashboard", metavar="ADDRESS", help="dashboard, as localhost:8265")
    submit.add_argument("space", type=Path, nargs="?", help="search space; it is uploaded")
    submit.add_argument("--follow", default="", metavar="JOB", help="show what a job prints")
    submit.add_argument("--stop", default="", metavar="JOB", help="stop a job")
    submit.add_argument("--list", action="store_true", help="the cluster's jobs")
    submit.add_argument(
        "--data", default="", help="as of `aurl sweep`; a folder that is here is uploaded"
    )
    submit.add_argument("--trials", type=int, help="trials in all, in place of the space's budget")
    submit.add_argument("--name", default="", help="the sweep's name (default: the space's)")
    submit.add_argument(
        "--out", type=Path, default=Path("/mnt/aurl"), help="the cluster's folder for results"
    )
    submit.add_argument(
        "--warm-start",
        type=Path,
        metavar="SWEEP",
        help=f"{WARM_START}: a sweep of the cluster's, or a file that is here",
    )
    submit.add_argument("--resume", action="store_true", help="go on with the sweep of that name")
    submit.set_defaults(address="auto", default=submit.get_default)
    submit.add_argument("--storage", default="", metavar="URI", help=STORAGE)
    _add_shape(submit)
    _add_set(submit)


def _add_space(commands: Any) -> None:  # noqa: ANN401 - argparse's type is private
    words = "what a search space may vary, and proof that its samples make runs"
    space = commands.add_parser("space", help=words, description=words)
    space.add_argument("space", type=Path, help="search space, such as search_spaces/quick.yaml")
    space.add_argument(
        "--samples", type=int, default=1000, help="configurations to draw and check (default 1000)"
    )
    space.add_argument("--data", default="", help="tunes, melodies, or a folder by `aurl prepare`")
    space.add_argument("--json", action="store_true", help="for another program to read")
    _add_set(space)


def _add_prepare(commands: Any) -> None:  # noqa: ANN401 - argparse's type is private
    words = "a folder of MIDI to a checked, split and tokenised corpus"
    prepare = commands.add_parser("prepare", help=words, description=words)
    prepare.add_argument(
        "source", type=Path, help="folder of MIDI files, read with its subfolders"
    )
    prepare.add_argument("--out", type=Path, required=True, help="the corpus's folder")
    prepare.add_argument(
        "--vocabulary",
        choices=("metrical", "events"),
        default="metrical",
        help="bars and beats (the default), or times in seconds: bars of two seconds",
    )
    prepare.add_argument("--bars", type=int, default=2, help="bars of a window (default 2)")
    prepare.add_argument(
        "--max-tokens", type=int, default=512, help="longest window that is kept (default 512)"
    )
    prepare.add_argument(
        "--velocity-bins", type=int, default=32, help="loudness levels, 0 for none (default 32)"
    )
    prepare.add_argument("--json", action="store_true", help="for another program to read")


def _add_train(commands: Any) -> None:  # noqa: ANN401 - argparse's type is private
    words = "one full-size run from an exported configuration"
    train = commands.add_parser("train", help=words, description=words)
    train.add_argument("config", type=Path, help="config.yaml of an export or a trial")
    train.add_argument("--out", type=Path, required=True, help="the run's folder")
    train.add_argument("--preset", default="base", help="size: same, base or large (default base)")
    train.add_argument(
        "--data", default="", help="where the corpus is, if not where the config says"
    )
    _add_cluster_options(train)
    _add_set(train)


def _add_export(commands: Any) -> None:  # noqa: ANN401 - argparse's type is private
    words = "a trial as a folder that needs nothing else"
    export = commands.add_parser("export", help=words, description=words)
    export.add_argument("source", type=Path, help="a sweep's folder, or a run's by `aurl train`")
    export.add_argument("--rank", type=int, default=1, help="place on the leaderboard (default 1)")
    export.add_argument("--out", type=Path, required=True, help="the export's folder")
    export.add_argument(
        "--data", default="", help="where the corpus is, if not where the config says"
    )


def _add_cluster_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--address", help="join a Ray cluster, such as `auto` (default: local)")
    _add_shape(command)


def _add_shape(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workers-per-trial",
        default="1",
        metavar="N",
        help="Ray Train workers that share each batch; 2:4 on a cluster begins with 2 if it must",
    )
    command.add_argument(
        "--gpus-per-worker", type=float, default=0.0, help="GPUs of a worker; 0.25 shares one"
    )
    command.add_argument(
        "--grow-to",
        type=int,
        metavar="N",
        help="trials at a time on a cluster that starts machines for them (default: as fit now)",
    )


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting, such as training.batch_size=32; may be given again",
    )
