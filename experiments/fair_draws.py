"""How often seeds tell values apart that do nothing, as what else was drawn differs.

    PYTHONPATH=. python experiments/fair_draws.py

Made sweeps: the score of a trial falls with the logarithm of beta, as those of `hierarchy` did
(docs/log.md), and not with the value that is compared. Of each value so many trials draw a beta,
each its own or all values the same in a round; the best of each, by a score with noise of its
seed, is trained with three other seeds; Tukey's test holds their means against each other. It
takes minutes.
"""

import math

import numpy as np

from aurl.reporting.comparisons import least_difference

VALUES = 5
SWEEPS = 2000
NOISE = 0.01
"""Standard deviation of a score over seeds."""

SLOPE = 0.035
"""By which a score falls where beta grows e-fold."""


def is_told_apart(chance: np.random.Generator, trials: int, *, same: bool) -> bool:
    """Whether the seeds of one made sweep tell any two values apart."""
    drawn = chance.uniform(0.0, math.log(20.0), (trials, 1 if same else VALUES))
    score = -SLOPE * np.broadcast_to(drawn, (trials, VALUES))
    best = (score + chance.normal(0.0, NOISE, score.shape)).argmax(axis=0)
    chosen = score[best, np.arange(VALUES)]
    again = chosen[:, None] + chance.normal(0.0, NOISE, (VALUES, 3))
    apart = least_difference(again.tolist())
    return apart is not None and np.ptp(again.mean(axis=1)) > apart


def main() -> None:
    """Print a table."""
    print("trials of a value | each its own draws | the same draws in a round")
    for trials in (3, 5):
        shares = [
            np.mean([is_told_apart(chance, trials, same=same) for _ in range(SWEEPS)])
            for same, chance in ((same, np.random.default_rng(0)) for same in (False, True))
        ]
        print(f"{trials} | {shares[0]:.3f} | {shares[1]:.3f}")


if __name__ == "__main__":
    main()
