"""The data sets by name."""

import gzip
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crossbow_lab.errors import ConfigurationError, DataError
from crossbow_lab.workloads import sources
from crossbow_lab.workloads.data import Augmentation
from crossbow_lab.workloads.sources import DATASET_NAMES, load_dataset

REAL_DATA = os.environ.get("CROSSBOW_DATA")


def normalised(dataset, inputs: torch.Tensor) -> torch.Tensor:
    """Apply scale and shift."""
    scale, shift = (torch.tensor(values).view(-1, 1, 1) for values in (dataset.scale, dataset.shift))
    return inputs * scale + shift


def test_load_dataset_splits_the_digits_in_one_way():
    """The content, split included, has not changed since results were published with it."""
    digits = load_dataset("digits")

    assert digits.fingerprint == "6a48bba44ef908a0446847f49e9410f4b19eab377730d74dbdfd34c8dae6f8fc"
    assert tuple(digits.train.inputs.shape) == (1437, 1, 8, 8)
    assert tuple(digits.test.inputs.shape) == (360, 1, 8, 8)
    assert digits.train.targets[:10].tolist() == [2, 8, 2, 6, 6, 7, 1, 9, 8, 5]
    assert (torch.uint8, torch.int64) == (digits.train.inputs.dtype, digits.train.targets.dtype)
    assert digits.n_classes == 10
    assert digits.augmentation is None
    assert digits.is_named


def test_load_dataset_shares_no_digit_between_train_and_test():
    """Each row of the shipped file is in one part, once."""
    digits = load_dataset("digits")
    table = np.loadtxt(sources.resource("data", "digits.csv.gz"), delimiter=",", dtype=np.int64)
    rows = [
        torch.cat([split.inputs.flatten(1), split.targets[:, None]], 1).tolist()
        for split in (digits.train, digits.test)
    ]

    assert sorted(table.tolist()) == sorted(rows[0] + rows[1])


def test_load_dataset_standardises_the_digits():
    """Over the training part, pixels have mean 0 and standard deviation 1 after scale and shift."""
    digits = load_dataset("digits")
    pixels = normalised(digits, digits.train.inputs)

    torch.testing.assert_close(pixels.mean(), torch.tensor(0.0), rtol=0, atol=1e-3)
    torch.testing.assert_close(pixels.std(), torch.tensor(1.0), rtol=0, atol=1e-3)


def test_load_dataset_refuses_changed_digits(tmp_path, monkeypatch):
    """A changed copy of the shipped file is refused rather than trained on."""
    changed = tmp_path / "digits.csv.gz"
    changed.write_bytes(gzip.compress(b"0,1\n"))
    monkeypatch.setattr(sources, "resource", lambda *_: changed)

    with pytest.raises(DataError, match=r"digits\.csv\.gz has a wrong checksum: expected SHA-256 09f66e6d.*reinstall"):
        sources._load_digits.__wrapped__()


def test_load_dataset_reads_mnist(tmp_path, monkeypatch, small_mnist, write_contents):
    """Images gain a channel axis, bytes stay bytes, and nothing is read twice."""
    published, contents = small_mnist
    monkeypatch.setitem(sources.PUBLISHED, "mnist", published)
    write_contents(tmp_path / "mnist", contents)
    mnist = load_dataset("mnist", data_dir=tmp_path, download=False)

    assert tuple(mnist.train.inputs.shape) == (12, 1, 28, 28)
    assert tuple(mnist.test.inputs.shape) == (5, 1, 28, 28)
    assert contents["train-images-idx3-ubyte"][16:] == mnist.train.inputs.numpy().tobytes()
    assert list(contents["t10k-labels-idx1-ubyte"][8:]) == mnist.test.targets.tolist()
    assert (mnist.input_shape, mnist.n_classes, mnist.augmentation) == ((1, 28, 28), 10, None)
    assert mnist.is_named
    assert load_dataset("mnist", data_dir=str(tmp_path), download=False) is mnist


@pytest.mark.parametrize(("name", "n_train", "n_classes"), [("cifar-10", 10, 10), ("cifar-100", 2, 100)])
def test_load_dataset_reads_cifar(tmp_path, monkeypatch, request, write_downloads, name, n_train, n_classes):
    """Batches are joined in order, and training images are cropped and flipped by default."""
    published, contents = request.getfixturevalue(f"small_{name.replace('-', '_')}")
    monkeypatch.setitem(sources.PUBLISHED, name, published)
    write_downloads(tmp_path, published, contents)
    cifar = load_dataset(name, data_dir=tmp_path, download=False)

    assert (n_train, 3, 32, 32) == tuple(cifar.train.inputs.shape)
    assert tuple(cifar.test.inputs.shape) == (2, 3, 32, 32)
    assert cifar.train.inputs[-1].numpy().tobytes() in contents[list(published.contents)[-2]]
    assert n_classes == cifar.n_classes
    assert Augmentation(pad=4, flip=True) == cifar.augmentation
    assert (len(cifar.scale), len(cifar.shift)) == (3, 3)


def test_load_dataset_looks_in_the_folder_that_the_environment_names(
    tmp_path, monkeypatch, small_mnist, write_contents
):
    """CROSSBOW_DATA comes before the cache folder, and an argument before both."""
    published, contents = small_mnist
    monkeypatch.setitem(sources.PUBLISHED, "mnist", published)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CROSSBOW_DATA", str(tmp_path / "named"))
    write_contents(tmp_path / "named", contents)

    assert len(load_dataset("mnist", download=False).train) == 12
    with pytest.raises(DataError, match=r"mnist isn't in .*argument, and downloads are off"):
        load_dataset("mnist", data_dir=tmp_path / "argument", download=False)


def test_load_dataset_downloads(tmp_path, monkeypatch, mirror, small_mnist, write_downloads):
    """What is in no folder is downloaded to the first one."""
    published, contents = small_mnist
    address, served = mirror
    monkeypatch.setitem(sources.PUBLISHED, "mnist", replace(published, mirrors=(address,)))
    write_downloads(served, published, contents)

    assert len(load_dataset("mnist", data_dir=tmp_path / "data").train) == 12
    assert set(published.downloads) == {path.name for path in (tmp_path / "data" / "mnist").iterdir()}


def test_load_dataset_names_the_nearest_data_set():
    """A misspelt name is answered with what was probably meant."""
    with pytest.raises(ConfigurationError, match=r"unknown data set 'cifar10': did you mean 'cifar-10'\? Known: "):
        load_dataset("cifar10")


def test_load_dataset_refuses_a_file_as_folder(tmp_path):
    """The setting that names a file is said."""
    path = tmp_path / "train-images-idx3-ubyte"
    path.touch()

    with pytest.raises(ConfigurationError, match=r"data_dir must name a folder, .*ubyte is a file"):
        load_dataset("mnist", data_dir=path)


def test_dataset_names_are_those_the_paper_and_the_first_notebook_use():
    """The names are fixed."""
    assert DATASET_NAMES == ("digits", "mnist", "fashion-mnist", "cifar-10", "cifar-100")


@pytest.mark.parametrize(
    ("name", "n_train", "fingerprint"),
    [
        ("mnist", 60_000, "731c02e50f07a2fc93cc2c9b0df709507fc27cba0aff0ee3592e75b0849b602e"),
        ("fashion-mnist", 60_000, None),
        ("cifar-10", 50_000, "612671e6bb37e8b15ec4552378c264385574c06bf77b146df22c121b3b667b99"),
        ("cifar-100", 50_000, None),
    ],
)
def test_load_dataset_reads_the_real_files(name, n_train, fingerprint):
    """Where CROSSBOW_DATA holds the published files, they give balanced, standardised data."""
    if not REAL_DATA or not Path(REAL_DATA).is_dir():
        pytest.skip("CROSSBOW_DATA names no folder")
    try:
        dataset = load_dataset(name, data_dir=REAL_DATA, download=False)
    except DataError as error:
        if "downloads are off" not in str(error):
            raise
        pytest.skip(f"CROSSBOW_DATA holds no {name}")
    pixels = normalised(dataset, dataset.train.inputs[::10])

    assert (n_train, 10_000) == (len(dataset.train), len(dataset.test))
    assert fingerprint in (None, dataset.fingerprint)
    assert dataset.n_classes == 1 + int(dataset.train.targets.max()) == 1 + int(dataset.test.targets.max())
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.zeros(len(dataset.scale)), rtol=0, atol=0.05)
    torch.testing.assert_close(pixels.std((0, 2, 3)), torch.ones(len(dataset.scale)), rtol=0, atol=0.05)
