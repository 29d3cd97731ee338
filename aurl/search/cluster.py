"""Ray for a sweep: start a local one or join a cluster, and check that what is asked for fits."""

import contextlib
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import grpc
import ray
from ray._private import worker
from ray._private.authentication import authentication_token_setup as token_auth
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated import gcs_service_pb2
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from aurl.errors import OutageError, SweepError
from aurl.interrupts import terminated_as_interrupted
from aurl.plain import many
from aurl.search.journal import last_words
from aurl.search.scratch import scratch_folder
from aurl.search.shape import Shape

_log = logging.getLogger(__name__)
OBJECT_STORE_BYTES = 256 * 2**20
SLOT_BYTES = 190 * 2**20
"""For each run that goes on, where its first worker is: slot and mailbox (docs/scale.md)."""

WORKER_BYTES = 1100 * 2**20
"""The most that a worker holds on CPUs, of models as large as those of search_spaces/."""

STARTS = 3
"""Times that Ray is started on this machine, if it gives itself up after its 30 seconds."""

WATCH_EVERY_S = 0.5
LET_GO_S = 12.0
"""For the main thread to end once a server of Ray has died: shorter than Ray waits itself."""

GREETING_S = 20.0
"""For Ray's control store to answer; on a busy machine it may take seconds."""

_ENVIRONMENT = {  # set before Ray starts, so that its workers inherit it
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # default 2 s; how soon a dead worker is seen
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # an actor a gang, of no use to a local cluster
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",  # for tasks: a sweep has actors only
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",  # a sweep is some 25 processes: each keeps less memory that is free
}
_OF_WORKERS = ("RAY_TRAIN_", "OMP_", "MALLOC_")
"""Of these, what a cluster that is joined is told: the sweep's processes there inherit nothing."""


@contextlib.contextmanager
def connected(address: str | None) -> Generator[None]:
    """A block that runs with Ray: a local cluster of its own, or the one at ``address``.

    Ray asks whoever speaks to a local cluster for the account's token.

    Args:
        address: ``auto``, ``HOST:PORT``, or None for a local cluster.

    Raises:
        SweepError: If there is no cluster at ``address``.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    before = signal.getsignal(signal.SIGTERM)
    with scratch_folder(for_sockets=True) as folder:
        try:
            if address is None:
                _start(folder)
            else:
                # Ray has read RAY_AUTH_MODE when it was imported: setting it now does nothing.
                token_auth.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
                _reach(address)
                told = {
                    name: os.environ[name] for name in _ENVIRONMENT if name.startswith(_OF_WORKERS)
                }
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": told},
                )
        except SystemExit as error:  # Ray's own answer to SIGTERM
            raise KeyboardInterrupt from error
        except SweepError:
            raise
        except Exception as error:
            raise SweepError(_why_not(address, error)) from error
        try:
            with terminated_as_interrupted(), _watched():  # Ray has set a handler of its own
                yield
        finally:
            try:
                ray.shutdown()
            finally:  # Ray leaves SIGTERM as it is by default
                signal.signal(signal.SIGTERM, before)


def _start(folder: str) -> None:
    """Start Ray on this machine; on a busy one its servers wait too shortly for each other."""
    for left in reversed(range(STARTS)):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folder,
            )
        except Exception as error:
            if not left or "timed out during startup" not in str(error):
                raise
            _log.warning("Ray did not start in its time, and is started again")
        else:
            return


@contextlib.contextmanager
def _watched() -> Generator[None]:
    """A block that ends soon after a server of a cluster of its own has died.

    Ray would end this process 15 to 60 seconds later, without a word to anybody. Where it holds
    the main thread all that time, in a call to the server that is dead, the process is ended here:
    whatever it was writing is whole or absent.
    """
    node: Any = worker._global_node
    servers = {
        name: each.process
        for name in ("gcs_server", "raylet")
        for each in (node.all_processes.get(name, ()) if node else ())
    }
    died, over, main = list[str](), threading.Event(), threading.main_thread()

    def watch() -> None:
        while not over.wait(WATCH_EVERY_S):
            died.extend(name for name, process in servers.items() if process.poll() is not None)
            if died:
                signal.pthread_kill(main.ident or 0, signal.SIGTERM)  # it ends a wait, too
                if not over.wait(LET_GO_S):
                    _leave(node, died[0])
                return

    if servers and threading.current_thread() is main:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt as error:
        if died:
            raise OutageError(f"Ray's {died[0]} on this machine has died.") from error
        raise
    finally:
        over.set()


def _leave(node: Any, server: str) -> None:  # noqa: ANN401 - Ray's, which is private
    """End this process and what it has started, with one line."""
    last_words(  # the display has a sys.stderr of its own, which shows it too late
        f"aurl: Ray's {server} on this machine has died, and Ray did not let go of this process. "
        "What was finished is kept. Give the same command again, a sweep with --resume."
    )
    for each in (one for several in node.all_processes.values() for one in several):
        with contextlib.suppress(OSError):
            each.process.kill()
    os._exit(2)


def _reach(address: str) -> None:
    """Connect once: where nobody answers, Ray would try for minutes and then end the process."""
    if address == "auto":
        noted = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
        address = os.environ.get("RAY_ADDRESS") or (noted.exists() and noted.read_text()) or ""
        if not address:
            return  # Ray looks further, and is quick to say that it finds nothing
    host, _, port = address.strip().removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("it is neither `auto` nor HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except OSError as error:
        raise ConnectionError(f"{host}:{port} does not answer ({error})") from error
    if not address.strip().startswith("ray://"):
        _greet(f"{host}:{port}")


def _greet(server: str) -> None:
    """Ask Ray's control store for its machines, of which this must be one.

    Ray itself would try a wrong token for a minute, look as long for itself among the machines of
    others, and end the process without a word where it cannot open the socket of its machine.

    Raises:
        SweepError: If it does not take this account's token, or this machine is none of them.
    """
    channel = init_grpc_channel(server)
    ask = NodeInfoGcsServiceStub(channel).GetAllNodeInfo
    try:
        found = ask(gcs_service_pb2.GetAllNodeInfoRequest(), timeout=GREETING_S).node_info_list
    except grpc.RpcError as error:
        fault: Any = error
        if fault.code() != grpc.StatusCode.UNAUTHENTICATED:
            raise ConnectionError(
                f"{server} does not speak as Ray does ({fault.code()})"
            ) from error
        raise SweepError(
            f"--address must name a cluster that takes this account's token, and {server} does "
            "not. Put the cluster's own into ~/.ray/auth_token (`ray get-auth-token` shows it "
            "there), or name its file in RAY_AUTH_TOKEN_PATH."
        ) from error
    finally:
        channel.close()
    if not any(_opens(node.raylet_socket_name) for node in found if node.state == node.ALIVE):
        raise SweepError(
            f"--address must name a cluster that this machine is one of, got {server}: none "
            f"of its {len(found)} is here, or another account started Ray here. Run this on one "
            "of them, as who started it, or send the sweep there: `aurl submit`."
        )


def _opens(path: str) -> bool:
    """Whether a process listens at a socket of this machine that this account may write to."""
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(path)
        except OSError:
            return False
    return True


def _why_not(address: str | None, error: Exception) -> str:
    reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".") + "."
    if isinstance(error, OSError) and str(error.filename).endswith(".ray"):  # for its token
        reason += " Set RAY_AUTH_TOKEN to a secret of yours, and nothing is written there."
    if address is None:
        return f"Ray must start on this machine, and did not: {reason} See `aurl doctor`."
    return (
        f"--address must name a running Ray cluster, got {address!r}: {reason} "
        "Start one with `ray start --head`, or leave it out."
    )


def slots(shape: Shape, runs: int) -> int:
    """Runs that go on at the same time on the connected cluster.

    Args:
        shape: What one needs, and how far the cluster is said to grow.
        runs: How many there are.

    Raises:
        SweepError: If not even one fits.
    """
    if shape.grow_to is not None:
        return min(shape.grow_to, runs)
    have = _resources()
    cpus, least = sum(int(each.get("CPU", 0)) for each in have), shape.sizes[-1]
    if least > cpus:
        raise SweepError(
            f"--workers-per-trial must be at most the cluster's {cpus} CPUs, "
            f"got {least}. Ask for fewer, or join a larger cluster."
        )
    fitting = held(shape)
    if not fitting:
        gpus = sum(each.get("GPU", 0.0) for each in have)
        raise SweepError(
            f"--gpus-per-worker must fit the cluster's {gpus:g} GPUs, got "
            f"{shape.gpus_per_worker:g} for each of {least} workers. Ask for "
            "fewer, or join a cluster with GPUs."
        )
    return min(fitting, most_slots(shape, runs))


def most_slots(shape: Shape, runs: int) -> int:
    """The most of so many runs that are to go on at a time.

    As many as are asked for; else as the cluster's machines, as they are now, have memory for.
    """
    if shape.max_concurrent is not None:
        return min(shape.max_concurrent, runs)
    have = _resources()
    each = WORKER_BYTES + SLOT_BYTES / shape.workers_per_trial
    fitting = _trials_of(shape, [int(min(shape.workers_on(m), _memory(m) / each)) for m in have])
    if shape.is_elastic:  # their slots are all with the driver
        head = next((m for m in have if "node:__internal_head__" in m), {})
        fitting = min(fitting, int(min(_memory(head) / SLOT_BYTES, runs)))
    return min(max(1, fitting), runs)


def held(shape: Shape) -> int:
    """Trials of ``shape`` that the connected cluster holds at a time, as it is now.

    A worker is on one machine, and a share of a GPU is of one GPU: three workers with 0.6 GPUs
    each need three GPUs. The workers of a trial may be on several machines. Where there is no room
    for all workers of one, but for as few as it may have, it is one.
    """
    return _trials_of(shape, [shape.workers_on(machine) for machine in _resources()])


def _trials_of(shape: Shape, workers: list[int]) -> int:
    """Trials whose workers are these, by machine."""
    return max(sum(workers) // shape.sizes[0], min(1, sum(workers) // shape.sizes[-1]))


def left_idle(shape: Shape, runs: int) -> list[str]:
    """Lines on what the connected cluster has and so many runs do not use: GPUs, processors."""
    lines = list[str]()
    gpus = sum(each.get("GPU", 0.0) for each in _resources())
    if gpus and not shape.gpus_per_worker:
        lines.append(
            f"Trained on CPUs: Ray has {many(gpus, 'GPU')}, which --gpus-per-worker 1 would use."
        )
    most, fitting = most_slots(shape, runs), min(held(shape), runs)
    if most < fitting and shape.grow_to is None and shape.max_concurrent is None:
        lines.append(
            f"{most} at a time, though there are processors for {fitting}: there is no memory "
            f"for more. --max-concurrent {fitting} would begin them all the same."
        )
    return lines


def _memory(machine: Mapping[str, float]) -> float:
    return machine.get("memory", math.inf)


def _resources() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
