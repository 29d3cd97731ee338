"""Sweeps as jobs of a cluster far away: submit one, follow what it prints, stop it.

A job runs on the cluster's head and lives there: whoever follows it may leave and come back. Ray
unpacks what was uploaded, such as the space, where the job runs, and removes it after; what the
sweep makes must therefore go to a folder of the cluster.
"""

import asyncio
import contextlib
import logging
import os
import re
import shlex
import shutil
import socket
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from aiohttp import ClientError
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from aurl.errors import SweepError

_ENDED = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}
# Ray would go where these point, and not where it was told to.
_DETOURS = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
TRIES, PAUSE_S = 12, 5.0
"""A head that has just started takes no job: its agent comes up after its dashboard."""

_TALKERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""What of Ray tells the terminal of each file that it packs, and of how it is connected."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as the cluster tells of it."""

    name: str
    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""

    command: str
    message: str


class Jobs:
    """The jobs of one cluster.

    Args:
        address: Of its dashboard, ``HOST:PORT`` or ``http(s)://HOST:PORT``.

    Raises:
        SweepError: If no Ray dashboard answers there, or if it does not accept our token.
    """

    def __init__(self, address: str) -> None:
        self._given = address
        for name in _TALKERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        url = _url(address)
        given = token()
        headers = {"Authorization": f"Bearer {given}"} if given else None
        with self._in_one_line(), _no_detours():
            self._client: Any = JobSubmissionClient(url, headers=headers)

    def submit(self, name: str, words: Sequence[str], files: Sequence[Path]) -> str:
        """Start ``aurl`` with ``words`` on the cluster, beside copies of ``files``.

        Returns:
            The job's name, which begins with ``name``.

        Raises:
            SweepError: If two of the files have one name.
        """
        for number, path in enumerate(files):
            if path.name in {other.name for other in files[:number]}:
                raise SweepError(
                    f"what is uploaded must differ in name, got {path.name!r} twice. Rename one."
                )
        job = f"{name}-{uuid.uuid4().hex[:6]}"
        with tempfile.TemporaryDirectory(prefix="aurl-submit-") as folder:
            for path in files:
                if path.is_dir():
                    shutil.copytree(path, Path(folder) / path.name)
                else:
                    shutil.copy(path, folder)
            with self._in_one_line():
                self._submit(job, shlex.join(["aurl", *words]), folder)
        return job

    def _submit(self, job: str, entrypoint: str, folder: str) -> None:
        for left in reversed(range(TRIES)):
            try:
                self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=job,
                    runtime_env={"working_dir": folder},
                )
            except RuntimeError as error:
                if not left or "No available agent" not in str(error):
                    raise
                time.sleep(PAUSE_S)
            else:
                return

    def follow(self, job: str, show: Callable[[str], None]) -> Job:
        """Show what a job prints, from its beginning, until it ends; returns how it ended."""

        async def tail() -> None:
            async for text in self._client.tail_job_logs(job):
                show(text)

        with self._in_one_line():
            asyncio.run(tail())
        ended = self.job(job)
        for _ in range(20):  # the last line may come before the end is known
            if ended.status in _ENDED:
                break
            time.sleep(0.5)
            ended = self.job(job)
        return ended

    def job(self, job: str) -> Job:
        """What is known of a job."""
        if not _NAME.fullmatch(job):  # it becomes part of a URL
            raise SweepError(_unknown(job, self._given))
        with self._in_one_line(job):
            return _told(job, self._client.get_job_info(job))

    def stop(self, job: str) -> bool:
        """Ask a job to stop, as Ctrl-C does; returns whether it was running."""
        self.job(job)
        with self._in_one_line(job):
            return bool(self._client.stop_job(job))

    def all(self) -> list[Job]:
        """Every submitted job that the cluster remembers, the oldest first."""
        with self._in_one_line():
            found = self._client.list_jobs()
        found.sort(key=lambda each: each.start_time or 0)
        return [_told(each.submission_id, each) for each in found if each.submission_id]

    @contextlib.contextmanager
    def _in_one_line(self, job: str = "") -> Generator[None]:
        try:
            yield
        except AuthenticationError as error:
            raise SweepError(
                f"the token must be that of the cluster at {self._given}, which refused "
                f"{'ours' if token() else 'us without one'}. Put it into ~/.ray/auth_token, or "
                "set RAY_AUTH_TOKEN_PATH."
            ) from error
        except (requests.RequestException, ClientError, OSError, KeyError) as error:
            raise SweepError(_nobody(self._given, "it does not answer as Ray does")) from error
        except (RuntimeError, ValueError) as error:  # as Ray raises what the dashboard says
            if job and "404" in str(error):
                raise SweepError(_unknown(job, self._given)) from error
            reason = str(error).strip().splitlines()[-1].rstrip(".")
            raise SweepError(f"the cluster at {self._given} says: {reason}.") from error


def _told(name: str, details: Any) -> Job:  # noqa: ANN401 - Ray's own type
    return Job(
        name=name,
        status=str(details.status.value),
        command=details.entrypoint,
        message=details.message or "",
    )


def token() -> str:
    """The account's Ray token, looked for as Ray does; empty if there is none."""
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def travels_in_the_clear(address: str) -> bool:
    """Whether a token sent to an address can be read by the network in between."""
    url = urllib.parse.urlsplit(_url(address, reach=False))
    return url.scheme == "http" and url.hostname not in ("localhost", "127.0.0.1", "::1")


def _url(address: str, *, reach: bool = True) -> str:
    """The address with its scheme, which is http unless it is given.

    Ray would import a module named as a scheme that it does not know.
    """
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        parts, port = urllib.parse.urlsplit(""), None
    plain = parts.scheme in ("http", "https") and not parts.query and not parts.fragment
    if not plain or not parts.hostname or port is None or parts.username is not None:
        raise SweepError(_nobody(address, "it is neither HOST:PORT nor http(s)://HOST:PORT"))
    if reach:  # Ray would wait without an end for an address that swallows what it gets
        try:
            socket.create_connection((parts.hostname, port), timeout=5.0).close()
        except OSError as error:
            raise SweepError(_nobody(address, f"it does not answer ({error})")) from error
    return url.rstrip("/")


@contextlib.contextmanager
def _no_detours() -> Generator[None]:
    kept = {name: os.environ.pop(name) for name in _DETOURS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _nobody(address: str, reason: str) -> str:
    return (
        f"ADDRESS must be that of a running cluster's dashboard, got {address!r}: {reason}. "
        "With Ray's launcher, `ray dashboard CLUSTER.yaml` brings it to localhost:8265."
    )


def _unknown(job: str, address: str) -> str:
    return (
        f"JOB must be a job of the cluster at {address}, got {job!r}. "
        f"See: aurl submit {address} --list"
    )
