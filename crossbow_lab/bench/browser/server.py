"""JupyterLab, Jupyter Notebook or Voila on loopback, with a random token and folders of its own."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossbow_lab.errors import CrossbowError

App = Literal["lab", "notebook", "voila"]

_READY_WITHIN_S = 90.0
_ENDS_WITHIN_S = 15.0
_SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
}
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]
# Starts the server and ends it when standard input ends: also when we are killed, so that no kernel outlives us.
_GUARD = """
import subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: (sys.stdin.read(), server.terminate()), daemon=True).start()
sys.exit(server.wait())
"""


@dataclass(frozen=True)
class Server:
    """A server that is running.

    Attributes
    ----------
    app : which of the three.
    url : without the token, such as ``http://127.0.0.1:8888``.
    token : what a page must bring.
    folder : the notebooks that it serves.
    log : what the server and the kernels wrote.
    """

    app: App
    url: str
    token: str
    folder: Path
    log: Path


@contextmanager
def serve(
    app: App, folder: Path, *, uses_subshells: bool = True, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server until the block ends; its kernels end with it.

    Parameters
    ----------
    app : str
        "lab", "notebook" or "voila".
    folder : Path
        The notebooks to serve; its log goes beside them.
    uses_subshells : bool
        Whether JupyterLab runs the kernel's callbacks of widgets on a thread of their own: its default since 4.4.
    environment : mapping of str to str, optional
        More variables for the kernels.

    Raises
    ------
    CrossbowError
        If the server doesn't answer; with the end of its log.
    """
    port, token = _free_port(), secrets.token_hex(16)
    log = folder / f".{app}-{port}.log"
    with tempfile.TemporaryDirectory(prefix="crossbow-jupyter-", ignore_cleanup_errors=True) as own:
        _write_settings(Path(own), uses_subshells)
        variables = {**_environment(Path(own), token), **(environment or {})}
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 (ourselves)
                [sys.executable, "-c", _GUARD, *_command(app, folder, port, token)],
                env=variables,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(app, f"http://127.0.0.1:{port}", token, folder, log)
        try:
            _wait_until_ready(server, process)
            yield server
        finally:
            _end(process)


def _free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _command(app: App, folder: Path, port: int, token: str) -> Sequence[str]:
    """Return the server's command line. Root may run it: a container's only user often is root."""
    if app == "voila":
        options = ("--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1", f"--Voila.token={token}", str(folder))
        return (sys.executable, "-m", "voila", *options)
    return (
        *(sys.executable, "-m", "jupyter", app, "--allow-root", "--no-browser"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"),
        f"--{'LabApp' if app == 'lab' else 'JupyterNotebookApp'}.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",  # the other one asks a registry
    )


def _environment(own: Path, token: str) -> dict[str, str]:
    """Return variables that keep the user's own settings, kernels and notebooks out of it."""
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = {name: value for name, value in os.environ.items() if name != "CROSSBOW_HEADLESS"}
    environment |= {name: str(own / place) for name, place in places.items()}
    # A kernel named python3 in the user's home may belong to another Python; ours is beside this one.
    environment |= {"JUPYTER_TOKEN": token, "JUPYTER_PREFER_ENV_PATH": "1"}
    if (_PACKAGE_ROOT / "pyproject.toml").exists():  # a checkout that isn't installed
        roots = (str(_PACKAGE_ROOT), environment.get("PYTHONPATH"))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, roots))
    return environment


def _write_settings(own: Path, uses_subshells: bool) -> None:
    """Write what a user would set in JupyterLab's settings: nothing is fetched, the widgets' state is saved."""
    kernels = {"commsOverSubshells": "perCommTarget" if uses_subshells else "disabled"}
    for name, settings in {**_SETTINGS, "@jupyterlab/apputils-extension/kernels-settings": kernels}.items():
        path = own / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings), encoding="utf-8")


def _wait_until_ready(server: Server, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the server answers."""
    address = f"{server.url}/{'voila/static/' if server.app == 'voila' else 'api/status'}"
    asked = urllib.request.Request(address, headers={"Authorization": f"token {server.token}"})  # noqa: S310
    give_up_s = time.monotonic() + _READY_WITHIN_S
    while process.poll() is None and time.monotonic() < give_up_s:
        try:
            urllib.request.urlopen(asked, timeout=5).close()  # noqa: S310 (loopback)
        except urllib.error.HTTPError as error:
            error.close()  # it answers, if only that there is nothing
        except OSError:
            time.sleep(0.1)
            continue
        return
    end = server.log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise CrossbowError(f"the {server.app} server doesn't answer on {server.url}; the end of its log:\n{end}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the server; it ends its kernels, and those of a server that is killed notice that it is gone."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
