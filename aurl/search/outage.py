"""What ends a sweep though no trial is to blame: a disk that is full, a store that is gone.

Tune takes an error in a callback for the trial's, tries it again, and at last calls it failed.
Such an error is noted here instead: nothing more is done, nothing more is written, and the sweep
ends with it, to be resumed.
"""

import contextlib
from collections.abc import Generator


class Outage:
    """The first error of a sweep that is not a trial's; often none."""

    def __init__(self) -> None:
        self._error: Exception | None = None

    def check(self) -> None:
        """Raise the error that was noted, if one was."""
        if self._error is not None:
            raise self._error

    @contextlib.contextmanager
    def noted(self) -> Generator[None]:
        """A block whose first error ends the sweep; once it is noted, no such block is begun."""
        self.check()
        try:
            yield
        except Exception as error:
            self._error = error
            raise

    @contextlib.contextmanager
    def told(self) -> Generator[None]:
        """A block that ends with the error that was noted, whatever became of it on the way."""
        try:
            yield
        except Exception:
            self.check()
            raise
        self.check()
