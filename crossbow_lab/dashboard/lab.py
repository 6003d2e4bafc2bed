"""Opens JupyterLab at the page to start from, or serves a notebook as an app: loopback only, with a token."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from crossbow_lab.errors import ConfigurationError, nearest
from crossbow_lab.resources import resource

_ASSETS = Path(__file__).parent / "assets"
_NOT_IN_VOILA = "@jupyter-notebook/lab-extension"  # where Notebook 7 is installed too, it fails in Voila's page
_APP = _ASSETS / "dashboard.ipynb"
_START = "00_start_here.ipynb"


def fill(folder: Path) -> list[Path]:
    """Copy the shipped notebooks into a folder; return those that weren't there yet.

    A notebook that is there stays as it is: it may have been worked on.

    Raises
    ------
    ConfigurationError
        If the folder can't be written to.
    """
    shipped = [_APP, *sorted(resource("notebooks").glob("*.ipynb"))]
    new = [path for path in shipped if not (folder / path.name).exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in new:
            shutil.copyfile(path, folder / path.name)
    except OSError as error:
        raise ConfigurationError(f"notebooks can't be copied to {folder} ({error}); give a folder of yours") from error
    return [folder / path.name for path in new]


def command(folder: Path, *, voila: bool, browser: bool, port: int | None, page: str | None = None) -> Sequence[str]:
    """Return the command line that serves a folder. The server makes its own token, and prints it with its address.

    Parameters
    ----------
    voila : whether one notebook is served as an app, without its code cells, in place of JupyterLab.
    page : name of the notebook in the folder that is opened, or is the app; None: the page to start from, or the
        dashboard alone.

    Raises
    ------
    ConfigurationError
        If the server isn't installed, or the folder has no such notebook.
    """
    module = "voila" if voila else "jupyterlab"
    if importlib.util.find_spec(module) is None:
        raise ConfigurationError(f"{module} isn't installed; pip install 'crossbow-lab[lab]'")
    options = ["--ServerApp.ip=127.0.0.1"]
    if voila:
        options = ["--Voila.ip=127.0.0.1", "--Voila.auto_token=True", "--template=crossbow-lab"]
        options += [f"--VoilaConfiguration.extension_denylist={_NOT_IN_VOILA}"]
    options += [] if browser else ["--no-browser"]
    options += [] if port is None else [f"--port={port}"]
    return (sys.executable, "-m", module, *options, str(_page(folder, page or (_APP.name if voila else _START))))


def _page(folder: Path, name: str) -> Path:
    """Return a notebook of the folder by its name, with or without its ending."""
    there = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    found = there.get(name.removesuffix(".ipynb"))
    if found is None:
        raise ConfigurationError(f"{folder} has no notebook {name!r}; {nearest(name, there)}")
    return found


def serve(folder: Path, *, voila: bool, browser: bool, port: int | None, page: str | None = None) -> int:
    """Serve a folder until the server is ended, by Ctrl-C or with this process; return its exit code.

    Parameters and errors as those of `command`.
    """
    # Notebooks find the Python that runs this, not one that the user's home names; Voila finds our template.
    paths = os.pathsep.join(filter(None, (str(_ASSETS / "jupyter"), os.environ.get("JUPYTER_PATH"))))
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_PATH": paths}
    words = command(folder, voila=voila, browser=browser, port=port, page=page)
    started = subprocess.Popen(words, env=environment)  # noqa: S603
    # Else the server and its kernels would outlive whoever ends this process, and go on training.
    signal.signal(signal.SIGTERM, lambda *_: started.terminate())
    while True:
        try:
            return started.wait()
        except KeyboardInterrupt:  # the server gets it too, and ends when it is ready to
            continue
