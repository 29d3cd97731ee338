"""Hosts of their own on one machine: each has its network, its processes, its /tmp and its memory.

A host is a network namespace on a bridge (10.77.0.0/24, which the machine itself cannot reach),
with its own processes, host name, ``/tmp``, ``/dev/shm`` and home; ``/mnt`` is what all hosts
share, as a network file system is. Root is needed. Nothing outside the namespaces is touched, and
the end of :func:`network` ends all that runs in them.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOKEN = "0123456789abcdef" * 4
_KEPT = tuple(str(path) for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix)))
"""Seen by every host, also where they lie below ``/tmp``."""

_BOOT = r"""
set -e
hostname "$HOST"
mount -t tmpfs -o size=1m tmpfs /mnt
mkdir /mnt/kept /mnt/aurl
mount --bind "$SHARED" /mnt/aurl
number=0
for path in $KEPT; do
  mkdir /mnt/kept/$number
  mount --bind "$path" /mnt/kept/$number
  number=$((number + 1))
done
mount --bind "$DISK" /tmp
number=0
for path in $KEPT; do
  if [ ! -e "$path" ]; then mkdir -p "$path"; mount --bind /mnt/kept/$number "$path"; fi
  number=$((number + 1))
done
mount -t tmpfs -o size=512m tmpfs /dev/shm
touch /tmp/booted
exec sleep infinity
"""


def why_not() -> str:
    """Why hosts cannot be made here; empty if they can."""
    missing = [tool for tool in ("ip", "unshare", "nsenter", "mount") if not shutil.which(tool)]
    if missing:
        return f"hosts of their own need {', '.join(missing)}"
    if os.geteuid() != 0:
        return "hosts of their own need root, for network namespaces"
    name = f"aurl{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        return f"this system makes no network namespaces: {error.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30)


@dataclass
class Host:
    """One host of the network.

    Args:
        number: Its place; the address is 10.77.0.NUMBER.
        namespace: Of its network.
        bridge: Namespace of the bridge that it hangs on.
        folder: Its disk, and beside it what its commands say.
    """

    number: int
    namespace: str
    bridge: str
    folder: Path
    shared: Path
    _main: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Its address, which only the other hosts know."""
        return f"10.77.0.{self.number}"

    @property
    def pid(self) -> int:
        """Of the process that all its others are below."""
        assert self._main is not None
        return self._main.pid

    @property
    def is_up(self) -> bool:
        """Whether it runs; it may be unplugged."""
        return self._main is not None and self._main.poll() is None

    def wire(self) -> None:
        """Make its network, plugged in."""
        near, far = f"v{self.number}", f"p{self.number}"
        _ip("netns", "add", self.namespace)
        _ip(
            *("link", "add", near, "netns", self.namespace, "type", "veth"),
            *("peer", "name", far, "netns", self.bridge),
        )
        _ip("-n", self.bridge, "link", "set", far, "master", "br0", "up")
        _ip("-n", self.namespace, "link", "set", "lo", "up")
        _ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", near)
        _ip("-n", self.namespace, "link", "set", near, "up")

    def boot(self) -> None:
        """Start it with an empty disk, plugged in; nothing of Ray runs on it yet."""
        self.plug(in_=True)
        disk = self.folder / "disk"
        shutil.rmtree(disk, ignore_errors=True)
        disk.mkdir(parents=True)
        disk.chmod(0o1777)
        environment = {
            **os.environ,
            "HOST": f"host{self.number}",
            "SHARED": str(self.shared),
            "DISK": str(disk),
            "KEPT": " ".join(_KEPT),
        }
        isolated = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        inside = ["ip", "netns", "exec", self.namespace, *isolated, "--mount-proc"]
        with (self.folder / "boot.log").open("wb") as log:
            self._main = subprocess.Popen(
                [*inside, "bash", "-c", _BOOT],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        started = time.monotonic()
        while not (disk / "booted").exists():
            if self._main.poll() is not None or time.monotonic() - started > 30:
                raise RuntimeError((self.folder / "boot.log").read_text())
            time.sleep(0.02)

    def start(
        self, *command: str, env: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """Start a command on this host, in the shared folder, as someone who has the token.

        Args:
            command: Program and arguments.
            env: Variables in place of the usual ones; an empty one is left out.
        """
        first = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        usual = {
            "PATH": f"{Path(sys.prefix) / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        }
        wanted = {name: value for name, value in {**usual, **(env or {})}.items() if value}
        return subprocess.Popen(
            ["nsenter", "-t", first.strip(), "-n", "-m", "-u", "-p", "--wdns=/mnt/aurl", *command],
            env=wanted,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, timeout_s: float = 120.0
    ) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a command on this host."""
        process = self.start(*command, env=env)
        out, err = process.communicate(timeout=timeout_s)
        return process.returncode, out, err

    def join(self, head: "Host", *words: str, env: Mapping[str, str] | None = None) -> None:
        """Start Ray on this host: as the head if it is ``head`` itself, else as a worker of it."""
        role = ["--head", "--port=6379"] if head is self else [f"--address={head.address}:6379"]
        said = ""
        for _ in range(4):  # Ray gives a node's helpers 15 s, which a busy machine may not have
            code, out, err = self.run(
                *("ray", "start", *role, f"--node-ip-address={self.address}"),
                *("--object-store-memory=100000000", "--disable-usage-stats", *words),
                env=env,
                timeout_s=300.0,
            )
            if code == 0:
                return
            said = out + err
            self.kill()
            self.boot()
        raise RuntimeError(said)

    def plug(self, *, in_: bool) -> None:
        """Pull the network cable, or plug it in again."""
        _ip("-n", self.bridge, "link", "set", f"p{self.number}", "up" if in_ else "down")

    def kill(self) -> None:
        """End every process of the host at once."""
        if self._main is not None:
            self._main.kill()
            self._main.wait()


@contextlib.contextmanager
def network(folder: Path, hosts: int) -> Generator[list[Host]]:
    """So many hosts on one bridge, without Ray; all that they run ends with the block.

    Args:
        folder: For their disks and for what they share: ``folder / "shared"`` is their
            ``/mnt/aurl``.
        hosts: How many, 1 to 250.
    """
    mark = f"aurl{os.getpid()}"
    bridge = f"{mark}-bridge"
    shared = folder / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    made = [
        Host(number, f"{mark}-{number}", bridge, folder / f"host{number}", shared)
        for number in range(1, hosts + 1)
    ]
    try:
        _ip("netns", "add", bridge)
        _ip("-n", bridge, "link", "add", "br0", "type", "bridge")
        _ip("-n", bridge, "link", "set", "br0", "up")
        for host in made:
            host.wire()
            host.boot()
        yield made
    finally:
        for host in made:
            host.kill()
        for name in (*(host.namespace for host in made), bridge):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)
