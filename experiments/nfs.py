"""A sweep in a folder that is mounted by NFS, of machines with kernels of their own.

    sudo PYTHONPATH=. python experiments/nfs.py --out FOLDER
    sudo PYTHONPATH=. python experiments/nfs.py --out FOLDER --run "COMMAND > /mnt/nfs/..."

Three machines: Linux as a process (Debian's user-mode-linux), with this machine's files, a /tmp
and a network each. One has a disk and serves it by NFS 4.2 (nfs-kernel-server), the others mount
it, ``hard`` as is the default. The sweep is that of :mod:`experiments.faults`, its folder on the
server, held against one that nobody disturbed. *second*: while it runs on one machine, another
driver is begun on each. *driver*: its driver is killed. *server*: the serving machine is, and is
back after half a minute. *machine*: the driver's machine is, and the sweep is gone on with on
another as soon as that lets it. *cluster*: two trials of two workers, each on a machine of a Ray
cluster; the one that is not the head is killed, and is back after half a minute. *stop*: ``aurl
stop`` of a trial, on another machine. One JSON line a case goes to FOLDER/nfs.jsonl. ``--run``:
boot the three, and run a command on the second. Needs openssh-server and iproute2, too, and more
maps a process than Linux gives: ``sysctl -w vm.max_map_count=1000000``.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurl.files import append_lines
from experiments.disturbed import DRIVER, MARK, ROOT, SPACE, STEPS, Disturbed, hold_against, waited
from tests.hosts import TOKEN

SHARED = "/mnt/nfs"
PATIENCE_S = 900.0
LONGER = SPACE.replace(f"steps_per_trial: {STEPS}", f"steps_per_trial: {4 * STEPS}")
"""With which there is time to see a trial, and to do something to it."""

LONG = f"--set budget.steps_per_trial={100 * STEPS}"
AWAY_S = 30.0
"""For which the server is gone."""

LEASE_S = 10
"""After which a server forgets a client that it does not hear of; 90 by default."""

BOOT = f"""\
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc && mount -t sysfs sys /sys
hostname "aurl$number"
mount -t tmpfs tmpfs /mnt && mkdir /mnt/place /mnt/disk {SHARED}
mount --bind "$place" /mnt/place
mount -t tmpfs tmpfs /lib/modules && ln -s "/usr/lib/uml/modules/$(uname -r)" /lib/modules
mount -t tmpfs -o size=3g tmpfs /tmp && mkdir -p /tmp/home "$place"
mount --bind /mnt/place "$place"
mount -t tmpfs tmpfs /run && mkdir /run/sshd
touch /tmp/empty && mount --bind /tmp/empty /root/.bashrc
mkdir -p /dev/shm /dev/pts && mount -t tmpfs -o size=1g tmpfs /dev/shm
mount -t devpts devpts /dev/pts && ln -sfn /proc/self/fd /dev/fd
ip link set lo up && ip addr add 10.79.0.$number/24 dev eth0 && ip link set eth0 up
/usr/sbin/sshd -o HostKey=$place/host -o PidFile=/run/sshd.pid -o UsePAM=no -o StrictModes=no \\
    -o PermitRootLogin=yes -o AuthorizedKeysFile=$place/key.pub
if [ "$number" = 10 ]; then
  mount /dev/ubda /mnt/disk && mkdir -p /mnt/disk/share
  mount -t tmpfs tmpfs /var/lib/nfs && mkdir /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs
  touch /var/lib/nfs/etab /var/lib/nfs/rmtab
  modprobe nfsd && mount -t nfsd nfsd /proc/fs/nfsd
  echo {LEASE_S} > /proc/fs/nfsd/nfsv4gracetime
  echo {LEASE_S} > /proc/fs/nfsd/nfsv4leasetime
  exportfs -o rw,no_root_squash,sync,fsid=0,no_subtree_check '10.79.0.0/24:/mnt/disk/share'
  rpc.mountd -N 3 && rpc.nfsd -N 3 8
  mount --bind /mnt/disk/share {SHARED}
else
  modprobe nfsv4 && mount -t nfs4 10.79.0.10:/ {SHARED}
fi
touch /run/booted
exec sleep infinity
"""


@dataclass(eq=False)
class Machine:
    """A kernel of its own; 10 is the server."""

    place: Path
    number: int
    memory: str = "6G"

    @property
    def address(self) -> str:
        """Its address, which this machine knows, too."""
        return f"10.79.0.{self.number}"

    def boot(self) -> None:
        """Start it, and wait until it answers with the folder mounted."""
        tap, script = f"aurl{self.number}", self.place / f"boot{self.number}"
        with contextlib.suppress(subprocess.CalledProcessError):  # it is there
            ip("tuntap", "add", "dev", tap, "mode", "tap")
        ip("link", "set", tap, "master", "aurlnfs", "up")
        script.write_text(f"#!/bin/bash\nnumber={self.number} place={self.place}\n{BOOT}")
        script.chmod(0o755)
        words = [f"umid=aurl{self.number}", f"mem={self.memory}", f"eth0=tuntap,{tap}"]
        words += ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", f"init={script}"]
        words += [f"ubda={self.place}/disk"] if self.number == 10 else []
        with (self.place / f"console{self.number}").open("ab") as console:
            self.process = subprocess.Popen(
                ["linux.uml", *words, "con=null", "con0=null,fd:1"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={**os.environ, "TMPDIR": "/dev/shm"},
            )
        is_up = f"test -e /run/booted && mountpoint -q {SHARED}"
        if waited(lambda: self.said(is_up) == 0, 60) is None:
            sys.exit(f"machine {self.number} does not boot: see {self.place}/console{self.number}")

    def kill(self) -> None:
        """As by a power cut."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def start(self, command: str, out: Path | None = None) -> subprocess.Popen[bytes]:
        """A command there, in the shell."""
        variables = f"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN={TOKEN} HOME=/tmp/home"
        variables += f" OMP_NUM_THREADS=1 PYTHONPATH={ROOT} {MARK}_SLOTS=1"
        path = f"PATH={Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        options = ["-q", "-i", str(self.place / "key"), "-o", "StrictHostKeyChecking=no"]
        options += ["-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10"]
        options += ["-o", "ServerAliveInterval=5"]  # of a machine that was killed
        with (out or Path(os.devnull)).open("wb") as said:
            return subprocess.Popen(
                ["ssh", *options, f"root@{self.address}", f"{variables} {path}; {command}"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def said(self, command: str, out: Path | None = None) -> int:
        """The exit code of a command there."""
        return self.start(command, out).wait(PATIENCE_S)


def ip(*words: str) -> None:
    """Call ``ip``."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def machines(place: Path) -> Generator[list[Machine]]:
    """The server and two that mount its folder."""
    for name in ("key", "host"):
        (place / name).unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)]
        subprocess.run(command, check=True)
    with (place / "disk").open("wb") as disk:
        disk.truncate(4 * 2**30)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(place / "disk")], check=True)
    ip("link", "add", "aurlnfs", "type", "bridge")
    ip("addr", "add", "10.79.0.1/24", "dev", "aurlnfs")
    ip("link", "set", "aurlnfs", "up")
    all_three = [Machine(place, 10, "2G"), Machine(place, 11), Machine(place, 12)]
    try:
        for each in all_three:
            each.boot()
        yield all_three
    finally:
        for each in all_three:
            with contextlib.suppress(OSError, AttributeError):
                each.kill()
        for number in (10, 11, 12):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("link", "del", f"aurl{number}")
        ip("link", "del", "aurlnfs")
        (place / "disk").unlink()


def join(machine: Machine, *, head: Machine) -> None:
    """Start Ray on a machine, whose helpers may take longer than Ray waits for them."""
    words = "--head --port=6379 --include-dashboard=false"
    words = words if machine is head else f"--address={head.address}:6379"
    words += f" --node-ip-address={machine.address} --num-cpus=1 --object-store-memory=100000000"
    for _ in range(4):
        if machine.said(f"ray start {words}", machine.place / f"ray{machine.number}.out") == 0:
            return
        machine.kill()
        machine.boot()
    sys.exit(f"Ray does not start: see {machine.place}/ray{machine.number}.out")


def sweep_on(
    machine: Machine, name: str, out: Path | None = None, options: str = ""
) -> subprocess.Popen[bytes]:
    """The sweep of :mod:`experiments.faults` on a machine, begun or gone on with."""
    driver = machine.place / "driver.py"
    driver.write_text(DRIVER)
    words = f"{SHARED}/space.yaml --resume --name {name} --out {SHARED}/sweeps {options}"
    out = out or machine.place / f"{name}.out"
    return machine.start(f"exec python {driver} {words}", out)


def last_line(out: Path) -> str:
    """Of what was said."""
    return out.read_text().splitlines()[-1]


def until_it_trains(machine: Machine, name: str, trial: str = "t0001") -> None:
    """Wait until a trial has reported, as a machine sees it: NFS tells it up to a minute later."""
    rows = f"{SHARED}/sweeps/{name}/trials/{trial}/metrics.jsonl"
    if waited(lambda: machine.said(f"grep -q '\"step\": 24,' {rows}") == 0, PATIENCE_S) is None:
        sys.exit(f"{name} does not get on: see {machine.place}/{name}.out")


def calm(three: Sequence[Machine]) -> dict[str, Any]:
    """Nobody does anything to it."""
    return {"exit": sweep_on(three[1], "calm").wait(PATIENCE_S)}


def second(three: Sequence[Machine]) -> dict[str, Any]:
    """Another driver is begun on each machine while one has the sweep."""
    driver = sweep_on(three[1], "second")
    until_it_trains(three[2], "second")
    outs = {each: each.place / f"second{each.number}.out" for each in three}
    begun = {each: sweep_on(each, "second", out) for each, out in outs.items()}
    others = {
        f"on {each.number}": [other.wait(PATIENCE_S), last_line(outs[each])]
        for each, other in begun.items()
    }
    return {**others, "exit": driver.wait(PATIENCE_S)}


def driver(three: Sequence[Machine]) -> dict[str, Any]:
    """The driver is killed, and its sweep gone on with where it was."""
    killed = sweep_on(three[1], "driver")
    until_it_trains(three[2], "driver")
    three[1].said("pkill -9 -f driver.py")
    killed.wait(PATIENCE_S)
    return gone_on_with(three[1], "driver")


def machine(three: Sequence[Machine]) -> dict[str, Any]:
    """The driver's machine is killed, and its sweep gone on with on another."""
    killed = sweep_on(three[1], "machine")
    until_it_trains(three[2], "machine")
    three[1].kill()
    killed.wait(PATIENCE_S)
    found = gone_on_with(three[2], "machine")
    three[1].boot()
    return found


def gone_on_with(on: Machine, name: str) -> dict[str, Any]:
    """How a sweep that was killed goes on, and how often that was refused before."""
    refused, began = list[str](), time.monotonic()
    while (code := sweep_on(on, name).wait(PATIENCE_S)) == 2 and time.monotonic() - began < 120:
        refused.append(last_line(on.place / f"{name}.out"))
        time.sleep(2)
    return {"exit": code, "refused": refused[:1], "tries": len(refused) + 1}


def server(three: Sequence[Machine]) -> dict[str, Any]:
    """The machine that has the disk is killed, and is back."""
    running = sweep_on(three[1], "server")
    until_it_trains(three[2], "server")
    three[0].kill()
    time.sleep(AWAY_S)
    three[0].boot()
    return {"exit": running.wait(PATIENCE_S)}


def cluster(three: Sequence[Machine]) -> dict[str, Any]:
    """One of two machines that train a trial together is killed, and is back."""
    head, other = three[1:]
    for each in (head, other):
        join(each, head=head)
    options = "--address auto --workers-per-trial 2 --trials 2"
    running = sweep_on(head, "cluster", options=options)
    until_it_trains(three[0], "cluster")
    other.kill()
    time.sleep(AWAY_S)
    other.boot()
    join(other, head=head)
    return {"exit": running.wait(PATIENCE_S)}


def stop(three: Sequence[Machine]) -> dict[str, Any]:
    """Another machine has a trial stopped."""
    running = sweep_on(three[1], "stop", options=f"--trials 1 {LONG}")
    until_it_trains(three[2], "stop", trial="t0000")
    folder = f"{SHARED}/sweeps/stop"
    aurl = "from aurl.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    asked = three[2].said(f"python -c '{aurl}' stop {folder} t0000", three[0].place / "asked.out")
    ended = f"grep -q stopped {folder}/trials/t0000/status.json"
    seconds = waited(lambda: three[2].said(ended) == 0, PATIENCE_S)
    return {"asked": asked, "stopped after s": seconds, "exit": running.wait(PATIENCE_S)}


CASES = {each.__name__: each for each in (second, driver, server, machine, cluster, stop)}
COMPARED = (second, driver, server, machine)
"""Those that are held against the sweep that nobody disturbed."""


def main() -> None:
    """Run the cases, or a command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", metavar="COMMAND")
    parser.add_argument("--only", nargs="+", choices=CASES, default=[*CASES])
    args = parser.parse_args()
    place: Path = args.out.absolute()
    place.mkdir(parents=True, exist_ok=True)
    with machines(place) as three:
        if args.run:
            sys.exit(three[1].said(f"cd {ROOT}; {args.run}", place / "run.out"))
        (place / "space.yaml").write_text(LONGER)
        three[0].said(f"cp {place}/space.yaml {SHARED}")
        known = {"calm": calm} if not (place / "sweeps/calm").exists() else {}
        for name, case in {**known, **{name: CASES[name] for name in args.only}}.items():
            row = case(three)
            shutil.rmtree(place / "sweeps" / name, ignore_errors=True)
            three[0].said(f"mkdir -p {place}/sweeps; cp -a {SHARED}/sweeps/{name} {place}/sweeps")
            if case in COMPARED:
                row["wrong"] = hold_against(Disturbed(place, name), place / "sweeps/calm")
            statuses = Disturbed(place, name).statuses().values()
            row["trials"] = [f"{each['status']}, {each['attempts']}" for each in statuses]
            append_lines(place / "nfs.jsonl", [{"case": name, **row}])
            print(json.dumps({"case": name, **row}), flush=True)


if __name__ == "__main__":
    main()
