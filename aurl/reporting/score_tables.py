"""How the scores of ``aurl metrics`` look in a terminal."""

from collections.abc import Mapping
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table

_OWN = ("disentanglement", "mig_rank32", "dcimig")


def score_tables(record: Mapping[str, Any]) -> RenderableType:
    """Scores with their intervals, values for each factor, and the information matrix.

    Args:
        record: From :func:`aurl.reporting.scores.score_record`.
    """
    samples, dimensions = record["samples"], record["dimensions"]
    lines = [
        f"{samples['all']} samples, {samples['train']} of them train; {dimensions['all']} "
        f"dimensions, {len(dimensions['live'])} of them live; {record['factors']} factors",
    ]
    if record["status"] != "ok":
        lines.append(f"status {record['status']}: nothing can be scored above chance")
    if record.get("kl_health_status", "ok") != "ok":
        lines.append(f"KL health is 0: {record['kl_health_status']}")
    if record["ignored_arrays"]:
        lines.append(f"not read: {', '.join(record['ignored_arrays'])}")
    parts = [_scores(record), _per_factor(record), _information(record)]
    if "kl_nats" in dimensions:
        parts.append(_dimensions(dimensions))
    seconds = ", ".join(f"{name} {each:.2f}" for name, each in record["seconds"].items())
    return Group(*lines, *parts, f"seconds: {seconds}")


def _numbers(first: str, *others: str, justify: Literal["left", "right"] = "left") -> Table:
    """A table without rows, of numbers but for its first column."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, justify=justify)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _dimensions(dimensions: Mapping[str, Any]) -> Table:
    """Of posteriors: what each dimension pays, carries and tells."""
    table = _numbers("dimension, nats", "KL", "carried", "information", justify="right")
    columns = ("kl_nats", "carried_nats", "information_nats")
    values = zip(*(dimensions[name] for name in columns), strict=True)
    for index, row in enumerate(values):
        table.add_row(str(index), *(f"{value:z.3f}" for value in row))
    return table


def _scores(record: Mapping[str, Any]) -> Table:
    table = _numbers("score", "value", "95 % interval")
    values = {name: value for name, value in record.items() if isinstance(value, float)}
    for name in sorted(values, key=lambda name: (name not in _OWN, name)):
        interval = record["intervals"].get(name)
        bounds = f"[{interval['low']:z.3f}, {interval['high']:z.3f}]" if interval else ""
        table.add_row(name, f"{values[name]:.4f}", bounds)
    return table


def _per_factor(record: Mapping[str, Any]) -> Table:
    table = _numbers("by factor", *map(str, range(record["factors"])))
    for name, values in record["per_factor"].items():
        label = "entropy, nats" if name == "entropy" else name
        table.add_row(label, *(f"{value:z.3f}" for value in values))
    return table


def _information(record: Mapping[str, Any]) -> Table:
    table = _numbers("nats, 32 rank bins", *map(str, range(record["factors"])))
    rows = record["mutual_information"]["rank32"]
    for code, values in zip(record["dimensions"]["live"], rows, strict=True):
        table.add_row(f"dimension {code}", *(f"{value:z.3f}" for value in values))
    return table
