"""SIGTERM, as batch systems send it, taken for Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import NoReturn


@contextlib.contextmanager
def terminated_as_interrupted() -> Generator[None]:
    """A block that SIGTERM ends with KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal arrives here
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
