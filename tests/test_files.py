"""Files that are not what they should be: one line each, whatever is wrong with them."""

import os
import time
from pathlib import Path

import pytest

from aurl.errors import ConfigError
from aurl.files import (
    append_lines,
    atomic,
    atomic_folder,
    parse_value,
    read_json,
    read_lines,
    read_yaml,
    write_bytes,
    write_json,
    write_text,
    write_yaml,
)

BILLIONS = "\n".join(
    ["question:", "- &a [x, x, x, x, x, x, x, x, x, x]"]
    + [
        f"- &{b} [{', '.join([f'*{a}'] * 10)}]"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ]
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: {b: 1, b: 2}", "the key b stands twice .* line 1, column 11"),
        ("a: 1\nc: 2\na: 1\n", "the key a stands twice .* line 3, column 1"),
        ("a: &a {b: *a}", "it repeats itself"),
        ("a: &a [*a]", "it repeats itself"),
        (BILLIONS, "it repeats itself to over 1000000 entries"),
        ("a: " + "9" * 5000, "digits"),
        ("a: 0x" + "f" * 5000, "digits"),
        ("a: 2026-13-45", "month must be in"),
        ("a: " + "[" * 3000 + "]" * 3000, "recursion"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
        ("? [a]\n: b", "unhashable"),
        ("a: 1\n---\nb: 1", "a single document"),
    ],
)
def test_a_yaml_file_that_is_none_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"^{path} is not valid YAML: .*{reason}[^\n]*$"):
        read_yaml(path)


def test_what_yaml_may_repeat_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "A: 4\na: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a, {x: 1}]\n1: {1: 2}\n'1': 3\n"
    )
    said = {"x": 1, "y": 2}
    assert read_yaml(tmp_path / "a.yaml") == {
        "a": said,
        "b": {"x": 1, "y": 3},
        "c": [said, said, {"x": 1}],
        "A": 4,
        1: {1: 2},
        "1": 3,
    }


@pytest.mark.parametrize(
    "text", ["[1", "9" * 5000, "0x" + "f" * 5000, "2026-13-45", "{a: 1, a: 2}", "*a"]
)
def test_a_value_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set value must be YAML, got '[^\n]{1,80}'\.$"):
        parse_value(text)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00", '{"a": ' + "9" * 5000 + "}"])
def test_a_json_file_that_is_none_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.json is not JSON: [^\n]*$"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("line", [b"[1]", b"3", b"{", b"\xff", b"[" * 100_000])
def test_a_row_that_is_none_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"torn": ')
    with pytest.raises(ConfigError, match=rf"^{path} is damaged: row \d is no JSON object\.$"):
        read_lines(path)
    path.write_bytes(b'{"step": 1}\n{"torn": ')
    assert read_lines(path) == [{"step": 1}]


def test_what_is_written_is_text_in_its_order_or_nothing(tmp_path: Path) -> None:
    write_yaml(tmp_path / "a.yaml", {"b": "é", "a": 1})
    assert (tmp_path / "a.yaml").read_text(encoding="utf-8") == "b: é\na: 1\n"
    write_text(tmp_path / "a.txt", "\udcff")
    assert (tmp_path / "a.txt").read_text() == "\\udcff"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_lines(tmp_path / "a.jsonl", [{"loss": float("inf")}])
    assert {path.name for path in tmp_path.iterdir()} == {"a.yaml", "a.txt"}


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    path = tmp_path / "figures" / "t0000_roll.png"
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.exists()))
    write_bytes(path, b"PNG")
    assert (synced, path.read_bytes()) == ([False], b"PNG")


def test_rows_are_on_the_disk_once_they_are_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    path = tmp_path / "metrics.jsonl"
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes()))
    append_lines(path, [{"step": 1}])
    assert synced == [b'{"step": 1}\n']


def test_a_file_takes_no_folders_place(tmp_path: Path) -> None:
    write_text(tmp_path / "mine" / "precious.txt", "mine")
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "mine", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "precious.txt"]


def test_a_pipe_is_a_file_of_settings() -> None:
    read, write = os.pipe()
    os.write(write, b"question: Why?\n")
    os.close(write)
    assert read_yaml(Path(f"/dev/fd/{read}")) == {"question": "Why?"}
    os.close(read)


def test_a_link_to_a_folder_is_replaced_and_what_it_leads_to_is_left(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    write_text(tmp_path / "far" / "old.txt", "")
    (tmp_path / "out").symlink_to("far")
    with atomic(tmp_path / "out") as temporary:
        temporary.mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far", "out"]
    assert (tmp_path / "far" / "old.txt").exists()
    assert not (tmp_path / "out").is_symlink()


def test_halves_of_a_folder_that_killed_processes_left_are_removed_and_no_others(
    tmp_path: Path,
) -> None:
    (tmp_path / ".o.t.0123abcd.part" / "inner").mkdir(parents=True)
    kept = [".out.0123abcd.part", ".o.t.0123.part", ".o.t.mine.part", ".o.t.0123abcd.old", "o.t"]
    for name in kept:
        (tmp_path / name / "inner").mkdir(parents=True)
    (tmp_path / ".o.t.4567abcd.part").symlink_to(tmp_path / ".o.t.mine.part")
    kept.append(".o.t.4567abcd.part")
    with atomic_folder(tmp_path / "o.t") as slow:
        with atomic_folder(tmp_path / "o.t") as quick:
            write_text(quick / "by.txt", "quick")
        assert slow.is_dir(), "it is being made"
        write_text(slow / "by.txt", "slow")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    assert (tmp_path / ".o.t.mine.part" / "inner").is_dir(), "behind a link is nothing of ours"
    assert (tmp_path / "o.t" / "by.txt").read_text() == "slow"


def test_a_half_is_known_by_the_name_that_it_was_given(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as half:
        pass
    half.mkdir()  # as if it had been killed
    with atomic_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_nobodys_half_until_it_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def slowly(made: Path, path: Path) -> None:
        monkeypatch.undo()
        with atomic_folder(path):
            pass
        replace(made, path)

    with atomic_folder(tmp_path / "out") as made:
        write_text(made / "by.txt", "slow")
        monkeypatch.setattr(os, "replace", slowly)
    assert (tmp_path / "out" / "by.txt").read_text() == "slow"


@pytest.mark.timeout(20)
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="must hold a mapping of settings, got NoneType"):
        read_yaml(pipe)
    with pytest.raises(ConfigError, match="is not JSON"):
        read_json(pipe)
    assert read_lines(pipe) == []


def test_a_pipe_that_somebody_writes_to_is_read_to_its_end() -> None:
    """As of a shell: ``aurl space <(make_space)``."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        time.sleep(0.2)
        os.write(writes, b"a: 1\n")
        os._exit(0)
    os.close(writes)
    assert read_yaml(Path(f"/dev/fd/{reads}")) == {"a": 1}
    os.close(reads)
    os.waitpid(child, 0)
