"""Clusters of several hosts, each with its own network, memory and disk, through ``run_sweep.py``.

A host here is a network namespace of this machine (``hosts.py``); root is needed. The hosts share
``/mnt/aurl``, as they would a network file system, and Ray asks for a token.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aurl.config import from_plain, to_plain
from aurl.data.corpus import save
from aurl.files import read_json, read_lines, read_yaml, write_yaml
from aurl.plain import overridden
from aurl.search.gang import ATTEMPTS
from aurl.search.provenance import read_config
from aurl.training.checkpoint import step_of
from aurl.training.loop import Run, train
from aurl.training.messages import Row
from aurl.training.workers import Workers
from tests.hosts import ROOT, TOKEN, Host, network, why_not
from tests.processes import descendants, slots_of_ray, until, workers_of_ray
from tests.tiny import tiny_corpus, untimed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

hosts = pytest.mark.hosts  # minutes, so not in CI: `make hosts`
PATIENCE_S = 400.0  # a gang starts in some 12 s on two idle cores; here others may use them
STEPS = 200
SPACE = f"""
question: Does a tiny sweep on random notes end?
base:
  model: {{d_model: 16, n_heads: 2, encoder_layers: 3, decoder_layers: 2}}
  latent:
    levels:
      - {{name: global, dim: 4, span: sequence}}
      - {{name: local, dim: 3, span: 1}}
  training: {{batch_size: 8, log_every: 5}}
  evaluation: {{every: 20, windows: 16, final_windows: 24, reconstructions: 4}}
scientific:
  objective.beta.value: {{log_uniform: [0.01, 1.0]}}
budget: {{trials: 1, steps_per_trial: {STEPS}}}
sampler: {{name: random, seed: 0}}
scheduler: {{name: none}}
stopper: {{name: none}}
"""
FULL = {  # a run that lasts until a host has come back, also on a machine that does nothing else
    "model.d_model": 64,
    "training.steps": 1200,
    "training.log_every": 50,
    "evaluation.every": 100,
    "optimizer.lr": 1e-4,
}
QUICK_TO_MISS = {  # Ray's defaults take a minute to give up a host that is silent
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}


def measured(text: str) -> None:
    print(f"\n{text}", end="")  # noqa: T201 - for those who run this with -s


class Cluster:
    """A head without room for workers, and two hosts with room for one worker each."""

    def __init__(self, hosts: Sequence[Host], shared: Path) -> None:
        self.head, *self.others = hosts
        self.out = shared / "out"
        save(tiny_corpus(), shared / "tiny")
        (shared / "space.yaml").write_text(SPACE)
        slow = SPACE.replace(f"steps_per_trial: {STEPS}", "steps_per_trial: 100000")
        (shared / "long.yaml").write_text(slow.replace("every: 20", "every: 100000"))
        self.join(self.head)

    def join(self, host: Host) -> None:
        """Start Ray on a host, which is booted if it is down."""
        if not host.is_up:
            host.boot()
        started = time.monotonic()
        as_head = ("--num-cpus=0", "--include-dashboard=false")  # the dashboard is ten processes
        words = as_head if host is self.head else ("--num-cpus=1",)
        host.join(self.head, *words, env=QUICK_TO_MISS)
        measured(f"Ray started on host {host.number} in {time.monotonic() - started:.1f} s")

    def start(
        self, name: str, *words: str, space: str = "space.yaml", **env: str
    ) -> subprocess.Popen[str]:
        """A sweep, started on the head."""
        program = ("python", str(ROOT / "run_sweep.py"), space, "--data", "tiny")
        where = ("--out", "/mnt/aurl/out", "--name", name, "--address", "auto")
        return self.head.start(*program, *where, *words, env=env)

    def status(self, name: str, trial: str) -> dict[str, Any]:
        """What the folder says of a trial; nothing if it says nothing yet."""
        path = self.out / name / "trials" / trial / "status.json"
        return read_json(path) if path.exists() else {"step": 0, "attempts": 0}

    def rows(self, name: str, trial: str) -> list[dict[str, Any]]:
        """What a trial reported."""
        return read_lines(self.out / name / "trials" / trial / "metrics.jsonl")

    def check_ended(self, name: str, driver: subprocess.Popen[str], trials: int) -> None:
        """The sweep ended well, every trial once and whole."""
        out, err = driver.communicate(timeout=PATIENCE_S)
        assert (driver.returncode, err) == (0, ""), out
        folders = [path.name for path in (self.out / name / "trials").iterdir()]
        assert sorted(folders) == [f"t{number:04d}" for number in range(trials)]
        for trial in folders:
            status = self.status(name, trial)
            assert (status["status"], status["step"]) == ("completed", STEPS)
            steps = [row["step"] for row in self.rows(name, trial) if "train/kl_nats" in row]
            assert steps == list(range(5, STEPS + 1, 5))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("hosts")
    with network(folder, 3) as hosts:
        made = Cluster(hosts, folder / "shared")
        for host in made.others:
            made.join(host)
        yield made


WHO_REFUSES = """
import grpc, http.client, json, sys

METHODS = {
    "head": "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "node manager": "/ray.rpc.NodeManagerService/GetNodeStats",
    "object manager": "/ray.rpc.ObjectManagerService/Pull",
    "agent": "/ray.rpc.ReporterService/HealthCheck",
    "client": "/ray.rpc.RayletDriver/ClusterInfo",
}


def rpc(port, method, token):
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        plain = {"request_serializer": bytes, "response_deserializer": bytes}
        call = channel.unary_unary(method, **plain)
        shown = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            call(b"", timeout=20, metadata=shown)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"


def web(port, token):
    asked = http.client.HTTPConnection(host, port, timeout=20)
    try:
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        asked.request("GET", "/", headers=shown)
        answer = asked.getresponse()
        return answer.status, answer.read(7).decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        asked.close()


def service(port, token):
    found = web(port, token)
    if found is None:
        said = {name: rpc(port, method, token) for name, method in METHODS.items()}
        known = {name: code for name, code in said.items() if code != "UNIMPLEMENTED"}
        return " ".join([*known] or ["unknown"]), " ".join(known.values())
    if found == (200, "# HELP "):
        return "metrics", "read by all"
    return "web", str(found[0])


host, token, *ports = sys.argv[1:]
print(json.dumps([(*service(port, ""), service(port, token)[1]) for port in ports]))
"""
PORTS = {  # what a host listens on for others: who, what it says without the token, and with it
    "head": [
        ("agent", "UNAUTHENTICATED", "OK"),
        ("client", "UNAUTHENTICATED", "NOT_FOUND"),
        ("head", "UNAUTHENTICATED", "OK"),
        ("metrics", "read by all", "read by all"),
        ("metrics", "read by all", "read by all"),
        ("metrics", "read by all", "read by all"),
        ("node manager", "UNAUTHENTICATED", "OK"),
        ("object manager", "UNAUTHENTICATED", "OK"),
        ("web", "401", "404"),
        ("web", "401", "404"),
    ],
    "worker": [
        ("agent", "UNAUTHENTICATED", "OK"),
        ("metrics", "read by all", "read by all"),
        ("node manager", "UNAUTHENTICATED", "OK"),
        ("object manager", "UNAUTHENTICATED", "OK"),
        ("web", "401", "404"),
        ("web", "401", "404"),
    ],
}


@pytest.mark.parametrize("role", ["head", "worker"])
def test_who_has_no_token_is_refused_on_every_port_but_those_of_metrics(
    cluster: Cluster, role: str
) -> None:
    stranger = cluster.others[1]
    host = cluster.head if role == "head" else cluster.others[0]
    lines = host.run("ss", "-ltnH")[1].splitlines()
    places = [line.split()[3].rpartition(":") for line in lines]
    ports = {port for place, _, port in places if "127.0.0.1" not in place}
    program = ("python", "-c", WHO_REFUSES, host.address, TOKEN, *sorted(ports))
    code, out, err = stranger.run(*program, env={"RAY_AUTH_MODE": "", "RAY_AUTH_TOKEN": ""})
    assert code == 0, err
    assert sorted(map(tuple, json.loads(out))) == PORTS[role]


@hosts
@pytest.mark.parametrize("token", ["", "f" * 64], ids=["none", "another"])
def test_a_sweep_without_the_token_is_refused_in_one_line(cluster: Cluster, token: str) -> None:
    mode = "token" if token else ""
    driver = cluster.start("strange", RAY_AUTH_TOKEN=token, RAY_AUTH_MODE=mode)
    out, err = driver.communicate(timeout=PATIENCE_S)
    assert (driver.returncode, err.count("\n")) == (2, 1), out + err
    assert err.startswith("aurl: --address must name a cluster that takes this account's token")
    assert not (cluster.out / "strange").exists(), "the name stays free"


def test_a_host_that_cannot_use_the_results_folder_is_named_before_the_start(
    cluster: Cluster,
) -> None:
    _, other = cluster.others
    cluster.out.mkdir(exist_ok=True)
    assert other.run("mount", "-t", "tmpfs", "tmpfs", "/mnt/aurl/out")[0] == 0
    driver = cluster.start("private")
    out, err = driver.communicate(timeout=PATIENCE_S)
    assert other.run("umount", "/mnt/aurl/out")[0] == 0
    assert driver.returncode == 2, out + err
    assert err == (
        "aurl: --out must be a folder that every machine of the cluster reads and writes, got "
        f"/mnt/aurl/out: host{other.number} ({other.address}) does not see there what this "
        "machine wrote (No such file or directory). "
        "Mount one folder on all of them, or choose another --out.\n"
    )
    assert not (cluster.out / "private").exists(), "the name stays free"


@hosts
def test_two_workers_on_two_hosts_have_the_loss_curve_of_one_whatever_becomes_of_a_host(
    cluster: Cluster, tmp_path: Path
) -> None:
    own = [host.folder / "disk" / "own" for host in (cluster.head, *cluster.others)]
    own[0].mkdir()
    for place in own[1:]:
        place.touch()
    driver = cluster.start("ddp", "--workers-per-trial", "2", TMPDIR="/tmp/own")
    trial = "t0000"
    until(lambda: cluster.status("ddp", trial)["step"] >= 40, PATIENCE_S, "a checkpoint")
    first, second = cluster.others
    for host in (first, second):
        assert len(workers_of_ray(host.pid)) == 1
    slots = [len(slots_of_ray(host.pid)) for host in (cluster.head, first, second)]
    assert slots in ([0, 1, 0], [0, 0, 1]), "where a worker is, and not with the driver"
    assert own[0].is_dir()
    assert not any(list(place.parent.glob("aurl-*")) for place in own[1:]), "the driver's scratch"
    if slots[2]:
        first, second = second, first
    second.kill()
    seconds = until(lambda: not workers_of_ray(first.pid), PATIENCE_S, "the end of its gang")
    measured(f"a killed host was missed after {seconds:.1f} s")
    cluster.join(second)
    joined = time.monotonic()
    until(lambda: cluster.status("ddp", trial)["attempts"] == 2, PATIENCE_S, "a second attempt")
    step = cluster.status("ddp", trial)["step"]
    assert step >= 20, "a report is answered before its checkpoint is written"
    until(lambda: cluster.status("ddp", trial)["step"] > step, PATIENCE_S, "progress")
    measured(f"its trial went on {time.monotonic() - joined:.1f} s after it was back")
    cluster.check_ended("ddp", driver, 1)
    alone = rows_alone(cluster.out / "ddp" / "trials" / trial, tmp_path)
    together = untimed(cluster.rows("ddp", trial))
    assert [row["step"] for row in together] == [row["step"] for row in alone]
    for one, other in zip(alone, together, strict=True):
        for name, value in one.items():
            wanted = pytest.approx(value, rel=1e-3, abs=1e-3)  # sums are taken in another order
            assert other[name] == wanted, (one["step"], name)


@hosts
def test_a_host_that_joins_is_used_and_what_one_that_is_cut_off_held_goes_on_elsewhere(
    cluster: Cluster,
) -> None:
    stays, joins = cluster.others
    joins.kill()
    until(lambda: cluster.head.run("ray", "status")[1].count("node_") == 2, PATIENCE_S, "its end")
    driver = cluster.start("cut", "--trials", "2")
    until(lambda: cluster.status("cut", "t0000")["step"] >= 40, PATIENCE_S, "a checkpoint")
    (held,) = workers_of_ray(stays.pid)
    assert [len(slots_of_ray(host.pid)) for host in (cluster.head, stays)] == [0, 1]
    os.kill(held, signal.SIGSTOP)  # so that it is still under way when the other host has joined
    assert cluster.status("cut", "t0001")["attempts"] == 0
    cluster.join(joins)
    seconds = until(lambda: cluster.status("cut", "t0001")["step"] > 0, PATIENCE_S, "its use")
    measured(f"a host that joined had trained for its first report after {seconds:.1f} s")
    stays.plug(in_=False)
    cut = time.monotonic()
    os.kill(held, signal.SIGCONT)
    before = cluster.status("cut", "t0000")["step"]
    until(lambda: cluster.status("cut", "t0000")["attempts"] == 2, PATIENCE_S, "a second attempt")
    measured(f"a host that was cut off was given up after {time.monotonic() - cut:.1f} s")
    until(lambda: cluster.status("cut", "t0000")["step"] > before, PATIENCE_S, "progress")
    measured(f"its trial went on elsewhere {time.monotonic() - cut:.1f} s after the cut")
    cluster.check_ended("cut", driver, 2)
    assert cluster.status("cut", "t0000")["attempts"] == 2
    assert cluster.status("cut", "t0001")["attempts"] == 1
    stays.kill()  # cut off, its worker would wait for the cluster for a minute


@hosts
def test_a_trial_whose_machines_are_drained_and_taken_goes_on_from_their_last_seconds(
    cluster: Cluster, tmp_path: Path
) -> None:
    for host in cluster.others:
        if not host.is_up:
            cluster.join(host)
    driver = cluster.start("drain", space="long.yaml")
    trial = cluster.out / "drain" / "trials" / "t0000"
    kept = 0
    for times in range(1, ATTEMPTS + 1):  # a gang that is lost without a word costs one of these
        until(lambda: any(workers_of_ray(host.pid) for host in cluster.others), PATIENCE_S, "one")
        (host,) = (host for host in cluster.others if workers_of_ray(host.pid))
        began = time.monotonic()
        drain(cluster, host, trial, kept)
        kept = step_of(trial / "checkpoint")
        measured(f"{time.monotonic() - began:.1f} s after it was drained, step {kept} is kept")
        again = partial(has_tried, cluster, "drain", times + 1)
        seconds = until(again, PATIENCE_S, "another try")
        measured(f"{seconds:.1f} s after its machine was taken, the trial began again")
        assert [row["step"] for row in cluster.rows("drain", "t0000")] == [*range(5, kept + 1, 5)]
        cluster.join(host)
    for pid in descendants(driver.pid):
        os.kill(pid, signal.SIGINT)
    out, err = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 130, out + err
    assert cluster.status("drain", "t0000")["status"] == "running", "to be gone on with"
    alone = rows_alone(trial, tmp_path, kept)
    assert untimed(cluster.rows("drain", "t0000")) == alone, "its curve shows none of it"


@hosts
def test_a_full_size_run_goes_on_with_the_workers_there_are(
    cluster: Cluster, tmp_path: Path
) -> None:
    for host in cluster.others:
        if not host.is_up:
            cluster.join(host)
    stays, goes = cluster.others
    folder = cluster.out / "full"
    config = from_plain(overridden(read_yaml(cluster.out.parent / "space.yaml")["base"], FULL))
    write_yaml(cluster.out.parent / "full.yaml", to_plain(config))
    command = ("aurl", "train", "full.yaml", "--data", "tiny")
    shape = ("--address", "auto", "--workers-per-trial", "1:2", "--preset", "same")
    driver = cluster.head.start(*command, "--out", "/mnt/aurl/out/full", *shape)

    def said() -> dict[str, Any]:
        path = folder / "status.json"
        return read_json(path) if path.exists() else {"step": 0, "attempts": 0}

    def at_work() -> tuple[int, int]:
        first, second = (len(workers_of_ray(host.pid)) for host in cluster.others)
        return first, second

    until(lambda: said()["step"] >= 100, 100.0, "a checkpoint")
    assert at_work() == (1, 1)
    goes.kill()
    killed = time.monotonic()
    until(lambda: said()["attempts"] == 2, PATIENCE_S, "a second attempt")
    step = said()["step"]
    until(lambda: said()["step"] > step, PATIENCE_S, "progress with one worker")
    measured(f"it went on with one worker {time.monotonic() - killed:.1f} s after the loss")
    assert len(workers_of_ray(stays.pid)) == 1
    cluster.join(goes)
    joined = time.monotonic()
    until(lambda: at_work() == (1, 1), PATIENCE_S, "two workers again")
    step = said()["step"]
    until(lambda: said()["step"] > step, PATIENCE_S, "progress with two")
    measured(f"it went on with two {time.monotonic() - joined:.1f} s after the host was back")
    out, err = driver.communicate(timeout=PATIENCE_S)
    assert (driver.returncode, err, said()["attempts"]) == (0, "", 2), f"growing costs none: {out}"
    together, alone = untimed(read_lines(folder / "metrics.jsonl")), rows_alone(folder, tmp_path)
    assert [row["step"] for row in together] == [row["step"] for row in alone]
    assert alone[-1]["step"] > step
    for one, other in zip(alone, together, strict=True):
        for name in ("train/reconstruction_nats", "val/negative_elbo_nats", "train/kl_nats"):
            wanted = one.get(name) and pytest.approx(one[name], rel=2e-2)  # rounding has grown
            assert other.get(name) == wanted, (one["step"], name)


def has_tried(cluster: Cluster, name: str, times: int) -> bool:
    return cluster.status(name, "t0000")["attempts"] == times


def drain(cluster: Cluster, host: Host, trial: Path, before: int) -> None:
    """Have Ray drain a host, and take it away: Ray itself takes none, that is the cloud's part."""
    code, out, err = cluster.head.run("python", "-c", DRAIN, host.address)
    assert code == 0, out + err
    kept = partial(step_of, trial / "checkpoint")
    until(lambda: kept() > before, PATIENCE_S, "a checkpoint, though nothing was evaluated")
    first = kept()
    until(lambda: kept() > first, PATIENCE_S, "another, seconds later")
    host.kill()


DRAIN = """
import subprocess, sys
import ray

ray.init(address="auto", log_to_driver=False)
(node,) = (n for n in ray.nodes() if n["Alive"] and n["NodeManagerAddress"] == sys.argv[1])
why = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
when = ["--deadline-remaining-seconds", "20"]
subprocess.run(["ray", "drain-node", "--address", ray.get_runtime_context().gcs_address,
                "--node-id", node["NodeID"], *why, *when], check=True)
"""


class EnoughError(Exception):
    """The rows that are wanted are there."""


def rows_alone(folder: Path, checkpoint: Path, last: int = 10**9) -> list[dict[str, float]]:
    """The rows of a trial's configuration in this process, without Ray, to a step."""
    rows: list[Row] = []

    def report(new: Sequence[Row]) -> bool:
        rows.extend(new)
        return True

    def note(new: Sequence[Row]) -> bool:
        if new and new[-1]["step"] > last - 5:
            rows.extend(new)
            raise EnoughError
        return False

    config, _ = read_config(folder / "config.yaml")
    run = Run(config=config, corpus=tiny_corpus(), checkpoint_folder=checkpoint, note=note)
    with contextlib.suppress(EnoughError):
        train(run, workers=Workers(), report=report)
    return untimed(rows)
