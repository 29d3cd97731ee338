"""The studio as a web server of this machine alone.

Three locks. It listens on 127.0.0.1. A request must name this machine as its host, so that no
page elsewhere can have its own name point here (DNS rebinding), and must not come from a page of
another origin. And its path must begin with a token that is drawn when the studio starts.
"""

import asyncio
import hmac
import json
import secrets
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

from aiohttp import web

from aurl.data.midi import MAX_BYTES
from aurl.errors import AurlError, ConfigError
from aurl.studio.move import parsed
from aurl.studio.studio import Studio

ADDRESS = "127.0.0.1"
HERE = frozenset({"127.0.0.1", "localhost"})
"""Hosts that a request may name."""

PAGE = Path(__file__).parent / "page"
FILES = {
    "": ("index.html", "text/html"),
    "studio.css": ("studio.css", "text/css"),
    "studio.js": ("studio.js", "text/javascript"),
    "roll.js": ("roll.js", "text/javascript"),
    "sound.js": ("sound.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",  # the token is in the path
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MUSIC = {"mid": "audio/midi", "wav": "audio/wav"}

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def listening(port: int) -> socket.socket:
    """A socket of this machine alone; of any free port, if ``port`` is 0.

    Raises:
        ConfigError: If the port is not free.
    """
    if not 0 <= port < 2**16:
        raise ConfigError(f"--port must be in 0..{2**16 - 1}, got {port}.")
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        raise ConfigError(
            f"--port must be free, got {port}: {error.strerror}. Leave it out to get a free one."
        ) from error


@dataclass(frozen=True, kw_only=True)
class Server:
    """A studio that answers requests, one after another."""

    studio: Studio
    token: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def serve(self, listener: socket.socket) -> None:
        """Answer until interrupted."""
        web.run_app(
            self.application(),
            sock=listener,
            print=None,
            access_log=None,  # it would tell the token
            shutdown_timeout=1.0,
        )

    def url(self, listener: socket.socket) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{listener.getsockname()[1]}/{self.token}/"

    def application(self) -> web.Application:
        """The requests that are answered, and how."""
        app = web.Application(middlewares=[self._guarded, _in_one_line], client_max_size=MAX_BYTES)
        app.add_routes(
            [
                web.get("/{token}/controls", self._controls),
                web.post("/{token}/music", self._music),
                web.post("/{token}/file/{kind}", self._file),
                web.post("/{token}/piece/{kind}", self._piece),
                web.get("/{token}/{file:[a-z.]*}", self._page),
            ]
        )
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The three locks, and the headers of every answer."""
        refused = self._refused(request)
        answer = _said(refused, 403) if refused else await handler(request)
        answer.headers.update(HEADERS)
        return answer

    def _refused(self, request: web.Request) -> str:
        if _address(f"//{request.host}").hostname not in HERE:
            return "the studio answers requests to this machine only."
        origin = request.headers.get("Origin")
        if origin is not None and _address(origin).netloc != request.host:
            return "the studio answers its own page only."
        token = request.path.split("/")[1]
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return "the address must be the one that `aurl studio` printed."
        return ""

    async def _page(self, request: web.Request) -> web.StreamResponse:
        found = FILES.get(request.match_info["file"])
        if found is None:
            return _said("there is no such page.", 404)
        name, kind = found
        text = (PAGE / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kind, charset="utf-8")

    async def _controls(self, request: web.Request) -> web.StreamResponse:
        return _json(self.studio.described())

    async def _music(self, request: web.Request) -> web.StreamResponse:
        move = parsed(await request.read())
        return _json(await self._run(partial(self.studio.drawn, move)))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        if kind not in MUSIC:
            return _said(f"a file must be one of {', '.join(MUSIC)}, got {kind}.", 404)
        move = parsed(await request.read())
        data = await self._run(partial(self.studio.file, move, kind))
        return web.Response(body=data, content_type=MUSIC[kind])

    async def _piece(self, request: web.Request) -> web.StreamResponse:
        """A piece's codes: from the prior, held-out music, or the file that is the body."""
        kind = request.match_info["kind"]
        data = await request.read()
        source = await self._run(partial(self.studio.piece, kind, dict(request.query), data))
        return _json(asdict(source))

    async def _run(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it gives
        """Call it beside the loop, so that a page is not kept waiting by another's music."""
        return await asyncio.get_running_loop().run_in_executor(self.worker, call)


def _address(text: str) -> SplitResult:
    """The parts of an address; of one that cannot be read, none."""
    try:
        return urlsplit(text)
    except ValueError:  # such as http://[
        return urlsplit("")


@web.middleware
async def _in_one_line(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What is wrong with a request, as the command line says it."""
    try:
        return await handler(request)
    except AurlError as error:
        return _said(str(error), 400)
    except web.RequestPayloadError:
        return _said("the body of a request must be what its headers say, got other bytes.", 400)
    except web.HTTPRequestEntityTooLarge:
        return _said(f"a file must have {MAX_BYTES} bytes at most, got more.", 413)
    except web.HTTPException as error:
        return _said(f"{error.reason}: {request.method} {request.path_qs[-80:]}.", error.status)


def _json(value: Any) -> web.Response:  # noqa: ANN401 - any plain data
    return web.json_response(value, dumps=partial(json.dumps, allow_nan=False))


def _said(why: str, status: int) -> web.Response:
    return web.json_response({"error": why}, status=status)
