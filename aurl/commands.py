"""What each command does: read the arguments, call the library, show the answer."""

import json
import shlex
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aurl.config import RunConfig, from_plain, to_plain
from aurl.data import corpora
from aurl.data.context import in_words
from aurl.data.corpus import Corpus
from aurl.data.prepare import PrepareOptions, Summary, prepare
from aurl.errors import ConfigError, SweepError
from aurl.files import is_free, parse_settings
from aurl.model.generation import Sampling
from aurl.plain import Plain, dotted, overridden, printable
from aurl.reporting import export as exports
from aurl.reporting.comparisons import comparisons, said, spoiled
from aurl.reporting.leaderboard import write_leaderboard
from aurl.reporting.listening import write_music
from aurl.reporting.loading import Model, music_of, trained_model, trained_run
from aurl.reporting.progress import Progress as SweepProgress
from aurl.reporting.space_tables import parameter_tree, sample_lines, space_record
from aurl.reporting.tables import WIDEST, latent_use, leaderboard_table
from aurl.search import full_run
from aurl.search.journal import copy_of_stdout
from aurl.search.plan import Sweep, space_on_music
from aurl.search.proof import prove
from aurl.search.provenance import provenance, read_config, write_config
from aurl.search.ranking import TrialStatus, folder_of, read_reruns, read_runs
from aurl.search.record import resuming
from aurl.search.shape import Shape
from aurl.training.fits import check_fits

SHOWN_PLACES = 20
"""Of the ranking, at the end of a sweep: ``aurl leaderboard`` shows them all."""

SAMPLES_SHOWN = 5
"""Sampled configurations that ``aurl space`` prints."""

MOST_SAMPLES = 100_000
"""Pieces that ``aurl sample`` makes at a time: far more do not fit into memory."""


def conclude(planned: Sweep, console: Console, *, missed: int) -> int:
    """Rank a sweep that has ended, export its best trial, and say where everything is.

    Args:
        planned: The sweep.
        console: Where to say it.
        missed: Runs that had not begun when it was to end.
    """
    places = write_leaderboard(planned.folder)
    shown = [place for place in places if place.rank is None or place.rank <= SHOWN_PLACES]
    console.print(leaderboard_table(shown, among=[place.trial for place in places]))
    for line in (*said(comparisons(planned.space, places)), *spoiled(places)):
        console.print(printable(line), highlight=False, markup=False)
    runs = [*(place.trial for place in places), *read_reruns(planned.folder)]
    if paused := [run.trial for run in runs if run.status == "paused"]:
        line = f"Paused: {', '.join(paused)}. Go on with: {resuming(planned.folder)}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    completed = [place for place in places if place.rank is not None]
    if not completed:
        console.print("No trial completed, so there is nothing to export.")
        return 1
    has_seeds = any(place.trial.seed_scores for place in completed)
    unseeded = planned.space.seeds and not (paused or has_seeds or missed)
    so = ", so none was trained with other seeds" if unseeded else ""
    first = completed[0].trial
    best, lacking = first.trial, "" if first.feasible else first.reason
    if line := _but(first, so):
        console.print(line, markup=False)
    out = planned.folder / "best"
    console.print(f"Measuring {best} on the test split ...")
    trained = exports.trained_trial(planned.trials_folder / best, planned.corpus)
    extra = _made_by(trained, best, lacking)
    metrics = exports.replace_export(trained, planned.corpus, out, extra=extra)
    console.print(latent_use(best, metrics), highlight=False, markup=False)
    curves = f"Curves: tensorboard --logdir {shlex.quote(str(planned.folder))}"
    for line in (f"Best configuration, model and music: {out}", curves):
        console.print(line, soft_wrap=True, markup=False)
    return 0


def _but(first: TrialStatus, so: str) -> str:
    """What is to be said against the trial that stands first, and what came of it, if anything."""
    if not first.feasible:
        return f"No completed trial is feasible{so}: {first.trial} is {first.reason}."
    if so:
        return f"No completed trial has every objective{so}."
    if first.seed_scores and first.score_low is None:
        scored, runs = len(first.known_seed_scores), len(first.seed_scores)
        lead = f"Of {first.trial}'s {runs} runs with other seeds {scored} have a score"
        return f"{lead}, so its own one alone ranks it."
    return ""


def _made_by(trained: exports.TrainedModel, trial: str, lacking: str) -> Plain:
    """What an export says of where it comes from, and why its trial is not feasible, if so."""
    told = {"feasible": f"no: {lacking}"} if lacking else {}
    return {**trained.made_by, "trial": trial, **told, "exported_by": provenance()}


def run_prepare(args: Namespace) -> int:
    """Make a corpus of a folder of MIDI."""
    try:
        options = PrepareOptions(
            vocabulary=args.vocabulary,
            n_bars=args.bars,
            max_tokens=args.max_tokens,
            velocity_bins=args.velocity_bins,
        )
    except ConfigError as error:
        key, _, rest = str(error).partition(" ")
        raise ConfigError(f"--{key.removeprefix('n_').replace('_', '-')} {rest}") from error
    columns = (
        TextColumn("reading MIDI"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        files = bar.add_task("files", total=None)
        summary = prepare(
            args.source,
            args.out,
            options,
            lambda done, total: bar.update(files, completed=done, total=total),
        )
    if args.json:
        _print_json(asdict(summary))
    else:
        for line in _summary_lines(summary):
            print(line)
        corpus = shlex.quote(str(args.out))
        print(f"Corpus: {args.out}. Search it: python run_sweep.py SPACE.yaml --data {corpus}")
    return 0


def run_train(args: Namespace) -> int:
    """Train one configuration at full size."""
    shape = shape_of(args)
    config, _ = read_config(args.config)
    held = parse_settings(args.set)
    scaled, changes = full_run.scaled(config, args.preset)
    scaled, changed = from_plain(overridden(to_plain(scaled), held)), dotted(held)
    corpus = music_of(scaled, args.data)
    exports.check_corpus(scaled, corpus)
    named = corpora.from_anywhere(args.data or scaled.data.corpus)
    data = replace(scaled.data, corpus=named, fingerprint=corpus.fingerprint)
    scaled = replace(scaled, data=data)
    check_fits(scaled, corpus, shape.workers_per_trial)
    made_by = {"preset": args.preset, "changed": {**changes, **changed}, **provenance()}
    _prepare_run_folder(args.out, scaled, made_by)
    console = copy_of_stdout()
    for key, value in made_by["changed"].items():
        console.print(f"{key}: {value}", highlight=False, markup=False)
    with SweepProgress(console, 1, scaled.training.steps) as progress:
        progress.message("starting Ray and its workers")
        run = full_run.FullRun(
            folder=args.out,
            config=scaled,
            corpus=corpus,
            shape=shape,
            address=args.address,
        )
        full_run.run(run, progress)
    next_one = f"aurl export {shlex.quote(str(args.out))} --out EXPORT"
    line = f"Trained: {args.out}. Export it: {next_one}"
    console.print(line, soft_wrap=True, markup=False)
    return 0


def _prepare_run_folder(out: Path, config: RunConfig, made_by: Mapping[str, Any]) -> None:
    path = out / "config.yaml"
    if path.exists():
        before, _ = read_config(path)
        if before != config:
            raise SweepError(f"--out must be new or hold this same run, got {out}, another run.")
        return
    if not is_free(out):
        raise SweepError(f"--out must be new, got {out}, which holds something else.")
    write_config(path, config, made_by)


def run_export(args: Namespace) -> int:
    """Export a sweep's trial, by its rank or its name, or a full-size run."""
    if not (args.source / "trials").is_dir():
        if args.trial or args.rank != 1:
            given = f"--trial {args.trial}" if args.trial else f"--rank {args.rank}"
            raise SweepError(f"{given} must be left out for a run: it is of a sweep's folder.")
        folder, trial = args.source, None
    elif args.trial:
        folder = folder_of(args.source, args.trial, "--trial")
        trial = next(run for run in read_runs(args.source) if run.trial == args.trial)
    else:
        trial = exports.trial_at_rank(args.source, args.rank)
        folder = args.source / "trials" / trial.trial
    lacking = "" if trial is None or trial.feasible else trial.reason
    trained, corpus = trained_run(folder, args.data)
    name = folder.absolute().name
    metrics = exports.export(trained, corpus, args.out, extra=_made_by(trained, name, lacking))
    print(latent_use(name, metrics))
    if lacking:
        print(f"{name} is {lacking}.")
    step, steps = trained.made_by["step"], trained.config.training.steps
    if step < steps:
        print(f"It is at step {step} of {steps}: its training has not ended.")
    print(f"Exported: {args.out}")
    return 0


def run_evaluate(args: Namespace) -> int:
    """Print the metrics of an export, or of a run's last checkpoint, on the test split."""
    trained, corpus = _on_music(args)
    metrics = exports.test_metrics(trained, corpus)
    if args.json:
        _print_json(exports.finite(metrics))
    else:
        for name, value in sorted(metrics.items()):
            print(f"{name:56} {value:.6g}")
    return 0


def _on_music(args: Namespace) -> tuple[exports.TrainedModel, Corpus]:
    """The model of an export, or of a run's last checkpoint, and the music that is meant."""
    if (args.export / "checkpoint").is_dir():
        return trained_run(args.export, args.data)
    trained = exports.load_export(args.export)
    return trained, music_of(trained.config, args.data)


def run_sample(args: Namespace) -> int:
    """Write samples of the prior as MIDI files, of a musical context if one is asked for."""
    if not 1 <= args.count <= MOST_SAMPLES:
        raise ConfigError(f"--count must be in 1..{MOST_SAMPLES}, got {args.count}.")
    try:
        sampling = Sampling(temperature=args.temperature, top_k=args.top_k, top_p=args.top_p)
    except ValueError as error:
        raise ConfigError(f"--{error}".replace("top_", "top-")) from error
    if args.prompt_bars is not None and args.prompt is None:
        raise ConfigError(
            "--prompt-bars must come with --prompt. Say which music, or leave it out."
        )
    trained = trained_model(args.model)
    given = exports.asked_for(trained, args.context) if args.context else {}
    prompt = None
    if args.prompt is not None:
        bars = 1 if args.prompt_bars is None else args.prompt_bars
        try:
            prompt = Model(trained=trained).opening(args.prompt, bars)
        except ConfigError as error:
            raise ConfigError(f"--{error}".replace("prompt_bars", "prompt-bars")) from error
    pieces = trained.samples(
        args.count, sampling=sampling, seed=args.seed, given=given, prompt=prompt
    )
    for index, piece in enumerate(pieces):
        write_music(piece, args.out / f"sample_{index:03d}.mid", wav=args.wav, png=args.png)
    print(f"{len(pieces)} samples: {args.out}")
    for name, effect in trained.effects(given).items():
        print(f"{name}={in_words(name, given[name])} moves the prior by {effect:.2f} nats")
    return 0


def run_reconstruct(args: Namespace) -> int:
    """Write held-out windows beside their reconstructions."""
    if not args.count >= 1:
        raise ConfigError(f"--count must be >= 1, got {args.count}.")
    if args.out.suffix.lower() in (".wav", ".png"):
        raise ConfigError(f"--out must be a MIDI file, got {args.out}: --wav and --png add to it.")
    trained, corpus = _on_music(args)
    exports.check_windows(trained, corpus)
    pairs = exports.reconstructions(trained, corpus, args.count)
    write_music(pairs, args.out, wav=args.wav, png=args.png)
    print(f"Originals, each followed by its reconstruction: {args.out}")
    return 0


def run_space(args: Namespace) -> int:
    """Show what a search space may vary, and prove that its draws make runs."""
    if not args.samples >= 1:
        raise ConfigError(f"--samples must be >= 1, got {args.samples}.")
    space, corpus = space_on_music(args.space, args.data, parse_settings(args.set))
    console = Console(width=WIDEST)
    if not args.json:
        console.print(parameter_tree(space), highlight=False)
    proof = prove(space, corpus, samples=args.samples)
    shown = proof.samples[:SAMPLES_SHOWN]
    if args.json:
        counts = {"samples": args.samples, "valid": proof.n_valid}
        _print_json({**space_record(space), **counts, "sampled": shown})
    else:
        console.print("\n".join(sample_lines(shown)), highlight=False, markup=False)
        for parameter in space.parameters:
            if not any(map(parameter.exists, proof.samples)):
                print(f"{printable(parameter.name)} existed in none: see its conditions.")
    if proof.problems:
        raise ConfigError(
            f"{args.space} must make valid runs, got {len(proof.problems)} of {args.samples} "
            f"samples that are not. The first: {proof.problems[0]}"
        )
    if not args.json:
        print(
            f"{proof.n_valid} of {args.samples} samples make a valid run on {corpus.name}, with "
            f"{proof.trunks} encoders and decoders and {proof.priors} priors, each built."
        )
    return 0


def shape_of(args: Namespace) -> Shape:
    """How a command is to use a cluster."""
    if args.grow_to is not None and not args.address:
        raise SweepError("--grow-to must come with --address: this machine alone does not grow.")
    least, workers = _workers_of(args.workers_per_trial)
    if least is not None and not args.address:
        raise SweepError(
            "--workers-per-trial LEAST:MOST must come with --address: this machine alone is as "
            f"large as it is. Give one number, such as {least}."
        )
    return Shape(
        workers_per_trial=workers,
        workers_at_least=least,
        gpus_per_worker=args.gpus_per_worker,
        grow_to=args.grow_to,
        max_concurrent=args.max_concurrent,
        hours=args.hours,
    )


def _workers_of(text: str) -> tuple[int | None, int]:
    """The least workers of a trial, None if that is not said, and the most."""
    least, colon, most = text.rpartition(":")
    try:
        return int(least) if colon else None, int(most)
    except ValueError as error:
        raise SweepError(
            "--workers-per-trial must be a number, such as 4, or LEAST:MOST, such as 2:4, got "
            f"{text!r}."
        ) from error


def _print_json(value: Any) -> None:  # noqa: ANN401
    print(json.dumps(value, indent=2, allow_nan=False, default=str))


def _summary_lines(summary: Summary) -> list[str]:
    """What became of a folder of MIDI, as lines of text."""

    def counted(values: Mapping[str, int]) -> str:
        return ", ".join(f"{count} {name}" for name, count in values.items()) or "none"

    shared = summary.shared_openings
    lines = [
        f"files    {summary.files}: {summary.pieces} pieces, "
        f"{sum(summary.refused.values())} refused ({counted(summary.refused)})",
        f"music    {summary.bars} bars, {summary.notes} notes, {summary.pickups} pickups; "
        f"{summary.tokens_per_note:.2f} tokens a note, {summary.tokens_per_bar:.1f} a bar",
        f"unsaid   {counted(summary.notes_not_said)} of the notes",
        f"metres   {counted(summary.metres)}",
        f"windows  {counted(summary.windows)}; left out: {counted(summary.windows_left_out)}; "
        f"{summary.notes_clipped} notes cut at a window's end",
        f"alike    {shared.get('pieces', 0)} pieces share an opening, in "
        f"{shared.get('groups', 0)} groups that stay in one split",
    ]
    if summary.is_unchanged:
        return [*lines, "Nothing has changed since this corpus was made: it was left as it is."]
    return [*lines, f"seconds  {summary.seconds:.1f}"]


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "prepare": run_prepare,
    "train": run_train,
    "export": run_export,
    "evaluate": run_evaluate,
    "sample": run_sample,
    "reconstruct": run_reconstruct,
    "space": run_space,
}
