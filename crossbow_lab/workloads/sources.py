"""The data sets by name: digits ships with the package, the others are found in a folder or downloaded."""

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crossbow_lab.errors import ConfigurationError, DataError, nearest
from crossbow_lab.resources import resource
from crossbow_lab.workloads.catalogue import MEAN_AND_DEVIATION, PUBLISHED
from crossbow_lab.workloads.cifar import read_cifar_batch
from crossbow_lab.workloads.data import ArraySplit, Augmentation, DataSet, fingerprint_of
from crossbow_lab.workloads.data_files import read_published
from crossbow_lab.workloads.idx import read_idx

DATASET_NAMES = ("digits", *PUBLISHED)
"""The names that ``load_dataset`` knows."""

_DIGITS_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
_N_DIGITS_TRAIN = 1437  # four fifths of 1,797

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load_dataset(name: str, *, data_dir: str | os.PathLike[str] | None = None, download: bool = True) -> DataSet:
    """Load a public data set: images as bytes (n, C, H, W), labels as int64 (n,).

    Models see standardised pixels: ``scale`` and ``shift`` take the brightest pixel as 1, then subtract the
    training images' mean and divide by their standard deviation, per channel. A second call for the same
    files returns the same object without reading them again.

    Parameters
    ----------
    name : str
        One of ``DATASET_NAMES``. ``digits`` (1,437 + 360 images 1x8x8) ships with the package and needs no
        folder; ``mnist`` and ``fashion-mnist`` are 60,000 + 10,000 images 1x28x28, ``cifar-10`` and
        ``cifar-100`` 50,000 + 10,000 images 3x32x32 with random crops (4 pixels) and flips in training.
    data_dir : path, optional
        The folder to search, in any usual layout, and to download to. By default the folder that the
        environment variable CROSSBOW_DATA names, then the user's cache folder.
    download : bool
        Whether files that aren't found may be downloaded from their publishers.

    Raises
    ------
    ConfigurationError
        If the name is unknown (the nearest is named), or ``data_dir`` isn't a folder.
    DataError
        If files are missing and can't be downloaded (the message says which to put where), are damaged, or
        have a wrong checksum.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> len(digits.train), len(digits.test), digits.input_shape, digits.n_classes
    (1437, 360, (1, 8, 8), 10)
    """
    if name not in DATASET_NAMES:
        raise ConfigurationError(f"unknown data set {name!r}: {nearest(str(name), DATASET_NAMES)}")
    if name == "digits":
        return _load_digits()
    return _load_published(name, _roots(data_dir), bool(download))


def _roots(data_dir: str | os.PathLike[str] | None) -> tuple[Path, ...]:
    """Return the folders to search, in order; the first is where downloads go."""
    if data_dir is not None:
        return (_folder(data_dir, "data_dir"),)
    named = os.environ.get("CROSSBOW_DATA")
    folders = (_folder(named, "CROSSBOW_DATA"),) if named else ()
    try:
        import pooch  # for the platform's cache folder; see data_files for why not above
    except ModuleNotFoundError:  # on a machine with little more than torch, such as a lent one, a folder will do
        if folders:
            return folders
        raise
    return (*folders, Path(pooch.os_cache("crossbow-lab")))


def _folder(path: str | os.PathLike[str], setting: str) -> Path:
    """Return an absolute path that isn't a file's."""
    folder = Path(path).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{setting} must name a folder, {folder} is a file; name the folder that holds it")
    return folder


@lru_cache(maxsize=1)
def _load_digits() -> DataSet:
    """Read the shipped digits and split them by a fixed permutation."""
    path = resource("data", "digits.csv.gz")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != _DIGITS_SHA256:
        raise DataError(
            f"{path} has a wrong checksum: expected SHA-256 {_DIGITS_SHA256}, found {found}; reinstall crossbow-lab"
        )
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    # RandomState, not default_rng: NumPy promises never to change its numbers.
    table = table[np.random.RandomState(0).permutation(len(table))]
    images, labels = table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].astype(np.int64)
    n = _N_DIGITS_TRAIN
    return _dataset("digits", (images[:n], labels[:n]), (images[n:], labels[n:]), n_classes=10, brightest=16)


@lru_cache(maxsize=8)
def _load_published(name: str, roots: tuple[Path, ...], download: bool) -> DataSet:
    """Find or download a data set's files, read them and make tensors of them."""
    contents = read_published(PUBLISHED[name], roots, download=download)
    if name == "cifar-10":
        train = _cifar(contents, [f"data_batch_{part}" for part in range(1, 6)], labels_key="labels")
        test = _cifar(contents, ["test_batch"], labels_key="labels")
        return _dataset(name, train, test, n_classes=10, augmentation=Augmentation(pad=4, flip=True))
    if name == "cifar-100":
        train = _cifar(contents, ["train"], labels_key="fine_labels")
        test = _cifar(contents, ["test"], labels_key="fine_labels")
        return _dataset(name, train, test, n_classes=100, augmentation=Augmentation(pad=4, flip=True))
    return _dataset(name, _idx(contents, "train"), _idx(contents, "t10k"), n_classes=10)


def _idx(contents: dict[str, bytes], part: str) -> Arrays:
    """Return images (n, 1, H, W) and labels of one part of MNIST or its like."""
    images, labels = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    return (
        read_idx(contents[images], axes=3, where=images)[:, None],
        read_idx(contents[labels], axes=1, where=labels).astype(np.int64),
    )


def _cifar(contents: dict[str, bytes], names: Sequence[str], *, labels_key: str) -> Arrays:
    """Return images (n, 3, 32, 32) and labels of some batch files, joined."""
    batches = [read_cifar_batch(contents[name], labels_key=labels_key, where=name) for name in names]
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _dataset(
    name: str,
    train: Arrays,
    test: Arrays,
    *,
    n_classes: int,
    brightest: int = 255,
    augmentation: Augmentation | None = None,
) -> DataSet:
    """Make tensors of the arrays, with the scale and shift that standardise them."""
    train_split, test_split = _array_split(*train), _array_split(*test)
    means, deviations = MEAN_AND_DEVIATION[name]
    return DataSet(
        name=name,
        train=train_split,
        test=test_split,
        input_shape=tuple(train_split.inputs.shape[1:]),
        n_classes=n_classes,
        scale=tuple(1 / (brightest * deviation) for deviation in deviations),
        shift=tuple(-mean / deviation for mean, deviation in zip(means, deviations, strict=True)),
        augmentation=augmentation,
        fingerprint=fingerprint_of(train_split, test_split),
        is_named=True,
    )


def _array_split(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> ArraySplit:
    """Make tensors; images are copied if they are a view of a file's read-only bytes."""
    return ArraySplit(torch.from_numpy(np.require(images, requirements=["C", "W"])), torch.from_numpy(labels))
