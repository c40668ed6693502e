"""One browser for every test that looks at a page, whichever folder it lives in.

It ends with its module: Playwright keeps an event loop running in the thread for as long as it
lives, and tests beside it have loops of their own.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

# A token that lies in somebody's home turns Ray's authentication on for every cluster begun there.
os.environ["RAY_AUTH_MODE"] = "disabled"

# A shell that runs this in the background has its children ignore Ctrl-C; tests send it to theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser: $CHROMIUM, or `chromium` of this machine."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
    if not os.access(path, os.X_OK):
        pytest.fail(f"No browser at {path}. Run tests/prepare, or set CHROMIUM.")
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()
