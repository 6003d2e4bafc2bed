"""Notebooks in a real browser: JupyterLab on loopback, Debian's Chromium.

A page's console errors, and what it asked other hosts for, fail whichever test opened it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from browser_kernels import KERNELS

from crossbow_lab.bench.browser import dashboard_page as seen
from crossbow_lab.bench.browser.cells import make_session
from crossbow_lab.bench.browser.notebook import NotebookPage, open_notebook, write_notebook
from crossbow_lab.bench.browser.page import open_browser, what_is_missing
from crossbow_lab.bench.browser.server import Server, serve

HERE = Path(__file__).parent
Open = Callable[..., NotebookPage]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests last: while Playwright is up its event loop runs in this thread, which other tests can't have."""
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    missing = what_is_missing()
    for item in ours:
        item.add_marker(pytest.mark.browser)
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"no real browser: {missing}"))
    items[:] = [item for item in items if item not in set(ours)] + ours


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Keep a picture of every open page where a test fails, and say where it is."""
    report = yield
    browser = getattr(item, "funcargs", {}).get("browser")
    if report.failed and browser is not None:
        for number, page in enumerate(browser.pages):
            path = Path(item.config._tmp_path_factory.getbasetemp()) / f"{item.name}-{report.when}-{number}.png"
            page.screenshot(path=path)
            report.sections.append(("screenshot", str(path)))
    return report


@pytest.fixture(scope="session")
def browser():
    """Run Chromium."""
    with open_browser(1300, 1900) as opened:
        opened.set_default_timeout(60_000)
        yield opened


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[Server]:
    """Run JupyterLab."""
    with serve("lab", tmp_path_factory.mktemp("lab"), environment=KERNELS) as server:
        yield server


@contextmanager
def opening(browser, lab: Server) -> Iterator[Open]:
    """Give a function that opens a new notebook of the cells given; check and close all its pages in the end."""
    with ExitStack() as pages:

        def open_cells(*cells: str, server: Server = lab, path: Path | None = None) -> NotebookPage:
            if path is None:
                number = len(list(server.folder.glob("*.ipynb")))
                path = write_notebook(server.folder / f"{number}.ipynb", cells)
            opened = open_notebook(browser, server, path)
            pages.callback(opened.close)
            pages.callback(check, opened)
            return opened

        yield open_cells


def check(opened: NotebookPage) -> None:
    """Find nothing on the page's console, and that it asked no other host for anything."""
    assert opened.wire.errors == []
    assert opened.wire.strangers == []


@pytest.fixture
def open_cells(browser, lab) -> Iterator[Open]:
    """Give a function that opens a new notebook of the cells given."""
    with opening(browser, lab) as opener:
        yield opener


@pytest.fixture(scope="session")
def live(browser, lab, tmp_path_factory) -> Iterator[NotebookPage]:
    """Open a notebook whose session trains without end; most tests share it, for opening one takes seconds."""
    session = make_session(folder=str(tmp_path_factory.mktemp("session") / "record"))
    with opening(browser, lab) as opener:
        notebook = opener(session, "session.dashboard(target=0.9); session.start();")
        notebook.run_all()
        seen.wait_for_rows(notebook, 10)
        yield notebook


@pytest.fixture
def running(live) -> Iterator[NotebookPage]:
    """Give the page that is shared, with a session that runs as it did at first."""
    live.execute("session.state == 'running' or session.reset().start()")
    live.execute("session.adjust(algorithm=cb.SMA(), learners=2, batch_size=8, learning_rate=0.05)")
    seen.wait_for_states(live, "running")
    live.wait_in_kernel("not session.snapshot.requested and session.snapshot.learners == 2")
    live.page.wait_for_timeout(400)  # until the controls show it
    yield live
    live.execute("session.state == 'running' and session.pause()")  # leaves its core to the pages of other tests
