"""Every option of the command line; nothing that takes long to import."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

Add: TypeAlias = Callable[[str, str], argparse.ArgumentParser]
"""Adds a command, of a name and what it does."""

STORAGE = "where checkpoints are kept, such as s3://bucket/folder (default: with the trials)"
WARM_START = "begin with what another sweep found, or with a YAML file of configurations"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in one line, as everything else does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"aurl: {message}. See: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The parser of ``aurl``: ``command`` is which, the rest what it is given."""
    whole = _Parser(
        prog="aurl", description="Hyperparameter search for variational autoencoders of music."
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, words: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=words, description=words)

    _add_sweep(add)
    _add_resume(add)
    _add_submit(add)
    _add_prepare(add)
    _add_train(add)
    _add_listings(add)
    _add_export(add)
    _add_model_commands(add)
    _add_latent_commands(add)
    _add_studio(add)
    _add_metrics(add)
    _add_space(add)
    words = "what this machine can do, and the command that adds what is missing"
    _add_json(add("doctor", words))
    return whole


def _add_sweep(add: Add) -> None:
    sweep = add("sweep", "search a space: the main job")
    sweep.add_argument("space", type=Path, help="search space, such as search_spaces/quick.yaml")
    _add_bundled(sweep)
    _add_name(sweep)
    _add_budget(sweep)
    sweep.add_argument("--out", type=Path, default=Path("sweeps"), help="where sweeps are kept")
    sweep.add_argument("--warm-start", type=Path, metavar="SWEEP", help=WARM_START)
    sweep.add_argument("--resume", action="store_true", help="go on with the sweep of that name")
    _add_dry_run(sweep)
    sweep.add_argument("--storage", default="", metavar="URI", help=STORAGE)
    _add_cluster_options(sweep)
    _add_set(sweep)


def _add_resume(add: Add) -> None:
    words = "go on with a sweep by what its folder says: the same as its command with --resume"
    resume = add("resume", words)
    resume.add_argument("sweep", type=Path, help="a sweep's folder")
    resume.add_argument("--data", default="", help="where the corpus is, if it was moved")
    _add_budget(resume)
    resume.add_argument("--warm-start", type=Path, metavar="SWEEP", help=f"{WARM_START}, again")
    _add_dry_run(resume)
    _add_cluster_options(resume)
    resume.set_defaults(
        space=None, set=[], resume=True, workers_per_trial=None, gpus_per_worker=None
    )


def _add_submit(add: Add) -> None:
    submit = add("submit", "a sweep as a job of a cluster far away; follow it, leave, come back")
    submit.add_argument("dashboard", metavar="ADDRESS", help="dashboard, as localhost:8265")
    submit.add_argument("space", type=Path, nargs="?", help="search space; it is uploaded")
    submit.add_argument("--follow", default="", metavar="JOB", help="show what a job prints")
    submit.add_argument("--stop", default="", metavar="JOB", help="stop a job")
    submit.add_argument("--list", action="store_true", help="the cluster's jobs")
    submit.add_argument(
        "--data", default="", help="as of `aurl sweep`; a folder that is here is uploaded"
    )
    _add_name(submit)
    _add_budget(submit)
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


def _add_prepare(add: Add) -> None:
    prepare = add("prepare", "a folder of MIDI to a checked, split and tokenised corpus")
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
    _add_json(prepare)


def _add_train(add: Add) -> None:
    train = add("train", "one full-size run from an exported configuration")
    train.add_argument("config", type=Path, help="config.yaml of an export or a trial")
    train.add_argument("--out", type=Path, required=True, help="the run's folder")
    train.add_argument("--preset", default="base", help="size: same, base or large (default base)")
    _add_data(train)
    _add_cluster_options(train)
    train.set_defaults(max_concurrent=None, hours=None)
    _add_set(train)


def _add_listings(add: Add) -> None:
    """The commands of :mod:`aurl.listings`."""
    status = add("status", "table of a sweep's trials, running ones too; or of all sweeps")
    _add_table(status, default=Path("sweeps"))
    status.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="show it anew every so often (default 2) until all trials have ended",
    )
    words = "ranked trials: finalists by other seeds, Pareto front, then score"
    _add_table(add("leaderboard", words))
    words = "a sweep as one web page: its answer, its front, what mattered, how it sounds"
    report = add("report", words)
    report.add_argument("sweep", type=Path, help="a sweep's folder; it may be running")
    report.add_argument("--out", type=Path, help="the report's folder (default SWEEP/report)")
    _add_json(report)
    trial = "of one trial of a sweep that runs, at its next report"
    wishes = {
        "stop": f"the end {trial}; or of the sweep, once the trials that run have ended",
        "pause": f"a pause {trial}, or of all of them, until the sweep is resumed",
    }
    for name, what in wishes.items():
        wish = add(name, what)
        wish.add_argument("sweep", type=Path, help="a sweep's folder")
        wish.add_argument("trial", nargs="?", help="such as t0003 (default: the whole sweep)")
    words = "have a configuration tried next by a sweep, one that runs or is to be resumed"
    tried = add("try", words)
    tried.add_argument("sweep", type=Path, help="a sweep's folder")
    words = "of a parameter that it searches; the sampler proposes the others"
    tried.add_argument("values", nargs="*", metavar="KEY=VALUE", help=words)
    words = "the parameters of a trial once more, such as t0003"
    tried.add_argument("--again", default="", metavar="TRIAL", help=words)


def _add_export(add: Add) -> None:
    export = add("export", "a trial as a folder that needs nothing else")
    words = "a sweep's folder, or that of a trial or of a run by `aurl train`"
    export.add_argument("source", type=Path, help=words)
    which = export.add_mutually_exclusive_group()
    which.add_argument("--rank", type=int, default=1, help="place on the leaderboard (default 1)")
    which.add_argument("--trial", default="", help="such as t0003, whatever its place")
    export.add_argument("--out", type=Path, required=True, help="the export's folder")
    _add_data(export)


def _add_model_commands(add: Add) -> None:
    evaluate = add("evaluate", "all metrics of an export or a run on the test split")
    _add_model(evaluate, "export")
    _add_data(evaluate)
    _add_json(evaluate)
    sample = add("sample", "music from the prior")
    _add_model(sample)
    sample.add_argument("--out", type=Path, required=True, help="folder for the MIDI files")
    sample.add_argument("--count", "--n", type=int, default=8, help="how many (default 8)")
    sample.add_argument("--context", default="", help="such as key=Dm,metre=6/8")
    words = "music whose first bars each sample begins with"
    sample.add_argument("--prompt", type=Path, metavar="MIDI", help=words)
    sample.add_argument("--prompt-bars", type=int, help="how many bars of it (default 1)")
    sample.add_argument("--temperature", type=float, default=1.0, help="0 is greedy (default 1)")
    sample.add_argument("--top-k", type=int, default=0, help="of the k likeliest tokens only")
    sample.add_argument("--top-p", type=float, default=1.0, help="of the likeliest share p only")
    words = "same seed, same music: more are the same and others (default 0)"
    sample.add_argument("--seed", type=int, default=0, help=words)
    _add_listening(sample)
    reconstruct = add("reconstruct", "held-out windows beside what the model makes of them")
    _add_model(reconstruct, "export")
    reconstruct.add_argument("--out", type=Path, required=True, help="the MIDI file")
    _add_data(reconstruct)
    reconstruct.add_argument("--count", type=int, default=8, help="how many (default 8)")
    _add_listening(reconstruct)


def _add_latent_commands(add: Add) -> None:
    """The commands of :mod:`aurl.latent_commands`, but for the studio."""
    words = "move each latent dimension, and measure which musical attributes it moves"
    traverse = add("traverse", words)
    traverse.add_argument("--steps", type=int, default=7, help="how many (default 7)")
    traverse.add_argument(
        "--width", type=float, default=3.0, help="standard deviations to either side (default 3)"
    )
    interpolate = add("interpolate", "a path from one piece to another through the latent space")
    interpolate.add_argument("--steps", type=int, default=9, help="both ends included (default 9)")
    interpolate.add_argument(
        "--path",
        choices=("linear", "spherical", "prior"),
        help="default: through the prior if it is not standard normal and has no context, else "
        "spherical",
    )
    swap = add("swap", "one piece with a level of another's code: this rhythm, that melody")
    swap.add_argument("--level", required=True, help="the level, such as global")
    swap.add_argument("--slot", type=int, help="one slot of it, from 0 (default: all)")
    swap.add_argument("--pairs", type=int, default=200, help="of test windows (default 200)")
    words = "names of latent dimensions, attribute directions, and a map of the codes"
    analyze = add("analyze", words)
    analyze.add_argument(
        "--what", choices=("all", "names", "directions", "map"), default="all", help="or one only"
    )
    analyze.add_argument("--map", choices=("pca", "umap"), default="pca", help="default pca")
    for command, files in ((traverse, 1), (interpolate, 2), (swap, 2), (analyze, 1)):
        _add_model(command)
        command.add_argument("--out", type=Path, required=True, help="folder for MIDI and JSON")
        _add_data(command)
        command.add_argument(
            "--midi",
            type=Path,
            nargs=files,
            metavar="MIDI",
            help="start from these, not from test windows",
        )
        command.add_argument("--bar", type=int, default=1, help="of the files (default 1)")
        command.add_argument("--seed", type=int, default=0, help="which test windows (default 0)")
        _add_listening(command)
        _add_json(command)
    for command in (traverse, analyze):
        command.add_argument(
            "--windows", type=int, default=16, help="that effects are measured on (default 16)"
        )


def _add_studio(add: Add) -> None:
    words = "move a model's codes by hand, on a page of this machine, and hear what comes of it"
    studio = add("studio", words)
    _add_model(studio)
    _add_data(studio)
    studio.add_argument("--port", type=int, default=0, help="of 127.0.0.1 (default: a free one)")
    studio.add_argument(
        "--no-open", dest="open", action="store_false", help="only print the address"
    )


def _add_metrics(add: Add) -> None:
    words = "disentanglement of codes of any framework, from numpy arrays"
    metrics = add("metrics", words)
    metrics.description = (
        f"{words}. Without --metrics, everything but dci_gbt, which takes minutes."
    )
    metrics.add_argument(
        "codes",
        type=Path,
        metavar="CODES.npz",
        help="arrays codes [N, D] (or mean and log_var: dimensions below 0.05 nats are set aside) "
        "and factors [N, F], whole numbers; optionally n_train (the first so many rows train; "
        "default two thirds) or groups [N] (rows that belong together, drawn whole)",
    )
    metrics.add_argument(
        "--metrics",
        default="",
        metavar="A,B",
        help="some only, such as mig_dlib20,dci_gbt; all for all of them",
    )
    _add_json(metrics)


def _add_space(add: Add) -> None:
    space = add("space", "what a search space may vary, and proof that its samples make runs")
    space.add_argument("space", type=Path, help="search space, such as search_spaces/quick.yaml")
    space.add_argument(
        "--samples", type=int, default=1000, help="configurations to draw and check (default 1000)"
    )
    _add_bundled(space)
    _add_json(space)
    _add_set(space)


def _add_model(command: argparse.ArgumentParser, name: str = "model") -> None:
    command.add_argument(name, type=Path, help="a folder by `aurl export`, or a run's")


def _add_data(command: argparse.ArgumentParser) -> None:
    words = "where the corpus is, if not where the config says"
    command.add_argument("--data", default="", help=words)


def _add_bundled(command: argparse.ArgumentParser) -> None:
    words = "tunes, melodies, or a folder by `aurl prepare`"
    command.add_argument("--data", default="", help=words)


def _add_json(command: argparse._ActionsContainer) -> None:
    command.add_argument("--json", action="store_true", help="for another program to read")


def _add_listening(command: argparse.ArgumentParser) -> None:
    command.add_argument("--wav", action="store_true", help="also what it sounds like, as WAV")
    command.add_argument("--png", action="store_true", help="also its piano roll, as PNG")


def _add_table(command: argparse.ArgumentParser, default: Path | None = None) -> None:
    """A sweep, which of its rows are shown in which order, and the form of the answer."""
    words = "a sweep's folder" + (f", or one of sweeps (default {default})" if default else "")
    command.add_argument(
        "sweep", type=Path, nargs="?" if default else None, default=default, help=words
    )
    form = command.add_mutually_exclusive_group()
    _add_json(form)
    form.add_argument("--csv", action="store_true", help="for a spreadsheet")
    command.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="CONDITION",
        help="rows that fulfil it, such as 'rank<=3', 'val/kl_nats>5' or reason~nan; "
        "may be given again",
    )
    command.add_argument("--sort", default="", metavar="COLUMN", help="lowest first")
    command.add_argument("--reverse", action="store_true", help="highest first")


def _add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", default="", help="the sweep's name (default: the space's)")


def _add_budget(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trials", type=int, help="trials in all, in place of the space's budget"
    )
    words = "after which no trial begins; what runs then ends, and the best is exported"
    command.add_argument("--hours", type=float, help=words)
    words = "trials at a time at most (default: as many as fit)"
    command.add_argument("--max-concurrent", type=int, metavar="N", help=words)


def _add_dry_run(command: argparse.ArgumentParser) -> None:
    words = "say what it would do and what it may cost, and do nothing"
    command.add_argument("--dry-run", action="store_true", help=words)


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
