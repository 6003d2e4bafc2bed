"""Finding, checking and downloading published files, from a real server on this machine."""

import gzip
import io
import tarfile
from dataclasses import replace

import pytest

from crossbow_lab.errors import DataError
from crossbow_lab.workloads.data_files import read_published


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "MNIST", "mnist/raw", "raw", "."])
@pytest.mark.parametrize("is_packed", [False, True])
def test_read_published_finds_idx_files_in_any_usual_layout(
    tmp_path, small_mnist, write_contents, write_downloads, folder, is_packed
):
    """Plain or gzipped, in the folders that people and other libraries use."""
    published, contents = small_mnist
    if is_packed:
        write_downloads(tmp_path / folder, published, contents)
    else:
        write_contents(tmp_path / folder, contents)

    assert contents == read_published(published, [tmp_path], download=False)


@pytest.mark.parametrize("folder", ["cifar-10-batches-py", "cifar-10/cifar-10-batches-py", "CIFAR10", "."])
def test_read_published_finds_cifar_unpacked_or_as_an_archive(
    tmp_path, small_cifar_10, write_contents, write_downloads, folder
):
    """Loose files and the archive are both found."""
    published, contents = small_cifar_10
    write_contents(tmp_path / "loose" / folder, contents)
    write_downloads(tmp_path / "packed" / folder, published, contents)

    assert contents == read_published(published, [tmp_path / "loose"], download=False)
    assert contents == read_published(published, [tmp_path / "packed"], download=False)


def test_read_published_takes_each_file_from_the_first_folder_that_has_it(tmp_path, small_mnist, write_contents):
    """Files may be spread over the folders searched."""
    published, contents = small_mnist
    names = list(contents)
    write_contents(tmp_path / "a" / "mnist", {name: contents[name] for name in names[:2]})
    write_contents(tmp_path / "b", {name: contents[name] for name in names[2:]})

    assert contents == read_published(published, [tmp_path / "a", tmp_path / "b"], download=False)


def test_read_published_takes_a_file_compressed_anew(tmp_path, small_mnist, write_contents):
    """What counts is the content: another gzip header is no damage."""
    published, contents = small_mnist
    packed = {f"{name}.gz": gzip.compress(content, 1, mtime=5) for name, content in contents.items()}
    write_contents(tmp_path, packed)

    assert contents == read_published(published, [tmp_path], download=False)


def test_read_published_refuses_a_wrong_checksum(tmp_path, small_mnist, write_contents):
    """One changed bit is found, and the message names path, both checksums and what to do."""
    published, contents = small_mnist
    name = "t10k-labels-idx1-ubyte"
    damaged = contents[name][:-1] + bytes([contents[name][-1] ^ 1])
    write_contents(tmp_path / "mnist", contents | {name: damaged})

    with pytest.raises(
        DataError,
        match=rf"mnist/{name} has a wrong checksum: expected MD5 {published.contents[name]}, found .*move it",
    ):
        read_published(published, [tmp_path], download=False)


def test_read_published_refuses_a_wrong_checksum_inside_an_archive(tmp_path, small_cifar_10, write_downloads):
    """The member at fault is named."""
    published, contents = small_cifar_10
    write_downloads(tmp_path, published, contents | {"data_batch_3": b"other"})

    with pytest.raises(DataError, match=r"tar\.gz has a wrong checksum \(of data_batch_3 inside it\): expected MD5"):
        read_published(published, [tmp_path], download=False)


def test_read_published_refuses_an_archive_without_a_file(tmp_path, small_cifar_10, write_downloads):
    """What the archive lacks is named."""
    published, contents = small_cifar_10
    del (fewer := dict(contents))["test_batch"]
    write_downloads(tmp_path, published, fewer)

    with pytest.raises(DataError, match=r"tar\.gz doesn't hold test_batch; replace it"):
        read_published(published, [tmp_path], download=False)


def test_read_published_writes_nothing_that_an_archive_asks_for(tmp_path, small_cifar_10):
    """Members that point outside, and links, are neither followed nor unpacked."""
    published, contents = small_cifar_10
    folder = tmp_path / "data"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_text("mine")
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("x/data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
        escape = tarfile.TarInfo("../escaped")
        escape.size = 3
        archive.addfile(escape, io.BytesIO(b"out"))
        for name, content in contents.items():
            member = tarfile.TarInfo(f"../../{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

    assert contents == read_published(published, [folder], download=False)
    assert {"data", "secret"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5])
def test_read_published_refuses_a_truncated_file(tmp_path, small_mnist, small_cifar_10, write_downloads, kept):
    """A cut .gz or .tar.gz is reported as damaged, with its path."""
    for published, contents in (small_mnist, small_cifar_10):
        write_downloads(tmp_path, published, contents)
        path = tmp_path / next(iter(published.downloads))
        path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])

        with pytest.raises(DataError, match=rf"{path.name} (can't be read|has a wrong) .*move it away"):
            read_published(published, [tmp_path], download=False)


def test_read_published_says_where_missing_files_go(tmp_path, small_mnist):
    """Without downloads the message names files, address, folder and settings."""
    published, _ = small_mnist

    with pytest.raises(DataError) as caught:
        read_published(published, [tmp_path / "data"], download=False)

    for part in (
        "mnist isn't in",
        "downloads are off",
        *published.downloads,
        published.mirrors[0],
        str(tmp_path / "data" / "mnist"),
        "--data-dir",
        "CROSSBOW_DATA",
    ):
        assert part in str(caught.value)


def test_read_published_downloads_what_is_missing(tmp_path, mirror, small_mnist, write_contents, write_downloads):
    """Only missing files are fetched, into a folder of the set's name, and found there the next time."""
    published, contents = small_mnist
    address, served = mirror
    published = replace(published, mirrors=(address,))
    write_downloads(served, published, contents)
    data = tmp_path / "data"
    write_contents(data, {"t10k-labels-idx1-ubyte": contents["t10k-labels-idx1-ubyte"]})

    assert contents == read_published(published, [data], download=True)
    fetched = {path.name for path in (data / "mnist").iterdir()}
    assert set(published.downloads) - {"t10k-labels-idx1-ubyte.gz"} == fetched
    assert contents == read_published(published, [data], download=False)


def test_read_published_downloads_an_archive(tmp_path, mirror, small_cifar_10, write_downloads):
    """One archive brings all files."""
    published, contents = small_cifar_10
    address, served = mirror
    published = replace(published, mirrors=(address,))
    write_downloads(served, published, contents)

    assert contents == read_published(published, [tmp_path], download=True)
    assert (tmp_path / "cifar-10" / "cifar-10-python.tar.gz").is_file()


def test_read_published_tries_the_next_mirror(tmp_path, mirror, small_mnist, write_downloads):
    """A mirror that lacks the file, or has another, is passed over."""
    published, contents = small_mnist
    address, served = mirror
    write_downloads(served / "good", published, contents)
    write_downloads(served / "bad", published, dict.fromkeys(contents, b"other"))
    published = replace(published, mirrors=(f"{address}nothing/", f"{address}bad/", f"{address}good/"))

    assert contents == read_published(published, [tmp_path / "data"], download=True)


def test_read_published_keeps_no_download_with_a_wrong_checksum(tmp_path, mirror, small_mnist, write_downloads):
    """What a mirror changed is refused, named, and not left in the folder."""
    published, contents = small_mnist
    address, served = mirror
    published = replace(published, mirrors=(address,))
    write_downloads(served, published, dict.fromkeys(contents, b"other"))

    with pytest.raises(
        DataError, match=r"(?s)couldn't be downloaded.*does not match the known hash: expected .* but got"
    ):
        read_published(published, [tmp_path / "data"], download=True)

    assert list((tmp_path / "data" / "mnist").iterdir()) == []


def test_read_published_says_where_files_go_when_offline(tmp_path, monkeypatch, small_mnist):
    """When no mirror answers, the message names each address tried, and which files to put where."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    published, _ = small_mnist  # its mirror is a port where nobody listens

    with pytest.raises(DataError) as caught:
        read_published(published, [tmp_path / "data"], download=True)

    for part in (
        "couldn't be downloaded. Put train-images-idx3-ubyte.gz, ",
        str(tmp_path / "data" / "mnist"),
        "http://127.0.0.1:9/train-images-idx3-ubyte.gz: ",
    ):
        assert part in str(caught.value)


def test_read_published_says_so_when_it_cannot_write(tmp_path, mirror, small_mnist, write_downloads):
    """A folder that can't be made is a reason like any other."""
    published, contents = small_mnist
    address, served = mirror
    write_downloads(served, published, contents)
    (tmp_path / "data").write_text("a file where a folder should be")

    with pytest.raises(DataError, match=r"(?s)couldn't be downloaded. Put .*train-images-idx3-ubyte\.gz: .*data"):
        read_published(replace(published, mirrors=(address,)), [tmp_path / "data"], download=True)
