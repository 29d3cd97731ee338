import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from made_codes import made

from aurl import cli
from aurl.errors import ConfigError
from aurl.metrics.dci import ForestSettings
from aurl.metrics.disentanglement import disentanglement
from aurl.metrics.infomec import infomec
from aurl.metrics.sap import sap_dlib
from aurl.reporting.codes import read_codes
from aurl.reporting.scores import DEFAULT, METRICS, chosen_metrics, score_record

KEYS = {
    *("disentanglement", "mig_rank32", "dcimig", "mig_dlib20", "sap_dlib", "modularity_dlib"),
    *("explicitness", "irs", "factor_vae", "beta_vae"),
    *(f"dci_et_{part}" for part in ("disentanglement", "completeness", "informativeness")),
    *(f"dci_gbt_{part}" for part in ("disentanglement", "completeness", "informativeness")),
    *(f"infomec_{part}" for part in ("infom", "infoc", "infoe")),
}
QUICK = "mig_rank32,dcimig,mig_dlib20,modularity_dlib,irs"


def scored(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert cli.main(["metrics", str(path), "--json", *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def scores(record: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in record.items() if isinstance(value, float)}


def test_every_score_has_its_published_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes, factors = made("rotated", n_repeats=4)
    path = tmp_path / "codes.npz"
    np.savez(path, codes=codes, factors=factors)
    record = scored(path, capsys, "--metrics", "all")
    assert set(scores(record)) == KEYS
    assert all(0.0 <= value <= 1.0 for value in scores(record).values())
    assert set(record["seconds"]) == {"mutual_information", *METRICS, "intervals"}
    assert all(len(values) == 3 for values in record["per_factor"].values())
    assert set(scores(scored(path, capsys))) == {
        name for name in KEYS if not name.startswith("dci_gbt")
    }


@pytest.mark.parametrize("name", golden.NAMES)
def test_file_scores_match_the_reference(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = golden.load(name).values
    record = scored(golden.FOLDER / f"{name}.npz", capsys, "--metrics", f"{QUICK},sap_dlib")
    assert record["mig_dlib20"] == pytest.approx(values["mig_train"], abs=1e-6)
    assert record["modularity_dlib"] == pytest.approx(values["modularity"], abs=1e-6)
    assert record["irs"] == pytest.approx(values["irs"], abs=1e-5)
    assert record["sap_dlib"] == pytest.approx(values["sap"], abs=1e-3)
    matrix = np.array(values["mi_matrix_train_nats_codes_x_factors"])
    assert np.array(record["mutual_information"]["dlib20"]) == pytest.approx(matrix, abs=1e-6)
    expected = values["mig_per_factor_train"]
    assert record["per_factor"]["mig_dlib20"] == pytest.approx(expected, abs=1e-6)
    for score, interval in record["intervals"].items():
        assert interval["low"] <= record[score] <= interval["high"]
        assert interval["high"] - interval["low"] < 0.03


def test_combined_score_is_the_one_a_trial_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes, factors = made("rotated")
    pieces = np.arange(len(codes)) // 6
    path = tmp_path / "codes.npz"
    np.savez(path, codes=codes, factors=factors, groups=pieces)
    forest = ForestSettings(n_jobs=2)
    expected = disentanglement(codes, factors, groups=pieces, forest=forest).to_dict()
    record = scored(path, capsys, "--metrics", "disentanglement,dci_et,mig_rank32,dcimig")
    for name, value in scores(record).items():
        assert value == pytest.approx(expected[name], abs=1e-12), name
    assert record["samples"]["information"] == len(codes)
    assert record["samples"]["train"] < len(codes)


def test_collapsed_dimensions_are_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean, factors = made("perfect")
    leaky = np.concatenate([mean, 1e-3 * mean], axis=1)
    log_var = np.concatenate([np.full(mean.shape, -4.0), np.zeros(mean.shape)], axis=1)
    path = tmp_path / "codes.npz"
    np.savez(path, codes=leaky, factors=factors)
    assert scored(path, capsys, "--metrics", "mig_rank32")["mig_rank32"] < 0.01
    np.savez(path, mean=leaky, log_var=log_var, factors=factors)
    record = scored(path, capsys, "--metrics", "mig_rank32")
    assert record["mig_rank32"] > 0.97
    assert record["dimensions"]["all"] == 6
    assert record["dimensions"]["live"] == [0, 1, 2]
    assert "posteriors" in record["seconds"]
    assert len(record["mutual_information"]["rank32"]) == 3


@pytest.mark.parametrize(
    ("arrays", "status"),
    [
        ({"mean": np.zeros((9, 2)), "log_var": np.zeros((9, 2))}, "no_live_dimension"),
        ({"codes": np.zeros((9, 2))}, "ok"),
        ({"codes": np.zeros((2, 2))}, "no_varying_factor"),
        ({"codes": np.arange(9.0)[:, None]}, "ok"),
        ({"codes": np.arange(9.0)[:, None], "groups": np.arange(9) // 3}, "ok"),
        ({"codes": np.arange(9.0)[:, None], "n_train": 1}, "no_varying_factor"),
    ],
)
def test_odd_arrays_have_finite_scores(
    arrays: dict[str, np.ndarray],
    status: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    n_samples = len(arrays.get("codes", arrays.get("mean", np.zeros(0))))
    path = tmp_path / "codes.npz"
    factors = np.stack([np.arange(n_samples) % 2, np.full(n_samples, 3)], axis=1)
    np.savez(path, **arrays, factors=factors, allow_pickle=False)
    record = scored(path, capsys)
    assert record["status"] == status
    assert all(0.0 <= value <= 1.0 for value in scores(record).values())
    if status != "ok":
        assert record["disentanglement"] == record["mig_dlib20"] == 0.0


def test_tables_show_every_score_and_dimension(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes, factors = made("perfect", n_repeats=4)
    path = tmp_path / "codes.npz"
    np.savez(path, codes=codes, factors=np.tile(factors, 5), extra=[1])
    assert cli.main(["metrics", str(path), "--metrics", QUICK]) == 0
    out, _ = capsys.readouterr()
    for word in (*QUICK.split(","), "dimension 2", "96 samples, 64 of them train", "seconds"):
        assert word in out
    assert "not read: extra" in out
    assert "…" not in out, "nothing is cut off"


def test_metrics_are_chosen_by_name() -> None:
    assert chosen_metrics("") == DEFAULT
    assert "dci_gbt" not in DEFAULT
    assert chosen_metrics("all") == tuple(METRICS)
    assert chosen_metrics("sap_dlib, mig_dlib20") == ("mig_dlib20", "sap_dlib")
    assert chosen_metrics("infomec_infoc") == ("infomec",)
    with pytest.raises(ConfigError, match=r"--metrics must be names out of .*, got ','"):
        chosen_metrics(",")
    with pytest.raises(ConfigError, match=r"--metrics must be names out of .*, got 'sap'"):
        chosen_metrics("mig_rank32,sap")


def test_only_what_is_asked_for_is_computed(tmp_path: Path) -> None:
    codes, factors = made("perfect", n_repeats=4)
    np.savez(tmp_path / "codes.npz", codes=codes, factors=factors)
    told: list[str] = []
    record = score_record(read_codes(tmp_path / "codes.npz"), ("irs",), told.append)
    assert told == ["mutual_information", "irs", "intervals"]
    assert set(scores(record)) == {"irs"}
    assert record["intervals"] == {}


def test_scores_are_of_the_samples_that_the_published_ones_are_of(tmp_path: Path) -> None:
    codes, factors = made("rotated", n_repeats=4)
    factors[64:, 0] = 1  # not told on the side that is held out
    path = tmp_path / "codes.npz"
    np.savez(path, codes=codes, factors=factors, n_train=64)
    record = score_record(read_codes(path), ("sap_dlib", "infomec"), lambda _: None)
    assert record["sap_dlib"] == sap_dlib(codes, factors, np.arange(96) < 64)
    assert record["infomec_infom"] == infomec(codes[:64], factors[:64]).infom


def test_intervals_resample_whole_groups(tmp_path: Path) -> None:
    codes, factors = (np.repeat(each, 8, axis=0) for each in made("rotated", n_repeats=1))
    wide: list[float] = []
    for groups in (np.arange(len(codes)), np.arange(len(codes)) // 8):
        np.savez(tmp_path / "codes.npz", codes=codes, factors=factors, groups=groups)
        record = score_record(read_codes(tmp_path / "codes.npz"), ("mig_dlib20",), lambda _: None)
        interval = record["intervals"]["mig_dlib20"]
        wide.append(interval["high"] - interval["low"])
    assert wide[1] > 1.5 * wide[0]


def test_tables_name_dimensions_by_their_place_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean, factors = made("perfect", n_repeats=4)
    means = np.concatenate([1e-3 * mean, mean + 2.0], axis=1)
    log_var = np.concatenate([np.zeros(mean.shape), np.full(mean.shape, -4.0)], axis=1)
    path = tmp_path / "codes.npz"
    np.savez(path, mean=means, log_var=log_var, factors=factors)
    record = scored(path, capsys, "--metrics", "mig_rank32")
    assert cli.main(["metrics", str(path), "--metrics", "mig_rank32"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    named = {row[1] for row in rows if row[:1] == ["dimension"]}
    assert named & set("012345") == {"3", "4", "5"}
    bounds = record["intervals"]["mig_rank32"]
    assert [f"[{bounds['low']:.3f},", f"{bounds['high']:.3f}]"] in [row[-2:] for row in rows]
    each = record["dimensions"]
    names = ("kl_nats", "carried_nats", "information_nats")
    assert ["5", *(f"{each[name][5]:.3f}" for name in names)] in rows


def test_scoring_imports_neither_torch_nor_ray() -> None:
    program = (
        "import sys; from aurl import cli; cli.main(['metrics', 'none.npz']); "
        "import aurl.reporting.scores; "
        "print([name for name in ('torch', 'ray', 'optuna') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
