"""A page in Debian's Chromium, and what it asked of the network, wrote on its console and heard from the kernel."""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from crossbow_lab.errors import CrossbowError

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, WebSocket

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_MODULES = ("playwright", "jupyterlab", "notebook", "voila")
# Nothing but what the page itself asks for goes over the network. Root's Chromium runs without its sandbox only, and
# here it opens loopback pages only.
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-precise-memory-info",
    "--js-flags=--expose-gc",
)


def what_is_missing() -> str | None:
    """Say what a browser needs that isn't here, and how to get it; None if everything is."""
    modules = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if modules:
        return f"{', '.join(modules)} not installed: pip install 'crossbow-lab[test]'"
    if not any(map(shutil.which, _BROWSERS)):
        return "no Chromium: apt-get install --no-install-recommends chromium fonts-dejavu-core"
    return None


@contextmanager
def open_browser(width: int = 1300, height: int = 950) -> Iterator["BrowserContext"]:
    """Run Chromium, without a window and with a profile of its own, until the block ends.

    Parameters
    ----------
    width, height : int
        Of its pages, in pixels.

    Raises
    ------
    CrossbowError
        If something is missing; with what to install.
    """
    missing = what_is_missing()
    if missing:
        raise CrossbowError(f"a real browser is needed; {missing}")
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, _BROWSERS)))
    with (
        tempfile.TemporaryDirectory(prefix="crossbow-chromium-", ignore_cleanup_errors=True) as profile,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch_persistent_context(
            profile, executable_path=program, args=_OPTIONS, viewport={"width": width, "height": height}
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Wire:
    """What went over a page's wires since it was made.

    Attributes
    ----------
    received, sent : messages from and to kernels.
    received_bytes, sent_bytes : their sizes.
    addresses : of everything that the page asked for.
    errors : what the page wrote on its console as an error, and exceptions that nobody caught.
    """

    received: int = 0
    sent: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    addresses: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def strangers(self) -> list[str]:
        """Hosts other than this machine that the page asked for something."""
        parts = map(urlsplit, self.addresses)
        hosts = {part.hostname or "" for part in parts if part.scheme in ("http", "https", "ws", "wss")}
        return sorted(hosts - {"127.0.0.1"})


def watch(page: "Page") -> Wire:
    """Count what goes over a page's wires from now on."""
    wire = Wire()

    def received(payload: str | bytes) -> None:
        wire.received += 1
        wire.received_bytes += len(payload)

    def sent(payload: str | bytes) -> None:
        wire.sent += 1
        wire.sent_bytes += len(payload)

    def websocket(socket: "WebSocket") -> None:
        wire.addresses.append(socket.url)
        if "/api/kernels/" in socket.url:
            socket.on("framereceived", received)
            socket.on("framesent", sent)

    def console(message: Any) -> None:
        if message.type == "error":
            wire.errors.append(f"{message.text[:500]} ({message.location.get('url', '')})")

    page.on("websocket", websocket)
    page.on("request", lambda request: wire.addresses.append(request.url))
    page.on("console", console)
    page.on("pageerror", lambda error: wire.errors.append(f"not caught: {str(error)[:500]}"))
    return wire
