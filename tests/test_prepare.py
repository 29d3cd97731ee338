import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_midi import CASES, GOOD, write_all
from made_pieces import random_tune, tune

from aurl.data import intake, isolation
from aurl.data.corpus import load
from aurl.data.isolation import Limits
from aurl.data.midi import write_midi
from aurl.data.piece import Metre, Piece
from aurl.data.prepare import REFUSED, PrepareOptions, Summary, prepare
from aurl.data.sources import read_source
from aurl.errors import ConfigError, DataError
from aurl.files import read_lines

QUICK = PrepareOptions(workers=1)
N_TUNES = 12


def write_tunes(folder: Path, count: int = N_TUNES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        write_midi(random_tune(seed), folder / f"tune{seed:02}.mid")


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in this process: what isolation is for, other tests have."""

    def attempted(
        function: Callable[[Any], Any], items: Sequence[Any], **_: object
    ) -> Iterator[tuple[int, Any]]:
        for index, item in enumerate(items):
            yield index, isolation._attempt(function, item)

    monkeypatch.setattr(intake, "each_isolated", attempted)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Summary, list[Any]]:
    """Twelve tunes among every kind of damage, prepared: source, corpus, summary, progress."""
    source = tmp_path_factory.mktemp("mixed") / "midi"
    write_all(source)
    write_tunes(source / "good")
    (source / "copy.mid").write_bytes((source / "good" / "tune03.mid").read_bytes())
    quiet = random_tune(4).notes
    quiet["velocity"] = 20
    write_midi(Piece(ticks_per_quarter=24, notes=quiet), source / "quiet.mid")
    write_midi(tune([60 + index % 20 for index in range(960)], ticks=1), source / "fast.mid")
    told: list[tuple[int, int]] = []
    out = source.parent / "data"
    summary = prepare(source, out, QUICK, lambda done, total: told.append((done, total)))
    return source, out, summary, told


def test_a_folder_full_of_damage_costs_only_the_damaged(mixed: Any) -> None:
    source, out, summary, _ = mixed
    corpus = load(out)
    refused = {row["file"]: row for row in read_lines(out / REFUSED)}
    assert list(refused) == sorted(refused)
    names = {path.relative_to(source).as_posix() for path in source.rglob("*.mid")}
    names -= {"a_folder.mid"}
    assert set(corpus.piece_names) | set(refused) == names
    assert set(corpus.piece_names) & set(refused) == set()
    assert summary.files == len(names)
    assert summary.seconds < 60
    for name, (_, outcome) in CASES.items():
        reason = refused.get(f"{name}.mid", {}).get("reason")
        assert reason == outcome if isinstance(outcome, str) else reason in (None, "duplicate_of")
    assert refused["to_nowhere.mid"]["reason"] == "unreadable"
    tunes = {f"good/tune{seed:02}.mid" for seed in range(N_TUNES)} - {"good/tune03.mid"}
    assert tunes | {"copy.mid"} <= set(corpus.piece_names)


def test_copies_are_refused_by_bytes_and_by_notes(mixed: Any) -> None:
    refused = {row["file"]: row for row in read_lines(mixed[1] / REFUSED)}
    assert refused["good/tune03.mid"] == {
        "file": "good/tune03.mid",
        "reason": "duplicate_of",
        "detail": "copy.mid",
    }
    assert refused["quiet.mid"]["detail"] == "good/tune04.mid"


def test_every_note_of_every_kept_file_is_in_its_windows(mixed: Any) -> None:
    source, out, _, _ = mixed
    corpus = load(out)
    for index, name in enumerate(corpus.piece_names):
        piece = read_source(source / name)
        lines = piece.bar_lines(piece.n_bars + corpus.n_bars)
        found: set[tuple[int, int]] = set()
        for window in np.flatnonzero(corpus.piece == index):
            notes = corpus.vocabulary.decode(corpus.window(int(window))).notes
            start = int(lines[corpus.first_bar[window]])
            found |= {
                (onset + start, pitch) for onset, pitch in notes[["onset", "pitch"]].tolist()
            }
        assert found == set(piece.notes[["onset", "pitch"]].tolist()), name


@pytest.mark.usefixtures("_here")
def test_notes_that_are_left_out_in_reading_are_counted(tmp_path: Path) -> None:
    (tmp_path / "midi").mkdir()
    metres = (
        Metre(tick=0, numerator=4, denominator=4),
        Metre(tick=96, numerator=3, denominator=4),
    )
    for seed in range(3):
        notes = random_tune(seed, n_notes=20).notes  # three bars, in windows of two
        notes["duration"][13] = 13  # the last note of the second bar, which is 168 ticks from 0
        twice = np.repeat(notes, 2)  # two voices in unison
        piece = Piece(ticks_per_quarter=24, notes=twice, metres=metres)
        path = tmp_path / "midi" / f"{seed}.mid"
        write_midi(piece, path)
        end = b"\x01\xff\x2f\x00"
        assert path.read_bytes().endswith(end)
        held = bytes([0, 0x90, 60, 80, 0, 0x90, 60, 90, 0, 0x80, 60, 0, 0, 0x95, 60, 80]) + end
        data = path.read_bytes()[: -len(end)] + held
        at = data.rindex(b"MTrk") + 4
        path.write_bytes(data[:at] + (len(data) - at - 4).to_bytes(4, "big") + data[at + 4 :])
    summary = prepare(tmp_path / "midi", tmp_path / "data", QUICK)
    found = {"doubled": 60, "unclosed": 6}  # struck twice and closed once, and on another channel
    assert (summary.notes, summary.notes_not_said) == (63, found)
    assert (summary.metres, summary.notes_clipped) == ({"3/4": 3}, 3)


def test_the_summary_adds_up(mixed: Any) -> None:
    _, out, summary, told = mixed
    corpus = load(out)
    rows = corpus.details["pieces"]
    assert summary.fingerprint == corpus.fingerprint
    assert summary.pieces == len(corpus.piece_names) == len(rows)
    assert summary.files == summary.pieces + sum(summary.refused.values())
    assert summary.windows == {
        split: len(corpus.indices(split)) for split in ("train", "val", "test")
    }
    assert min(summary.windows.values()) > 0
    assert summary.bars == sum(row["bars"] for row in rows)
    assert summary.notes == sum(row["notes"] for row in rows)
    assert sum(summary.metres.values()) == summary.pieces
    shared = [size for size in Counter(row["group"] for row in rows).values() if size > 1]
    assert shared  # most kinds of damage hold the same line
    assert summary.shared_openings == {"groups": len(shared), "pieces": sum(shared)}
    assert summary.pickups == sum(row["pickup"] > 0 for row in rows) < summary.pieces
    windows = [corpus.window(index) for index in range(len(corpus))]
    tokens = sum(map(len, windows))
    notes = sum(len(corpus.vocabulary.decode(window).notes) for window in windows)
    assert summary.tokens_per_note == pytest.approx(tokens / notes, abs=1e-4)
    assert summary.tokens_per_bar == pytest.approx(tokens / (2 * len(windows)), abs=1e-4)
    assert corpus.details["summary"] == asdict(summary)
    assert json.loads((out / "manifest.json").read_text())["summary"] == asdict(summary)
    assert told == sorted(told)
    assert told[-1] == (2 * summary.files, 2 * summary.files)


def test_pieces_of_one_opening_share_a_split(mixed: Any) -> None:
    rows = load(mixed[1]).details["pieces"]
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    assert all(len(each) == 1 for each in splits.values())
    assert len(splits) < len(rows)


def test_preparing_an_unchanged_folder_again_does_nothing_and_says_so(mixed: Any) -> None:
    source, out, summary, _ = mixed
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    again = prepare(source, out, QUICK)
    assert again.is_unchanged
    assert not summary.is_unchanged
    assert {**asdict(again), "is_unchanged": False} == asdict(summary)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


@pytest.mark.slow
def test_a_corpus_does_not_depend_on_the_place_or_the_workers(tmp_path: Path) -> None:
    write_tunes(tmp_path / "a" / "midi")
    write_tunes(tmp_path / "b" / "midi")
    first = prepare(tmp_path / "a" / "midi", tmp_path / "a" / "data", PrepareOptions(workers=2))
    second = prepare(tmp_path / "b" / "midi", tmp_path / "b" / "data", QUICK)
    assert first.fingerprint == second.fingerprint
    manifests = [(tmp_path / at / "data" / "manifest.json").read_text() for at in "ab"]
    assert str(tmp_path) not in "".join(manifests)


@pytest.mark.usefixtures("_here")
def test_a_change_of_files_options_or_corpus_is_prepared_again(tmp_path: Path) -> None:
    source, out = tmp_path / "midi", tmp_path / "data"
    write_tunes(source, 3)
    first = prepare(source, out, QUICK)
    longer = prepare(source, out, PrepareOptions(workers=1, n_bars=4))
    assert not longer.is_unchanged
    assert load(out).n_bars == 4
    write_midi(random_tune(99), source / "new.mid")
    more = prepare(source, out, PrepareOptions(workers=1, n_bars=4))
    assert more.pieces == 4
    changes: list[dict[str, Any]] = [
        {"max_tokens": 500},
        {"groups_by": "content"},
        {},
        {"licence": "x"},
    ]
    for change in [*changes, {}]:
        options = PrepareOptions(workers=1, n_bars=4, **change)
        assert not prepare(source, out, options).is_unchanged
    (out / "tokens.npy").write_bytes(b"")
    mended = prepare(source, out, PrepareOptions(workers=1, n_bars=4))
    assert not mended.is_unchanged
    assert mended.fingerprint == more.fingerprint != first.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "midi"]


def test_a_file_of_windows_over_the_limit_is_refused(mixed: Any) -> None:
    refused = {row["file"]: row for row in read_lines(mixed[1] / REFUSED)}
    assert refused["fast.mid"]["reason"] == "no_windows"
    assert refused["fast.mid"]["detail"] == "of its windows, 5 too_long."
    assert load(mixed[1]).max_tokens <= QUICK.max_tokens


@pytest.mark.slow
def test_a_file_over_its_time_is_refused(tmp_path: Path) -> None:
    write_tunes(tmp_path / "midi", 4)
    write_midi(tune([60 + i % 7 for i in range(60_000)], ticks=6), tmp_path / "midi" / "slow.mid")
    options = PrepareOptions(workers=1, limits=Limits(seconds=0.5))
    summary = prepare(tmp_path / "midi", tmp_path / "data", options)
    assert summary.refused == {"timeout": 1}
    assert summary.pieces == 4


def test_a_folder_without_a_usable_file_is_one_line_and_a_list(tmp_path: Path) -> None:
    (tmp_path / "midi").mkdir()
    (tmp_path / "midi" / "a.mid").write_bytes(b"")
    (tmp_path / "midi" / "b.mid").write_bytes(GOOD[:40])
    message = r"midi holds no usable MIDI file: 2 refused \(unreadable 2\), listed in .*refused"
    with pytest.raises(DataError, match=message) as caught:
        prepare(tmp_path / "midi", tmp_path / "data", QUICK)
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [REFUSED]
    assert [row["file"] for row in read_lines(tmp_path / "data" / REFUSED)] == ["a.mid", "b.mid"]
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / "midi", tmp_path / "data", QUICK)
    assert len(read_lines(tmp_path / "data" / REFUSED)) == 2


@pytest.mark.usefixtures("_here")
def test_two_pieces_cannot_be_split_in_three(tmp_path: Path) -> None:
    write_tunes(tmp_path / "midi", 2)
    message = r"midi holds 2 different pieces, and train, val and test need 3\. Add music\."
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / "midi", tmp_path / "data", QUICK)
    assert not (tmp_path / "data" / "manifest.json").exists()


@pytest.mark.usefixtures("_here")
def test_many_files_of_one_opening_are_told_why_they_are_too_few(tmp_path: Path) -> None:
    for ticks in (6, 12, 24, 48):
        write_midi(tune([60] * 40, ticks=ticks), tmp_path / "midi" / f"{ticks}.mid")
    message = r"holds 1 different pieces \(pieces with one opening count as one\), and train"
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / "midi", tmp_path / "data", QUICK)


@pytest.mark.usefixtures("_here")
def test_a_failure_leaves_the_corpus_that_was_there(tmp_path: Path) -> None:
    write_tunes(tmp_path / "midi", 3)
    summary = prepare(tmp_path / "midi", tmp_path / "data", QUICK)
    for path in (tmp_path / "midi").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no usable MIDI file: 3 refused \(.*\)\."):
        prepare(tmp_path / "midi", tmp_path / "data", QUICK)
    assert load(tmp_path / "data").fingerprint == summary.fingerprint


def test_prepare_says_what_is_wrong_with_where_to_write(tmp_path: Path) -> None:
    write_tunes(tmp_path / "midi", 1)
    (tmp_path / "file").write_text("")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("")
    for out, message in (
        ("file", r"file is a file\. Name a folder to make\."),
        ("/", r"^/ has no name\. Name a folder to make\."),
        ("photos", r"photos holds something that is not a corpus\. Name a new folder\."),
        ("midi", r"midi holds something that is not a corpus\."),
        ("file/below", r"below cannot be written: File exists\."),
        ("file/far/below", r"below cannot be written: Not a directory\."),
    ):
        with pytest.raises(DataError, match=message):
            prepare(tmp_path / "midi", tmp_path / out, QUICK)
    assert (tmp_path / "photos" / "cat.png").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_prepare_says_when_a_folder_may_not_be_written(tmp_path: Path) -> None:
    write_tunes(tmp_path / "midi", 1)
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(DataError, match=r"data cannot be written: Permission denied\."):
        prepare(tmp_path / "midi", tmp_path / "locked" / "data", QUICK)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_bars": 0}, r"n_bars must be >= 1, got 0\."),
        ({"n_bars": 10**30}, r"n_bars must be <= 10000, got 1"),
        ({"max_tokens": 7}, r"max_tokens must be >= 8, got 7\."),
        ({"workers": 0}, r"workers must be >= 1, got 0\."),
        ({"velocity_bins": 1}, r"velocity_bins must be 0 or in 2\.\.127, got 1\."),
    ],
)
def test_options_name_the_key_to_change(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrepareOptions(**values)
