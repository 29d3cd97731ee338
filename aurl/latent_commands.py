"""What the commands of the latent space do: find codes, call the tool, say what came of it."""

import json
import os
import sys
import webbrowser
from argparse import Namespace
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console

from aurl.analysis.interpolation import usual_path
from aurl.analysis.study import STUDIED, Study
from aurl.analysis.subject import Subject
from aurl.errors import AurlError, ConfigError
from aurl.reporting import latent_tools
from aurl.reporting.export import check_windows
from aurl.reporting.latent_sheet import SHEET, Track, Wanted, write_sheet
from aurl.reporting.loading import Model, load, music_of
from aurl.seeding import numpy_generator

STUDIED_LIVE = 1000
"""Training windows that are looked at while someone waits for a page."""

MOST_STEPS = 10_000
"""Of a path, or along a dimension: hours of music."""

WIDEST = 1000.0
"""Standard deviations that a dimension is moved by; codes far beyond are no numbers."""


def run_traverse(args: Namespace) -> int:
    """Move each live dimension of a model's codes."""
    _check_least(args, steps=2, windows=2)
    if not 0.0 < args.width <= WIDEST:
        raise ConfigError(
            f"--width must be > 0 and at most {WIDEST:g} standard deviations, got {args.width}."
        )
    with _looking(args) as (model, study):
        found = latent_tools.write_traversal(
            study,
            _codes(model, study, args, 1)[0],
            args.out,
            steps=np.linspace(-args.width, args.width, args.steps),
            windows=args.windows,
        )
    lines: list[str] = []
    tracks: list[Track] = []
    for row in found["dimensions"]:
        moves = [in_words(effect) for effect in row.get("effects", []) if effect["is_certain"]]
        state = f"moves {', '.join(moves) or 'nothing that shows'}" if row["live"] else "dead"
        tells = f", tells {row['tells']}" if row["tells"] else ""
        information = f"{row['information_nats']:z6.2f} nats of information"
        lines.append(f"{row['dimension']:14} {information}{tells}; {state}")
        if row["live"]:
            tracks.append(Track(name=row["dimension"].replace("/", "_"), caption=lines[-1]))
    each = [
        effect["is_certain"] for row in found["dimensions"] for effect in row.get("effects", [])
    ]
    lines.append(
        f"An effect is named if its own 95 % interval leaves 0 out: {sum(each)} of {len(each)} "
        f"are, and of as many that are none about {0.05 * len(each):.0f} would be. Signed ones "
        "are standard deviations of the attribute for one of the dimension. Moved in "
        f"{found['windows']} test windows; the rest is of {found['training_windows']} training "
        "windows."
    )
    return _told(args, found, lines, tracks)


def run_interpolate(args: Namespace) -> int:
    """Go from one code to another."""
    _check_least(args, steps=2)
    with _looking(args) as (model, study):
        found = latent_tools.write_interpolation(
            study,
            _codes(model, study, args, 2),
            args.out,
            kind=args.path or usual_path(model.trained.model.prior),
            steps=args.steps,
        )
    crossed = " ".join(f"{each:.2f}" for each in found["note_f1_to_first"])
    line = f"path {found['path']}, smoothness {found['smoothness']:.2f}, note F1 to the first"
    track = Track(name="interpolation", caption=f"{args.steps} steps, {found['path']} path")
    return _told(args, found, [f"{line}: {crossed}"], [track])


def run_swap(args: Namespace) -> int:
    """Give one piece a level of another's code."""
    _check_least(args, pairs=2)
    with _looking(args) as (model, study):
        found = latent_tools.write_swap(
            study,
            _codes(model, study, args, 2),
            args.out,
            part=(args.level, args.slot),
            pairs=args.pairs,
        )
    lines = [
        f"{each['attribute']:20} follows the donor in {each['followed']['mean']:.2f} "
        f"[{each['followed']['low']:.2f}, {each['followed']['high']:.2f}], stays in "
        f"{each['stayed']['mean']:.2f} of {each['cases']}"
        for each in found["shares"]
    ]
    if not lines:
        lines = [f"no attribute differs in enough of {found['pairs']} pairs to say what follows"]
    names = ("receiver", "donor", "swapped")
    return _told(args, found, lines, [Track(name=name, caption=name) for name in names])


def run_analyze(args: Namespace) -> int:
    """Name the dimensions, find attribute directions, draw the map."""
    _check_least(args, windows=2)
    found: dict[str, Any] = {}
    lines: list[str] = []
    tracks: list[Track] = []
    with _looking(args) as (model, study):
        if args.what in ("names", "all"):
            found["names"] = latent_tools.write_names(study, args.out)
            lines += _lines_of_names(found["names"])
        if args.what in ("directions", "all"):
            start = _codes(model, study, args, 1)[0]
            found["directions"] = latent_tools.write_directions(
                study, start, args.out, windows=args.windows
            )
            told = _lines_of_directions(found["directions"])
            lines += told
            tracks = [
                Track(name=row["attribute"], caption=f"{line}; 5 strengths, from less to more")
                for row, line in zip(found["directions"]["directions"], told, strict=True)
            ]
        if args.what in ("map", "all"):
            found["map"] = latent_tools.write_map(study, args.out, kind=args.map)
            lines.append(f"map: {args.map}, {len(found['map']['points'])} windows")
    return _told(args, found, lines, tracks)


def run_studio(args: Namespace) -> int:
    """Serve the page of a model until it is interrupted, which is how it ends well."""
    from aurl.studio.server import Server, listening  # the other tools need no server
    from aurl.studio.studio import Studio

    with listening(args.port) as listener:
        model = load(args.model)
        with Console(stderr=True).status("looking at the codes of the model's music"):
            study, lacking = _study_if_here(model, args)
            studio = Studio.of(str(args.model), model, study, lacking)
        server = Server(studio=studio)
        url = server.url(listener)
        print(f"{url}\nOpen it in a browser of this machine. Ctrl-C ends it.", flush=True)
        has_screen = sys.platform != "linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
        if args.open and has_screen:
            webbrowser.open(url)
        server.serve(listener)
    return 0


def _study_if_here(model: Model, args: Namespace) -> tuple[Study | None, str]:
    """What is known of a model's codes; or why nothing is, unless its music was named."""
    try:
        return _study(model, args.data, studied=STUDIED_LIVE), ""
    except AurlError as error:
        if args.data:
            raise
        return None, (
            "The music that this model was trained on is not here, so dimensions have no names "
            "and attributes no faders. If it is elsewhere, start the studio with --data. "
            f"({error})"
        )


def _study(model: Model, data: str, *, studied: int = STUDIED) -> Study:
    corpus = music_of(model.config, data)
    check_windows(model.trained, corpus)
    return Study(Subject(model.trained.model, corpus), studied=studied)


def in_words(effect: Mapping[str, Any]) -> str:
    """An effect: a signed slope in deviations, or in how many windows the ends differ."""
    name, size = effect["attribute"], effect["size"]["mean"]
    if effect["unit"] == "changed":
        return f"{name} in {size:.2f} of the windows"
    return f"{name} {size:+z.2f}"


def _lines_of_names(found: dict[str, Any]) -> list[str]:
    named = [row for row in found["coordinates"] if "attribute" in row]
    lines = [f"{row['coordinate']:18} {row['attribute']} {row['share']:.2f}" for row in named]
    rest = len(found["coordinates"]) - len(named)
    return [*lines, f"{rest} others tell no more than chance ({found['floor']:.2f})"]


def _lines_of_directions(found: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for row in found["directions"]:
        own = [each for each in row["effects"] if each["attribute"] == row["attribute"]]
        moved = ", ".join(
            f"moved by 1 it rises {each['size']['mean']:+z.2f} "
            f"[{each['size']['low']:+z.2f}, {each['size']['high']:+z.2f}] deviations"
            for each in own
        )
        lines.append(f"{row['attribute']:20} held-out R2 {row['r2']:z.2f}; {moved or 'not heard'}")
    return lines


@contextmanager
def _looking(args: Namespace) -> Generator[tuple[Model, Study]]:
    """The model and what is known of its codes; what a tool refuses is an option's fault."""
    if args.bar != 1 and not args.midi:
        raise ConfigError(f"--bar must come with --midi, whose bar it is, got {args.bar} alone.")
    what = getattr(args, "what", "all")
    if args.midi and what in ("names", "map"):
        raise ConfigError(f"--midi must be left out with --what {what}: it has no effect.")
    if what in ("names", "directions") and args.map != "pca":
        raise ConfigError(f"--map must be left out with --what {what}: it has no effect.")
    if args.midi and args.seed != 0:
        raise ConfigError("--seed must be left out with --midi: it draws test windows.")
    model = load(args.model)
    with Console(stderr=True).status("decoding"):
        study = _study(model, args.data)
        try:
            yield model, study
        except ConfigError as error:
            raise ConfigError(f"--{error}") from error


def _codes(
    model: Model, study: Study, args: Namespace, count: int
) -> Float[np.ndarray, "end coordinate"]:
    """Where a tool starts from: a window of each file that was named, or else test windows."""
    if args.midi:
        return np.stack([_code_at(model, path, args.bar) for path in args.midi])
    windows = study.drawn("test", len(study.subject.corpus))
    windows = numpy_generator(args.seed, "ends").permutation(windows)
    _, places = np.unique(study.pieces_of(windows), return_index=True)
    other = np.isin(np.arange(len(windows)), places, invert=True)
    chosen = [*windows[np.sort(places)], *windows[other]][:count]  # of different pieces if it can
    return study.subject.posterior(np.asarray(chosen))[0]


def _code_at(model: Model, path: Path, bar: int) -> Float[np.ndarray, " coordinate"]:
    codes = model.encode(path)
    index = (bar - 1) // model.n_bars
    if not 0 <= index < len(codes):
        last = len(codes) * model.n_bars
        raise ConfigError(f"bar must be in 1..{last}, the bars of {path}, got {bar}.")
    return codes[index]


def _check_least(args: Namespace, **least: int) -> None:
    for name, value in least.items():
        if not getattr(args, name) >= value:
            raise ConfigError(f"--{name} must be >= {value}, got {getattr(args, name)}.")
    if "steps" in least and args.steps > MOST_STEPS:
        raise ConfigError(f"--steps must be <= {MOST_STEPS}, got {args.steps}.")


def _told(args: Namespace, found: dict[str, Any], lines: list[str], tracks: list[Track]) -> int:
    title = f"aurl {args.command} {args.model.resolve().name}"
    write_sheet(
        args.out,
        title,
        lines,
        tracks,
        plane=found.get("map"),
        wanted=Wanted(wav=args.wav, png=args.png),
    )
    if args.json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        print("\n".join([*lines, f"Written: {args.out}. To see and hear: {args.out / SHEET}"]))
    return 0


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "traverse": run_traverse,
    "interpolate": run_interpolate,
    "swap": run_swap,
    "analyze": run_analyze,
    "studio": run_studio,
}
