"""Using a cluster: what fits on it, and a clear line when there is none."""

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import ray
from ray._private import auto_init_hook
from ray.core.generated import gcs_pb2, gcs_service_pb2
from ray.util.placement_group import placement_group, remove_placement_group

from aurl.errors import SweepError
from aurl.search import cluster
from aurl.search.cluster import STARTS, connected, held, left_idle, most_slots, slots
from aurl.search.shape import Shape


@pytest.mark.parametrize(
    ("have", "shape", "trials", "fitting"),
    [
        pytest.param({"CPU": 8.0}, Shape(), 20, 8, id="a_cpu_a_trial"),
        pytest.param({"CPU": 8.0}, Shape(), 3, 3, id="no_more_than_there_are_trials"),
        pytest.param({"CPU": 8.0}, Shape(workers_per_trial=3), 20, 2, id="whole_gangs_only"),
        pytest.param({"CPU": 3.0}, Shape(workers_per_trial=3), 20, 1, id="just_one"),
        pytest.param({"CPU": 8.0, "GPU": 2.0}, Shape(gpus_per_worker=1), 20, 2, id="gpus_limit"),
        pytest.param({"CPU": 8.0, "GPU": 1.0}, Shape(gpus_per_worker=0.1), 20, 8, id="cpus_limit"),
        pytest.param(
            {"CPU": 400.0, "GPU": 1.0}, Shape(gpus_per_worker=1 / 99), 200, 99, id="shared"
        ),
        pytest.param({"CPU": 9.0, "GPU": 3.0}, Shape(gpus_per_worker=0.6), 20, 3, id="of_one_gpu"),
        pytest.param(
            {"CPU": 8.0, "GPU": 4.0},
            Shape(workers_per_trial=2, gpus_per_worker=1),
            20,
            2,
            id="gangs_on_gpus",
        ),
        pytest.param({}, Shape(gpus_per_worker=1, grow_to=6), 20, 6, id="not_there_yet"),
        pytest.param({}, Shape(grow_to=6), 4, 4, id="grows_no_further_than_there_are_trials"),
    ],
)
def test_as_many_trials_run_at_a_time_as_fit(
    monkeypatch: pytest.MonkeyPatch,
    have: dict[str, float],
    shape: Shape,
    trials: int,
    fitting: int,
) -> None:
    on_machines(monkeypatch, have)
    assert slots(shape, trials) == fitting


def on_machines(monkeypatch: pytest.MonkeyPatch, *have: dict[str, float]) -> None:
    """A cluster of machines with these resources, and of one that is gone."""
    gone = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    alive = [{"Alive": True, "Resources": each} for each in have]
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, gone])


@pytest.mark.parametrize(
    ("shape", "fitting"),
    [
        pytest.param(Shape(), 6, id="workers_anywhere"),
        pytest.param(Shape(workers_per_trial=3), 2, id="a_gang_over_machines"),
        pytest.param(Shape(gpus_per_worker=0.6), 2, id="a_gpu_is_on_one_machine"),
        pytest.param(Shape(gpus_per_worker=0.5), 3, id="and_so_is_a_cpu"),
        pytest.param(Shape(workers_per_trial=2, gpus_per_worker=1), 1, id="a_gang_on_gpus"),
        pytest.param(Shape(workers_per_trial=12, workers_at_least=6), 1, id="as_few_as_may_be"),
        pytest.param(Shape(workers_per_trial=12, workers_at_least=12), 0, id="no_fewer"),
        pytest.param(Shape(workers_per_trial=2, workers_at_least=1), 3, id="as_many_as_with_most"),
    ],
)
def test_a_worker_is_on_one_machine_and_a_gang_may_be_on_several(
    monkeypatch: pytest.MonkeyPatch, shape: Shape, fitting: int
) -> None:
    on_machines(monkeypatch, {"CPU": 5.0, "GPU": 1.0}, {"CPU": 1.5, "GPU": 1.0}, {"GPU": 1.0})
    assert held(shape) == fitting


def test_gpus_that_nobody_uses_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    on_machines(monkeypatch, {"CPU": 5.0, "GPU": 1.0}, {"CPU": 1.5, "GPU": 1.0})
    line = "Trained on CPUs: Ray has {}, which --gpus-per-worker 1 would use."
    assert left_idle(Shape(), 9) == [line.format("2 GPUs")]
    assert left_idle(Shape(gpus_per_worker=0.5), 9) == []
    on_machines(monkeypatch, {"CPU": 5.0, "GPU": 1.0})
    assert left_idle(Shape(), 9) == [line.format("1 GPU")]
    on_machines(monkeypatch, {"CPU": 5.0})
    assert left_idle(Shape(), 9) == []


def test_no_more_run_at_a_time_than_machines_have_memory_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = {"CPU": 16.0, "memory": 8.0 * 2**30, "node:__internal_head__": 1.0}
    on_machines(monkeypatch, head)
    assert slots(Shape(), 20) == 6, "8 GiB by 1,290 MiB"
    assert slots(Shape(workers_per_trial=2), 20) == 3, "8 GiB by 2,390 MiB"
    assert left_idle(Shape(), 9) == [
        "6 at a time, though there are processors for 9: there is no memory for more. "
        "--max-concurrent 9 would begin them all the same."
    ]
    assert left_idle(Shape(), 6) == [], "it is all there is to run"
    wanted = Shape(max_concurrent=12)
    assert (slots(wanted, 20), left_idle(wanted, 20)) == (12, [])
    other = {"CPU": 4.0, "memory": 64.0 * 2**30}
    on_machines(monkeypatch, head, other)
    assert slots(Shape(), 99) == most_slots(Shape(), 99) == 10, "6 there, and 4 by processors"
    assert slots(Shape(workers_per_trial=2), 99) == 5, "10 workers: 8 GiB by 1,195 MiB, and 4"
    assert slots(Shape(workers_per_trial=2, workers_at_least=1), 99) == 5
    small = {"CPU": 0.0, "memory": 512.0 * 2**20, "node:__internal_head__": 1.0}
    on_machines(monkeypatch, small, *[other] * 8)
    assert slots(Shape(workers_per_trial=2), 99) == 16, "no slot stands with the driver"
    assert slots(Shape(workers_per_trial=2, workers_at_least=1), 99) == 2, "512 MiB by 190 MiB"
    on_machines(monkeypatch, {**head, "memory": 1e6})
    assert slots(Shape(), 9) == 1, "one is tried"


def test_no_more_run_at_a_time_than_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    on_machines(monkeypatch, {"CPU": 8.0})
    for wanted, trials, found in ((1, 20, 1), (3, 20, 3), (3, 2, 2), (99, 20, 8)):
        assert slots(Shape(max_concurrent=wanted), trials) == found
    assert most_slots(Shape(max_concurrent=99), 20) == 20, "once machines have joined"


def test_a_test_that_does_not_start_ray_has_none() -> None:
    assert not auto_init_hook.enable_auto_connect


@pytest.mark.cluster
def test_ray_places_as_many_gangs_as_are_counted() -> None:
    """Against Ray's own placement, with GPUs that Ray is told of and no worker asks for."""
    shapes = [
        Shape(),
        Shape(workers_per_trial=3),
        *(Shape(gpus_per_worker=share) for share in (0.1, 0.25, 0.3, 0.34, 0.6, 1.0)),
        Shape(workers_per_trial=3, gpus_per_worker=0.6),
    ]
    ray.init(address="local", num_cpus=12, num_gpus=3, include_dashboard=False)
    try:
        for shape in shapes:
            each = {"CPU": 1.0, "GPU": shape.gpus_per_worker or 0.0}
            bundles = [{name: n for name, n in each.items() if n}] * shape.workers_per_trial
            gangs = [placement_group(bundles, strategy="PACK") for _ in range(held(shape))]
            assert all(gang.wait(30) for gang in gangs), shape
            one_more = placement_group(bundles, strategy="PACK")
            assert not one_more.wait(0.5), shape
            for gang in (*gangs, one_more):
                remove_placement_group(gang)
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("have", "shape", "message"),
    [
        ({"CPU": 2.0}, Shape(workers_per_trial=3), r"at most the cluster's 2 CPUs, got 3\. Ask"),
        ({}, Shape(), r"--workers-per-trial must be at most the cluster's 0 CPUs, got 1\."),
        ({"CPU": 2.0}, Shape(gpus_per_worker=1), r"fit the cluster's 0 GPUs, got 1 for each of 1"),
        (
            {"CPU": 8.0, "GPU": 1.0},
            Shape(workers_per_trial=3, gpus_per_worker=0.6),
            r"--gpus-per-worker must fit the cluster's 1 GPUs, got 0\.6 for each of 3 workers\.",
        ),
        (
            {"CPU": 2.0},
            Shape(workers_per_trial=6, workers_at_least=3),
            r"at most the cluster's 2 CPUs, got 3\. Ask",
        ),
    ],
)
def test_what_can_never_fit_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, have: dict[str, float], shape: Shape, message: str
) -> None:
    on_machines(monkeypatch, have)
    with pytest.raises(SweepError, match=message):
        slots(shape, 8)


@pytest.mark.parametrize(
    ("workers", "gpus", "message"),
    [
        (0, 0.0, r"--workers-per-trial must be >= 1, got 0\. Ask for 1 or more\."),
        (1, -0.5, r"--gpus-per-worker must be >= 0, got -0\.5\. Ask for 0 or more\."),
        (1, float("nan"), r"--gpus-per-worker must be >= 0, got nan\."),
        (1, float("inf"), r"--gpus-per-worker must be >= 0, got inf\."),
        (1, 1e-9, r"--gpus-per-worker must be 0 or >= 0\.0001, got 1e-09\. Ask for a share"),
        (
            1,
            1.5,
            r"at most 1, as a worker .* got 1\.5\. Ask for 1, and for more --workers",
        ),
        (2, 0.5, r"more than 0\.5 where a trial has several workers, .* got 0\.5\. Ask for 1, or"),
    ],
)
def test_a_shape_that_is_none_is_refused(workers: int, gpus: float, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        Shape(workers_per_trial=workers, gpus_per_worker=gpus)


def test_limits_that_are_none_are_refused() -> None:
    with pytest.raises(SweepError, match=r"--grow-to must be >= 1, got 0\. Ask for 1 or more\."):
        Shape(grow_to=0)
    with pytest.raises(SweepError, match=r"--max-concurrent must be >= 1, got -1\. Ask for 1"):
        Shape(max_concurrent=-1)
    with pytest.raises(SweepError, match=r"with --grow-to, which .*, got 2 and 4\. Give one\."):
        Shape(max_concurrent=2, grow_to=4)
    for hours in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SweepError, match=rf"--hours must be > 0, got {hours}\. Leave it"):
            Shape(hours=hours)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port at which nobody answers."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        yield taken.getsockname()[1]


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "auto"])
def test_an_address_where_nobody_answers_is_refused_in_seconds(
    nobody: int, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    noted = tmp_path / "ray" / "ray_current_cluster"  # of a cluster that is gone
    noted.parent.mkdir()
    noted.write_text(f"127.0.0.1:{nobody}")
    started = time.monotonic()
    message = rf"--address must name a running Ray cluster, got '{address.format(nobody)}': "
    message += rf"127\.0\.0\.1:{nobody} does not answer .* Start one with `ray start --head`"
    with (
        pytest.raises(SweepError, match=message) as error,
        connected(address.format(nobody)),
    ):
        raise AssertionError("there is no such cluster")
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("address", ["nonsense", ":6379", "host:", "host:port"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    message = r"got '.*': it is neither `auto` nor HOST:PORT\. Start one"
    with pytest.raises(SweepError, match=message), connected(address):
        raise AssertionError("there is no such cluster")


class Answering(grpc.GenericRpcHandler):
    """A server that answers every call as it is told to."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def service(self, handler_call_details: Any) -> Any:
        def refuse(request: bytes, context: Any) -> bytes:
            context.abort(self._code, "InvalidAuthToken")
            return b""

        return grpc.unary_unary_rpc_method_handler(refuse)  # pyrefly: ignore[bad-argument-type]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, r"takes this account's token, and .* does not\. Put "),
        (grpc.StatusCode.UNIMPLEMENTED, r"does not speak as Ray does \(StatusCode.UNIMPL"),
    ],
)
def test_a_server_that_refuses_is_told_in_seconds(code: grpc.StatusCode, message: str) -> None:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Answering(code)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    started = time.monotonic()
    try:
        with pytest.raises(SweepError, match=message), connected(f"127.0.0.1:{port}"):
            raise AssertionError("there is no such cluster")
    finally:
        server.stop(None)
    assert time.monotonic() - started < 30


class OfOneNode(grpc.GenericRpcHandler):
    """A control store that knows one machine, which is there or gone."""

    def __init__(self, raylet: Path, *, alive: bool) -> None:
        made = gcs_pb2.GcsNodeInfo
        node = made(raylet_socket_name=str(raylet), state=made.ALIVE if alive else made.DEAD)
        self._answer = gcs_service_pb2.GetAllNodeInfoReply(node_info_list=[node])

    def service(self, handler_call_details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            return self._answer.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)  # pyrefly: ignore[bad-argument-type]


@pytest.mark.parametrize(
    ("listens", "alive", "joins"),
    [(True, True, True), (False, True, False), (True, False, False)],
    ids=["here", "elsewhere", "gone"],
)
def test_a_cluster_of_other_machines_is_refused_in_seconds(
    *, listens: bool, alive: bool, joins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(cluster.worker, "_global_node", None)
    raylet = tmp_path / "raylet"
    server = grpc.server(ThreadPoolExecutor(1), handlers=[OfOneNode(raylet, alive=alive)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    message = rf"one of, got 127\.0\.0\.1:{port}: none of its 1 is here, .* `aurl submit`\."
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as end:
        end.bind(str(raylet))
        if listens:
            end.listen()
        refused = pytest.raises(SweepError, match=message)
        try:
            with contextlib.nullcontext() if joins else refused, connected(f"127.0.0.1:{port}"):
                assert joins
        finally:
            server.stop(None)


def test_a_home_that_takes_no_token_is_said_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(**_: object) -> None:
        raise OSError(30, "Read-only file system", "/home/me/.ray")

    monkeypatch.setattr(ray, "init", refused)
    refusal = pytest.raises(SweepError, match=r"'/home/me/\.ray'\. Set RAY_AUTH_TOKEN to a secret")
    with refusal, connected(None):
        pytest.fail("it has not started")


@pytest.mark.parametrize("failures", [0, 2, 3])
def test_ray_that_gives_itself_up_is_started_again(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = list[str]()

    def init(**given: Any) -> None:
        tries.append(given["address"])
        if len(tries) <= failures:
            raise RuntimeError("The current node timed out during startup. This could happen")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: signal.signal(signal.SIGTERM, lambda *_: None))
    monkeypatch.setattr(cluster.worker, "_global_node", None)
    before = signal.getsignal(signal.SIGTERM)
    refused = pytest.raises(SweepError, match=r"^Ray must start on this machine, .* timed out")
    with refused if failures == STARTS else contextlib.nullcontext(), connected(None):
        assert len(tries) == failures + 1
    assert len(tries) == min(failures + 1, STARTS)
    if failures < STARTS:
        assert signal.getsignal(signal.SIGTERM) is before, "what follows hears SIGTERM as before"


@pytest.mark.parametrize("least", [0, -2, 3, 8])
def test_a_least_that_makes_no_equal_shares_is_refused(least: int) -> None:
    message = rf"LEAST:MOST must have a LEAST that divides MOST, .* got {least}:4\."
    with pytest.raises(SweepError, match=message):
        Shape(workers_per_trial=4, workers_at_least=least)


def test_a_trial_has_numbers_of_workers_that_divide_the_most() -> None:
    assert Shape(workers_per_trial=12, workers_at_least=2).sizes == [12, 6, 4, 3, 2]
    assert Shape(workers_per_trial=12).sizes == [12]
    assert Shape().worker == {"CPU": 1.0}
