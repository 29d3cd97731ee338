"""SIGTERM, as batch systems send it, and SIGHUP, of a closed terminal, taken for Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import NoReturn


@contextlib.contextmanager
def terminated_as_interrupted() -> Generator[None]:
    """A block that SIGTERM or SIGHUP ends with KeyboardInterrupt; ``nohup`` has SIGHUP ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal arrives here
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if number == signal.SIGTERM or handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    if number == signal.SIGHUP:  # the kernel sends one, and the shell another
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
