"""The last look at a model: what is decoded is of its codes, and drawn as what it is."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from aurl.audio import RATE, rendered, wav
from aurl.data.batches import TokenStore
from aurl.data.piece import sliced
from aurl.drawing.canvas import png, shade
from aurl.metrics.mig import mutual_information_gap
from aurl.metrics.mutual_information import rank_mutual_information
from aurl.model.generation import Sampling, generate
from aurl.model.vae import Vae
from aurl.seeding import seeded
from aurl.training.evaluate import Evaluator
from aurl.training.look import INFORMATION, RATES, SHIFTS, Look, Seen, look_at
from aurl.training.pictures import kl_over_time, media_of, pictures_of
from tests.test_musical import untrained
from tests.tiny import small_config, tiny_corpus

CORPUS = tiny_corpus()


@cache
def looked() -> tuple[Vae, Seen, Look]:
    with seeded(3, "test"):
        model = Vae(small_config(), CORPUS.vocabulary, CORPUS.n_bars).double()
    with torch.no_grad():  # codes that live, and that differ
        for name, parameter in model.encoder.named_parameters():
            if name.endswith("head.weight"):
                parameter.mul_(20.0)
    evaluator = Evaluator(CORPUS, TokenStore(CORPUS), small_config(), split="val")
    evaluator.evaluate(model, final=True)
    seen = evaluator.seen
    assert seen is not None
    look = look_at(model, seen)
    assert look is not None
    return model, seen, look


def decoded(codes: np.ndarray) -> np.ndarray:
    model, _, _ = looked()
    z = torch.from_numpy(codes[None])
    return generate(model, z, max_tokens=CORPUS.max_tokens, sampling=Sampling())[0].numpy()


def test_reconstructions_are_of_the_codes_of_their_originals() -> None:
    model, seen, look = looked()
    assert len(look.originals) == len(look.reconstructions) == 6
    for row, (window, made) in enumerate(zip(seen.windows, look.reconstructions, strict=False)):
        tokens = torch.from_numpy(CORPUS.window(int(window)).astype(np.int64))[None]
        code = model.encode(tokens).mean[0].detach().numpy()
        np.testing.assert_allclose(code, seen.mean[row], atol=1e-9)
        assert made == sliced(model.vocabulary.decode(decoded(code)), 0, 2)
    window = CORPUS.window(int(seen.windows[0]))
    assert look.originals[0] == model.vocabulary.decode(window)


def test_a_traversal_moves_one_dimension_in_all_its_slots_and_no_other() -> None:
    model, seen, look = looked()
    assert len(look.traversals) == len(look.dimensions) == 8
    assert all(len(row) == len(SHIFTS) for row in look.traversals)
    rates = seen.health.kl_per_dimension
    best = int(np.argmax(rates))
    name = model.layout.dimension_names[best]
    assert look.dimensions[0] == f"{name}  {rates[best]:.2f} nats"
    part = model.layout.dimension.numpy() == best
    spread = np.sqrt(seen.mean.var(axis=0) + np.exp(seen.log_var).mean(axis=0))
    code = np.where(part, seen.mean.mean(axis=0) + 3.0 * spread, seen.mean[0])
    expected = model.vocabulary.decode(decoded(code)).notes["pitch"]
    assert look.traversals[0][-1].notes["pitch"].tolist() == expected.tolist()


def test_information_is_what_the_gap_is_measured_in() -> None:
    model, seen, look = looked()
    live = seen.health.live[model.layout.dimension.numpy()]
    assert look.information.shape == (int(live.sum()), len(look.factors))
    assert len(look.codes) == int(live.sum())
    expected = rank_mutual_information(seen.mean[:, live].round(6), seen.factors)
    np.testing.assert_allclose(look.information, expected.matrix)
    assert mutual_information_gap(expected).shape == (len(look.factors),)


def test_of_each_dimension_the_rate_is_said_and_the_information() -> None:
    model, seen, _ = looked()
    names = model.layout.dimension_names
    found = seen.of_dimensions(model.layout)
    assert [found[f"{RATES}{name}"] for name in names] == seen.health.kl_per_dimension.tolist()
    assert [found[f"{INFORMATION}{name}"] for name in names] == seen.information.tolist()


def test_codes_are_named_by_dimension_and_slot() -> None:
    model, seen, look = looked()
    live = seen.health.live[model.layout.dimension.numpy()]
    names = [f"global/{index}" for index in range(4)]
    names += [f"local/{index} slot {slot}" for slot in (0, 1) for index in range(3)]
    names += [f"fine/{index} slot {slot}" for slot in range(4) for index in range(2)]
    assert look.codes == tuple(name for name, is_live in zip(names, live, strict=True) if is_live)


def test_looking_changes_nothing_of_the_model() -> None:
    model, seen, _ = looked()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    look_at(model, seen)
    assert model.training
    model.eval()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_that_is_not_finite_is_not_looked_at() -> None:
    model, seen, _ = looked()
    broken = Seen(
        corpus=seen.corpus,
        windows=seen.windows,
        mean=np.full_like(seen.mean, np.nan),
        log_var=seen.log_var,
        health=seen.health,
        information=seen.information,
        factors=seen.factors,
        factor_names=seen.factor_names,
    )
    assert look_at(model, broken) is None


def test_samples_are_the_first_that_an_export_has() -> None:
    model, _, look = looked()
    trained = replace(untrained(small_config()), model=model.eval())
    assert list(look.samples) == trained.samples(3)


def test_every_picture_and_sound_has_its_tag() -> None:
    look = looked()[2]
    pictures, media = pictures_of(look), media_of(look)
    music = {"music/reconstructions", "latent/traversal"}
    assert set(pictures) == (music | {"latent/mutual_information"} if look.codes else music)
    assert pictures["latent/traversal"].shape[0] > pictures["music/reconstructions"].shape[0]
    assert media.pictures == {tag: png(picture) for tag, picture in pictures.items()}
    assert media.sounds == {
        f"music/sample_{n}": wav(rendered(piece)) for n, piece in enumerate(look.samples, 1)
    }
    assert len(media.sounds) == 3
    assert all(44 < len(sound) < 2 * 60 * RATE for sound in media.sounds.values())


def test_the_rate_of_each_dimension_is_a_row_and_each_evaluation_a_column() -> None:
    first, second = "dimension/rate_nats/a/0", "dimension/rate_nats/b/0"
    rows = [
        {"step": 2, "train/kl_nats": 1.0},
        {"step": 4, "val/kl_nats": 1.0, first: 0.0, second: 2.0},
        {"step": 8, "val/kl_nats": 1.0, first: 1.0, second: 0.0},
    ]
    picture = kl_over_time(rows)
    assert picture is not None
    darkest, middle = (
        np.argwhere((picture == np.asarray(shade(value, 2.0), np.uint8)).all(axis=2))
        for value in (2.0, 1.0)
    )
    cell = middle[middle[:, 1] > middle[:, 1].min() - 1].mean(axis=0)
    left = darkest[darkest[:, 1] < cell[1]].mean(axis=0)
    assert left[0] > cell[0] + 8  # the second dimension, below
    assert left[1] < cell[1] - 30  # the first evaluation, before
    assert kl_over_time(rows[:1]) is None
    unknown = kl_over_time([rows[1], {name: rows[2][name] for name in ("step", first)}])
    assert unknown is not None
    assert not np.array_equal(unknown, picture)  # there it is 0


@pytest.mark.parametrize("missing", ["codes", "factors"])
def test_without_live_codes_or_factors_there_is_no_matrix(missing: str) -> None:
    nothing: dict[str, Any] = {missing: ()}
    look = replace(looked()[2], **nothing)
    assert "latent/mutual_information" not in pictures_of(look)
