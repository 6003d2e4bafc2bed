"""What runs on a machine with little installed: the GPU's tests and its bench import no more than they must."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MISSING = (
    *("plotly", "matplotlib", "anywidget", "ipywidgets", "IPython", "ipykernel", "papermill", "nbclient", "nbconvert"),
    *("nbformat", "pooch", "hypothesis", "jax", "scipy", "sklearn", "torchvision", "distributed", "PIL", "yaml"),
)
BARE = f"""
import sys
for name in {MISSING!r}:
    sys.modules[name] = None
import torch
torch.version.cuda = None  # whatever this machine has
"""


def run(program: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in a process where only what the bare machine has can be imported."""
    return subprocess.run(
        [sys.executable, "-c", BARE + program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # those that are installed here
        timeout=120,
    )


def test_the_gpu_s_tests_are_collected_and_skip_with_a_reason() -> None:
    """None fails to be imported, and each says why it doesn't run."""
    done = run("import pytest\nsys.exit(pytest.main(['-q', '-m', 'gpu', '-p', 'no:cacheprovider', 'tests/gpu']))")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "built without CUDA, so there is no cuda; install torch's CUDA build" in done.stdout
    assert " skipped" in done.stdout.splitlines()[-1]
    assert "passed" not in done.stdout.splitlines()[-1]


def test_the_bench_starts_and_refuses_with_a_way_out() -> None:
    """Its modules can be imported; without a GPU the command line ends with status 1 and one message."""
    done = run(
        "import crossbow_lab.bench.cuda.suite\n"
        "from crossbow_lab.cli import main\n"
        "sys.argv = ['crossbow-lab', 'bench', '--device', 'cuda', '--only', 'kernels,host']\n"
        "main()"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    assert "install torch's CUDA build" in done.stderr
    assert "Traceback" not in done.stderr


def test_data_is_found_or_made_up() -> None:
    """Whatever is missing that would find or download it; and what was made up says so."""
    done = run(
        "from crossbow_lab.bench import subjects\n"
        "subjects._SYNTHETIC_SAMPLES = 20\n"
        "for model, dataset in (('lenet', 'mnist'), ('resnet-32', 'cifar-10'), ('mlp', 'digits')):\n"
        "    print(subjects.subject_data(subjects.Subject(model, dataset, 1, 1)).name)"
    )
    assert done.returncode == 0, done.stderr
    mnist, cifar, digits = done.stdout.splitlines()
    assert mnist in ("mnist", "synthetic bytes shaped like mnist")
    assert cifar in ("cifar-10", "synthetic bytes shaped like cifar-10")
    assert digits == "digits"


def test_the_bench_explains_itself() -> None:
    """And names what it would need."""
    done = run(
        "from crossbow_lab.cli import main\nsys.argv = ['crossbow-lab', 'bench', '--device', 'cuda', '--help']\nmain()"
    )
    assert done.returncode == 0, done.stderr
    assert "--only" in done.stdout
    assert "--device" in done.stdout
