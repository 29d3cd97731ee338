"""A studio of a small untrained model on random music, and a server of it in a thread."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

from aiohttp import web

from aurl.analysis.study import Study
from aurl.analysis.subject import Subject
from aurl.reporting.loading import Model
from aurl.studio.move import Move
from aurl.studio.server import Server, listening
from aurl.studio.studio import Studio
from tests.test_latent_tools import LEVELS, lively
from tests.test_musical import untrained
from tests.tiny import small_config, tiny_corpus

N_WINDOWS = 192
"""Of its music: of fewer pieces, codes of random music are not known to tell of anything."""


@cache
def made_studio(*, with_music: bool = True) -> Studio:
    """The studio; without its music, nothing is known of its codes."""
    model = Model(trained=lively(untrained(small_config(latent__levels=LEVELS))))
    if not with_music:
        return Studio.of("tiny", model, None, "The music is not here.")
    return Studio.of("tiny", model, Study(Subject(model.trained.model, tiny_corpus(N_WINDOWS))))


def a_move(studio: Studio, **changes: Any) -> Move:
    """Two windows of the first two held-out pieces, and nothing moved."""
    pieces = [studio.piece("held-out", {"seed": seed}, b"") for seed in ("0", "1")]
    first, last = ([tuple(row.code) for row in piece.rows[:2]] for piece in pieces)
    controls = studio.instrument.controls
    settings: dict[str, Any] = {
        "first": tuple(first),
        "last": tuple(last),
        "levels": ("path",) * len(studio.instrument.layout.levels),
        "sliders": (0.0,) * len(controls.sliders),
        "faders": (0.0,) * len(controls.faders),
    }
    return Move(**{**settings, **changes})


@contextmanager
def served(studio: Studio) -> Generator[tuple[Server, str]]:
    """A server of the studio, and the address of its page."""
    listener, server = listening(0), Server(studio=studio)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(server.application())

    async def start() -> None:
        await runner.setup()
        await web.SockSite(runner, listener).start()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield server, server.url(listener)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        server.worker.shutdown()
