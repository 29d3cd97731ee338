import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_pieces import random_tune, tune

from aurl.data import corpora
from aurl.data.attributes import ATTRIBUTES
from aurl.data.corpora import load_named
from aurl.data.corpus import ARRAYS, TARGET_RATE_NATS_PER_BAR, Corpus, load, save
from aurl.data.events import Events
from aurl.data.metrical import Metrical
from aurl.data.piece import Piece
from aurl.data.tokenizer import encode
from aurl.errors import DataError
from aurl.metrics.music import empty_bar_rate, note_density

VOCABULARY = Metrical(velocity_bins=0, programs=False, tempo=False)


def small() -> Corpus:
    """Six windows of three pieces, one in each split."""
    windows = [encode(random_tune(seed, 8), VOCABULARY, 2) for seed in range(6)]
    return Corpus(
        vocabulary=VOCABULARY,
        n_bars=2,
        tokens=np.concatenate(windows).astype("<u2"),
        offsets=np.cumsum([0, *(len(window) for window in windows)]).astype("<i8"),
        piece=np.asarray([0, 0, 0, 1, 1, 2], "<i4"),
        first_bar=np.asarray([0, 2, 4, 0, 2, 0], "<i4"),
        split=np.asarray([0, 0, 0, 1, 1, 2], "i1"),
        attributes=np.zeros((6, len(ATTRIBUTES)), "<f4"),
        attribute_names=ATTRIBUTES,
        piece_names=("a.mid", "b.mid", "c.mid"),
        name="small",
        licence="none",
        details={"summary": {"files": 3}},
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(small(), tmp_path / "data")
    return tmp_path / "data"


def test_a_corpus_is_its_windows_by_split() -> None:
    corpus = small()
    assert len(corpus) == 6
    assert corpus.indices("train").tolist() == [0, 1, 2]
    assert corpus.indices("val").tolist() == [3, 4]
    assert corpus.indices("test").tolist() == [5]
    assert np.array_equal(corpus.window(4), encode(random_tune(4, 8), VOCABULARY, 2))
    lengths = np.diff(corpus.offsets)
    assert corpus.max_tokens == lengths.max()
    assert corpus.mean_tokens == pytest.approx(lengths.mean())


def test_music_has_the_silent_bars_at_its_end() -> None:
    note = tune([60], ticks=32).notes  # half a second of four
    tokens = Events().encode(Piece(ticks_per_quarter=32, notes=note), 2)
    ends = np.asarray([0, len(tokens)])
    (heard,) = replace(small(), vocabulary=Events(), tokens=tokens, offsets=ends).music(ends[:1])
    said = Events().decode(tokens)
    assert said.n_bars == 1  # it has no word for a bar
    assert (heard.n_bars, empty_bar_rate(heard), note_density(heard)) == (2, 0.5, 1 / 8)
    assert np.array_equal(heard.notes, said.notes)


def test_what_is_saved_is_what_is_loaded_and_lies_on_disk(saved: Path) -> None:
    corpus, loaded = small(), load(saved)
    for name in ARRAYS:
        assert isinstance(getattr(loaded, name), np.memmap)
        assert np.array_equal(getattr(loaded, name), getattr(corpus, name))
    for name in ("vocabulary", "n_bars", "fingerprint", "attribute_names", "piece_names"):
        assert getattr(loaded, name) == getattr(corpus, name)
    assert (loaded.name, loaded.licence) == ("small", "none")
    assert loaded.details == {"summary": {"files": 3}}


def test_saving_over_a_corpus_replaces_it_and_leaves_nothing_else(saved: Path) -> None:
    other = replace(small(), n_bars=4, fingerprint="")
    save(other, saved)
    assert load(saved).n_bars == 4
    assert [path.name for path in saved.parent.iterdir()] == ["data"]


def test_the_fingerprint_is_of_the_content_not_of_the_name() -> None:
    corpus = small()
    assert replace(corpus, name="x", details={}, fingerprint="").fingerprint == corpus.fingerprint
    changes: list[dict[str, Any]] = [
        {"n_bars": 3},
        {"vocabulary": Metrical(velocity_bins=0, programs=False)},
        {"piece_names": ("a.mid", "b.mid", "d.mid")},
        *({name: np.roll(getattr(corpus, name), 1)} for name in ("tokens", "split", "piece")),
    ]
    prints = {replace(corpus, **change, fingerprint="").fingerprint for change in changes}
    assert len(prints | {corpus.fingerprint}) == len(changes) + 1


def test_load_says_what_is_wrong_with_a_folder(tmp_path: Path, saved: Path) -> None:
    (tmp_path / "midi").mkdir()
    with pytest.raises(
        DataError, match=r"gone does not exist\. If it was moved, .*: aurl prepare"
    ):
        load(tmp_path / "gone")
    with pytest.raises(DataError, match=r"midi is not a corpus\. Make one from a folder of MIDI"):
        load(tmp_path / "midi")
    with pytest.raises(DataError, match=r"manifest.json is not a corpus\."):
        load(saved / "manifest.json")


@pytest.mark.parametrize("name", ARRAYS)
def test_load_refuses_an_array_that_changed(saved: Path, name: str) -> None:
    array = np.load(saved / f"{name}.npy")
    array.flat[0] += 1
    np.save(saved / f"{name}.npy", array)
    with pytest.raises(DataError, match=rf"data is damaged: {name}\.npy is not what was saved"):
        load(saved)


def test_load_refuses_a_folder_with_a_part_missing_cut_or_of_another_type(saved: Path) -> None:
    whole = (saved / "tokens.npy").read_bytes()
    for content in (whole[:-2], whole[:40], b"", b"\x93NUMPY garbage"):
        (saved / "tokens.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"data is damaged: .*\. Prepare it again\.$"):
            load(saved)
    np.save(saved / "tokens.npy", small().tokens.astype(np.int64))
    with pytest.raises(DataError, match=r"tokens\.npy holds int64, not uint16"):
        load(saved)
    (saved / "tokens.npy").unlink()
    with pytest.raises(DataError, match=r"data is damaged: .*No such file"):
        load(saved)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema", 99, r"data must be a corpus of schema 1, got 99\."),
        ("n_bars", 3, r"manifest\.json is not what was saved there"),
        ("piece_names", ["x", "y", "z"], r"manifest\.json is not what was saved there"),
        ("vocabulary", {"kind": "odd"}, r"data is damaged: vocabulary\.kind must be"),
        ("vocabulary", 3, r"data is damaged: vocabulary must be a mapping, got 3\."),
        ("arrays", {}, r"data is damaged: 'tokens'"),
    ],
)
def test_load_refuses_a_manifest_that_changed(
    saved: Path, key: str, value: object, message: str
) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps({**manifest, key: value}))
    with pytest.raises(DataError, match=message):
        load(saved)


def test_load_refuses_a_manifest_that_is_not_json(saved: Path) -> None:
    (saved / "manifest.json").write_text('{"schema": 1,')
    with pytest.raises(DataError, match=r"data is damaged: .*manifest\.json is not JSON"):
        load(saved)
    (saved / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match=r"data must be a corpus of schema 1, got None\."):
        load(saved)


def test_load_named_takes_a_folder(saved: Path) -> None:
    assert load_named(str(saved)).fingerprint == small().fingerprint


def test_load_named_builds_the_tunes_once_into_the_cache(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Path] = []

    def build(out: Path) -> None:
        built.append(out)
        shutil.copytree(saved, out)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(corpora, "build_tunes", build)
    assert load_named("tunes").fingerprint == load_named("tunes").fingerprint
    (folder,) = built
    assert folder.parent == tmp_path / "cache" / "aurl"
    monkeypatch.setattr(corpora, "code_version", lambda: "another")
    load_named("tunes")
    assert len(set(built)) == 2


def test_load_named_says_when_the_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"aurl cannot be written: .*Set XDG_CACHE_HOME"):
        load_named("tunes")


@pytest.mark.slow
def test_the_bundled_tunes_are_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    corpus = load_named("tunes")
    summary = corpus.details["summary"]
    assert summary["files"] == 1059
    assert summary["pieces"] == 1044
    assert summary["refused"] == {"duplicate_of": 15}
    assert summary["shared_openings"] == {"groups": 45, "pieces": 94}
    assert set(summary["windows_left_out"]) <= {"empty"}
    assert len(corpus.indices("test")) >= 1000
    assert len(corpus.indices("val")) >= 1000
    assert corpus.vocabulary.velocity_bins == 0
    assert corpus.n_bars == 2
    assert corpus.max_tokens <= 512
    assert len(list(tmp_path.glob("aurl/tunes-*"))) == 2  # the corpus and its lock


def test_the_target_rate_is_of_the_factors_where_they_are_known() -> None:
    assert small().target_rate_nats == 2 * TARGET_RATE_NATS_PER_BAR
    assert not small().is_constructed
    constructed = replace(small(), factor_entropy_nats=3.0)
    assert constructed.is_constructed
    assert constructed.target_rate_nats == 3.0
