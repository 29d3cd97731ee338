"""Codes that are what they are by construction, and every score as a function of the same three
arrays: codes, factors and which samples train."""

from collections.abc import Callable

import numpy as np

from aurl.metrics.beta_vae import beta_vae
from aurl.metrics.dci import ForestSettings, dci_et
from aurl.metrics.dci_gbt import dci_gbt
from aurl.metrics.dcimig import dcimig
from aurl.metrics.disentanglement import disentanglement
from aurl.metrics.explicitness import explicitness
from aurl.metrics.factor_vae import factor_vae
from aurl.metrics.infomec import infomec
from aurl.metrics.irs import irs
from aurl.metrics.mig import mig
from aurl.metrics.modularity import modularity_dlib
from aurl.metrics.mutual_information import rank_mutual_information, width_mutual_information
from aurl.metrics.sap import sap_dlib

Score = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
FOREST = ForestSettings(n_trees=10)


def _combined(codes: np.ndarray, factors: np.ndarray, train: np.ndarray) -> float:
    n_train = int(train.sum())
    assert train[:n_train].all()
    return disentanglement(codes, factors, n_train=n_train, forest=FOREST).disentanglement


def mig_rank32(codes: np.ndarray, factors: np.ndarray) -> float:
    return mig(rank_mutual_information(codes, factors))


def mig_dlib20(codes: np.ndarray, factors: np.ndarray) -> float:
    return mig(width_mutual_information(codes, factors))


SCORES: dict[str, Score] = {
    "disentanglement": _combined,
    "mig_rank32": lambda codes, factors, _: mig_rank32(codes, factors),
    "mig_dlib20": lambda codes, factors, _: mig_dlib20(codes, factors),
    "dcimig": lambda codes, factors, _: dcimig(rank_mutual_information(codes, factors)),
    "modularity_dlib": lambda codes, factors, _: modularity_dlib(
        width_mutual_information(codes, factors)
    ),
    "irs": lambda codes, factors, _: irs(codes, factors),
    "sap_dlib": sap_dlib,
    "explicitness": explicitness,
    "factor_vae": factor_vae,
    "beta_vae": beta_vae,
    "dci_et_disentanglement": lambda c, f, t: dci_et(c, f, t, FOREST).disentanglement,
    "dci_et_completeness": lambda c, f, t: dci_et(c, f, t, FOREST).completeness,
    "dci_et_informativeness": lambda c, f, t: dci_et(c, f, t, FOREST).informativeness,
    "infomec_infom": lambda codes, factors, _: infomec(codes, factors).infom,
    "infomec_infoc": lambda codes, factors, _: infomec(codes, factors).infoc,
    "infomec_infoe": lambda codes, factors, _: infomec(codes, factors).infoe,
}
SLOW_SCORES: dict[str, Score] = {
    "dci_gbt_disentanglement": lambda c, f, t: dci_gbt(c, f, t).disentanglement,
    "dci_gbt_completeness": lambda c, f, t: dci_gbt(c, f, t).completeness,
    "dci_gbt_informativeness": lambda c, f, t: dci_gbt(c, f, t).informativeness,
}
KINDS = ("perfect", "useless", "duplicated", "merged", "split", "rotated")


def factorial(n_repeats: int = 50) -> np.ndarray:
    """Every combination of three factors, with 4, 3 and 2 classes, over and over."""
    grid = np.stack(np.meshgrid(range(4), range(3), range(2)), axis=-1).reshape(-1, 3)
    return np.tile(grid, (n_repeats, 1))


def first_two_thirds(n_samples: int) -> np.ndarray:
    return np.arange(n_samples) < 2 * n_samples // 3


def made(kind: str, n_repeats: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a kind, with a little noise, and their factors."""
    rng = np.random.default_rng(seed)
    factors = factorial(n_repeats)
    exact = (factors - factors.mean(axis=0)) / factors.std(axis=0)
    turn = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, np.sqrt(2.0)]]) / np.sqrt(2.0)
    codes = {
        "perfect": exact,
        "useless": rng.normal(size=exact.shape),
        "duplicated": np.tile(exact, 2),
        "merged": np.stack([factors[:, 0] + 4.0 * factors[:, 1], exact[:, 2]], axis=1),
        "split": np.stack(
            [factors[:, 0] // 2, factors[:, 0] % 2, exact[:, 1], exact[:, 2]], axis=1
        ),
        "rotated": exact @ turn,
    }[kind]
    return codes + 0.02 * rng.normal(size=codes.shape), factors
