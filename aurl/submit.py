"""What ``aurl submit`` does: a sweep as a job of a cluster, from a laptop."""

import re
from argparse import Namespace
from pathlib import Path

from aurl.commands import shape_of
from aurl.data import corpora
from aurl.data.corpus import read_manifest
from aurl.errors import SweepError
from aurl.files import parse_settings, read_yaml
from aurl.search.jobs import Jobs, token, travels_in_the_clear
from aurl.search.plan import folder_name
from aurl.search.settings import with_trials
from aurl.search.space_file import space_of
from aurl.training.store import storage_at


def submit(args: Namespace) -> int:
    """Submit a sweep to a cluster, or follow, stop or list the jobs of one."""
    asked = [args.space, args.follow, args.stop, args.list]
    if sum(bool(each) for each in asked) != 1:
        raise SweepError("submit must be given one of SPACE, --follow, --stop and --list.")
    if not args.space:
        _check_nothing_else(args)
    words, files = _job_of(args) if args.space else ([], [])
    jobs = Jobs(args.dashboard)
    if token() and travels_in_the_clear(args.dashboard):
        print("The way there is not encrypted: who listens can read the token.", flush=True)
    if args.list:
        for each in jobs.all():
            print(f"{each.name:32} {each.status:10} {each.command}")
        return 0
    if args.stop:
        running = jobs.stop(args.stop)
        print(f"{args.stop}: {'asked to stop' if running else 'had ended before'}.")
        return 0
    name = args.name or args.space.stem if args.space else ""
    if args.follow:
        jobs.job(args.follow)
    job = args.follow or jobs.submit(f"aurl-{re.sub(r'[^A-Za-z0-9]+', '-', name)}", words, files)
    return _follow(jobs, job, args)


def _check_nothing_else(args: Namespace) -> None:
    """Refuse what is said of a sweep where none is submitted."""
    fitting = {"command", "dashboard", "default", "follow", "stop", "list"}
    for name, value in vars(args).items():
        if name not in fitting and value != args.default(name):
            raise SweepError(
                f"--{name.replace('_', '-')} must come with SPACE, the sweep that it is for, "
                "got it without."
            )


def _job_of(args: Namespace) -> tuple[list[str], list[Path]]:
    """The words of a sweep for the cluster, and the files that it needs there.

    A value is one word with its option, so that none that begins with a dash is read as another.
    """
    if not args.out.is_absolute():
        raise SweepError(
            f"--out must be a folder of the cluster, from its root, got {args.out}: the folder "
            "that a job runs in is removed when it ends."
        )
    overrides = parse_settings(args.set)
    space_of(with_trials(read_yaml(args.space), args.trials), overrides=overrides)
    if args.storage:
        storage_at(args.storage)
    shape = shape_of(args)
    given: dict[str, object] = {
        "address": args.address,
        "out": args.out,
        "name": folder_name(args.name or args.space.stem),
    }
    files = [args.space]
    if args.data:
        folder = Path(args.data)
        uploaded = args.data not in corpora.BUNDLED and folder.is_dir()
        if uploaded:
            read_manifest(folder)  # or it is no corpus, which the cluster would say later
            files.append(folder.resolve())
        given["data"] = f"./{folder.resolve().name}" if uploaded else args.data
    if args.warm_start is not None:
        given["warm-start"], needed = _on_cluster(args.warm_start)
        files += needed
    given |= {
        "trials": args.trials,
        "workers-per-trial": args.workers_per_trial,
        "gpus-per-worker": shape.gpus_per_worker,
        "grow-to": shape.grow_to,
        "max-concurrent": shape.max_concurrent,
        "hours": shape.hours,
        "storage": args.storage or None,
    }
    words = ["sweep", f"./{args.space.name}"]
    words += [f"--{option}={value}" for option, value in given.items() if value is not None]
    words += [f"--set={each}" for each in args.set]
    return [*words, *(["--resume"] if args.resume else [])], files


def _on_cluster(warm_start: Path) -> tuple[str, list[Path]]:
    """What the cluster is to begin with: a file, which is uploaded, or a sweep that is there."""
    if warm_start.is_file():
        return warm_start.name, [warm_start]
    if not warm_start.is_absolute():
        raise SweepError(
            "--warm-start must be a file of configurations, which is uploaded, or a sweep's "
            f"folder on the cluster, from its root, got {warm_start}."
        )
    return str(warm_start), []


def _follow(jobs: Jobs, job: str, args: Namespace) -> int:
    again = f"aurl submit {args.dashboard}"
    try:
        print(f"Job {job}. Ctrl-C leaves it running.", flush=True)
        ended = jobs.follow(job, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(f"\nThe job goes on. Follow it: {again} --follow {job}")
        print(f"Stop it: {again} --stop {job}")
        return 130
    print(f"Job {job}: {ended.status}. {ended.message}".rstrip())
    return 0 if ended.status == "SUCCEEDED" else 1
