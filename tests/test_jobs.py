"""Sweeps as jobs, against a stand-in for a cluster's dashboard that speaks Ray's HTTP."""

import asyncio
import io
import json
import os
import shlex
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
from aiohttp import web

from aurl import cli, submit
from aurl.data.corpus import save
from aurl.search import jobs
from aurl.search.jobs import Jobs, token, travels_in_the_clear
from tests.tiny import tiny_corpus

TOKEN = "a" * 64
SPACE = """
question: Does it travel?
scientific:
  optimizer.lr: {log_uniform: [1e-3, 1e-2]}
budget: {trials: 2, steps_per_trial: 8}
"""
pytestmark = [
    pytest.mark.timeout(300),  # the first test imports PyTorch and Ray
    pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning"),
]


@dataclass
class Dashboard:
    """What a dashboard was asked, and what it answers."""

    address: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    uploaded: dict[str, bytes] = field(default_factory=dict[str, bytes])
    log: tuple[str, ...] = ("one\n", "two\n")
    end: str = "SUCCEEDED"
    young: int = 0
    """Jobs that are refused first, as a head does that has just started."""
    why: str = "No available agent to submit job, please try"
    late: int = 0
    """How often a job is asked for before it is known to have ended."""
    hello: str = json.dumps({"version": "4", "ray_version": ray.__version__})

    @property
    def files(self) -> dict[str, bytes]:
        """What is in the one archive that was uploaded."""
        (archive,) = self.uploaded.values()
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return {name: opened.read(name) for name in opened.namelist() if name[-1] != "/"}

    def details(self, job: str) -> dict[str, Any]:
        if job not in self.jobs:
            raise web.HTTPNotFound(text=f"Job {job} does not exist")
        known = {"type": "SUBMISSION", "job_id": None, "message": "", "start_time": 1}
        return {**known, "submission_id": job, "status": self.end, **self.jobs[job]}

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.ask_for_the_token])
        app.router.add_get("/api/version", self.version)
        app.router.add_get("/api/packages/{protocol}/{name}", self.package)
        app.router.add_put("/api/packages/{protocol}/{name}", self.package)
        app.router.add_post("/api/jobs/", self.submit)
        app.router.add_get("/api/jobs/", self.everything)
        app.router.add_get("/api/jobs/{job}", self.one)
        app.router.add_post("/api/jobs/{job}/stop", self.stop)
        app.router.add_get("/api/jobs/{job}/logs/tail", self.tail)
        return app

    @web.middleware
    async def ask_for_the_token(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization")
        if given is None:
            return web.Response(status=401, text="Unauthorized: Missing authentication token")
        if given != f"Bearer {TOKEN}":
            return web.Response(status=403, text="Forbidden: Invalid authentication token")
        return await handler(request)

    async def version(self, request: web.Request) -> web.Response:
        return web.Response(text=self.hello)

    async def package(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if request.method == "PUT":
            self.uploaded[name] = await request.read()
        return web.Response(status=200 if name in self.uploaded else 404)

    async def submit(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.young -= 1
        if self.young >= 0:
            return web.Response(status=500, text=self.why)
        self.jobs[asked["submission_id"]] = {
            "entrypoint": asked["entrypoint"],
            "runtime_env": asked["runtime_env"],
        }
        job = asked["submission_id"]
        return web.json_response({"job_id": job, "submission_id": job})

    async def everything(self, request: web.Request) -> web.Response:
        return web.json_response([self.details(job) for job in self.jobs])

    async def one(self, request: web.Request) -> web.Response:
        self.late -= 1
        ended = self.details(request.match_info["job"])
        return web.json_response(ended | ({"status": "RUNNING"} if self.late >= 0 else {}))

    async def stop(self, request: web.Request) -> web.Response:
        job = self.details(request.match_info["job"])
        return web.json_response({"stopped": job["status"] == "RUNNING"})

    async def tail(self, request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        for line in self.log:
            await answer.send_str(line)
        await answer.close()
        return answer


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Dashboard]:
    """A dashboard at a port of this machine; the account has its token."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    (tmp_path / "auth_token").write_text(TOKEN + "\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "auth_token"))
    monkeypatch.setenv("RAY_ADDRESS", "http://192.0.2.1:1")  # where it must not go
    Path("space.yaml").write_text(SPACE)
    stood_in = Dashboard()
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(stood_in.app())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        stood_in.address = f"127.0.0.1:{port}"
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield stood_in
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_a_sweep_is_submitted_with_what_it_needs_and_followed_to_its_end(
    dashboard: Dashboard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.time, "sleep", lambda _: None)
    dashboard.late = 1
    words = [
        "--name",
        "my sweep",
        "--trials",
        "3",
        "--grow-to",
        "4",
        "--hours",
        "8",
        "--resume",
        "space.yaml",
    ]
    words += ["--workers-per-trial", "2:4", "--storage", "file:///mnt/copies"]
    code = cli.main(["submit", dashboard.address, *words, "--set", "training.batch_size=8"])
    ((job, asked),) = dashboard.jobs.items()
    assert code == 0
    assert job.startswith("aurl-my-sweep-")
    assert asked["entrypoint"] == (
        "aurl sweep ./space.yaml --address=auto --out=/mnt/aurl '--name=my sweep' --trials=3 "
        "--workers-per-trial=2:4 --gpus-per-worker=0.0 --grow-to=4 --hours=8.0 "
        "--storage=file:///mnt/copies "
        "--set=training.batch_size=8 --resume"
    )
    assert dashboard.files == {"space.yaml": SPACE.encode()}
    assert TOKEN not in json.dumps(asked)
    out = capsys.readouterr().out
    assert out == f"Job {job}. Ctrl-C leaves it running.\none\ntwo\nJob {job}: SUCCEEDED.\n"


BUSY = Dashboard.why


@pytest.mark.parametrize(
    ("why", "young", "code"),
    [(BUSY, jobs.TRIES - 1, 0), (BUSY, jobs.TRIES, 2), ("404 jobs", 1, 2)],
)
def test_a_head_that_has_just_started_is_waited_for(
    dashboard: Dashboard,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    why: str,
    young: int,
    code: int,
) -> None:
    monkeypatch.setattr(jobs, "PAUSE_S", 0.0)
    dashboard.why, dashboard.young = why, young
    assert cli.main(["submit", dashboard.address, "space.yaml"]) == code
    err = capsys.readouterr().err
    assert len(dashboard.jobs) == 1 - code // 2
    assert err == "" or (err.count("\n") == 1 and "says: Request failed" in err)


def test_what_is_submitted_is_a_command_of_ours_whatever_its_words_begin_with(
    dashboard: Dashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("space.yaml").rename("--space.yaml")
    cli.main(["submit", dashboard.address, "./--space.yaml", "--name=-x", "--data=tunes"])
    ((_, asked),) = dashboard.jobs.items()
    words = shlex.split(asked["entrypoint"])
    assert words[:2] == ["aurl", "sweep"]
    with pytest.raises(SystemExit):
        cli.main([*words[1:], "--no-such-option"])
    err = capsys.readouterr().err
    assert err == "aurl: unrecognized arguments: --no-such-option. See: aurl sweep --help\n"


def test_a_corpus_that_is_here_goes_along(dashboard: Dashboard) -> None:
    save(tiny_corpus(), Path("tunes"))
    Path("elsewhere").mkdir()
    cli.main(["submit", dashboard.address, "space.yaml", "--data", "elsewhere/../tunes"])
    ((_, asked),) = dashboard.jobs.items()
    assert "--data=./tunes" in asked["entrypoint"]
    here = {f"tunes/{path.name}": path.read_bytes() for path in Path("tunes").iterdir()}
    assert dashboard.files == {"space.yaml": SPACE.encode(), **here}


def test_what_a_sweep_begins_with_is_of_the_cluster_or_goes_along(dashboard: Dashboard) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/good.yaml").write_text("configurations: [{}]")
    for given, told in (("elsewhere/good.yaml", "good.yaml"), ("/mnt/aurl/old", "/mnt/aurl/old")):
        dashboard.jobs.clear()
        dashboard.uploaded.clear()
        cli.main(["submit", dashboard.address, "space.yaml", "--warm-start", given])
        ((_, asked),) = dashboard.jobs.items()
        assert f"--warm-start={told} " in asked["entrypoint"]
        uploaded = {"good.yaml"} if told == "good.yaml" else set[str]()
        assert dashboard.files.keys() == {"space.yaml", *uploaded}


def test_a_job_that_fails_is_told_by_the_exit_code(
    dashboard: Dashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    dashboard.end = "FAILED"
    dashboard.jobs["mine"] = {"entrypoint": "aurl sweep x", "message": "it broke"}
    assert cli.main(["submit", dashboard.address, "--follow", "mine"]) == 1
    assert capsys.readouterr().out.endswith("Job mine: FAILED. it broke\n")


def test_ctrl_c_leaves_the_job_and_says_how_to_come_back(
    dashboard: Dashboard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard.jobs["mine"] = {"entrypoint": "aurl sweep x"}

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Jobs, "follow", interrupted)
    assert cli.main(["submit", dashboard.address, "--follow", "mine"]) == 130
    out = capsys.readouterr().out
    assert f"Follow it: aurl submit {dashboard.address} --follow mine\n" in out
    assert f"Stop it: aurl submit {dashboard.address} --stop mine\n" in out
    assert "mine" in dashboard.jobs


def test_jobs_are_listed_and_stopped(
    dashboard: Dashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    dashboard.jobs["old"] = {"entrypoint": "aurl sweep a", "status": "STOPPED", "start_time": 1}
    dashboard.jobs["new"] = {"entrypoint": "aurl sweep b", "status": "RUNNING", "start_time": 2}
    driver = {"type": "DRIVER", "submission_id": None, "job_id": "01000000", "start_time": None}
    dashboard.jobs["driver"] = {"entrypoint": "python a.py", **driver}  # not submitted
    assert cli.main(["submit", dashboard.address, "--list"]) == 0
    assert os.environ["RAY_ADDRESS"] == "http://192.0.2.1:1"
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["old", "STOPPED", "aurl", "sweep", "a"],
        ["new", "RUNNING", "aurl", "sweep", "b"],
    ]
    assert cli.main(["submit", dashboard.address, "--stop", "new"]) == 0
    assert cli.main(["submit", dashboard.address, "--stop", "old"]) == 0
    assert capsys.readouterr().out == "new: asked to stop.\nold: had ended before.\n"


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["submit", *words]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("aurl: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "the token must be that of the cluster at {address}, which refused us without one."),
        ("b" * 64, "the token must be that of the cluster at {address}, which refused ours. Put"),
    ],
    ids=["none", "another"],
)
def test_a_wrong_token_is_one_line(
    dashboard: Dashboard, capsys: pytest.CaptureFixture[str], given: str, message: str
) -> None:
    Path("auth_token").write_text(given)
    err = refused(capsys, dashboard.address, "--list")
    assert message.format(address=dashboard.address) in err
    assert TOKEN not in err
    assert "b" * 64 not in err


def test_an_unknown_job_is_one_line(
    dashboard: Dashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--follow", "--stop"):
        for job in ("nobody", "../version", "a/../../version"):
            err = refused(capsys, dashboard.address, option, job)
            assert f"JOB must be a job of the cluster at {dashboard.address}, got {job!r}." in err


def test_one_space_is_submitted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["submit", "head:8265", "space.yaml", "--trials", "3", "again.yaml"])
    assert capsys.readouterr().err.startswith("aurl: unrecognized arguments: again.yaml. See")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "submit must be given one of SPACE, --follow, --stop and --list."),
        (("space.yaml", "--list"), "submit must be given one of SPACE, --follow, --stop and"),
        (("--list", "--trials", "3"), "--trials must come with SPACE, the sweep that it is for,"),
        (("--follow", "x", "--set", "seed=1"), "--set must come with SPACE, the sweep that it is"),
        (("no.yaml",), "no.yaml cannot be read: No such file or directory."),
        (("space.yaml", "--out", "here"), "--out must be a folder of the cluster, from its root"),
        (("space.yaml", "--warm-start", "old"), "--warm-start must be a file of configurations,"),
        (
            ("space.yaml", "--warm-start", "sub/space.yaml"),
            "must differ in name, got 'space.yaml'",
        ),
        (("space.yaml", "--grow-to", "0"), "--grow-to must be >= 1, got 0."),
        (("space.yaml", "--trials", "0"), "budget.trials must be >= 1, got 0."),
        (("space.yaml", "--data", "sub"), "sub is not a corpus."),
        (("space.yaml", "--set", "model.d_modle=8"), "model.d_modle is not a setting."),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    dashboard: Dashboard, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    Path("sub").mkdir()
    Path("sub/space.yaml").write_text("configurations: [{}]")
    assert message in refused(capsys, dashboard.address, *words)
    assert not dashboard.uploaded
    assert not dashboard.jobs


@pytest.mark.parametrize(
    "address",
    ["nonsense", "host:port", "ray://127.0.0.1:1", "os://x:1", "http://u:p@x:1", "[::1", ""],
)
def test_an_address_that_is_none_is_one_line(
    capsys: pytest.CaptureFixture[str], address: str
) -> None:
    err = refused(capsys, address, "--list")
    assert f"ADDRESS must be that of a running cluster's dashboard, got {address!r}: " in err
    assert ("it is neither HOST:PORT nor" in err) == (address != "nonsense")  # a host by its name


def test_nobody_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        err = refused(capsys, f"127.0.0.1:{taken.getsockname()[1]}", "--list")
    assert "it does not answer (" in err


def test_somebody_else_there_is_one_line(
    dashboard: Dashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    dashboard.hello = "<html>a printer</html>"
    assert "it does not answer as Ray does" in refused(capsys, dashboard.address, "--list")


def test_the_token_is_looked_for_as_ray_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert token() == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("home\n")
    assert token() == "home"
    (tmp_path / "file").write_text("file")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "file"))
    assert token() == "file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "variable")
    assert token() == "variable"


def test_a_token_in_the_clear_is_noticed() -> None:
    assert travels_in_the_clear("192.0.2.1:8265")
    assert travels_in_the_clear("http://head:8265")
    assert not travels_in_the_clear("https://head:443")
    assert not travels_in_the_clear("localhost:8265")


def test_a_token_in_the_clear_is_told_where_there_is_one(
    dashboard: Dashboard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "travels_in_the_clear", lambda _: True)
    assert cli.main(["submit", dashboard.address, "--list"]) == 0
    assert capsys.readouterr().out.startswith("The way there is not encrypted")
    monkeypatch.setattr(submit, "token", lambda: "")
    assert cli.main(["submit", dashboard.address, "--list"]) == 0
    assert not capsys.readouterr().out
