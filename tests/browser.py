"""A headless Chromium for tests, spoken to by its DevTools protocol over two pipes.

There is no port, no second program and no dependency: commands are JSON, each ended by a zero
byte. What a page logs, throws or asks of the network is collected as it comes, so a test can end
with ``assert page.errors == []`` and ``assert page.requests == [...]``.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_S = 30.0
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # root, in a container
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
    "--mute-audio",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)


def executable() -> str | None:
    """Where Chromium is, if it is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class BrowserError(AssertionError):
    """What the browser, or the JavaScript it was given, has to complain of."""


class Browser:
    """One Chromium with a profile of its own.

    Args:
        profile: An empty folder for it.
        program: The executable.
    """

    def __init__(self, profile: Path, program: str) -> None:
        reads, self._commands = os.pipe()
        self._answers, writes = os.pipe()
        self.process = subprocess.Popen(
            # It reads handle 3 and writes handle 4, whatever they are called here.
            [
                *("bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "chromium", program),
                *SWITCHES,
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=[reads, writes],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reads)
        os.close(writes)
        self._unread = b""
        self._last = 0
        self._pages: dict[str, Page] = {}

    def page(self) -> "Page":
        """A new tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            page.call(f"{domain}.enable")
        page.resize(1280, 800)
        return page

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        self._last += 1
        own = self._last
        message = {"id": own, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self.message(deadline)
            if answer.get("id") == own:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def message(self, deadline: float) -> dict[str, Any]:
        """The next message; if it is an event, its page has taken note of it."""
        while b"\0" not in self._unread:
            patience = deadline - time.monotonic()
            ready, _, _ = select.select([self._answers], [], [], max(patience, 0.0))
            if not ready:
                raise BrowserError("the browser has not answered in time.")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise BrowserError(f"the browser is gone: code {self.process.wait()}.")
            self._unread += data
        text, _, self._unread = self._unread.partition(b"\0")
        found = json.loads(text)
        page = self._pages.get(found.get("sessionId", ""))
        if page is not None and "method" in found:
            page.note(found["method"], found["params"])
        return found

    def forget(self, session: str) -> None:
        """A page that is closed has nothing more to say."""
        del self._pages[session]

    def close(self) -> None:
        """End the browser, whatever it does."""
        os.close(self._commands)  # it ends when it has no more to read
        os.close(self._answers)
        try:
            self.process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()


class Page:
    """One tab."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.browser = browser
        self.target = target
        self.session = session
        self.errors: list[str] = []
        """Errors and warnings of the console, exceptions, failed requests."""

        self.requests: list[str] = []
        """Every URL it asked for, ``data:`` and ``blob:`` left out."""

        self._loaded = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Give this tab a command of the protocol."""
        return self.browser.call(method, self.session, **params)

    def note(self, method: str, params: dict[str, Any]) -> None:
        """Take note of an event."""
        match method:
            case "Page.loadEventFired":
                self._loaded += 1
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                said = [str(each.get("value", each.get("description"))) for each in params["args"]]
                self.errors.append(" ".join(said))
            case "Runtime.exceptionThrown":
                self.errors.append(_thrown(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                entry = params["entry"]
                self.errors.append(f"{entry['text']} {entry.get('url', '')}".strip())
            case "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("data:", "blob:")):
                    self.requests.append(url)
            case _:
                pass

    def open(self, url: str) -> None:
        """Go to a page (``http:``, ``file:``) and wait until it has loaded."""
        before = self._loaded
        failed = self.call("Page.navigate", url=url).get("errorText")
        if failed:
            raise BrowserError(f"{url}: {failed}")
        self._wait_for_load(before)

    def reload(self) -> None:
        """Load the page anew, as its user would, and wait until it has loaded."""
        before = self._loaded
        self.call("Page.reload")
        self._wait_for_load(before)

    def js(self, expression: str) -> Any:
        """The value of an expression; of what it resolves to, if it is a promise."""
        found = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,  # sound may start
        )
        if "exceptionDetails" in found:
            raise BrowserError(f"{_thrown(found['exceptionDetails'])}\nin: {expression}")
        return found["result"].get("value")

    def wait(self, condition: str, patience_s: float = PATIENCE_S) -> Any:
        """Wait until an expression is truthy; its value."""
        deadline = time.monotonic() + patience_s
        while not (value := self.js(condition)):
            if time.monotonic() > deadline:
                raise BrowserError(f"still not so after {patience_s:g} s: {condition}")
            time.sleep(0.02)
        return value

    def resize(self, width: int, height: int) -> None:
        """The window's size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, **features: str) -> None:
        """Media features: ``color_scheme="dark"``, ``reduced_motion="reduce"``."""
        wanted = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in features.items()
        ]
        self.call("Emulation.setEmulatedMedia", features=wanted)

    def click(self, selector: str) -> None:
        """Click the middle of an element, as a mouse does."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, *, code: int, control: bool = False) -> None:
        """Press a key in what has the focus, such as ``"ArrowRight"`` (39).

        Args:
            key: Its name in JavaScript.
            code: Its Windows key code, which decides what it does.
            control: With the Control key held.
        """
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=f"Key{key.upper()}" if len(key) == 1 else key,
                windowsVirtualKeyCode=code,
                modifiers=2 if control else 0,
            )

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Put files into an ``<input type=file>``."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        if not node:
            raise BrowserError(f"there is no {selector}.")
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(each) for each in files])

    def drop(self, selector: str, files: Sequence[Path]) -> None:
        """Drag files from the desktop onto an element, and let go."""
        x, y = self._middle(selector)
        data = {"items": [], "files": [str(each) for each in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def save_downloads(self, folder: Path) -> None:
        """Where downloads go."""
        self.browser.call(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder)
        )

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """A PNG of the page, or of what the window shows of it."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        """Close the tab."""
        self.browser.call("Target.closeTarget", targetId=self.target)
        self.browser.forget(self.session)

    def _wait_for_load(self, before: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self._loaded == before:
            self.browser.message(deadline)

    def _middle(self, selector: str) -> tuple[float, float]:
        found = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " if (!e) return null; e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        if found is None:
            raise BrowserError(f"there is no {selector}.")
        return found[0], found[1]


def downloaded(file: Path) -> bytes:
    """What is in a download, once it is there; the browser renames it when it is whole."""
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists():
        if time.monotonic() > deadline:
            raise BrowserError(f"{file.name} has not come in {PATIENCE_S:g} s.")
        time.sleep(0.02)
    return file.read_bytes()


def _thrown(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description", details["text"]))
