"""The studio's server: whom it answers, what it refuses, and the command that starts it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aurl.cli import main
from aurl.data.midi import MAX_BYTES, read_midi
from aurl.errors import ConfigError
from aurl.studio.server import FILES, PAGE, listening
from tests.made_studio import a_move, made_studio, served
from tests.test_loading import export_of


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(made_studio()) as (_, url):
        yield url


def ask(
    url: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """The status, body and headers of an answer; a POST if there is a body."""
    at = urlsplit(url)
    assert at.hostname == "127.0.0.1"
    connection = HTTPConnection(at.hostname, at.port, timeout=60)
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, path if path[0] == "/" else at.path + path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)
    finally:
        connection.close()


def url_path(url: str) -> str:
    return urlsplit(url).path


def moved(**changes: Any) -> bytes:
    return json.dumps({**asdict(a_move(made_studio())), **changes}).encode()


def test_every_file_of_the_page_is_served_and_asks_for_nothing_elsewhere(url: str) -> None:
    served_files = {name for name, _ in FILES.values()}
    assert served_files == {path.name for path in PAGE.iterdir()}
    for name in FILES:
        status, body, headers = ask(url, name or url_path(url))
        assert status == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        linked = re.findall(r"https?://[^\s\"']+", body.decode())
        assert set(linked) <= {"http://www.w3.org/2000/svg"}  # a name, which nobody asks for


def test_a_move_is_answered_with_its_music(url: str) -> None:
    status, body, _ = ask(url, "music", moved())
    assert status == 200
    assert json.loads(body) == json.loads(json.dumps(made_studio().drawn(a_move(made_studio()))))


def test_a_download_is_music_that_loads(url: str, tmp_path: Path) -> None:
    status, body, headers = ask(url, "file/mid", moved())
    assert (status, headers["Content-Type"]) == (200, "audio/midi")
    expected = made_studio().instrument.music(a_move(made_studio()))
    (tmp_path / "a.mid").write_bytes(body)
    found = read_midi(tmp_path / "a.mid")
    assert found.notes["pitch"].tolist() == expected.notes["pitch"].tolist()
    status, body, headers = ask(url, "file/wav", moved())
    assert (status, headers["Content-Type"], body[:4]) == (200, "audio/wav", b"RIFF")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "192.168.0.2", "[", ""]
)
def test_a_request_to_another_host_is_refused(url: str, host: str) -> None:
    status, body, _ = ask(url, "controls", Host=host)
    assert (status, b"this machine only" in body) == (403, True)


def test_this_machine_goes_by_two_names(url: str) -> None:
    assert ask(url, "controls", Host=f"localhost:{urlsplit(url).port}")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "//["])
def test_a_page_of_another_origin_is_refused(url: str, origin: str) -> None:
    status, body, _ = ask(url, "music", moved(), Origin=origin)
    assert (status, b"its own page only" in body) == (403, True)
    own = f"http://127.0.0.1:{urlsplit(url).port}"
    assert ask(url, "music", moved(), Origin=own)[0] == 200


@pytest.mark.parametrize("path", ["/", "/controls", "/wrong/", "/wrong/controls", "/%C3%A9/music"])
def test_without_the_token_there_is_nothing(url: str, path: str) -> None:
    status, body, _ = ask(url, path)
    assert (status, b"the address must be the one that" in body) == (403, True)


def test_two_studios_have_two_tokens(url: str) -> None:
    with served(made_studio()) as (server, other):
        assert len(server.token) >= 24
        assert url_path(other) != url_path(url)
        assert ask(other, f"{url_path(url)}controls")[0] == 403


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("music", b"{", 400, "a move must be JSON"),
        ("music", b"{}", 400, "first must be given"),
        ("piece/file?name=a.mid", b"no music", 400, "a.mid cannot be read: unreadable"),
        ("piece/file", b"no music", 400, "the file cannot be read: unreadable"),
        ("piece/prior?seed=x", b"", 400, "seed must be in"),
        ("piece/sky", b"", 400, "a piece must be one of file, prior, held-out, got sky."),
        ("file/exe", b"{}", 404, "a file must be one of mid, wav, got exe."),
        ("../secret", None, 404, "Not Found"),
        ("server.py", None, 404, "there is no such page"),
        ("music", None, 404, "there is no such page"),
        ("controls", b"", 405, "Method Not Allowed"),
        ("piece/file", b"x" * (MAX_BYTES + 1), 413, f"{MAX_BYTES} bytes at most"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    url: str, path: str, body: bytes | None, status: int, words: str
) -> None:
    found, answer, headers = ask(url, path, body)
    assert headers["Content-Type"].startswith("application/json")
    said = json.loads(answer)["error"]
    assert found == status
    assert words in said
    assert "\n" not in said


def test_a_body_that_is_not_what_its_headers_say_is_refused(url: str) -> None:
    status, answer, _ = ask(url, "music", moved(), **{"Content-Encoding": "gzip"})
    assert (status, b"must be what its headers say" in answer) == (400, True)


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"--port must be free, got {port}: Address already"
        ):
            listening(port)
    with pytest.raises(ConfigError, match=r"--port must be in 0\.\.65535, got 70000"):
        listening(70_000)


def test_what_is_no_export_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studio", str(tmp_path), "--no-open"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("aurl: EXPORT must be a folder made by `aurl export`")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    """Of an export whose music is not here, and of one whose music was named and is not there."""
    folder = export_of(tmp_path / "export")
    command = [sys.executable, "-c", "import sys; from aurl.cli import main; sys.exit(main())"]
    named = ["studio", str(folder), "--no-open", "--data", str(tmp_path / "nowhere")]
    ended = subprocess.run([*command, *named], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "nowhere" in ended.stderr
    process = subprocess.Popen(
        [*command, "studio", str(folder), "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    status, body, _ = ask(url, "controls")
    assert (status, json.loads(body)["held_out"]) == (200, False)
    assert "is not here" in json.loads(body)["lacking"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in out + err
