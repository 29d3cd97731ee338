import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest
import torch

from tests.browser import Browser, Page, executable

hypothesis.settings.register_profile("aurl", deadline=None, derandomize=True)
hypothesis.settings.load_profile("aurl")
torch.set_num_threads(1)
# Read when Ray is imported: a call to Ray before it was started would start one, for many seconds.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
# A job started in the background ignores Ctrl-C, and so would every sweep that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> torch.Generator:
    """A fixed stream: a test that fails, fails again."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium; what needs one is skipped without it, but for ``.ci/run``."""
    program = executable()
    if program is None:
        lacking = "Chromium is not installed. On Debian: apt-get install chromium"
        if os.environ.get("AURL_NEEDS_BROWSER"):
            pytest.fail(lacking)
        pytest.skip(lacking)
    browser = Browser(tmp_path_factory.mktemp("chromium"), program)
    yield browser
    browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of its own."""
    page = browser.page()
    yield page
    page.close()


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups when its own turn comes
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process has all tests that start Ray: two clusters are too much for two cores.

    One has the browser, for the same reason.
    """
    for item in items:
        for name in ("cluster", "browser"):
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.xdist_group(name))
                break


def pytest_collection_finish(session: pytest.Session) -> None:
    """Groups that pytest-xdist has not seen would say nothing and cost minutes."""
    if "PYTEST_XDIST_WORKER" in os.environ and session.config.getoption(
        "loadgroup", default=False
    ):
        alone = [item.nodeid for item in session.items if item.get_closest_marker("xdist_group")]
        if lost := [name for name in alone if "@" not in name]:
            raise pytest.UsageError(f"xdist has no group for {lost[0]} and {len(lost) - 1} others")
