"""CIFAR's pickles, and pickles that pretend to be."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from crossbow_lab.errors import DataError
from crossbow_lab.workloads.cifar import read_cifar_batch

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)


def test_read_cifar_batch_reads_python_2_pickles(python2_batch):
    """The published files were written by Python 2 and NumPy 1: channels first, then rows."""
    images, labels = read_cifar_batch(python2_batch(IMAGES, [7, 0, 9], b"labels"), labels_key="labels", where="batch")

    assert np.array_equal(IMAGES.reshape(3, 3, 32, 32), images)
    assert labels.tolist() == [7, 0, 9]
    assert labels.dtype == np.int64


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_read_cifar_batch_reads_files_saved_again(protocol, order):
    """The same dict pickled by today's Python and NumPy is read too, whichever the memory order."""
    content = pickle.dumps({b"data": np.array(IMAGES, order=order), b"fine_labels": [1, 2, 3]}, protocol=protocol)
    images, labels = read_cifar_batch(content, labels_key="fine_labels", where="train")

    assert np.array_equal(IMAGES.reshape(3, 3, 32, 32), images)
    assert labels.tolist() == [1, 2, 3]


class Malicious:
    """Pickles as an order to create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_read_cifar_batch_never_runs_a_pickles_orders(tmp_path):
    """A pickle that creates a file when loaded does so under pickle.loads, and is refused here unrun."""
    trap = tmp_path / "sprung"
    content = pickle.dumps({b"data": Malicious(trap), b"labels": []})

    with pytest.raises(DataError, match=r"batch isn't a pickle .*it asks for pathlib.*nothing in it was run"):
        read_cifar_batch(content, labels_key="labels", where="batch")

    assert not trap.exists()
    pickle.loads(content)  # noqa: S301  (the trap is ours, and works)
    assert trap.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"cnumpy\nload\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile2\x93.",
    ],
)
def test_read_cifar_batch_refuses_every_other_global(content):
    """Neither other modules nor other names of NumPy's are handed out."""
    with pytest.raises(DataError, match="it asks for"):
        read_cifar_batch(content, labels_key="labels", where="batch")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "batch isn't a pickle"),
        (b"not a pickle", "batch isn't a pickle"),
        (pickle.dumps([1]), "no images under 'data' or no labels under 'labels'"),
        (pickle.dumps({b"data": 1, b"labels": [1]}), "no images under 'data'"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8)}, protocol=4), "no labels under 'labels'"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": ["x"]}, protocol=4), "no labels"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.float64), b"labels": [1]}, protocol=4), "dtype 'f8'"),
        (pickle.dumps({b"data": np.array([[None]]), b"labels": [1]}, protocol=4), "dtype 'O8'"),
        (
            pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, protocol=4),
            r"images of shape \(2, 3072\) for 1 labels",
        ),
        (
            pickle.dumps({b"data": np.zeros((1, 4), np.uint8), b"labels": [1]}, protocol=4),
            r"images of shape \(1, 4\) for 1 labels; each needs 3072 bytes",
        ),
    ],
)
def test_read_cifar_batch_refuses_what_is_no_batch(content, message):
    """Damaged pickles and pickles of other things are refused by name, whatever unpickling raised."""
    with pytest.raises(DataError, match=message):
        read_cifar_batch(content, labels_key="labels", where="batch")


def test_read_cifar_batch_refuses_a_truncated_file(python2_batch):
    """A file that is cut short is refused wherever the cut is."""
    content = python2_batch(IMAGES, [7, 0, 9], b"labels")

    for length in (1, 40, 200, 5000, len(content) - 1):
        with pytest.raises(DataError, match="batch isn't a pickle"):
            read_cifar_batch(content[:length], labels_key="labels", where="batch")
