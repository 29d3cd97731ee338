"""Free decoding: only what the grammar allows, the same with the cache as without."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aurl.data.batches import TokenStore
from aurl.data.grammar import is_valid
from aurl.model.generation import Sampling, drawn, generate
from aurl.model.vae import Vae
from aurl.seeding import seeded
from tests.tiny import N_BARS, VOCABULARY, small_config, tiny_corpus


@pytest.fixture
def model() -> Vae:
    with seeded(0, "test"):
        return Vae(small_config(), VOCABULARY, N_BARS)


def codes(model: Vae, count: int) -> Tensor:
    return torch.randn(count, model.layout.size, generator=torch.Generator().manual_seed(3))


def test_cached_logits_equal_uncached_logits(model: Vae) -> None:
    tokens = TokenStore(tiny_corpus()).padded(torch.arange(5))
    z = codes(model, 5)
    full = model.decode(tokens, z)
    bar, phase = VOCABULARY.positions(tokens)
    caches = model.decoder.caches(5, tokens.shape[1])
    prompt = 7
    steps = [
        model.decoder(tokens[:, :prompt], z, bar[:, :prompt], phase[:, :prompt], caches=caches)
    ]
    last = tokens.shape[1] - 1
    for i in range(prompt, last, 2):
        part = slice(i, min(i + 2, last))
        steps.append(
            model.decoder(tokens[:, part], z, bar[:, part], phase[:, part], caches=caches)
        )
    torch.testing.assert_close(torch.cat(steps, dim=1), full, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=1.0),
        Sampling(temperature=2.0, top_k=5),
        Sampling(temperature=1.5, top_p=0.8),
    ],
    ids=["greedy", "plain", "top_k", "top_p"],
)
@pytest.mark.parametrize("batch", [1, 40])
def test_no_invalid_token_is_ever_drawn(model: Vae, sampling: Sampling, batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = generate(
        model, codes(model, batch), max_tokens=256, sampling=sampling, generator=generator
    )
    ended = (tokens == VOCABULARY.end).any(dim=1)
    assert ended.all()
    assert is_valid(VOCABULARY, tokens, N_BARS).all()


@pytest.mark.slow
def test_ten_thousand_draws_hold_no_invalid_sequence() -> None:
    model = Vae(small_config(model__decoder_layers=1), VOCABULARY, N_BARS)
    for part in range(10):
        tokens = generate(
            model,
            codes(model, 1000),
            max_tokens=40 + 4 * part,
            sampling=Sampling(temperature=1.0 + 0.2 * part, top_k=10 * (part % 3)),
            generator=torch.Generator().manual_seed(part),
        )
        assert len(tokens) == 1000
        assert is_valid(VOCABULARY, tokens, N_BARS).all()


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(temperature=1.3, top_p=0.9)], ids=["greedy", "top_p"]
)
@pytest.mark.parametrize("batch", [1, 6])
def test_the_cache_changes_no_token(model: Vae, sampling: Sampling, batch: int) -> None:
    z, longest = codes(model, batch), 64
    cached = generate(
        model,
        z,
        max_tokens=longest,
        sampling=sampling,
        generator=torch.Generator().manual_seed(4),
    )
    chance = torch.rand(
        batch, longest, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    )
    tokens = torch.full((batch, 1), VOCABULARY.start)
    grammar = VOCABULARY.grammar(batch, N_BARS)
    grammar.advance(tokens[:, 0])
    while not grammar.ended.all():
        logits = model.decoder(tokens, z, *VOCABULARY.positions(tokens))[:, -1]
        place = tokens.shape[1]
        logits = logits.masked_fill(~grammar.allowed(longest - place), -torch.inf)
        chosen = drawn(logits, sampling, chance[:, place])
        grammar.advance(chosen)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
    assert torch.equal(cached, tokens)


@pytest.mark.parametrize("length", [1, 4, 17])
def test_a_prompt_is_gone_on_from_as_if_it_had_been_decoded(model: Vae, length: int) -> None:
    z = codes(model, 6)
    whole = generate(model, z, max_tokens=128, sampling=Sampling())
    again = generate(model, z, max_tokens=128, sampling=Sampling(), prompt=whole[:, :length])
    assert torch.equal(again, whole)
    music = TokenStore(tiny_corpus()).padded(torch.arange(6))
    tokens = generate(model, z, max_tokens=128, sampling=Sampling(), prompt=music[:, :length])
    assert torch.equal(tokens[:, :length], music[:, :length])
    assert is_valid(VOCABULARY, tokens, N_BARS).all()


def test_a_prompt_that_is_no_beginning_is_refused(model: Vae) -> None:
    music = TokenStore(tiny_corpus()).padded(torch.arange(2))
    wrong = music[:, :9].clone()
    wrong[1, 5] = VOCABULARY.start
    with pytest.raises(ValueError, match=r"prompt must be what the grammar allows, .* token 5"):
        generate(model, codes(model, 2), max_tokens=64, sampling=Sampling(), prompt=wrong)
    with pytest.raises(ValueError, match=r"max_tokens must be more than the prompt's 9, got 9"):
        generate(model, codes(model, 2), max_tokens=9, sampling=Sampling(), prompt=music[:, :9])
    wrong[:, 5] = VOCABULARY.size
    with pytest.raises(ValueError, match=r"prompt must be what the grammar allows, .* token 5"):
        generate(model, codes(model, 2), max_tokens=64, sampling=Sampling(), prompt=wrong)
    with pytest.raises(
        ValueError, match=r"prompt must be a beginning for each of .*got 2 of 0 to"
    ):
        generate(model, codes(model, 2), max_tokens=64, sampling=Sampling(), prompt=music[:, :0])


def test_the_same_seed_gives_the_same_music_and_another_gives_other(model: Vae) -> None:
    def sampled(seed: int) -> Tensor:
        return generate(
            model,
            codes(model, 8),
            max_tokens=128,
            sampling=Sampling(temperature=1.0),
            generator=torch.Generator().manual_seed(seed),
        )

    one, two, three = sampled(1), sampled(1), sampled(2)
    assert torch.equal(one, two)
    assert one.shape != three.shape or not torch.equal(one, three)


def test_a_sequence_does_not_depend_on_what_is_decoded_beside_it(model: Vae) -> None:
    z = codes(model, 6)
    together = generate(model, z, max_tokens=128, sampling=Sampling())
    for row, code in zip(together, z, strict=True):
        alone = generate(model, code[None], max_tokens=128, sampling=Sampling())[0]
        assert torch.equal(alone, row[: len(alone)])
        assert (row[len(alone) :] == VOCABULARY.pad).all()


FORBIDDEN_AT_ENDS = torch.tensor([-torch.inf, 0.3, -4.0, -torch.inf, 2.0, 1.1, -torch.inf])


def chances(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, generator=generator, dtype=torch.float64)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    n, logits = 100_000, FORBIDDEN_AT_ENDS
    tokens = drawn(logits.expand(n, 7), Sampling(temperature=1.0), chances(n))
    expected = n * logits.softmax(dim=0)
    error = torch.bincount(tokens, minlength=7) - expected
    assert (error.abs() <= 4.0 * expected.sqrt()).all()


@pytest.mark.parametrize(("number", "token"), [(0.0, 5), (1.0 - 2.0**-53, 1)])
def test_no_random_number_draws_a_token_without_probability(number: float, token: int) -> None:
    logits, chance = FORBIDDEN_AT_ENDS.expand(3, 7), torch.full((3,), number, dtype=torch.float64)
    assert drawn(logits, Sampling(temperature=1.0), chance).tolist() == [token] * 3


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-6, 1e6, 1e300])
def test_no_temperature_is_too_extreme_to_draw_at(temperature: float) -> None:
    logits = torch.tensor([[0.2, 0.3, -torch.inf], [-4.0, -torch.inf, -torch.inf]])
    sampling = Sampling(temperature=temperature)
    drawings = torch.stack([drawn(logits, sampling, chance) for chance in chances(128).split(2)])
    assert (drawings[:, 1] == 0).all()
    share = drawings[:, 0].float().mean()
    assert share == 1.0 if temperature < 1.0 else 0.3 < share < 0.7
    assert drawings[:, 0].max() == 1


@pytest.mark.parametrize("max_tokens", [8, 20, 60])
def test_a_limit_on_tokens_ends_the_music_and_does_not_cut_it(model: Vae, max_tokens: int) -> None:
    tokens = generate(
        model,
        codes(model, 40),
        max_tokens=max_tokens,
        sampling=Sampling(temperature=1.0),
        generator=torch.Generator().manual_seed(0),
    )
    assert tokens.shape[1] <= max_tokens
    assert is_valid(VOCABULARY, tokens, N_BARS).all()


def test_top_k_and_top_p_keep_only_the_likeliest() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).expand(500, 4)
    chance = chances(500)
    assert set(drawn(logits, Sampling(temperature=1.0, top_k=2), chance).tolist()) == {0, 1}
    even = torch.zeros_like(logits)
    assert set(drawn(even, Sampling(temperature=1.0, top_k=2), chance).tolist()) == {0, 1}
    assert set(drawn(logits, Sampling(temperature=1.0, top_p=0.5), chance).tolist()) == {0}
    assert set(drawn(logits, Sampling(temperature=1.0, top_p=0.8), chance).tolist()) == {0, 1}
    assert set(drawn(logits, Sampling(temperature=1.0, top_p=1e-300), chance).tolist()) == {0}
    even = drawn(torch.zeros(500, 2), Sampling(temperature=1.0, top_p=0.5), chance)
    assert len(set(even.tolist())) == 1
    assert set(drawn(logits, Sampling(temperature=1.0), chance).tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1.0}, "temperature must be >= 0, got -1"),
        ({"temperature": float("nan")}, "temperature must be >= 0, got nan"),
        ({"top_k": -1}, "top_k must be >= 0, got -1"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0"),
    ],
)
def test_sampling_refuses_what_makes_no_draw(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**values)


def test_draws_need_a_generator(model: Vae) -> None:
    with pytest.raises(ValueError, match="generator must be given when temperature > 0"):
        generate(model, codes(model, 1), max_tokens=8, sampling=Sampling(temperature=1.0))
