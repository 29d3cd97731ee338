"""What can be moved: a slider for each live dimension, a fader for each attribute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aurl.analysis.directions import Direction
from aurl.analysis.moves import moved_by_dimension
from aurl.analysis.names import Name
from aurl.analysis.study import Study
from aurl.analysis.traversal import Aggregate, Effect
from aurl.model.latents import LatentLayout
from aurl.model.vae import Vae
from aurl.seeding import torch_generator

DRAWS = 1000
"""Draws of the prior that stand for the music where that is not here."""

LEAST_R2 = 0.05
"""Of its variance in held-out pieces that codes foretell of an attribute that has a fader."""

WORDS = {
    "rhythm_density": ("sparser", "denser"),
    "syncopation": ("on the beat", "off the beat"),
    "mean_pitch": ("lower", "higher"),
    "pitch_range": ("narrower", "wider"),
    "contour": ("falling", "rising"),
    "polyphony": ("thinner", "fuller"),
    "pitch_class_entropy": ("fewer tones", "more tones"),
    "tempo": ("slower", "faster"),
}
"""What music becomes with less and with more of each attribute that has an order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slider:
    """One latent dimension."""

    dimension: int
    """Its place among the layout's dimensions."""

    name: str
    """As the layout has it: ``global/3``."""

    title: str
    """What it is called: after what it moves most, no two alike; ``name`` if that is nothing."""

    ends: tuple[str, str] | None = None
    """What music becomes at its left and at its right end."""

    moves: Sequence[Effect] = ()
    """The attributes that it moves, each by an interval of its own, the most moved first."""

    tells: Name | None = None
    """What it tells about the music, in the slot that tells most; None if that is no more than
    chance, or the music is not here."""

    information_nats: float | None = None
    """What it tells in all, a slot; None if the music is not here."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Controls:
    """What can be moved, and in which units."""

    sliders: Sequence[Slider]
    """Within each level, what tells most first."""

    faders: Sequence[Direction]
    aggregate: Aggregate


def studied(study: Study) -> Controls:
    """Sliders of live dimensions, and faders of the attributes that codes are known to tell.

    They are those of which held-out pieces show it: R² is :data:`LEAST_R2` or more, and its 95 %
    interval does not reach 0.
    """
    layout = study.subject.layout
    moves = moved_by_dimension(study)
    live = [index for index in range(layout.n_dimensions) if study.live[index]]
    called = titles({layout.dimension_names[index]: moves[index] for index in live})
    sliders = [
        Slider(
            dimension=index,
            name=layout.dimension_names[index],
            title=called[layout.dimension_names[index]],
            ends=_ends(moves[index][0]) if moves[index] else None,
            moves=moves[index],
            tells=study.tells[index],
            information_nats=float(study.information[index]),
        )
        for index in live
    ]
    return Controls(
        sliders=_in_order(sliders, layout),
        faders=[
            each for each in study.directions if each.r2 >= LEAST_R2 and each.r2_interval.low > 0.0
        ],
        aggregate=study.aggregate,
    )


def unstudied(model: Vae) -> Controls:
    """A slider for every dimension, in units of the prior; for a model whose music is not here."""
    drawn = model.sample_prior(DRAWS, generator=torch_generator(0, "controls")).double().numpy()
    sliders = [
        Slider(dimension=index, name=name, title=name)
        for index, name in enumerate(model.layout.dimension_names)
    ]
    return Controls(
        sliders=sliders,
        faders=[],
        aggregate=Aggregate(mean=drawn.mean(axis=0), std=drawn.std(axis=0)),
    )


def titles(moves: Mapping[str, Sequence[Effect]]) -> dict[str, str]:
    """A title for each dimension: the attribute that it moves most.

    Of those that share one, that which moves it most has it alone; the others are told apart by
    what they move beside it, or else by their number.

    Args:
        moves: What each dimension moves, the most moved first, by the dimension's name.
    """

    def strength(name: str) -> float:
        return -abs(moves[name][0].size.mean) if moves[name] else 0.0

    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(moves, key=strength):
        attributes = [each.attribute.replace("_", " ") for each in moves[name]]
        first = attributes[0] if attributes else name
        wanted = [first, *(f"{first}, {other}" for other in attributes[1:])]
        wanted += [f"{first} ({number})" for number in range(2, 2 + len(moves))]
        found[name] = next(each for each in wanted if each not in taken)
        taken.add(found[name])
    return found


def _ends(effect: Effect) -> tuple[str, str]:
    """What music becomes at the left and at the right of a slider that moves an attribute."""
    name = effect.attribute
    less, more = WORDS.get(name, (f"less {name}", f"more {name}"))
    return (less, more) if effect.size.mean > 0.0 else (more, less)


def _in_order(sliders: Sequence[Slider], layout: LatentLayout) -> list[Slider]:
    """By level, and within one by what is told in all: what a slot tells times its slots."""
    level_of = np.repeat(np.arange(len(layout.levels)), [level.dim for level in layout.levels])
    return sorted(
        sliders, key=lambda each: (int(level_of[each.dimension]), -(each.information_nats or 0.0))
    )
