"""What ends a sweep though no trial is to blame: it is told, once, and nothing follows it."""

import contextlib
import subprocess
import time
from types import SimpleNamespace

import pytest

from aurl.errors import OutageError, StorageError
from aurl.interrupts import terminated_as_interrupted
from aurl.search import cluster
from aurl.search.outage import Outage


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
    watched = cluster._watched  # pyright: ignore[reportPrivateUsage]

    def block(dies: str) -> None:
        with terminated_as_interrupted(), watched():
            processes[dies][0].process.kill()
            time.sleep(60.0 if dies == server else 0.3)

    try:
        block("dashboard")
        with pytest.raises(OutageError, match=f"^Ray's {server} on this machine has died"):
            block(server)
    finally:
        for (each,) in processes.values():
            each.process.kill()
            each.process.wait()


def test_ctrl_c_stays_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.worker, "_global_node", None)
    watched = cluster._watched  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(KeyboardInterrupt), watched():
        raise KeyboardInterrupt
