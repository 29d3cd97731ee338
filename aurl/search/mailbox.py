"""The mailbox: where a trial slot and the workers of its gang meet.

A Ray actor of its own, asynchronous, so that every party can wait without holding up the others.
"""

import asyncio
import contextlib
from collections import deque

from aurl.training.messages import Event, Task


class Mailbox:
    """Where a trial slot and the workers of its gang meet."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._events: deque[Event] = deque()
        self._task: Task | None = None
        self._number = self._told = self._heard = 0
        self._closed = False
        self._answer: bool | None = None

    async def submit(self, task: Task) -> None:
        """Hand a task to every worker."""
        async with self._changed:
            self._task = task
            self._number += 1
            self._changed.notify_all()

    async def next_task(self, seen: int) -> Task | None:
        """Wait for the task after the first ``seen`` ones; None once the mailbox is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._number > seen)
            return None if self._closed else self._task

    async def post(self, number: int, event: Event) -> None:
        """Tell how task ``number`` ended; unheard if another has been submitted since."""
        if number == self._number:
            await self._tell(event)

    async def report(self, event: Event) -> bool:
        """Tell what was measured and wait for the verdict: True goes on."""
        self._answer = None
        await self._tell(event)
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._answer is not None)
            return bool(self._answer) and not self._closed

    async def note(self, event: Event) -> None:
        """Tell rows between two reports, and wait until the driver has them; there is no verdict.

        A checkpoint that follows would be of no use if they were lost with this machine.
        """
        number = await self._tell(event)
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._heard >= number)

    async def _tell(self, event: Event) -> int:
        """Tell an event; returns how many there have been."""
        async with self._changed:
            self._events.append(event)
            self._told += 1
            self._changed.notify_all()
            return self._told

    async def next_event(self, timeout_s: float) -> Event | None:
        """The next event, or None if there is none within ``timeout_s`` seconds.

        Who asks for it is done with those before.
        """
        async with self._changed:
            self._heard = self._told - len(self._events)
            self._changed.notify_all()
            arrival = self._changed.wait_for(lambda: bool(self._events))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(arrival, timeout_s)
            return self._events.popleft() if self._events else None

    async def answer(self, go_on: bool) -> None:
        """Give the verdict that the last report waits for."""
        async with self._changed:
            self._answer = go_on
            self._changed.notify_all()

    async def close(self) -> None:
        """Send the workers home."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
