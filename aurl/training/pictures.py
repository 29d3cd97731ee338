"""The pictures and sounds of a trial, by the names that TensorBoard has them under.

The worker that trained the model draws and plays what it looked at, so that the driver, which has
all trials to write down, only stores files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aurl.audio import rendered, wav
from aurl.drawing.canvas import Picture, png
from aurl.drawing.heat_map import Labels, heat_map
from aurl.drawing.piano_roll import Captions, sheet
from aurl.training.look import RATES, SHIFTS, Look
from aurl.training.messages import Media

KL = "latent/kl_by_dimension"
RATE = "Rate of every dimension: its KL, or, under a learned prior, its information"
"""What the picture shows, in words."""


def kl_over_time(rows: Sequence[Mapping[str, Any]]) -> Picture | None:
    """The rate of every dimension at every evaluation, as one heat map.

    Args:
        rows: Of ``metrics.jsonl``.

    Returns:
        None if no evaluation is among them.
    """
    evaluated = [row for row in rows if any(name.startswith(RATES) for name in row)]
    if not evaluated:
        return None
    names = [name for name in evaluated[0] if name.startswith(RATES)]
    values = np.array([[row.get(name, np.nan) for row in evaluated] for name in names], float)
    labels = Labels(
        title=f"{RATE}, nats (mean over its slots)",
        rows=[name.removeprefix(RATES) for name in names],
        columns=[str(row["step"]) for row in evaluated],
        across="optimizer step",
    )
    return heat_map(values, labels)


def media_of(look: Look) -> Media:
    """Its pictures, and draws from the prior as sound."""
    sounds = {f"music/sample_{n}": wav(rendered(piece)) for n, piece in enumerate(look.samples, 1)}
    pictures = {tag: png(picture) for tag, picture in pictures_of(look).items()}
    return Media(pictures=pictures, sounds=sounds)


def pictures_of(look: Look) -> dict[str, Picture]:
    """Codes against factors, reconstructions beside originals, traversals."""
    pictures: dict[str, Picture] = {}
    if look.codes and look.factors:
        labels = Labels(
            title="Mutual information of live codes and factors, nats",
            rows=look.codes,
            columns=look.factors,
        )
        pictures["latent/mutual_information"] = heat_map(look.information, labels)
    pairs = list(zip(look.originals, look.reconstructions, strict=True))
    pictures["music/reconstructions"] = sheet(
        pairs,
        Captions(
            title="Held-out windows, and what is decoded from their codes",
            rows=[f"window {index}" for index in range(1, len(pairs) + 1)],
            columns=["original", "reconstruction"],
        ),
        cell=(320, 72),
    )
    pictures["latent/traversal"] = sheet(
        look.traversals,
        Captions(
            title="Traversal: one dimension is moved, the others are those of window 1",
            rows=look.dimensions,
            columns=[f"{shift:+g} sd" if shift else "mean" for shift in SHIFTS],
        ),
    )
    return pictures
