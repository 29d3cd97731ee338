"""What disentanglement scores on real music are to be read against.

Musical attributes are functions of the music and depend on one another, so a score has no
absolute scale. Beside it stand a floor (attributes torn from their windows, whole pieces at a
time), a ceiling (the attributes themselves as the codes), the correlations of the attributes, and
an interval over pieces.

Source: own; the parts are cited in aurl/metrics.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.metrics.bootstrap import score_intervals
from aurl.metrics.dci import ForestSettings
from aurl.metrics.dcimig import dcimig
from aurl.metrics.disentanglement import (
    Disentanglement,
    disentanglement,
    permutation_floor,
)
from aurl.metrics.factor_correlation import factor_correlations
from aurl.metrics.mig import mig
from aurl.metrics.mutual_information import mutual_information, rank_bins

SCORES = ("disentanglement", "mig_rank32", "dcimig")
"""Which have a floor and a ceiling."""

RESAMPLED = ("mig_rank32", "dcimig")
"""Which have an interval: those that need no forest for every resample."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FactorWindows:
    """Windows with their codes and their factors."""

    codes: Float[np.ndarray, "sample latent"]
    live: Bool[np.ndarray, " latent"]
    factors: Int[np.ndarray, "sample factor"]
    names: list[str]
    pieces: Int[np.ndarray, " sample"]


def factor_evidence(
    scores: Disentanglement, windows: FactorWindows, forest: ForestSettings
) -> dict[str, float]:
    """Floor, ceiling, intervals and correlations, named below ``factors/``.

    Args:
        scores: Of these windows.
        windows: What the scores are of.
        forest: That of ``scores``.

    Returns:
        Finite values. An interval is 0 to 0 where nothing could be scored, as where all windows
        are of one piece.
    """
    codes, factors, pieces = windows.codes, windows.factors, windows.pieces
    torn = permutation_floor(codes, factors, live=windows.live, groups=pieces, forest=forest)
    itself = disentanglement(factors.astype(np.float64), factors, groups=pieces, forest=forest)
    floor, ceiling = torn.to_dict(), itself.to_dict()
    found: dict[str, float] = {}
    for name in SCORES:
        found[f"{name}/floor"], found[f"{name}/ceiling"] = floor[name], ceiling[name]
    for name, (low, high) in _intervals(scores, windows).items():
        found[f"{name}/low"], found[f"{name}/high"] = low, high
    for name, gap in zip(windows.names, scores.per_factor["mig_rank32"], strict=True):
        found[f"mig_rank32/{name}"] = float(gap)
    correlations = factor_correlations(factors)
    for a, b in combinations(range(len(windows.names)), 2):
        found[f"correlation/{windows.names[a]}/{windows.names[b]}"] = float(correlations[a, b])
    return {f"factors/{name}": value for name, value in found.items()}


def _intervals(scores: Disentanglement, windows: FactorWindows) -> dict[str, tuple[float, float]]:
    if scores.status != "ok":
        return dict.fromkeys(RESAMPLED, (0.0, 0.0))
    bins = rank_bins(windows.codes[:, windows.live], n_bins=32)
    counted = windows.factors[:, scores.counted]

    def resampled(rows: np.ndarray) -> np.ndarray:
        information = mutual_information(bins[rows], counted[rows], corrected=True)
        return np.array([mig(information), dcimig(information)])

    found = score_intervals(resampled, windows.pieces)
    return {
        name: (interval.low, interval.high)
        for name, interval in zip(RESAMPLED, found, strict=True)
    }
