"""What a model's codes do: MIDI to listen to and JSON to read, one function a tool.

Statistics of codes are of training windows and effects are measured on test windows; what is
listened to starts from any code, such as that of a MIDI file.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from aurl.analysis.directions import moved
from aurl.analysis.interpolation import PathKind, path, smoothness
from aurl.analysis.maps import pca_map, umap_map
from aurl.analysis.readings import Readings, musical_readings
from aurl.analysis.study import Study
from aurl.analysis.swaps import compared, part_of, shares, swapped
from aurl.analysis.traversal import Effect, effects, traversed
from aurl.data.arrange import in_sequence
from aurl.data.midi import write_midi
from aurl.data.piece import Piece
from aurl.errors import ConfigError
from aurl.files import write_json
from aurl.metrics.reconstruction import note_f1
from aurl.training.evaluate import partners

STRENGTHS = np.linspace(-2.0, 2.0, 5)
"""How far a code is moved along a direction, in standard deviations."""

MapKind = Literal["pca", "umap"]


def write_traversal(
    study: Study,
    start: Float[np.ndarray, " coordinate"],
    out: Path,
    *,
    steps: Float[np.ndarray, " step"],
    windows: int,
) -> dict[str, Any]:
    """Move each live dimension; a MIDI file for each, and ``traversal.json``.

    Args:
        study: The model and what is known of its codes.
        start: Code that the music starts from.
        out: Folder to write to.
        steps: Where a dimension is put, in standard deviations of the aggregate posterior.
        windows: Test windows that effects are measured on.

    Returns:
        What the JSON holds.
    """
    subject = study.subject
    chosen = study.drawn("test", windows)
    z = np.concatenate([subject.posterior(chosen)[0], start[None]])
    ground = study.ground(subject.readings, chosen)
    coordinates = subject.layout.dimension.numpy()
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(subject.layout.dimension_names):
        row: dict[str, Any] = {
            "dimension": name,
            "information_nats": float(study.information[index]),
            "live": bool(study.live[index]),
            "tells": None if study.tells[index] is None else str(study.tells[index]),
        }
        rows.append(row)
        if not study.live[index]:
            continue
        along = traversed(z, coordinates == index, study.aggregate, steps)
        curves, music = _heard(study, subject.readings, along)
        row["effects"] = [_plain(each) for each in effects(curves, steps, ground)]
        _write_music(study, music, out / f"{name.replace('/', '_')}.mid")
    found = {
        "steps": steps.tolist(),
        "windows": len(chosen),
        "training_windows": len(study.windows),
        "dimensions": rows,
    }
    write_json(out / "traversal.json", found)
    return found


def write_interpolation(
    study: Study,
    ends: Float[np.ndarray, "2 coordinate"],
    out: Path,
    *,
    kind: PathKind,
    steps: int,
) -> dict[str, Any]:
    """Write what is heard on a path between two codes, and how smooth it is.

    Raises:
        ConfigError: If the path is to go through a prior that has a musical context.
    """
    subject = study.subject
    try:
        codes = path(subject.model.prior, ends[0], ends[1], np.linspace(0.0, 1.0, steps), kind)
    except ValueError as error:
        raise ConfigError(
            "path must be linear or spherical for a model with latent.context, got prior."
        ) from error
    music = subject.pieces(codes)
    _write_music(study, music, out / "interpolation.mid")
    found = {
        "path": kind,
        "smoothness": smoothness(music),
        "norm": np.linalg.norm(codes, axis=1).tolist(),
        "note_f1_to_first": [_f1(music[0], piece) for piece in music],
        "note_f1_to_last": [_f1(music[-1], piece) for piece in music],
        "attributes": _attributes(study, music),
    }
    write_json(out / "interpolation.json", found)
    return found


def write_swap(
    study: Study,
    ends: Float[np.ndarray, "2 coordinate"],
    out: Path,
    *,
    part: tuple[str, int | None],
    pairs: int,
) -> dict[str, Any]:
    """Write a receiver, a donor, and the receiver with a part of the donor's code.

    Args:
        study: The model and what is known of its codes.
        ends: Codes of receiver and donor.
        out: Folder to write to.
        part: The level, and which slot of it unless all are swapped.
        pairs: Pairs of test windows that shares are measured on.

    Raises:
        ConfigError: If there is no such level or slot.
    """
    subject = study.subject
    swap = part_of(subject.layout, *part)
    music = subject.pieces(np.concatenate([ends, swapped(ends[:1], ends[1:], swap)]))
    for name, piece in zip(("receiver", "donor", "swapped"), music, strict=True):
        write_midi(piece, out / f"{name}.mid")
    windows = study.drawn("test", pairs)
    pieces = study.pieces_of(windows)
    other = partners(pieces)
    z, _ = subject.posterior(windows)
    heard = subject.hear(z)
    result = subject.hear(swapped(z, z[other], swap))
    swaps = compared(heard, heard[other], result, subject.readings.categorical)
    found = {
        "level": part[0],
        "slot": part[1],
        "attributes": _attributes(study, music),
        "pairs": len(windows),
        "shares": [
            asdict(each) for each in shares(swaps, subject.readings.names, pieces).values()
        ],
    }
    write_json(out / "swap.json", found)
    return found


def write_names(study: Study, out: Path) -> dict[str, Any]:
    """Write what each coordinate is named after."""
    rows = [
        {"coordinate": label, **({} if name is None else asdict(name))}
        for label, name in zip(
            study.subject.layout.coordinate_names, study.names.names, strict=True
        )
    ]
    found = {"floor": study.names.floor, "coordinates": rows}
    write_json(out / "names.json", found)
    return found


def write_directions(
    study: Study, start: Float[np.ndarray, " coordinate"], out: Path, *, windows: int
) -> dict[str, Any]:
    """Move codes along the direction of each attribute; MIDI for each, and ``directions.json``.

    Args:
        study: The model and what is known of its codes.
        start: Code that the music starts from.
        out: Folder to write to.
        windows: Test windows that effects are measured on.
    """
    subject = study.subject
    chosen = study.drawn("test", windows)
    z = np.concatenate([subject.posterior(chosen)[0], start[None]])
    readings = musical_readings()
    ground = study.ground(readings, chosen)
    rows: list[dict[str, Any]] = []
    for each in study.directions:
        curves, music = _heard(study, readings, moved(z, each.vector, STRENGTHS))
        rows.append(
            {
                "attribute": each.attribute,
                "r2": each.r2,
                "r2_interval": asdict(each.r2_interval),
                "gain": each.gain,
                "penalty": each.penalty,
                "vector": each.vector.tolist(),
                "effects": [_plain(effect) for effect in effects(curves, STRENGTHS, ground)],
            }
        )
        _write_music(study, music, out / f"{each.attribute}.mid")
    found = {"strengths": STRENGTHS.tolist(), "windows": len(chosen), "directions": rows}
    write_json(out / "directions.json", found)
    return found


def write_map(study: Study, out: Path, *, kind: MapKind) -> dict[str, Any]:
    """Write the codes of the studied windows as points in the plane, with their attributes.

    Raises:
        ConfigError: If it is to be made by UMAP, which is not installed.
    """
    made = umap_map(study.mean) if kind == "umap" else pca_map(study.mean)
    corpus = study.subject.corpus
    values = np.asarray(corpus.attributes)[study.windows].astype(np.float64)
    found = {
        "map": kind,
        "explained": None if made.explained is None else made.explained.tolist(),
        "windows": study.windows.tolist(),
        "points": made.points.tolist(),
        "attributes": {
            name: _known(column)
            for name, column in zip(corpus.attribute_names, values.T, strict=True)
        },
    }
    write_json(out / "map.json", found)
    return found


def _heard(
    study: Study, readings: Readings, codes: Float[np.ndarray, "window step coordinate"]
) -> tuple[Float[np.ndarray, "measured step attribute"], list[Piece]]:
    """What is read along the way from every window but the last, and the music of the last."""
    windows, steps, size = codes.shape
    pieces = study.subject.pieces(codes.reshape(windows * steps, size))
    values = readings.read(pieces[:-steps])
    return values.reshape(windows - 1, steps, -1), pieces[-steps:]


def _plain(effect: Effect) -> dict[str, Any]:
    return {**asdict(effect), "is_certain": effect.is_certain}


def _write_music(study: Study, music: Sequence[Piece], file: Path) -> None:
    write_midi(in_sequence(music, bars_each=study.subject.model.n_bars), file)


def _attributes(study: Study, music: Sequence[Piece]) -> dict[str, list[float | None]]:
    """What is heard in pieces, attribute by attribute."""
    readings = study.subject.readings
    columns = readings.read(music).T
    return {name: _known(column) for name, column in zip(readings.names, columns, strict=True)}


def _known(values: Float[np.ndarray, " value"]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _f1(first: Piece, second: Piece) -> float:
    return note_f1(_notes(first), _notes(second))


def _notes(piece: Piece) -> Int[np.ndarray, "note 2"]:
    return np.stack([piece.notes["onset"], piece.notes["pitch"].astype(np.int64)], axis=1)
