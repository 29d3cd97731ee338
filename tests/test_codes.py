"""What a person with arrays of their own gets wrong costs one line, and nothing is executed."""

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurl import cli
from aurl.errors import DataError
from aurl.reporting import codes as reader
from aurl.reporting.codes import read_codes

RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(12, 3))
FACTORS = RNG.integers(0, 2, size=(12, 2))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(**arrays: Any) -> Path:
        path = tmp_path / "codes.npz"
        np.savez(path, **arrays)
        return path

    return write


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int16])
@pytest.mark.parametrize("factor_kind", [np.int8, np.uint16, np.float32, bool])
def test_any_numeric_kind_is_read(
    write: Callable[..., Path], kind: type, factor_kind: type
) -> None:
    read = read_codes(write(codes=CODES.astype(kind), factors=FACTORS.astype(factor_kind)))
    assert read.codes.dtype == np.float64
    assert (read.codes == CODES.astype(kind)).all()
    assert read.factors.tolist() == FACTORS.tolist()
    assert read.n_train == 8
    assert read.groups is None
    assert read.live.all()


def test_dimensions_without_kl_are_set_aside(write: Callable[..., Path]) -> None:
    mean = np.stack([CODES[:, 0], 1e-3 * CODES[:, 1], 0.9 * CODES[:, 2]], axis=1)
    log_var = np.log([[0.2, 1.0, 0.5]]).repeat(12, axis=0)
    read = read_codes(write(mean=mean, log_var=log_var, factors=FACTORS))
    assert read.live.tolist() == [True, False, True]
    assert (read.codes == mean).all()


def test_optional_arrays_are_read_and_others_named(write: Callable[..., Path]) -> None:
    read = read_codes(write(codes=CODES, factors=FACTORS, n_train=5, labels=np.arange(3)))
    assert read.n_train == 5
    assert read.ignored == ("labels",)
    names = np.array(["jig", "reel", "jig"] * 4)
    read = read_codes(write(codes=CODES, factors=FACTORS, groups=names))
    assert read.n_train is None
    assert read.groups is not None
    assert read.groups.tolist() == [0, 1, 0] * 4


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no_codes": ({"factors": FACTORS}, "must hold codes, or mean and log_var, got factors."),
    "no_arrays": ({"other": FACTORS}, "must hold codes, or mean and log_var, got none of these."),
    "no_log_var": ({"mean": CODES, "factors": FACTORS}, "or mean and log_var, got mean, factors."),
    "no_factors": ({"codes": CODES}, "must hold factors [samples, factors], got codes."),
    "both": (
        {"codes": CODES, "mean": CODES, "factors": FACTORS},
        "must hold codes or mean and log_var, got codes and mean.",
    ),
    "one_dimension": (
        {"codes": CODES[:, 0], "factors": FACTORS},
        "codes must have the shape [samples, dimensions], got (12,).",
    ),
    "factors_of_one_dimension": (
        {"codes": CODES, "factors": FACTORS[:, 0]},
        "factors must have the shape [samples, factors], got (12,).",
    ),
    "lengths": (
        {"codes": CODES, "factors": FACTORS[:7]},
        "factors must have a row for each of the 12 codes, got 7 rows.",
    ),
    "other_shape": (
        {"mean": CODES, "log_var": CODES[:, :2], "factors": FACTORS},
        "log_var must have the shape of mean, (12, 3), got (12, 2).",
    ),
    "nan": (
        {"codes": np.where(CODES[4, 1] == CODES, np.nan, CODES), "factors": FACTORS},
        "codes must be finite, got NaN or infinity in 1 of 12 rows, the first of them row 4.",
    ),
    "infinite": (
        {"codes": np.full((12, 3), -np.inf), "factors": FACTORS},
        "codes must be finite, got NaN or infinity in 12 of 12 rows",
    ),
    "huge": (
        {"codes": -np.abs(CODES) * 1e150, "factors": FACTORS},
        "codes must be within ±1e+100, got",
    ),
    "wide_posterior": (
        {"mean": CODES, "log_var": np.full((12, 3), 900.0), "factors": FACTORS},
        "log_var must be within ±200, got 900.",
    ),
    "text": (
        {"codes": CODES.astype(str), "factors": FACTORS},
        "codes must hold real numbers, got text.",
    ),
    "complex": (
        {"codes": CODES + 1j, "factors": FACTORS},
        "codes must hold real numbers, got complex numbers.",
    ),
    "objects": (
        {"codes": CODES, "factors": FACTORS.astype(object)},
        "factors must hold numbers, got Python objects, which are never loaded.",
    ),
    "empty": ({"codes": CODES[:0], "factors": FACTORS[:0]}, "codes must not be empty, got"),
    "no_column": ({"codes": CODES[:, :0], "factors": FACTORS}, "codes must not be empty, got"),
    "one_row": (
        {"codes": CODES[:1], "factors": FACTORS[:1]},
        "codes must have 2 rows at least, got 1.",
    ),
    "continuous": (
        {"codes": CODES, "factors": 0.25 + np.ones_like(FACTORS)},
        "factors must be classes, whole numbers, got 1.25 in column 0. Make classes of a",
    ),
    "nan_factors": (
        {"codes": CODES, "factors": np.full((12, 2), np.nan)},
        "factors must be classes, whole numbers, got nan in column 0.",
    ),
    "no_longer_exact": (
        {"codes": CODES, "factors": FACTORS + 2.0**60},
        "factors must be classes, whole numbers, got 1.15",
    ),
    "many_classes": (
        {"codes": np.ones((300, 1)), "factors": np.arange(300)[:, None]},
        "factors must have 256 classes at most, got 300 in column 0.",
    ),
    "n_train_of_all": (
        {"codes": CODES, "factors": FACTORS, "n_train": 12},
        "n_train must be in 1..11, got 12.",
    ),
    "n_train_of_two": (
        {"codes": CODES, "factors": FACTORS, "n_train": [3, 4]},
        "n_train must be one whole number, got [3, 4].",
    ),
    "n_train_nan": (
        {"codes": CODES, "factors": FACTORS, "n_train": np.nan},
        "n_train must be one whole number, got nan.",
    ),
    "n_train_of_text": (
        {"codes": CODES, "factors": FACTORS, "n_train": "eight"},
        "n_train must hold real numbers, got text.",
    ),
    "n_train_and_groups": (
        {"codes": CODES, "factors": FACTORS, "n_train": 8, "groups": np.arange(12)},
        "must hold n_train or groups, got both. Leave one out.",
    ),
    "short_groups": (
        {"codes": CODES, "factors": FACTORS, "groups": np.arange(5)},
        "groups must be 12 whole numbers or names, the piece of every sample, got",
    ),
    "one_group": (
        {"codes": CODES, "factors": FACTORS, "groups": np.zeros(12)[:, None]},
        "groups must be 12 whole numbers or names",
    ),
    "same_group": (
        {"codes": CODES, "factors": FACTORS, "groups": np.zeros(12, dtype=int)},
        "groups must name 2 groups at least, got 1.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_get_one_line(
    case: str, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arrays, message = BAD[case]
    path = write(**arrays)
    assert cli.main(["metrics", str(path), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"aurl: {path}")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a whole file of numeric arrays by numpy.savez, and is not."),
        (b"\x80\x04K\x01.", "must be a whole file of numeric arrays by numpy.savez"),
        (b"PK\x03\x04 and then nothing", "must be a whole file of numeric arrays by numpy.savez"),
    ],
)
def test_files_that_are_no_arrays_get_one_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "codes.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_codes(path)


def test_half_a_file_a_single_array_and_no_file_get_one_line(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(codes=CODES, factors=FACTORS)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match="must be a whole file"):
        read_codes(path)
    np.save(tmp_path / "one.npy", CODES)
    with pytest.raises(DataError, match="must hold named arrays, got a single one"):
        read_codes(tmp_path / "one.npy")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_codes(tmp_path / "none.npz")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_codes(tmp_path)


def test_labels_may_be_any_whole_numbers(write: Callable[..., Path]) -> None:
    lowest, highest = np.iinfo(np.int64).min, np.uint64(2**64 - 1)
    assert read_codes(write(codes=np.eye(256), factors=np.arange(256)[:, None])).n_train == 170
    unsigned = np.where(FACTORS > 0, highest, np.uint64(0))
    for labels in (FACTORS * 2**60, np.where(FACTORS > 0, lowest, 0), unsigned):
        factors = read_codes(write(codes=CODES, factors=labels)).factors
        assert ((factors == factors[0]) == (FACTORS[0] == FACTORS)).all()


def test_an_array_that_unpacks_to_more_than_it_may_is_not_unpacked(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(codes=CODES, factors=FACTORS)
    monkeypatch.setattr(reader, "_MOST_BYTES", 300)  # the codes have 288, and a header
    with pytest.raises(
        DataError, match=r"codes must be at most 0 GiB, got 0\.0 GiB\. Score fewer"
    ):
        read_codes(path)
    monkeypatch.setattr(reader, "_MOST_BYTES", 600)
    assert len(read_codes(path).codes) == 12


def _member(shape: tuple[int, ...]) -> bytes:
    """A file that says it holds an array of this shape, and does not."""
    content = BytesIO()
    about = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, about)
    return content.getvalue() + bytes(1000)


@pytest.mark.parametrize(
    ("name", "content", "flag"),
    [
        pytest.param("codes.npy", _member((10**9, 10**6)), 0, id="larger_than_memory"),
        pytest.param("codes.npy", _member((-5, 3)), 0, id="less_than_nothing"),
        pytest.param("codes.npy", _member((5, 3)), 1, id="encrypted"),
        pytest.param("codes.npy", b"no array", 0, id="text"),
        pytest.param("codes", b"no array", 0, id="text_without_suffix"),
    ],
)
def test_files_that_hold_something_else_get_one_line(
    name: str, content: bytes, flag: int, tmp_path: Path
) -> None:
    path = tmp_path / "codes.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, content)
    raw = bytearray(path.read_bytes())
    raw[6] |= flag
    raw[raw.index(b"PK\x01\x02") + 8] |= flag
    path.write_bytes(raw)
    with pytest.raises(DataError, match="must be a whole file of numeric arrays"):
        read_codes(path)
