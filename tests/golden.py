"""The reference values of tests/data/golden: codes with factors, and what other programs say."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = Path(__file__).parent / "data" / "golden"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))
NAMES = sorted(GOLDEN["fixtures"])


class Fixture(NamedTuple):
    codes: np.ndarray
    factors: np.ndarray
    n_train: int
    values: dict[str, Any]

    def trained(self) -> tuple[np.ndarray, np.ndarray]:
        return self.codes[: self.n_train], self.factors[: self.n_train]


def load(name: str) -> Fixture:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        codes = arrays["codes"].astype(np.float64)
        factors = arrays["factors"].astype(np.int64)
        return Fixture(codes, factors, int(arrays["n_train"]), GOLDEN["fixtures"][name])


def posterior_draws() -> np.ndarray:
    """A draw from each posterior of :func:`posterior`, that the reference's information is of."""
    with np.load(FOLDER / "posterior_linear_gaussian.npz") as arrays:
        noise = np.exp(0.5 * arrays["logvar"].astype(np.float64)) * arrays["eps"]
        return arrays["mu"] + noise


def posterior() -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Means and log-variances of 1,000 linear-Gaussian posteriors, with the reference's values."""
    name = "posterior_linear_gaussian"
    with np.load(FOLDER / f"{name}.npz") as arrays:
        mean, log_var = arrays["mu"].astype(np.float64), arrays["logvar"].astype(np.float64)
    return mean, log_var, GOLDEN["posterior"][name]
