"""What the key-value cache saves: tokens a second with it and without, in one run.

Run it with ``python benchmarks/generation.py``. An untrained model of the `metrical` vocabulary
draws sequences that fill their budget of tokens; without the cache each step reads all that went
before. Both draw the same tokens: checked.
"""

import argparse
from time import perf_counter

import torch
from torch import Tensor

from aurl.config import from_plain
from aurl.data.metrical import Metrical
from aurl.model.generation import Sampling, drawn, generate
from aurl.model.vae import Vae
from aurl.seeding import seeded, torch_generator

N_BARS = 64
CONFIG = {
    "model": {"d_model": 128, "n_heads": 4, "encoder_layers": 3, "decoder_layers": 3},
    "latent": {"levels": [{"name": "global", "dim": 32, "span": "sequence"}]},
}
SAMPLING = Sampling(temperature=1.0)


@torch.no_grad()
def without_cache(model: Vae, z: Tensor, max_tokens: int) -> Tensor:
    """The same draws as :func:`aurl.model.generation.generate`, everything read at every step."""
    vocabulary, generator = model.vocabulary, torch.Generator().manual_seed(0)
    chances = torch.rand(len(z), max_tokens, generator=generator, dtype=torch.float64)
    tokens = torch.full((len(z), max_tokens), vocabulary.pad)
    tokens[:, 0] = vocabulary.start
    grammar = vocabulary.grammar(len(z), model.n_bars)
    grammar.advance(tokens[:, 0])
    for index in range(1, max_tokens):
        bar, phase = vocabulary.positions(tokens[:, :index])
        logits = model.decoder(tokens[:, :index], z, bar, phase)[:, -1]
        logits = logits.masked_fill(~grammar.allowed(max_tokens - index), -torch.inf)
        tokens[:, index] = drawn(logits, SAMPLING, chances[:, index])
        grammar.advance(tokens[:, index])
    return tokens


def with_cache(model: Vae, z: Tensor, max_tokens: int) -> Tensor:
    """What the product does."""
    generator = torch.Generator().manual_seed(0)
    return generate(model, z, max_tokens=max_tokens, sampling=SAMPLING, generator=generator)


def main() -> None:
    """Print tokens a second and their ratio for each length."""
    parser = argparse.ArgumentParser(description="Cached against uncached decoding.")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024])
    args = parser.parse_args()
    with seeded(0, "benchmark"):
        model = Vae(from_plain(CONFIG), Metrical(), N_BARS).eval()
    z = torch.randn(args.batch, model.layout.size, generator=torch_generator(0, "benchmark"))
    with_cache(model, z, 128)
    for length in args.lengths:
        rates, drawn_tokens = [], []
        for way in (with_cache, without_cache):
            started = perf_counter()
            tokens = way(model, z, length)
            rates.append(int((tokens != model.vocabulary.pad).sum()) / (perf_counter() - started))
            drawn_tokens.append(tokens)
        width = drawn_tokens[0].shape[1]
        same = float((drawn_tokens[0] == drawn_tokens[1][:, :width]).float().mean())
        print(
            f"{length} tokens: {rates[0]:.0f} tokens/s with the cache, {rates[1]:.0f} without: "
            f"{rates[0] / rates[1]:.1f}x ({same:.1%} of the tokens are the same)"
        )


if __name__ == "__main__":
    main()
