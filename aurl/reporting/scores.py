"""Every disentanglement score of one file of codes, by its published name.

Where ``n_train`` divides the samples, scores of information, IRS and InfoMEC are of the training
samples, as published protocols have it; where whole groups are drawn, they are of all samples.
Whatever predicts a factor is fitted to the training samples and scored on the others.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np

from aurl.errors import ConfigError
from aurl.metrics.beta_vae import beta_vae
from aurl.metrics.bootstrap import LEVEL, score_intervals
from aurl.metrics.counted import counted_factors, mean_of_counted, varying
from aurl.metrics.dci import DciScores, ForestSettings
from aurl.metrics.dci_gbt import dci_gbt
from aurl.metrics.dcimig import dcimig, own_code_gap
from aurl.metrics.disentanglement import (
    Disentanglement,
    disentanglement,
    split,
)
from aurl.metrics.explicitness import GUESSING, explicitness_per_factor
from aurl.metrics.factor_vae import factor_vae
from aurl.metrics.infomec import infomec
from aurl.metrics.irs import irs
from aurl.metrics.mig import mig, mutual_information_gap
from aurl.metrics.modularity import modularity_dlib
from aurl.metrics.mutual_information import (
    MutualInformation,
    mutual_information,
    rank_bins,
    width_bins,
)
from aurl.metrics.sap import sap_per_factor
from aurl.reporting.codes import Codes
from aurl.reporting.posteriors import health_of, of_dimensions

Found = tuple[dict[str, float], dict[str, np.ndarray]]


def chosen_metrics(words: str) -> tuple[str, ...]:
    """The metrics that ``--metrics`` asks for, in the order they are computed in.

    Args:
        words: Names with commas between them: of metrics, or of one score of a metric; ``all`` is
            all of them and an empty string all but ``dci_gbt``, which takes minutes.

    Raises:
        ConfigError: If a name is not known.
    """
    if not words:
        return DEFAULT
    asked = [word.strip() for word in words.split(",") if word.strip()] or [words]
    found: set[str] = set()
    for word in asked:
        metrics = [name for name in METRICS if word == name or word in _SCORES_OF.get(name, ())]
        if not metrics and word != "all":
            raise ConfigError(
                f"--metrics must be names out of {', '.join(METRICS)}, or all, got {word!r}."
            )
        found.update(metrics or METRICS)
    return tuple(name for name in METRICS if name in found)


def score_record(
    codes: Codes,
    metrics: Sequence[str],
    announce: Callable[[str], None],
) -> dict[str, Any]:
    """Scores as flat keys, with what they are made of beside them, as plain data.

    Args:
        codes: What to score.
        metrics: From :func:`chosen_metrics`.
        announce: Told each metric before it is computed.

    Returns:
        The scores by name; ``status``; ``per_factor`` values; ``mutual_information`` in nats by
        estimator, one row for each live code; bootstrap ``intervals``; ``seconds``; and what the
        scores are of. Every number is finite.
    """
    arrays = _Arrays(codes)
    seconds: dict[str, float] = {}
    scores: dict[str, float] = {}
    per_factor: dict[str, list[float]] = {}

    def timed(name: str, compute: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it gives
        announce(name)
        started = perf_counter()
        result = compute()
        seconds[name] = perf_counter() - started
        return result

    timed("mutual_information", lambda: (arrays.ranked, arrays.published))
    for name in metrics:
        values, by_factor = timed(name, lambda name=name: METRICS[name](arrays))
        scores |= values
        per_factor |= {key: column.tolist() for key, column in by_factor.items()}
    intervals = timed("intervals", lambda: _intervals(arrays, metrics))
    of_each: dict[str, Any] = {}
    health: dict[str, Any] = {}
    if codes.log_var is not None:
        of_each, health = timed("posteriors", lambda: _posteriors(codes, arrays))
    return {
        "status": arrays.status,
        **scores,
        **health,
        "per_factor": {"entropy": arrays.ranked.entropy.tolist(), **per_factor},
        "mutual_information": {
            "rank32": arrays.ranked.matrix.tolist(),
            "dlib20": arrays.published.matrix.tolist(),
        },
        "intervals": intervals,
        "seconds": seconds,
        "samples": {
            "all": len(codes.codes),
            "train": int(arrays.train.sum()),
            "information": int(arrays.rows.sum()),
        },
        "dimensions": {
            "all": len(codes.live),
            "live": np.flatnonzero(codes.live).tolist(),
            **of_each,
        },
        "factors": codes.factors.shape[1],
        "ignored_arrays": list(codes.ignored),
    }


def _posteriors(codes: Codes, arrays: "_Arrays") -> tuple[dict[str, Any], dict[str, Any]]:
    """What is known of each dimension; KL health, of a file that has what it takes."""
    entropy = arrays.ranked.entropy
    health = health_of(codes, float(entropy.sum()), int(np.count_nonzero(entropy)))
    judged = {} if health is None else {**health.to_dict(), "kl_health_status": health.status}
    return of_dimensions(codes), judged


class _Arrays:
    """The arrays that scores are of, and what several scores share.

    Args:
        codes: What to score.
    """

    def __init__(self, codes: Codes) -> None:
        self.codes = codes.codes[:, codes.live]
        self.factors = codes.factors
        self._n_train, self._groups = codes.n_train, codes.groups
        self.train = split(len(self.codes), n_train=codes.n_train, groups=codes.groups)
        self.rows = self.train if codes.groups is None else np.ones(len(self.train), dtype=bool)
        self.seen = self.codes[self.rows], self.factors[self.rows]
        self.held_out = self.codes, self.factors, self.train
        self.counted = counted_factors(self.factors, self.train)
        self.pieces = np.arange(len(self.train)) if codes.groups is None else codes.groups

    @property
    def status(self) -> str:
        """Why every score is 0 or chance, or ``ok``."""
        if not self.codes.shape[1]:
            return "no_live_dimension"
        return "ok" if self.counted.any() else "no_varying_factor"

    @cached_property
    def rank_bins(self) -> np.ndarray:
        """Of the codes that information is of."""
        return rank_bins(self.seen[0], n_bins=32)

    @cached_property
    def width_bins(self) -> np.ndarray:
        """Of the codes that information is of."""
        return width_bins(self.seen[0], n_bins=20)

    @cached_property
    def ranked(self) -> MutualInformation:
        """The estimate that aurl ranks by."""
        return mutual_information(self.rank_bins, self.seen[1], corrected=True)

    @cached_property
    def published(self) -> MutualInformation:
        """The estimate of disentanglement_lib."""
        return mutual_information(self.width_bins, self.seen[1], corrected=False)

    @cached_property
    def combined(self) -> Disentanglement:
        """The combined score, with the forest that ``dci_et`` is from too."""
        return disentanglement(
            self.codes,
            self.factors,
            n_train=self._n_train,
            groups=self._groups,
            forest=ForestSettings(n_jobs=os.cpu_count() or 1),
        )


def _gap(name: str, information: MutualInformation) -> Found:
    return {name: mig(information)}, {name: mutual_information_gap(information)}


def _dcimig(arrays: _Arrays) -> Found:
    entropy = arrays.ranked.entropy
    own = own_code_gap(arrays.ranked)
    relative = np.divide(own, entropy, out=np.zeros_like(own), where=entropy > 0.0)
    return {"dcimig": dcimig(arrays.ranked)}, {"dcimig": relative}


def _disentanglement(arrays: _Arrays) -> Found:
    predictability = arrays.combined.per_factor["predictability"]
    score = {"disentanglement": arrays.combined.disentanglement}
    return score, {"predictability": predictability}


def _dci_et(arrays: _Arrays) -> Found:
    values = {name: arrays.combined.to_dict()[name] for name in _SCORES_OF["dci_et"]}
    parts = arrays.combined.per_factor
    return values, {f"dci_et_{name}": parts[name] for name in ("accuracy", "chance")}


def _dci_gbt(arrays: _Arrays) -> Found:
    found: DciScores = dci_gbt(*arrays.held_out)
    values = {
        name: getattr(found, name.removeprefix("dci_gbt_")) for name in _SCORES_OF["dci_gbt"]
    }
    return values, {"dci_gbt_accuracy": found.accuracy}


def _sap(arrays: _Arrays) -> Found:
    gaps = sap_per_factor(*arrays.held_out)
    varies = varying(arrays.factors[arrays.train])
    return {"sap_dlib": mean_of_counted(gaps, varies)}, {"sap_dlib": gaps}


def _explicitness(arrays: _Arrays) -> Found:
    areas = explicitness_per_factor(*arrays.held_out)
    mean = mean_of_counted(areas, arrays.counted) if arrays.counted.any() else GUESSING
    return {"explicitness": mean}, {"explicitness": areas}


def _infomec(arrays: _Arrays) -> Found:
    found = infomec(*arrays.seen)
    values = {
        name: getattr(found, name.removeprefix("infomec_")) for name in _SCORES_OF["infomec"]
    }
    return values, {"infomec_infoe": found.explicitness}


METRICS: Mapping[str, Callable[[_Arrays], Found]] = {
    "dci_et": _dci_et,
    "disentanglement": _disentanglement,
    "mig_rank32": lambda arrays: _gap("mig_rank32", arrays.ranked),
    "dcimig": _dcimig,
    "mig_dlib20": lambda arrays: _gap("mig_dlib20", arrays.published),
    "modularity_dlib": lambda arrays: ({"modularity_dlib": modularity_dlib(arrays.published)}, {}),
    "sap_dlib": _sap,
    "explicitness": _explicitness,
    "irs": lambda arrays: ({"irs": irs(*arrays.seen)}, {}),
    "factor_vae": lambda arrays: ({"factor_vae": factor_vae(*arrays.held_out)}, {}),
    "beta_vae": lambda arrays: ({"beta_vae": beta_vae(*arrays.held_out)}, {}),
    "infomec": _infomec,
    "dci_gbt": _dci_gbt,
}
"""Every metric by name, in the order they are computed in."""

DEFAULT = tuple(name for name in METRICS if name != "dci_gbt")
"""What is computed unless asked for otherwise."""

_DCI = ("disentanglement", "completeness", "informativeness")
_SCORES_OF = {
    "dci_et": tuple(f"dci_et_{name}" for name in _DCI),
    "dci_gbt": tuple(f"dci_gbt_{name}" for name in _DCI),
    "infomec": tuple(f"infomec_{name}" for name in ("infom", "infoc", "infoe")),
}


def _intervals(arrays: _Arrays, metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """Bootstrap intervals of the scores of information: the others are too slow to resample."""
    families = (
        (("mig_rank32", "dcimig"), arrays.rank_bins, True),
        (("mig_dlib20", "modularity_dlib"), arrays.width_bins, False),
    )
    pieces = arrays.pieces[arrays.rows]
    found: dict[str, dict[str, float]] = {}
    for names, bins, corrected in families:
        if not set(names) & set(metrics) or len(np.unique(pieces)) < 2:
            continue

        def scores(
            rows: np.ndarray, bins: np.ndarray = bins, *, corrected: bool = corrected
        ) -> np.ndarray:
            information = mutual_information(bins[rows], arrays.seen[1][rows], corrected=corrected)
            other = dcimig(information) if corrected else modularity_dlib(information)
            return np.array([mig(information), other])

        intervals = score_intervals(scores, pieces)
        for name, interval in zip(names, intervals, strict=True):
            if name in metrics:
                found[name] = {"low": interval.low, "high": interval.high, "level": LEVEL}
    return found
