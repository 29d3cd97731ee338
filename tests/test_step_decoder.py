"""The decoder in numpy is the decoder."""

import numpy as np
import pytest
import torch

from aurl.model import generation
from aurl.model.generation import Sampling, generate
from aurl.model.step_decoder import MOST_SEQUENCES, StepDecoder
from aurl.model.vae import Vae
from aurl.seeding import seeded
from tests.tiny import N_BARS, VOCABULARY, small_config, tiny_corpus


def model() -> Vae:
    """Untrained; every parameter is random, so that none is passed over unnoticed."""
    with seeded(0, "step"):
        made = Vae(small_config(), VOCABULARY, N_BARS).double().eval()
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def test_logits_are_those_of_the_decoder(rng: torch.Generator) -> None:
    made, corpus = model(), tiny_corpus()
    rows = [corpus.window(index).astype(np.int64) for index in range(4)]
    width = min(map(len, rows))
    tokens = torch.from_numpy(np.stack([row[:width] for row in rows]))
    z = torch.randn(4, made.layout.size, generator=rng, dtype=torch.float64)
    bar, phase = VOCABULARY.positions(tokens)
    bar[:, -1] = N_BARS  # after the last one
    expected = made.decoder(tokens, z, bar, phase)
    step = StepDecoder(made.decoder, z, width)
    prompt = step(tokens[:, :5], bar[:, :5], phase[:, :5])  # some at once, then one by one
    torch.testing.assert_close(prompt, expected[:, 4], rtol=0.0, atol=1e-10)
    for place in range(5, width):
        new = slice(place, place + 1)
        found = step(tokens[:, new], bar[:, new], phase[:, new])
        torch.testing.assert_close(found, expected[:, place], rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_generation_is_the_same_whichever_decodes(
    temperature: float, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model()
    z = torch.randn(MOST_SEQUENCES, made.layout.size, generator=rng, dtype=torch.float64)
    found: list[torch.Tensor] = []
    for most in (MOST_SEQUENCES, 0):
        monkeypatch.setattr(generation, "MOST_SEQUENCES", most)
        draws = torch.Generator().manual_seed(1)
        sampling = Sampling(temperature=temperature)
        found.append(generate(made, z, max_tokens=60, sampling=sampling, generator=draws))
    assert torch.equal(found[0], found[1])


def test_numbers_keep_the_type_of_the_model(rng: torch.Generator) -> None:
    made = model().float()
    z = torch.randn(2, made.layout.size, generator=rng)
    start = torch.full((2, 1), VOCABULARY.start)
    bar, phase = VOCABULARY.positions(start)
    found = StepDecoder(made.decoder, z, 4)(start, bar, phase)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, made.decoder(start, z, bar, phase)[:, 0])
