"""Small synthetic data files in the published formats, and a server on this machine to download them from."""

import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from crossbow_lab.workloads import catalogue
from crossbow_lab.workloads.data_files import Published


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _idx(array: np.ndarray) -> bytes:
    """Write unsigned bytes as an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _python2_batch(images: np.ndarray, labels: list[int], labels_key: bytes) -> bytes:
    """Write a CIFAR batch, opcode by opcode, as Python 2 and NumPy 1 did: protocol 2 and byte strings."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)  # BININT

    n, width = images.shape
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    raw = b"T" + struct.pack("<i", images.size) + images.tobytes()  # BINSTRING
    array += b"(" + number(1) + number(n) + number(width) + b"\x86" + dtype + b"\x89" + raw + b"tb"
    items = text(b"data") + array + text(labels_key) + b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + items + b"u."


@pytest.fixture(scope="session")
def python2_batch() -> Callable[..., bytes]:
    """Give the writer of CIFAR batches."""
    return _python2_batch


@pytest.fixture(scope="session")
def idx() -> Callable[[np.ndarray], bytes]:
    """Give the writer of IDX files."""
    return _idx


@pytest.fixture(scope="session")
def small_mnist() -> tuple[Published, dict[str, bytes]]:
    """Give a data set like MNIST, of 12 + 5 images, and the content of its files; no mirror has it."""
    random = np.random.default_rng(0)
    contents = {}
    for part, n in (("train", 12), ("t10k", 5)):
        contents[f"{part}-images-idx3-ubyte"] = _idx(random.integers(0, 256, (n, 28, 28), np.uint8))
        contents[f"{part}-labels-idx1-ubyte"] = _idx(random.integers(0, 10, n).astype(np.uint8))
    return _published(catalogue.MNIST, contents, _gzipped(contents)), contents


@pytest.fixture(scope="session")
def small_cifar_10() -> tuple[Published, dict[str, bytes]]:
    """Give a data set like CIFAR-10, of 5 x 2 + 2 images, and the content of its files; no mirror has it."""
    contents = _cifar_contents(catalogue.CIFAR_10, labels_key=b"labels", n_classes=10)
    return _published(catalogue.CIFAR_10, contents, _archived("cifar-10", contents)), contents


@pytest.fixture(scope="session")
def small_cifar_100() -> tuple[Published, dict[str, bytes]]:
    """Give a data set like CIFAR-100, of 2 + 2 images, and the content of its files; no mirror has it."""
    contents = _cifar_contents(catalogue.CIFAR_100, labels_key=b"fine_labels", n_classes=100)
    return _published(catalogue.CIFAR_100, contents, _archived("cifar-100", contents)), contents


def _cifar_contents(like: Published, *, labels_key: bytes, n_classes: int) -> dict[str, bytes]:
    """Write two random images into each file."""
    random = np.random.default_rng(1)
    return {
        name: _python2_batch(
            random.integers(0, 256, (2, 3072), np.uint8),
            random.integers(0, n_classes, 2).tolist(),
            labels_key,
        )
        for name in like.contents
    }


def _published(like: Published, contents: dict[str, bytes], downloads: dict[str, bytes]) -> Published:
    """Describe small files as those of a published set are, with their own checksums and no mirror."""
    return replace(
        like,
        contents={name: _md5(content) for name, content in contents.items()},
        downloads={name: _md5(content) for name, content in downloads.items()},
        mirrors=("http://127.0.0.1:9/",),
    )


def _gzipped(contents: dict[str, bytes]) -> dict[str, bytes]:
    """Compress each file, the same bytes every time."""
    return {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in contents.items()}


def _archived(name: str, contents: dict[str, bytes]) -> dict[str, bytes]:
    """Pack the files into one archive, the same bytes every time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for content_name, content in contents.items():
            member = tarfile.TarInfo(f"{name}-folder/{content_name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return {f"{name}-python.tar.gz": gzip.compress(packed.getvalue(), mtime=0)}


@pytest.fixture(scope="session")
def write_downloads() -> Callable[[Path, Published, dict[str, bytes]], None]:
    """Give a function that writes a set's files as its mirrors hold them."""

    def write(folder: Path, published: Published, contents: dict[str, bytes]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        is_archive = any(name.endswith(".tar.gz") for name in published.downloads)
        packed = _archived(published.name, contents) if is_archive else _gzipped(contents)
        for name, content in packed.items():
            (folder / name).write_bytes(content)

    return write


@pytest.fixture(scope="session")
def write_contents() -> Callable[[Path, dict[str, bytes]], None]:
    """Give a function that writes a set's files unpacked."""

    def write(folder: Path, contents: dict[str, bytes]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)

    return write


class _QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without a line per request."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Serve a new folder on 127.0.0.1; give its address and the folder."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", folder
    server.shutdown()
    thread.join()
    server.server_close()
