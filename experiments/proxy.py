"""A network path that is slow or stands still: what is between a sweep and its store.

It passes on what it is given, on a port of this machine. Each request that brings a file waits for
a while first; while the path stands still, nothing passes either way, and nobody is told.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field


@dataclass
class Link:
    """A path to a server, for whoever disturbs it.

    Args:
        target: Host and port that it leads to.
    """

    target: tuple[str, int]
    delay_s: float = 0.0
    """For which a file waits."""

    delayed: int = 0
    """Files that have waited."""

    port: int = 0
    _open: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        self._open.set()

    @contextlib.contextmanager
    def standing_still(self) -> Generator[None]:
        """Pass nothing on while the block runs."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def pass_on(self, near: socket.socket, far: socket.socket, *, outwards: bool) -> None:
        """Pass on one direction of a connection until it ends."""
        with contextlib.suppress(OSError):
            while data := near.recv(1 << 16):
                if outwards and data.startswith(b"PUT ") and brings_a_file(data):
                    self.delayed += 1
                    time.sleep(self.delay_s)
                self._open.wait()
                far.sendall(data)
        for end in (near, far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept(self, listening: socket.socket) -> None:
        """Take connections until the socket is closed."""
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(self.target)
                for pair, outwards in (((near, far), True), ((far, near), False)):
                    named = {"outwards": outwards}
                    threading.Thread(
                        target=self.pass_on, args=pair, kwargs=named, daemon=True
                    ).start()


def brings_a_file(request: bytes) -> bool:
    """Whether a request to write brings contents: it neither copies nor makes a folder."""
    head = request.lower()
    return b"x-amz-copy-source" not in head and b"content-length: 0\r" not in head


@contextlib.contextmanager
def link_to(host: str, port: int) -> Generator[Link]:
    """A path to a server, on ``port`` of the result, until the block ends."""
    link = Link((host, port))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        link.port = listening.getsockname()[1]
        threading.Thread(target=link.accept, args=(listening,), daemon=True).start()
        yield link
