"""KL health and what each dimension says, of arrays of any framework, by one command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurl import cli
from tests.made_codes import made

MEAN, FACTORS = made("perfect", n_repeats=8)
N, N_FACTORS = FACTORS.shape


def health_file(path: Path, **arrays: Any) -> Path:
    """Codes of unit variance with the aggregate of the prior, and a dead dimension off it."""
    mean = (MEAN - MEAN.mean(axis=0)) / MEAN.std(axis=0)
    log_var = np.full(mean.shape, -3.0)
    mean = np.column_stack([np.sqrt(1.0 - np.exp(-3.0)) * mean, np.full(N, 2.0)])
    log_var = np.column_stack([log_var, np.zeros(N)])
    losses = {
        "reconstruction_nats": np.full(N, 2.0),
        "reconstruction_shuffled_z_nats": np.full(N, 10.0),
    }
    whole = {"mean": mean, "log_var": log_var, "factors": FACTORS, **losses, **arrays}
    given = {name: value for name, value in whole.items() if value is not None}
    np.savez(path, **given, allow_pickle=False)
    return path


def record(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.main(["metrics", str(path), "--json", "--metrics", "mig_rank32"]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_dimension_says_what_it_pays_carries_and_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = record(health_file(tmp_path / "codes.npz"), capsys)["dimensions"]
    assert told["all"] == N_FACTORS + 1
    assert told["live"] == list(range(N_FACTORS))
    expected = [1.5] * N_FACTORS + [0.0]
    assert told["carried_nats"] == pytest.approx(expected, abs=1e-9)
    assert told["kl_nats"] == pytest.approx([1.5] * N_FACTORS + [2.0], abs=1e-9)
    assert all(0.5 < each < 1.5 for each in told["information_nats"][:-1])
    assert told["information_nats"][-1] == pytest.approx(0.0, abs=1e-9)
    assert told["active_units"] == N_FACTORS
    assert told["collapsed_fraction"] == 0.0


def test_kl_health_of_arrays_is_against_the_entropy_of_their_factors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = record(health_file(tmp_path / "codes.npz"), capsys)
    assert found["kl_health_status"] == "ok"
    assert found["kl_health/latent_use"] == pytest.approx(0.8)
    assert found["kl_health/live_dimensions"] == 1.0
    assert found["kl_health/aggregate_posterior"] == pytest.approx(1.0, abs=1e-9)
    total, entropy = 1.5 * N_FACTORS + 2.0, sum(found["per_factor"]["entropy"])
    rate = min(1.0, total / (0.8 * entropy), 1.8 * entropy / total)
    assert found["kl_health/rate"] == pytest.approx(rate)
    assert found["kl_health"] == pytest.approx((rate * 0.8**2) ** (1.0 / 6.0))
    wished = record(health_file(tmp_path / "codes.npz", target_rate_nats=100.0), capsys)
    assert wished["kl_health/rate"] == pytest.approx(total / 80.0)
    told = (MEAN - MEAN.mean(axis=0)) / MEAN.std(axis=0) * (0.0, 1.0, 1.0)
    noisy = {"mean": told, "log_var": np.full(told.shape, -1.0)}
    more = np.column_stack([FACTORS, np.full(N, 3)])
    poor = record(health_file(tmp_path / "codes.npz", **noisy, factors=more), capsys)
    assert poor["kl_health/live_dimensions"] == pytest.approx(2.0 / 3.0), "of three that vary"
    assert sum(poor["dimensions"]["information_nats"]) == pytest.approx(1.23, abs=0.1)


def test_without_losses_there_is_no_kl_health(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = dict.fromkeys(("reconstruction_nats", "reconstruction_shuffled_z_nats"))
    found = record(health_file(tmp_path / "codes.npz", **nothing), capsys)
    assert not [name for name in found if name.startswith("kl_health")]
    assert "kl_nats" in found["dimensions"]


def test_a_terminal_shows_the_dimensions_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = health_file(tmp_path / "codes.npz")
    assert cli.main(["metrics", str(path), "--metrics", "mig_rank32"]) == 0
    shown = capsys.readouterr().out
    assert "kl_health/latent_use" in shown
    assert "carried" in shown
    assert "KL health is 0" not in shown
    health_file(path, reconstruction_shuffled_z_nats=np.full(N, 2.0))
    assert cli.main(["metrics", str(path), "--metrics", "mig_rank32"]) == 0
    assert "KL health is 0: unused" in capsys.readouterr().out


def test_losses_of_0_are_lawful_and_what_rounding_makes_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sure = {
        "reconstruction_nats": np.full(N, -1e-7),
        "reconstruction_shuffled_z_nats": np.zeros(N),
    }
    found = record(health_file(tmp_path / "codes.npz", **sure), capsys)
    assert found["kl_health/latent_use"] == 0.0
    assert found["kl_health_status"] == "unused"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"reconstruction_shuffled_z_nats": None}, "must hold mean, log_var, reconstruction_nats"),
        (
            {"mean": None, "log_var": None, "codes": MEAN},
            "must hold mean, log_var, reconstruction_nats",
        ),
        (
            {"reconstruction_nats": np.zeros(3)},
            "reconstruction_nats must be 6000 numbers, one a sample, got the shape (3,)",
        ),
        (
            {"reconstruction_nats": np.full(N, np.nan)},
            "reconstruction_nats must be finite, got NaN",
        ),
        (
            {
                "reconstruction_nats": np.full(N, -5.0),
                "reconstruction_shuffled_z_nats": -np.ones(N),
            },
            "reconstruction_nats must be >= 0, of probabilities, got -5. Densities, as",
        ),
        ({"target_rate_nats": 0.0}, "target_rate_nats must be one number > 0, got 0.0"),
    ],
)
def test_wrong_losses_cost_one_line(
    arrays: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = health_file(tmp_path / "codes.npz", **arrays)
    assert cli.main(["metrics", str(path)]) == 2
    error = capsys.readouterr().err
    assert message.replace("6000", str(N)) in error
    assert error.count("\n") == 1
