"""The process that executes one notebook: ``python -m crossbow_lab.runs.worker FOLDER``.

It reads ``FOLDER/request.json`` and leaves the executed notebook, its HTML report and ``outcome.json`` there.
What the notebook prints goes to standard output as it comes.

The runner speaks to it through standard input, because that also tells it when the runner is gone, on any
system and however it died: a byte interrupts the notebook, the end of the input kills its kernel. So no
kernel outlives its runner.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from crossbow_lab.runs.slim import slim

KERNEL_NAME = "python3"
START_TIMEOUT_S = 120
# nbconvert's page without the scripts that it would load from a server: require.js, which only live widgets need,
# and MathJax. And with the words that a picture brings for people who can't see it, which nbconvert drops.
_TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block data_png scoped %}
{%- set alt = output | get_metadata('alt', 'image/png') -%}
{%- if alt -%}
<div class="jp-RenderedImage jp-OutputArea-output">
<img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}" alt="{{ alt | escape_html }}"
 width="{{ output | get_metadata('width', 'image/png') }}">
</div>
{%- else -%}
{{ super() }}
{%- endif -%}
{% endblock %}
"""
_WITHOUT_MATHJAX = "{% block html_head_js_mathjax %}{% endblock %}"


def main() -> None:
    """Execute the run that the one argument's folder asks for."""
    folder = Path(sys.argv[1]).resolve()
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    outcome = execute(folder, request, sys.stdin.fileno())
    (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def execute(folder: Path, request: dict[str, Any], orders: int) -> dict[str, Any]:
    """Execute a notebook and write its report.

    Parameters
    ----------
    folder : Path
        Where the executed notebook and its report go.
    request : dict
        ``notebook`` (path), ``parameters`` (checked values), ``n_cells`` and ``grace_s``.
    orders : int
        File descriptor to the runner: a byte interrupts, the end kills.

    Returns
    -------
    dict
        ``exception`` (None, or name, message and the cell's number, from 1), ``timing_s`` (kernel: until the first
        cell starts; notebook: all of it; report) and ``cpu_s`` (used by this process and the kernel).
    """
    started = time.perf_counter()
    first_cell: list[float] = []
    warming = threading.Thread(target=_warm_up, daemon=True)
    warming.start()
    exception = _execute_notebook(folder, request, orders, first_cell)
    executed = time.perf_counter()
    warming.join()
    try:
        write_report(folder / "notebook.ipynb", folder / "report.html", title=Path(request["notebook"]).stem)
        slim(folder / "notebook.ipynb", folder / "outputs")
    except Exception as error:  # a report that can't be made must not cost the record of the run
        _say(f"no HTML report: {error}")
    reported = time.perf_counter()
    timing_s = {"notebook": executed - started, "report": reported - executed}
    if first_cell:
        timing_s["kernel"] = first_cell[0] - started
    return {"exception": exception, "timing_s": timing_s, "cpu_s": sum(os.times()[:4])}


def write_report(notebook_path: Path, report_path: Path, *, title: str) -> None:
    """Write an executed notebook as one HTML file.

    The file asks nothing of the network, so that it reads the same offline and in ten years. Only a notebook with
    TeX in it loads MathJax; without a network its formulas stay readable as source.
    """
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(notebook_path, as_version=4)  # type: ignore[no-untyped-call]
    has_tex = any(cell.cell_type == "markdown" and "$" in cell.source for cell in notebook.cells)
    exporter = HTMLExporter()  # type: ignore[no-untyped-call]
    exporter.raw_template = _TEMPLATE if has_tex else _TEMPLATE + _WITHOUT_MATHJAX
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    report_path.write_text(html, encoding="utf-8")


def _warm_up() -> None:
    """Load what a report needs, which takes half a second, while the kernel starts."""
    import nbformat
    from nbconvert import HTMLExporter

    with contextlib.suppress(Exception):  # whatever it is, the report itself will say so
        HTMLExporter().from_notebook_node(nbformat.v4.new_notebook())  # type: ignore[no-untyped-call]


def _execute_notebook(
    folder: Path, request: dict[str, Any], orders: int, first_cell: list[float]
) -> dict[str, Any] | None:
    """Run the notebook through papermill and return what ended it early, if anything did."""
    import papermill
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    # papermill warns about names that it can't parse; our own check has already been stricter.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="crossbow-kernel-") as sockets:
        # Sockets in a folder of our own: no race for ports between runs, and nothing open to the network.
        address = {"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}
        kernel = AsyncKernelManager(kernel_name=KERNEL_NAME, **(address if os.name == "posix" else {}))
        over = _obey(orders, kernel, grace_s=request["grace_s"])
        try:
            papermill.execute_notebook(
                request["notebook"],
                folder / "notebook.ipynb",
                parameters=request["parameters"],
                kernel_name=KERNEL_NAME,
                language="python",
                km=kernel,
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stdout,
                start_timeout=START_TIMEOUT_S,
                store_widget_state=False,
                on_cell_start=_announce(request["n_cells"], first_cell),
            )
        except PapermillExecutionError as error:
            return {"name": error.ename, "message": error.evalue, "cell": error.cell_index + 1}
        except DeadKernelError:
            message = "the kernel died: out of memory, killed from outside, or ended by the notebook itself"
            return {"name": "DeadKernelError", "message": message, "cell": None}
        except Exception as error:  # whatever it was, it belongs in the record
            is_dead = "Kernel died before" in str(error)  # while it started, which nbclient tells in these words only
            name = "DeadKernelError" if is_dead else type(error).__name__
            return {"name": name, "message": str(error), "cell": None}
        finally:
            over.set()
            with contextlib.suppress(Exception):  # one that never answered can't be asked to go
                run_sync(kernel.shutdown_kernel)()
            with contextlib.suppress(Exception):
                run_sync(kernel.shutdown_kernel)(now=True)
    return None


def _announce(n_cells: int, first_cell: list[float]) -> Any:
    """Return the hook that prints a line when a cell starts, and notes when the first does."""

    def announce(cell: Any, cell_index: int) -> None:
        if not first_cell:
            first_cell.append(time.perf_counter())
        if cell.cell_type == "code" and cell.source.strip():
            _say(f"[cell {cell_index + 1} of {n_cells}] {cell.source.strip().splitlines()[0][:80]}")

    return announce


def _obey(orders: int, kernel: Any, *, grace_s: float) -> threading.Event:
    """Follow the runner's orders on a thread of its own until the event that is returned is set."""
    over = threading.Event()

    def kill() -> None:
        if kernel.has_kernel and not over.is_set():
            asyncio.run(kernel.signal_kernel(signal.SIGKILL))

    def obey() -> None:
        # os.read and not sys.stdin: a buffered reader would hold its lock when the interpreter shuts down.
        while os.read(orders, 1):
            while not (kernel.has_kernel or over.is_set()):
                time.sleep(0.05)
            if not over.is_set():
                asyncio.run(kernel.interrupt_kernel())
            # A cell that swallows the interrupt, or sits in a call that can't see it, ends all the same.
            timer = threading.Timer(grace_s, kill)
            timer.daemon = True
            timer.start()
        kill()
        os._exit(1)  # the runner is gone; nobody would read an outcome

    threading.Thread(target=obey, daemon=True).start()
    return over


def _say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201 (standard output is this process's channel to the runner)


if __name__ == "__main__":
    main()
