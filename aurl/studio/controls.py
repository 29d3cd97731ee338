"""What can be moved: a slider for each live dimension, a fader for each attribute."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aurl.analysis.directions import Direction
from aurl.analysis.names import Name
from aurl.analysis.study import Study
from aurl.analysis.traversal import Aggregate
from aurl.model.latents import LatentLayout
from aurl.model.vae import Vae
from aurl.seeding import torch_generator

DRAWS = 1000
"""Draws of the prior that stand for the music where that is not here."""

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

    tells: Name | None = None
    """What it tells about the music, in the slot that tells most; None if that is no more than
    chance, or the music is not here."""

    rate_nats: float | None = None
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

    They are those of which held-out pieces show it: the 95 % interval of R² does not reach 0.
    """
    layout = study.subject.layout
    sliders = [
        Slider(dimension=index, name=name, tells=study.tells[index], rate_nats=float(rate))
        for index, (name, rate) in enumerate(zip(layout.dimension_names, study.rates, strict=True))
        if study.live[index]
    ]
    return Controls(
        sliders=_in_order(sliders, layout),
        faders=[each for each in study.directions if each.r2_interval.low > 0.0],
        aggregate=study.aggregate,
    )


def unstudied(model: Vae) -> Controls:
    """A slider for every dimension, in units of the prior; for a model whose music is not here."""
    drawn = model.sample_prior(DRAWS, generator=torch_generator(0, "controls")).double().numpy()
    sliders = [
        Slider(dimension=index, name=name)
        for index, name in enumerate(model.layout.dimension_names)
    ]
    return Controls(
        sliders=sliders,
        faders=[],
        aggregate=Aggregate(mean=drawn.mean(axis=0), std=drawn.std(axis=0)),
    )


def _in_order(sliders: Sequence[Slider], layout: LatentLayout) -> list[Slider]:
    """By level, and within one by what is told in all: slots that there are times the rate."""
    level_of = np.repeat(np.arange(len(layout.levels)), [level.dim for level in layout.levels])
    return sorted(
        sliders, key=lambda each: (int(level_of[each.dimension]), -(each.rate_nats or 0.0))
    )
