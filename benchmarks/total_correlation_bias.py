"""How far the minibatch estimate of total correlation is from 0 on independent codes.

Run it with ``python benchmarks/total_correlation_bias.py``. The coordinates of the codes are
independent and their aggregate posterior is N(0, I) before a corpus is drawn from it, so that the
truth for endless music is 0 nats. Each sequence's posterior is as far from the prior as the KL
says. A corpus of N sequences has a total correlation of its own where the KL is above ln N: its
posteriors are then islands, which the last column shows, the batch that is the whole corpus.
"""

import math

import torch

from aurl.objectives.regularizers import total_correlation

TUNES = 11_672
"""Windows of the bundled tunes that are trained on: ln N is 9.4."""

ENDLESS = 10**9
BATCHES = (8, 32, 128, 512, 2048, TUNES)
SETTINGS = (
    (8, 14.1, TUNES),
    (48, 14.1, TUNES),
    (48, 28.2, TUNES),
    (16, 7.0, TUNES),
    (8, 14.1, ENDLESS),
    (48, 14.1, ENDLESS),
    (48, 28.2, ENDLESS),
    (16, 7.0, ENDLESS),
)
"""Coordinates, nats of KL over all of them, and sequences that the batches are drawn from."""

N_DRAWS = 1024


def estimate(n_coordinates: int, kl: float, n_sequences: int, batch: int) -> tuple[float, float]:
    """Mean estimate over batches of one size and its standard error, in nats."""
    rng = torch.Generator().manual_seed(0)
    var = math.exp(-2.0 * kl / n_coordinates)  # the mean KL to N(0, 1) is then -ln(var) / 2
    estimates: list[float] = []
    for _ in range(max(4, N_DRAWS // batch)):
        mean = math.sqrt(1.0 - var) * torch.randn(batch, n_coordinates, generator=rng)
        own = torch.arange(min(batch, 64))
        z = mean[own] + math.sqrt(var) * torch.randn(len(own), n_coordinates, generator=rng)
        log_var = torch.full_like(mean, math.log(var))
        estimates.append(float(total_correlation(z, own, mean, log_var, n_sequences)))
    values = torch.tensor(estimates)
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


def main() -> None:
    """Print the table in the form of docs/log.md."""
    print("| coordinates | KL, nats | N | " + " | ".join(f"{batch:,}" for batch in BATCHES) + " |")
    print("|---" * (len(BATCHES) + 3) + "|")
    for n_coordinates, kl, n_sequences in SETTINGS:
        cells = [estimate(n_coordinates, kl, n_sequences, batch) for batch in BATCHES]
        shown = " | ".join(f"{mean:.1f} ± {error:.1f}" for mean, error in cells)
        print(f"| {n_coordinates} | {kl} | {n_sequences:,} | {shown} |")


if __name__ == "__main__":
    main()
