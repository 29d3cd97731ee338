"""What ends a sweep though no trial is to blame: it is told, once, and nothing follows it."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from aurl.errors import OutageError, StorageError
from aurl.interrupts import terminated_as_interrupted
from aurl.search import cluster
from aurl.search.outage import Outage
from tests.processes import alive


def full() -> None:
    raise OSError(28, "No space left on device")


def test_the_first_error_is_told_in_place_of_what_tune_made_of_it() -> None:
    outage = Outage()

    def tune() -> None:
        try:
            with outage.noted():
                full()
        except OSError as error:
            raise RuntimeError("a traceback, as Tune words it") from error

    with pytest.raises(OSError, match="No space left"), outage.told():
        tune()


def test_an_error_that_was_swallowed_is_told_at_the_end() -> None:
    outage = Outage()

    def tune() -> None:
        with contextlib.suppress(StorageError), outage.noted():
            raise StorageError("gone")

    with pytest.raises(StorageError, match="gone"), outage.told():
        tune()
    with pytest.raises(StorageError, match="gone"):
        outage.check()


def test_nothing_is_begun_after_the_first_error() -> None:
    outage, done = Outage(), list[int]()
    with pytest.raises(OSError, match="No space"), outage.noted():
        full()
    with pytest.raises(OSError, match="No space"), outage.noted():
        done.append(1)
    assert not done


def test_without_an_outage_every_error_stays_what_it_was() -> None:
    outage = Outage()
    with pytest.raises(KeyError), outage.told(), outage.noted():
        raise KeyError
    with Outage().told():
        outage = Outage()
        with outage.noted():
            pass
        outage.check()


@pytest.mark.parametrize("server", ["gcs_server", "raylet"])
def test_a_server_of_ray_that_dies_ends_the_block_in_one_line(
    monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    processes = {
        name: [SimpleNamespace(process=subprocess.Popen(["sleep", "60"]))]
        for name in ("gcs_server", "raylet", "dashboard")
    }
    monkeypatch.setattr(cluster.worker, "_global_node", SimpleNamespace(all_processes=processes))
    monkeypatch.setattr(cluster, "WATCH_EVERY_S", 0.02)
    watched = cluster._watched

    def block(dies: str) -> None:
        with terminated_as_interrupted(), watched():
            processes[dies][0].process.kill()
            time.sleep(60.0 if dies == server else 0.3)

    began = time.monotonic()
    try:
        block("dashboard")
        with pytest.raises(OutageError, match=f"^Ray's {server} on this machine has died"):
            block(server)
        assert time.monotonic() - began < 30.0, "a wait is ended, too"
    finally:
        for (each,) in processes.values():
            each.process.kill()
            each.process.wait()


HELD = """
import ctypes, subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace
from aurl.interrupts import terminated_as_interrupted
from aurl.search import cluster
from aurl.search.journal import journal

quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
server, other = (subprocess.Popen(["sleep", "60"], **quiet) for _ in range(2))
processes = {"gcs_server": [SimpleNamespace(process=server)],
             "dashboard": [SimpleNamespace(process=other)]}
cluster.worker._global_node = SimpleNamespace(all_processes=processes)
cluster.WATCH_EVERY_S, cluster.LET_GO_S = 0.02, 0.2
sys.stderr = open("/dev/null", "w")  # the display has one of its own
print(other.pid, flush=True)
with journal(Path(sys.argv[1])), terminated_as_interrupted(), cluster._watched():
    server.kill()
    lock = ctypes.create_string_buffer(64)
    for _ in range(2):  # for ever; as Ray's own calls, it looks for no interrupt
        ctypes.CDLL(None).pthread_mutex_lock(lock)
"""


def test_a_process_that_ray_holds_is_ended_all_the_same(tmp_path: Path) -> None:
    log, began = tmp_path / "sweep.log", time.monotonic()
    command = [sys.executable, "-c", HELD, str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert time.monotonic() - began < 50
    assert done.returncode == 2
    assert done.stderr.startswith("aurl: Ray's gcs_server on this machine has died, and Ray did")
    assert done.stderr.endswith("Give the same command again, a sweep with --resume.\n")
    assert log.read_text().endswith(done.stderr), "it is in the log, too"
    assert not alive({int(done.stdout)}), "what Ray had started is ended, too"


def test_ctrl_c_stays_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.worker, "_global_node", None)
    watched = cluster._watched
    with pytest.raises(KeyboardInterrupt), watched():
        raise KeyboardInterrupt
