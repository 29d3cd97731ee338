"""The options of the commands that are given a trained model, or codes."""

import argparse
from pathlib import Path
from typing import Any


def add_model_commands(commands: Any) -> None:  # noqa: ANN401 - argparse's type is private
    """Add `evaluate`, `sample` and `reconstruct`."""
    words = "all metrics of an export or a run on the test split"
    evaluate = commands.add_parser("evaluate", help=words, description=words)
    evaluate.add_argument("export", type=Path, help="a folder by `aurl export`, or a run's")
    evaluate.add_argument(
        "--data", default="", help="where the corpus is, if not where the config says"
    )
    evaluate.add_argument("--json", action="store_true", help="for another program to read")
    words = "music from the prior"
    sample = commands.add_parser("sample", help=words, description=words)
    sample.add_argument("model", type=Path, help="a folder by `aurl export`, or a run's")
    sample.add_argument("--out", type=Path, required=True, help="folder for the MIDI files")
    sample.add_argument("--count", "--n", type=int, default=8, help="how many (default 8)")
    sample.add_argument("--context", default="", help="such as key=Dm,metre=6/8")
    sample.add_argument("--temperature", type=float, default=1.0, help="0 is greedy (default 1)")
    sample.add_argument("--top-k", type=int, default=0, help="of the k likeliest tokens only")
    sample.add_argument("--top-p", type=float, default=1.0, help="of the likeliest share p only")
    words = "same seed, same music: more are the same and others (default 0)"
    sample.add_argument("--seed", type=int, default=0, help=words)
    _add_listening(sample)
    words = "held-out windows beside what the model makes of them"
    reconstruct = commands.add_parser("reconstruct", help=words, description=words)
    reconstruct.add_argument("export", type=Path, help="a folder by `aurl export`, or a run's")
    reconstruct.add_argument("--out", type=Path, required=True, help="the MIDI file")
    reconstruct.add_argument(
        "--data", default="", help="where the corpus is, if not where the config says"
    )
    reconstruct.add_argument("--count", type=int, default=8, help="how many (default 8)")
    _add_listening(reconstruct)


def _add_listening(command: argparse.ArgumentParser) -> None:
    command.add_argument("--wav", action="store_true", help="also what it sounds like, as WAV")
    command.add_argument("--png", action="store_true", help="also its piano roll, as PNG")


def add_latent_commands(commands: Any) -> None:  # noqa: ANN401 - argparse's type is private
    """Add the commands of :mod:`aurl.latent_commands`."""
    words = "move each latent dimension, and measure which musical attributes it moves"
    traverse = commands.add_parser("traverse", help=words, description=words)
    traverse.add_argument("--steps", type=int, default=7, help="how many (default 7)")
    traverse.add_argument(
        "--width", type=float, default=3.0, help="standard deviations to either side (default 3)"
    )
    words = "a path from one piece to another through the latent space"
    interpolate = commands.add_parser("interpolate", help=words, description=words)
    interpolate.add_argument("--steps", type=int, default=9, help="both ends included (default 9)")
    interpolate.add_argument(
        "--path",
        choices=("linear", "spherical", "prior"),
        help="default: through the prior if it is not standard normal and has no context, else "
        "spherical",
    )
    words = "one piece with a level of another's code: this rhythm, that melody"
    swap = commands.add_parser("swap", help=words, description=words)
    swap.add_argument("--level", required=True, help="the level, such as global")
    swap.add_argument("--slot", type=int, help="one slot of it, from 0 (default: all)")
    swap.add_argument("--pairs", type=int, default=200, help="of test windows (default 200)")
    words = "names of latent dimensions, attribute directions, and a map of the codes"
    analyze = commands.add_parser("analyze", help=words, description=words)
    analyze.add_argument(
        "--what", choices=("all", "names", "directions", "map"), default="all", help="or one only"
    )
    analyze.add_argument("--map", choices=("pca", "umap"), default="pca", help="default pca")
    for command, files in ((traverse, 1), (interpolate, 2), (swap, 2), (analyze, 1)):
        command.add_argument("model", type=Path, help="a folder by `aurl export`, or a run's")
        command.add_argument("--out", type=Path, required=True, help="folder for MIDI and JSON")
        command.add_argument(
            "--data", default="", help="where the corpus is, if not where the config says"
        )
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
        command.add_argument("--json", action="store_true", help="for another program to read")
    for command in (traverse, analyze):
        command.add_argument(
            "--windows", type=int, default=16, help="that effects are measured on (default 16)"
        )


def add_metrics(commands: Any) -> None:  # noqa: ANN401 - argparse's type is private
    """Add `metrics`."""
    words = "disentanglement of codes of any framework, from numpy arrays"
    metrics = commands.add_parser(
        "metrics",
        help=words,
        description=f"{words}. Without --metrics, everything but dci_gbt, which takes minutes.",
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
    metrics.add_argument("--json", action="store_true", help="for another program to read")
