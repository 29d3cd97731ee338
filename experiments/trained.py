"""Train a list of small models and keep what was measured of each, one JSON line a model.

What the tables of docs/log.md are made from. Cases that are in the file already are not trained
again, so an experiment that was cut off goes on where it was. The weights are kept beside the
file, one model for every setting: without the file, or for a case that differs in its surgery
alone, they are measured and not trained again.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeAlias

import torch

from aurl.config import RunConfig, from_plain, to_plain
from aurl.data.batches import TokenStore
from aurl.data.corpora import load_named
from aurl.data.corpus import Corpus
from aurl.model.vae import Vae
from aurl.plain import merged, overridden
from aurl.training import checkpoint
from aurl.training.evaluate import Evaluator
from aurl.training.loop import DivergedError, Run, train
from aurl.training.messages import Row
from aurl.training.workers import Workers

Measure: TypeAlias = Callable[[Vae, Corpus, RunConfig], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model: what it is by construction, and how it is made."""

    name: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """Dotted keys over the experiment's base."""

    surgery: str = ""
    """What is done to the trained weights; see the experiment."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What every case has in common."""

    corpus: str
    base: dict[str, Any]
    measure: Measure
    operate: Callable[[Vae, str], None] | None = None
    device: str = "cpu"


def run(
    experiment: Experiment, cases: Sequence[Case], out: Path, processes: int
) -> list[dict[str, Any]]:
    """Train the cases that ``out`` does not hold yet; returns the rows of all, in their order."""
    return run_all([(experiment, case) for case in cases], out, processes)


def run_all(
    planned: Sequence[tuple[Experiment, Case]], out: Path, processes: int
) -> list[dict[str, Any]]:
    """The same for cases of several experiments at once.

    A case that differs from an earlier one in its surgery alone waits for its weights.
    """
    rows = {row["name"]: row for row in read_rows(out)}
    missing = [(experiment, case) for experiment, case in planned if case.name not in rows]
    for name in {experiment.corpus for experiment, _ in missing}:
        load_named(name)  # if it has to be built, by one process only
    out.parent.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    context = get_context("spawn")
    first, later = _first_and_later(missing)
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        going: dict[Future[dict[str, Any]], tuple[Experiment, Case]] = {}
        while first or going:
            for pair in first[: processes - len(going)]:
                going[pool.submit(_one, *pair, out.with_suffix(""))] = pair
                first.remove(pair)
            ended, _ = wait(going, return_when=FIRST_COMPLETED)
            for future in ended:
                row = future.result()
                rows[row["name"]] = row
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{row['name']}: {row['seconds']:.0f} s of processor time", flush=True)
                first[:0] = later.pop(_weights_name(*going.pop(future)), [])
    return [rows[case.name] for _, case in planned]


def _first_and_later(
    pairs: Sequence[tuple[Experiment, Case]],
) -> tuple[list[tuple[Experiment, Case]], dict[str, list[tuple[Experiment, Case]]]]:
    """One case for each training; the others by the name of the weights that they wait for."""
    first: dict[str, tuple[Experiment, Case]] = {}
    later: dict[str, list[tuple[Experiment, Case]]] = {}
    for pair in pairs:
        name = _weights_name(*pair)
        if first.setdefault(name, pair) is not pair:
            later.setdefault(name, []).append(pair)
    return list(first.values()), later


def read_rows(out: Path) -> list[dict[str, Any]]:
    """What has been measured so far."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def _config(experiment: Experiment, case: Case) -> RunConfig:
    return from_plain(overridden(merged(to_plain(RunConfig()), experiment.base), case.settings))


def _weights_name(experiment: Experiment, case: Case) -> str:
    text = json.dumps(to_plain(_config(experiment, case)), sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"


def _one(experiment: Experiment, case: Case, folder: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    started = process_time()
    config = _config(experiment, case)
    corpus = load_named(config.data.corpus, config.data.melodies)
    row: dict[str, Any] = {
        "name": case.name,
        "corpus": experiment.corpus,
        "kind": case.kind,
        "settings": case.settings,
    }
    began = perf_counter()
    weights = folder / _weights_name(experiment, case)
    model = Vae(config, corpus.vocabulary, corpus.n_bars)
    if not weights.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _train(config, corpus, model, weights, torch.device(experiment.device))
        except DivergedError as error:
            return {**row, "failure": str(error), "seconds": process_time() - started}
    row["training_s"] = perf_counter() - began
    checkpoint.load_weights(weights, model)
    if experiment.operate is not None and case.surgery:
        experiment.operate(model, case.surgery)
    model.eval().to(experiment.device)
    measured = experiment.measure(model, corpus, config)
    return {**row, **measured, "seconds": process_time() - started}


def _train(
    config: RunConfig, corpus: Corpus, model: Vae, weights: Path, device: torch.device
) -> None:
    """Train one model from its config's seed and keep what it has at the end."""

    def report(rows: Sequence[Row]) -> bool:
        return True

    with tempfile.TemporaryDirectory() as folder:
        task = Run(config=config, corpus=corpus, checkpoint_folder=Path(folder) / "checkpoint")
        train(task, workers=Workers(device=device), report=report)
        checkpoint.load_run_weights(task.checkpoint_folder, model)
        checkpoint.save_weights(weights, model)


def evaluated(model: Vae, corpus: Corpus, config: RunConfig) -> dict[str, Any]:
    """What a sweep's last evaluation measures, on the validation windows."""
    store = TokenStore(corpus, next(model.parameters()).device)
    evaluator = Evaluator(corpus, store, config, split="val")
    return dict(evaluator.evaluate(model, final=True))


def table(rows: Sequence[dict[str, Any]], columns: Mapping[str, str]) -> str:
    """One line a case in Markdown: these of its figures, and the processor time it took."""
    lines = ["| | " + " | ".join(columns) + " | CPU s |", "|---" * (len(columns) + 2) + "|"]
    for row in rows:
        values = [f"{row[key]:.2f}" if key in row else "" for key in columns.values()]
        ending = row.get("failure", "")
        lines.append(f"| {row['name']}{ending} | {' | '.join(values)} | {row['seconds']:.0f} |")
    return "\n".join(lines)
