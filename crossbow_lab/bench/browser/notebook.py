"""A notebook in a page, and its kernel: what a user does with both, and what can be asked of them."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossbow_lab.bench.browser.page import Wire, watch
from crossbow_lab.bench.browser.server import Server
from crossbow_lab.errors import CrossbowError

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

PATIENCE_MS = 60_000
"""How long to wait for what takes a second on a quiet machine."""

# A workspace for each notebook: JupyterLab would open those of earlier pages again beside it.
_PATHS = {"lab": "lab/workspaces/{0.stem}/tree/{0}", "notebook": "notebooks/{0}", "voila": "voila/render/{0}"}
_IS_READY = """() => {
  const panel = window.jupyterapp?.shell?.currentWidget;
  return panel?.context?.isReady && panel?.sessionContext?.session?.kernel?.status === "idle";
}"""
_PANEL = "window.jupyterapp.shell.currentWidget"
_EXECUTE = f"""async (code) => {{
  const kernel = {_PANEL}.sessionContext.session.kernel;
  const request = {{ code, silent: false, store_history: false, stop_on_error: false }};
  const future = kernel.requestExecute(request, true);
  let printed = "", error = "";
  future.onIOPub = ({{ header, content }}) => {{
    if (header.msg_type === "stream") printed += content.text;
    if (header.msg_type === "error") error = `${{content.ename}}: ${{content.evalue}}`;
  }};
  await future.done;
  return [printed, error];
}}"""


@dataclass(frozen=True)
class NotebookPage:
    """A notebook that is open in a page.

    Attributes
    ----------
    page : Playwright's.
    wire : what went over the page's wires.
    server : where it is from.
    path : the notebook's file.
    """

    page: "Page"
    wire: Wire
    server: Server
    path: Path

    def run_all(self) -> None:
        """Have all cells run; returns at once."""
        self.page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def save(self) -> None:
        """Save the notebook, and wait until that is done."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        self.page.wait_for_function(f"() => !{_PANEL}.context.model.dirty", timeout=PATIENCE_MS)

    def reload(self) -> None:
        """Load the page again, as F5 does, and wait until the notebook shows."""
        self.page.reload()
        self.wait_until_open()

    def wait_until_open(self) -> None:
        """Wait until the notebook shows and its kernel is idle."""
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=PATIENCE_MS)
        self.page.wait_for_function(_IS_READY, timeout=PATIENCE_MS)

    def interrupt(self) -> None:
        """Interrupt the kernel."""
        self.page.evaluate(f"() => {_PANEL}.sessionContext.session.kernel.interrupt()")

    def restart(self) -> None:
        """Restart the kernel, and wait until it is idle."""
        self.page.evaluate(f"() => {_PANEL}.sessionContext.restartKernel()")
        self.page.wait_for_function(_IS_READY, timeout=PATIENCE_MS)

    def execute(self, code: str) -> str:
        """Run code in the notebook's kernel, once no cell is running; return what it printed.

        Raises
        ------
        CrossbowError
            If the code raised; with its error.
        """
        printed, error = self.page.evaluate(_EXECUTE, code)
        if error:
            raise CrossbowError(f"{code!r} raised {error}")
        return str(printed)

    def ask(self, expression: str) -> Any:
        """Return the value of an expression in the notebook's kernel; it must have a JSON form."""
        return json.loads(self.execute(f"import json; print(json.dumps({expression}))"))

    def wait_in_kernel(self, condition: str) -> None:
        """Wait until an expression is true in the notebook's kernel.

        Raises
        ------
        CrossbowError
            If it doesn't become true.
        """
        give_up_s = time.monotonic() + PATIENCE_MS / 1e3
        while not self.ask(f"bool({condition})"):
            if time.monotonic() > give_up_s:
                raise CrossbowError(f"waited {PATIENCE_MS / 1e3:g} s in vain for {condition}")
            self.page.wait_for_timeout(50)

    def wait_for(self, condition: str, argument: Any = None, *, timeout_ms: float = PATIENCE_MS) -> None:
        """Wait until a JavaScript function of one argument returns something true in the page."""
        self.page.wait_for_function(condition, arg=argument, timeout=timeout_ms)

    def close(self) -> None:
        """End the kernel, and close the page; nothing where that is done."""
        if self.page.is_closed():
            return
        if self.server.app != "voila":  # which ends the kernel by itself
            self.page.evaluate(
                "async () => { await window.jupyterapp?.shell?.currentWidget?.sessionContext?.shutdown(); }"
            )
        self.page.close()


def open_notebook(browser: "BrowserContext", server: Server, path: Path) -> NotebookPage:
    """Open a notebook in a page of its own.

    Parameters
    ----------
    browser : BrowserContext
        From `open_browser`.
    server : Server
        From `serve`.
    path : Path
        In the server's folder.

    Returns
    -------
    NotebookPage
        Its kernel is idle; with Voila, its cells are running.
    """
    page = browser.new_page()
    opened = NotebookPage(page, watch(page), server, path)
    page.goto(f"{server.url}/{_PATHS[server.app].format(path.relative_to(server.folder))}?token={server.token}")
    if server.app != "voila":
        opened.wait_until_open()
    return opened


def write_notebook(path: Path, cells: Sequence[str], *, parameters: str | None = None) -> Path:
    """Write a notebook of code cells, with a cell of parameters before them if there is one; return its path."""
    sources = [("parameters", parameters)] if parameters is not None else []
    sources += [(f"cell-{number}", cell) for number, cell in enumerate(cells)]
    code: dict[str, Any] = {"cell_type": "code", "execution_count": None, "outputs": []}
    made = [
        {**code, "id": name, "metadata": {"tags": [name]} if name == "parameters" else {}, "source": source}
        for name, source in sources
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path
