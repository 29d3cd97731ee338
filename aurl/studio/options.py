"""The options of `aurl studio`."""

from pathlib import Path
from typing import Any


def add_studio(commands: Any) -> None:  # noqa: ANN401 - argparse's type is private
    """Add the command to those of the command line."""
    words = "move a model's codes by hand, on a page of this machine, and hear what comes of it"
    studio = commands.add_parser("studio", help=words, description=words)
    studio.add_argument("model", type=Path, help="a folder by `aurl export`, or a run's")
    studio.add_argument(
        "--data", default="", help="where the corpus is, if not where the config says"
    )
    studio.add_argument("--port", type=int, default=0, help="of 127.0.0.1 (default: a free one)")
    studio.add_argument(
        "--no-open", dest="open", action="store_false", help="only print the address"
    )
