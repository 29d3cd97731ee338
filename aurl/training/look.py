"""A last look at a trained model: what pictures are drawn and sounds made from.

All music of codes is decoded at once: a step of decoding costs hardly more for more rows.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from aurl.data.corpus import Corpus
from aurl.data.piece import Piece
from aurl.metrics.kl_health import KLHealth
from aurl.metrics.mutual_information import rank_mutual_information
from aurl.model.generation import Sampling, generate, prior_block
from aurl.model.latents import LatentLayout
from aurl.model.vae import Vae
from aurl.seeding import torch_generator

OF_DIMENSIONS = "dimension/"
"""What values of single dimensions are logged under: too many for a table of trials."""

RATES = f"{OF_DIMENSIONS}rate_nats/"
"""What the rate of each dimension is logged under, by its name."""

INFORMATION = f"{OF_DIMENSIONS}information_nats/"
"""The same of its information about the data."""

RECONSTRUCTIONS = 6
SAMPLES = 3
DIMENSIONS = 8
"""Dimensions that are traversed, those with the highest rates."""

SHIFTS = (-3.0, -1.5, 0.0, 1.5, 3.0)
"""Where a dimension is put, in standard deviations of the aggregate posterior from its mean."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What an evaluation saw of the latent space."""

    corpus: Corpus
    windows: Int[np.ndarray, " sample"]
    mean: Float[np.ndarray, "sample coordinate"]
    log_var: Float[np.ndarray, "measured coordinate"]
    """Of the first windows, those whose likelihood was measured, or all."""

    health: KLHealth
    information: Float[np.ndarray, " dimension"]
    """Of each dimension about the data, in nats, mean over its slots."""

    factors: Int[np.ndarray, "window factor"]
    """Of the final evaluation's windows, of which those seen are the first."""

    factor_names: list[str]

    def of_dimensions(self, layout: LatentLayout) -> dict[str, float]:
        """Rate and information of each dimension in nats, means over its slots, by name."""
        columns = {RATES: self.health.kl_per_dimension, INFORMATION: self.information}
        return {
            f"{kind}{name}": value
            for kind, values in columns.items()
            for name, value in zip(layout.dimension_names, values.tolist(), strict=True)
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """Pieces and numbers of one model, with what they are called."""

    codes: tuple[str, ...]
    """Coordinates of live dimensions: ``local/3``, or ``local/3 slot 1`` of several slots."""

    factors: tuple[str, ...]
    information: Float[np.ndarray, "code factor"]
    """Mutual information of codes and factors in nats, the estimate that MIG is made from."""

    originals: tuple[Piece, ...]
    reconstructions: tuple[Piece, ...]
    dimensions: tuple[str, ...]
    """Those traversed, with their rates."""

    traversals: tuple[tuple[Piece, ...], ...]
    """By dimension, then by shift; the other dimensions are those of the first original."""

    samples: tuple[Piece, ...]


@torch.no_grad()
def look_at(model: Vae, seen: Seen) -> Look | None:
    """Decode reconstructions, traversals and samples; None of a model that has diverged."""
    if seen.health.status == "non_finite" or not np.isfinite(seen.mean).all():
        return None
    training = model.training
    model.eval()
    try:
        return _look(model, seen)
    finally:
        model.train(training)


def _look(model: Vae, seen: Seen) -> Look:
    layout, corpus = model.layout, seen.corpus
    shown = seen.windows[:RECONSTRUCTIONS]
    rates = seen.health.kl_per_dimension
    traversed: list[int] = np.argsort(-rates, kind="stable")[:DIMENSIONS].tolist()
    moved = np.concatenate([_moved(seen, layout, dimension) for dimension in traversed])
    decoded = _decoded(model, np.concatenate([seen.mean[: len(shown)], moved]), corpus)
    sampled = generate(  # the first of an export's
        model,
        prior_block(model, 0, 0)[:SAMPLES],
        max_tokens=corpus.max_tokens,
        sampling=Sampling(temperature=1.0),
        generator=torch_generator(0, "generation"),
    )
    rows = iter(decoded[len(shown) :])
    live = seen.health.live[layout.dimension.numpy()]
    codes, factors = seen.mean[:, live], seen.factors[: len(seen.mean)]
    names = layout.dimension_names
    return Look(
        codes=tuple(
            name for name, is_live in zip(layout.coordinate_names, live, strict=True) if is_live
        ),
        factors=tuple(seen.factor_names),
        information=rank_mutual_information(codes.round(6), factors).matrix,
        originals=tuple(corpus.music(shown)),
        reconstructions=tuple(decoded[: len(shown)]),
        dimensions=tuple(f"{names[index]}  {rates[index]:z.2f} nats" for index in traversed),
        traversals=tuple(tuple(next(rows) for _ in SHIFTS) for _ in traversed),
        samples=tuple(model.music(sampled)),
    )


def _moved(
    seen: Seen, layout: LatentLayout, dimension: int
) -> Float[np.ndarray, "shift coordinate"]:
    """The first window's code with one dimension put at every shift, in all its slots."""
    part = layout.dimension.numpy() == dimension
    spread = np.sqrt(seen.mean.var(axis=0) + np.exp(seen.log_var).mean(axis=0))
    put = seen.mean.mean(axis=0) + np.asarray(SHIFTS)[:, None] * spread
    return np.where(part, put, seen.mean[0])


def _decoded(
    model: Vae, codes: Float[np.ndarray, "sample coordinate"], corpus: Corpus
) -> list[Piece]:
    z = torch.from_numpy(codes).to(next(model.parameters()))
    return model.music(generate(model, z, max_tokens=corpus.max_tokens, sampling=Sampling()))
