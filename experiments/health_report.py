"""What the models of ``kl_health.py`` say: tables in Markdown, and a picture for each corpus.

Intervals are percentiles over 1,000 bootstrap samples of trainings: models that share their
weights but for an operation are drawn together.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from felt import FELT, spearman

from aurl.metrics.kl_health import (
    TERM_FLOOR,
    TERMS,
    KLHealthSettings,
    LatentEvidence,
    kl_health,
)
from aurl.seeding import numpy_generator

SAMPLES = 1000
COPIES = 250
"""Of each sample: enough that N and N - 1 are the same."""

SCORE = "val/kl_health"
BEATS = 0.05
"""By so much less a good model beats a bad one if a term that is needed is left out."""

COLOURS = {
    "good": "#117733",
    "under-regularised": "#999933",
    "over-regularised": "#88ccee",
    "collapsed": "#888888",
    "a list of samples": "#cc6677",
    "cramped": "#994f88",
    "few of many": "#aa4499",
    "trickle": "#44aa99",
    "hollow": "#ddcc77",
    "off its prior": "#332288",
    "leaky": "#661100",
    "unused": "#000000",
    "half used": "#ee8866",
    "partly dead": "#6699cc",
}


def report(rows: list[dict[str, Any]], out: Path) -> str:
    """All tables; the pictures lie beside ``out``."""
    failed = [f"{row['name']}: {row['failure']}" for row in rows if "failure" in row]
    rows = [row for row in rows if "failure" not in row]
    parts = []
    for corpus in dict.fromkeys(row["corpus"] for row in rows):
        here = [row for row in rows if row["corpus"] == corpus]
        out.with_name(f"{out.stem}_{corpus}.svg").write_text(plot(here, corpus))
        parts += [f"`{corpus}`, {len(here)} models", table(here), correlations(here)]
        parts += [families(here), *failed]
    return "\n\n".join(parts)


def evidence_of(row: dict[str, Any]) -> LatentEvidence:
    """Samples that have the moments of all that were seen: to KL health they are the same."""
    dimension = np.array(row["dimension"], np.int64)
    half = np.sqrt(row["variance_of_mean"])
    mean = np.array(row["mean"])
    log_var = np.array(row["mean_log_variance"])
    ratio = np.maximum(row["posterior_variance"] / np.exp(log_var), 1.0)
    spread = np.arccosh(ratio)  # cosh is the mean of exp(spread) and exp(-spread)
    pair = np.ones((4 * COPIES, 1))
    return LatentEvidence(
        kl=pair * np.array(row["rates"])[dimension],
        mean=np.stack([mean - half, mean + half] * 2 * COPIES),
        log_var=np.stack([log_var + spread] * 2 * COPIES + [log_var - spread] * 2 * COPIES),
        reconstruction=np.full(4 * COPIES, row["val/reconstruction_nats"]),
        reconstruction_shuffled_z=np.full(4 * COPIES, row["val/reconstruction_shuffled_z_nats"]),
        dimension=dimension,
    )


def rescored(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the KL health of today in the place of the one that it was written with."""
    if "failure" in row:
        return row
    settings = KLHealthSettings(target_rate_nats=row["target_rate_nats"], n_target=row["n_target"])
    health = kl_health(evidence_of(row), settings)
    now = {f"val/{name}": value for name, value in health.to_dict().items()}
    return {**row, **now, "status": health.status}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The models, their terms, and what a user feels."""
    heads = ["model", "KL", "live", "band", "rate", "aggregate", "use", "**KL health**"]
    lines = _head([*heads, *FELT, "usefulness"])
    keys = [*(f"{SCORE}/{term}" for term in TERMS), SCORE, *FELT, "usefulness"]
    for row in sorted(rows, key=lambda row: -row[SCORE]):
        cells = [f"{row['val/kl_nats']:.1f}", *(f"{row[key]:.2f}" for key in keys)]
        lines.append(f"| {row['name'].partition(' ')[2]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def without(rows: Sequence[dict[str, Any]], term: str | None) -> np.ndarray:
    """KL health of each model with one of the terms left out; the verdicts of 0 stay."""
    kept = [name for name in TERMS if name != term]
    terms = np.array([[row[f"{SCORE}/{name}"] for name in kept] for row in rows])
    weights = [TERMS[name] for name in kept]
    score = np.exp(np.average(np.log(np.maximum(terms, TERM_FLOOR)), axis=1, weights=weights))
    return np.where([row["status"] == "ok" for row in rows], score, 0.0)


def correlations(rows: Sequence[dict[str, Any]]) -> str:
    """Rank correlation with what a user feels, whole, term by term, and with each left out."""
    living = [row for row in rows if row["status"] == "ok"]
    felt = (*FELT, "usefulness")
    lines = _head(["rank correlation of", *felt, f"usefulness, {len(living)} that are not 0"])
    scores: list[tuple[str, Callable[[Sequence[dict[str, Any]]], np.ndarray]]] = [
        ("**KL health**", partial(_column, key=SCORE))
    ]
    scores += [(f"{term} alone", partial(_column, key=f"{SCORE}/{term}")) for term in TERMS]
    scores += [(f"without {term}", partial(without, term=term)) for term in TERMS]
    for name, score in scores:
        cells = [_with_interval(rows, score, key) for key in felt]
        cells.append(_with_interval(living, score, "usefulness"))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def families(rows: Sequence[dict[str, Any]]) -> str:
    """Of each kind: how often a good model of the same seed is above it, also without a term."""
    heads = ["kind", "models", "KL health", "good above it", *(f"without {t}" for t in TERMS)]
    lines = _head([*heads, "usefulness"])
    good = [row for row in rows if row["kind"] == "good"]
    for kind in COLOURS:
        kin = [row for row in rows if row["kind"] == kind]
        if not kin:
            continue
        health = _column(kin, SCORE)
        above = [_above(good, kin, term) for term in (None, *TERMS)]
        cells = [f"{above[0]:.2f}"]
        cells += [
            f"**{share:.2f}**" if share < above[0] - BEATS else f"{share:.2f}"
            for share in above[1:]
        ]
        if kind == "good":
            cells = [""] * len(cells)
        useful = float(np.median(_column(kin, "usefulness")))
        span = f"{health.min():.2f} to {health.max():.2f}"
        lines.append(f"| {kind} | {len(kin)} | {span} | {' | '.join(cells)} | {useful:.2f} |")
    return "\n".join(lines)


def _above(
    good: Sequence[dict[str, Any]], bad: Sequence[dict[str, Any]], term: str | None
) -> float:
    """Share of pairs of a seed in which the good one is above; ties count half."""
    ours, theirs = without(good, term)[:, None], without(bad, term)
    seeds = [np.array([row["settings"]["seed"] for row in rows]) for rows in (good, bad)]
    pairs = seeds[0][:, None] == seeds[1]
    return float(((ours > theirs) + 0.5 * (ours == theirs))[pairs].mean())


def _column(rows: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows])


def _with_interval(
    rows: Sequence[dict[str, Any]],
    score: Callable[[Sequence[dict[str, Any]]], np.ndarray],
    key: str,
) -> str:
    """A rank correlation and its 95 % interval over trainings."""
    x, y = score(rows), _column(rows, key)
    names = [json.dumps(row["settings"], sort_keys=True) for row in rows]
    groups = [np.flatnonzero([name == one for name in names]) for one in dict.fromkeys(names)]
    generator = numpy_generator(0, "bootstrap of trainings")
    draws = generator.integers(len(groups), size=(SAMPLES, len(groups)))
    values = []
    for draw in draws:
        chosen = np.concatenate([groups[index] for index in draw])
        values.append(spearman(x[chosen], y[chosen]))
    low, high = np.quantile(values, (0.025, 0.975))
    return f"{spearman(x, y):.2f} ({low:.2f} to {high:.2f})"


def _head(cells: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(cells) + " |", "|---" * len(cells) + "|"]


def plot(rows: Sequence[dict[str, Any]], corpus: str) -> str:
    """KL health against usefulness as an SVG, a colour for each kind of model."""
    most = max(row["usefulness"] for row in rows)
    kinds = [kind for kind in COLOURS if any(row["kind"] == kind for row in rows)]
    marks = "".join(
        f'<circle cx="{50 + 300 * row[SCORE]:.1f}" '
        f'cy="{350 - 300 * row["usefulness"] / most:.1f}" r="5" fill="{COLOURS[row["kind"]]}">'
        f"<title>{row['name']}</title></circle>"
        for row in rows
    )
    keys = "".join(
        f'<circle cx="390" cy="{60 + 20 * index}" r="5" fill="{COLOURS[kind]}"/>'
        f'<text x="402" y="{64 + 20 * index}">{kind}</text>'
        for index, kind in enumerate(kinds)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 540 400" font-family="sans-serif" '
        'font-size="12"><rect width="540" height="400" fill="#ffffff"/>'
        '<path d="M50 45V350H355" fill="none" stroke="#000000"/>'
        f'<text x="50" y="30">{corpus}: usefulness (0 to {most:.2f}) by KL health</text>'
        '<text x="46" y="366">0</text><text x="346" y="366">1</text>'
        f'<text x="170" y="385">KL health</text>{marks}{keys}</svg>\n'
    )
