import os
from pathlib import Path

import pytest
from damaged_midi import GOOD, N_NOTES
from made_pieces import tune

from aurl.data.midi import write_midi
from aurl.data.sources import found_sources, read_source
from aurl.errors import DataError


def test_sources_are_found_at_any_depth_with_any_ending_of_midi(tmp_path: Path) -> None:
    names = ["b.MID", "a/x.midi", "a/deep/er/y.Kar", "z.mid"]
    for name in [*names, "a/readme.txt", "mid"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(GOOD)
    assert [source.name for source in found_sources(tmp_path)] == sorted(names)


def test_links_are_followed_and_loops_are_walked_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.mid").write_bytes(GOOD)
    for name in ("zebra", "linked", "other", "same"):  # walked by the first of its names
        (tmp_path / "in" / name).symlink_to(tmp_path / "out", target_is_directory=True)
    for name in ("loop", "again", "more"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "file.mid").symlink_to(tmp_path / "out" / "x.mid")
    (tmp_path / "in" / "nowhere.mid").symlink_to(tmp_path / "none.mid")
    found = found_sources(tmp_path / "in")
    assert [source.name for source in found] == ["file.mid", "linked/x.mid", "nowhere.mid"]
    assert [source.size for source in found] == [len(GOOD), len(GOOD), 0]
    assert found[0].sha256 == found[1].sha256
    assert found[2].sha256 == ""


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mid")
    (source,) = found_sources(tmp_path)
    with pytest.raises(DataError, match=r"^unreadable: not a regular file\.$"):
        read_source(source.path)


def test_names_are_safe_to_print(tmp_path: Path) -> None:
    (tmp_path / "\x1b[31m.mid").write_bytes(GOOD)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mid")).write_bytes(GOOD)
    found = found_sources(tmp_path)
    assert [source.name for source in found] == [r"\udcff.mid", r"\x1b[31m.mid"]
    assert all(len(read_source(source.path).notes) == N_NOTES for source in found)


def test_found_sources_says_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(GOOD)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_bytes(GOOD)
    for name, message in (
        ("missing", r"missing does not exist\. Name a folder of MIDI files\.$"),
        ("file", r"file is not a folder\. Name a folder of MIDI files\.$"),
        ("empty", r"empty holds no file that ends in \.mid, \.midi or \.kar\.$"),
    ):
        with pytest.raises(DataError, match=message):
            found_sources(tmp_path / name)


def test_a_source_is_read_on_the_grid_with_its_pickup(tmp_path: Path) -> None:
    path = tmp_path / "x.mid"
    path.write_bytes(GOOD)
    piece = read_source(path)
    assert piece.ticks_per_quarter == 24
    assert piece.notes["onset"].tolist() == [12 * index for index in range(N_NOTES)]
    loud = [105 if index % 8 == 3 else 80 for index in range(64)]
    write_midi(tune([60] * 64, velocities=loud), path)
    assert read_source(path).pickup == 36
