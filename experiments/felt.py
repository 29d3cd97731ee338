"""What a user feels of a model, measured from the notes that it plays and from nothing else.

Five things that people do with a latent space. None is computed from a KL, a posterior variance or
a likelihood, which is what ``kl_health`` is made of:

- ``validity``, *draw*: draws from the prior are music of the kind. On melodies, how near a draw is
  to the nearest of all melodies: the share of its 16 slots that agree, 0 where that is no more
  than for slots of melodies mixed at random, 1 where all agree (``exact``, beside it, is the share
  of draws that are a melody). Elsewhere the mean over attributes of 1 minus the total variation
  between their classes in 512 draws and in 1,000 windows;
- ``reconstruction``, *load*: note F1 of what comes back from the code of a piece, 0 where it is no
  more than that of what comes back from other pieces, 1 where all comes back;
- ``control``, *ask*: the codes mean off the data what they mean on it. A forest learns each
  attribute from the codes of windows and foretells it for draws from the prior; then it is read
  from what the decoder makes of them. Rank correlation of the two, negative ones as 0, mean over
  attributes;
- ``sliders``, *move*: how many of the 8 faders of a usual controller could be given a dimension
  that does something. A dimension of a draw is replaced by that of another draw; it works if at
  least one note in 20 changes, mean over draws. At most 12 dimensions are tried, and stand for
  all;
- ``walk``: from one draw to another in four steps along the sphere. What changes between the two
  ends, less what changes in a mean step, times 4/3: 1 if everything changes and each step brings
  a quarter of it, 0 if nothing changes or each step changes as much as the whole way.

``usefulness`` is their geometric mean, each floored at 0.01, which is what 512 draws can tell.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesRegressor
from torch import Tensor

from aurl.data.attributes import ATTRIBUTES, attributes, discretized
from aurl.data.batches import TokenStore
from aurl.data.corpus import Corpus
from aurl.data.melodies import grid_of, midi_grid, read_factors
from aurl.metrics.reconstruction import note_f1
from aurl.model.generation import Sampling, generate
from aurl.model.vae import Vae
from aurl.seeding import numpy_generator, torch_generator
from aurl.training.reconstructions import Notes, notes_of

DRAWS, WINDOWS, LEARNED, LOADED, WALKS, SLIDERS = 512, 1000, 2000, 160, 32, 12
STEPS = 4
"""Steps of a walk."""

FADERS = 8
WORKS = 0.05
"""Share of the notes that a slider changes, from which on it works: a note in 20."""

FELT = ("validity", "reconstruction", "control", "sliders", "walk")
FLOOR = 0.01
READABLE = [name for name in ATTRIBUTES if name not in ("tonic", "mode", "metre")]
"""Attributes that tokens tell and that have an order."""


@torch.no_grad()
def felt(model: Vae, corpus: Corpus) -> dict[str, Any]:
    """The five measures, and their geometric mean, of a model as it is now."""
    store = TokenStore(corpus)
    train = numpy_generator(0, "control").permutation(corpus.indices("train"))[:LEARNED]
    val = numpy_generator(0, "validity").permutation(corpus.indices("val"))[:WINDOWS]
    reference = read([corpus.window(int(index)) for index in train], corpus)
    z = model.sample_prior(DRAWS, generator=torch_generator(0, "prior"))
    made = play(model, z, corpus, Sampling(temperature=1.0))
    drawn = read(list(made), corpus)
    real = [corpus.window(int(index)) for index in val]
    if corpus.is_constructed:
        draws = {"validity": nearness(made, np.stack(real).astype(np.int64))}
        draws["exact"] = valid_melodies(made)
    else:
        draws = {"validity": overlap(drawn, read(real, corpus), reference)}
    codes = codes_of(model, store, train)
    control = asked(codes, reference, z.numpy(), drawn)
    names = list(corpus.attribute_names) if corpus.is_constructed else READABLE
    values: dict[str, Any] = {
        **draws,
        "reconstruction": loaded(model, corpus, val[:LOADED]),
        "control": float(np.mean(control)),
        **moved(model, corpus, z),
    }
    values["usefulness"] = usefulness([values[name] for name in FELT], FLOOR)
    return {**values, "control_of": dict(zip(names, control, strict=True))}


def usefulness(values: Sequence[float], floor: float) -> float:
    """Geometric mean, each floored."""
    return float(np.exp(np.log(np.maximum(values, floor)).mean()))


def play(model: Vae, z: Tensor, corpus: Corpus, sampling: Sampling) -> np.ndarray:
    """Tokens that the codes decode to."""
    return generate(
        model,
        z,
        max_tokens=corpus.max_tokens,
        sampling=sampling,
        generator=torch_generator(0, "draws"),
    ).numpy()


def codes_of(model: Vae, store: TokenStore, windows: np.ndarray) -> np.ndarray:
    """Posterior means."""
    parts = torch.from_numpy(windows).split(64)
    return torch.cat([model.encode(store.padded(part)).mean for part in parts]).numpy()


def played(model: Vae, z: Tensor, corpus: Corpus) -> list[Notes]:
    """Notes that the codes decode to, greedily."""
    return [notes_of(row, model) for row in play(model, z, corpus, Sampling())]


def loaded(model: Vae, corpus: Corpus, windows: np.ndarray) -> float:
    """How much of a piece comes back from its code, beyond what comes of any code."""
    z = torch.from_numpy(codes_of(model, TokenStore(corpus), windows))
    found = played(model, z, corpus)
    truth = [notes_of(corpus.window(int(window)), model) for window in windows]
    same = shared(truth, found)
    other = float(np.mean([shared(truth, found[k:] + found[:k]) for k in (1, 2, 3, 4)]))
    return max(0.0, (same - other) / (1.0 - other)) if other < 1.0 else 0.0


def shared(first: Sequence[Notes], second: Sequence[Notes]) -> float:
    """Note F1 of the one with the other, mean over pieces."""
    return float(np.mean([note_f1(a, b) for a, b in zip(first, second, strict=True)]))


def asked(
    codes: np.ndarray, reference: np.ndarray, z: np.ndarray, drawn: np.ndarray
) -> list[float]:
    """Of each attribute: does a draw have what its code foretells, by the codes of the data?"""
    control = []
    for column in range(reference.shape[1]):
        known = np.flatnonzero(np.isfinite(reference[:, column]))
        shown = np.flatnonzero(np.isfinite(drawn[:, column]))
        forest = ExtraTreesRegressor(40, min_samples_leaf=5, random_state=0)
        forest.fit(codes[known], reference[known, column])
        foretold = forest.predict(z[shown]) if len(shown) else np.zeros(0)
        control.append(max(0.0, spearman(foretold, drawn[shown, column])))
    return control


def moved(model: Vae, corpus: Corpus, z: Tensor) -> dict[str, Any]:
    """Sliders that work, and how gradual a walk from draw to draw is."""
    start, end = z[:WALKS], z[WALKS : 2 * WALKS]
    dimension = model.layout.dimension
    n = int(dimension.max()) + 1
    tried = np.sort(numpy_generator(0, "sliders").permutation(n)[:SLIDERS])
    one_moved = [torch.where(dimension == int(index), end, start) for index in tried]
    stations = [on_sphere(start, end, step / STEPS) for step in range(STEPS + 1)]
    notes = played(model, torch.cat([*one_moved, *stations]), corpus)
    pieces = [notes[at : at + WALKS] for at in range(0, len(notes), WALKS)]
    way = pieces[len(tried) :]
    changes = [1.0 - shared(way[0], other) for other in pieces[: len(tried)]]
    steps = np.mean([1.0 - shared(a, b) for a, b in pairwise(way)])
    ends = 1.0 - shared(way[0], way[-1])
    gradual = (ends - float(steps)) * STEPS / (STEPS - 1)
    return {
        "sliders": min(1.0, n * float(np.mean([change >= WORKS for change in changes])) / FADERS),
        "walk": max(0.0, gradual),
        "ends": ends,
        "slider_changes": changes,
    }


def on_sphere(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Spherical interpolation, row by row."""
    cosine = torch.cosine_similarity(start, end, dim=1).clamp(-0.9999, 0.9999)
    angle = torch.arccos(cosine)[:, None]
    first, second = torch.sin((1.0 - share) * angle), torch.sin(share * angle)
    return (first * start + second * end) / torch.sin(angle)


def read(rows: Sequence[np.ndarray], corpus: Corpus) -> np.ndarray:
    """What token sequences show: their factors, or attributes as everybody hears them."""
    if corpus.is_constructed:
        tokens = np.stack(rows).astype(np.int64)  # a corpus has them unsigned
        factors = read_factors(grid_of(tokens)).astype(np.float64)
        return np.where(factors < 0, np.nan, factors)
    columns = [ATTRIBUTES.index(name) for name in READABLE]
    return np.stack([attributes(corpus.vocabulary.decode(row))[columns] for row in rows])


def nearness(tokens: np.ndarray, real: np.ndarray) -> float:
    """How near draws are to the nearest melody, beyond what shuffled slots of melodies are."""
    drawn, grid = grid_of(tokens), grid_of(real)
    mixed = numpy_generator(0, "mixed slots").permuted(grid, axis=0)
    near, chance = agreement(drawn), agreement(mixed)
    return max(0.0, (near - chance) / (1.0 - chance))


def agreement(grid: np.ndarray) -> float:
    """Share of slots in which a grid agrees with the melody nearest to it, mean over rows."""
    near = [(_bars() == row.reshape(1, 2, 1, -1)).sum(axis=3) for row in grid]
    return float(np.mean([each.max(axis=2).sum(axis=1).max() for each in near])) / grid.shape[1]


@cache
def _bars() -> np.ndarray:
    """All bars of all melodies, by (tonic, octave, scale), then by bar, then by what fills it.

    The two bars of a melody share nothing else, so the nearest melody has the nearest of each.
    """
    free = np.indices((28, 2, 2)).reshape(3, -1).T
    shared_by_both = np.indices((12, 3, 3)).reshape(3, -1).T
    keys = np.repeat(shared_by_both, len(free), axis=0)
    bars = np.tile(free, (len(shared_by_both), 1))
    columns = [keys, bars[:, :1], bars[:, :1], bars[:, 1:], bars[:, 1:]]
    grid = midi_grid(np.concatenate(columns, axis=1).astype(np.int8))
    return grid.reshape(len(shared_by_both), len(free), 2, -1).swapaxes(1, 2)


def valid_melodies(tokens: np.ndarray) -> float:
    """Share of token sequences that are one of the melodies."""
    grid = grid_of(tokens)
    factors = read_factors(grid)
    whole = (factors >= 0).all(axis=1)
    return float((midi_grid(np.maximum(factors, 0)) == grid).all(axis=1)[whole].sum() / len(grid))


def overlap(drawn: np.ndarray, real: np.ndarray, reference: np.ndarray) -> float:
    """1 minus the total variation between the classes of each attribute, mean over attributes."""
    first, _ = discretized(drawn, reference, READABLE)
    second, _ = discretized(real, reference, READABLE)
    shares = []
    for a, b in zip(first.T, second.T, strict=True):
        n = int(max(a.max(), b.max())) + 1
        shares.append(np.minimum(*(np.bincount(x, minlength=n) / len(x) for x in (a, b))).sum())
    return float(np.mean(shares))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, ties shared."""
    above, same = values[:, None] > values, values[:, None] == values
    return above.sum(axis=1) + (same.sum(axis=1) - 1) / 2


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation; 0 where one of the two is constant or there are too few."""
    if len(x) < 3:
        return 0.0
    a, b = ranks(x), ranks(y)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0
