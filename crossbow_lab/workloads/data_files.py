"""Published data files: found in a folder, else downloaded, and either way held against their checksums."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from crossbow_lab.errors import DataError


@dataclass(frozen=True)
class Published:
    """A data set's files as their publisher offers them.

    Parameters
    ----------
    name : str
        The data set's name, and the folder that downloads go to.
    contents : mapping of str to str
        MD5 in hexadecimal of each file we read, uncompressed.
    downloads : mapping of str to str
        MD5 of each file on the mirrors: ``X.gz`` holds the file ``X``, a ``.tar.gz`` holds all of them.
    mirrors : tuple of str
        Addresses that a download's name is appended to, tried in order.
    folders : tuple of str
        Where, below a data folder, people keep the files.
    """

    name: str
    contents: Mapping[str, str]
    downloads: Mapping[str, str]
    mirrors: tuple[str, ...]
    folders: tuple[str, ...]

    def holders(self, content: str) -> Iterator[str]:
        """Yield the names of files that hold ``content``, uncompressed first."""
        yield content
        for download in self.downloads:
            if download == f"{content}.gz" or download.endswith(".tar.gz"):
                yield download


def read_published(published: Published, roots: Sequence[Path], *, download: bool) -> dict[str, bytes]:
    """Read every file of a data set, checked against its MD5.

    Parameters
    ----------
    published : Published
        Which files, and where from.
    roots : sequence of Path
        Data folders, searched in order; what is missing is downloaded to ``roots[0] / published.name``.
    download : bool
        Whether missing files may be downloaded.

    Returns
    -------
    dict of str to bytes
        Content by the names in ``published.contents``.

    Raises
    ------
    DataError
        If a file is missing and can't be downloaded (the message says which files to put where), can't be
        read, or has a wrong checksum.
    """
    found = {content: _find(published, content, roots) for content in published.contents}
    missing = [content for content, path in found.items() if path is None]
    for name in published.downloads:
        filled = [content for content in missing if name in published.holders(content)]
        if filled:
            path = _download(published, name, roots, download=download)
            found.update(dict.fromkeys(filled, path))
    contents: dict[str, bytes] = {}
    for path in dict.fromkeys(path for path in found.values() if path is not None):
        wanted = [content for content, where in found.items() if where == path]
        for content, data in _unpacked(path, wanted).items():
            _check_md5(data, path, content, published.contents[content])
            contents[content] = data
    return contents


def _find(published: Published, content: str, roots: Sequence[Path]) -> Path | None:
    """Return the first file, in the usual layouts, that holds ``content``."""
    for root in roots:
        for folder in published.folders:
            for name in published.holders(content):
                path = root / folder / name
                if path.is_file():
                    return path
    return None


def _download(published: Published, name: str, roots: Sequence[Path], *, download: bool) -> Path:
    """Return the path of a file fetched from the first mirror that has it, its MD5 verified."""
    if not download:
        raise DataError(
            f"{published.name} isn't in {_listed(roots)}, and downloads are off. {_advice(published, roots)}"
        )
    # Here, not above: it takes a while to import, and most runs find their files.
    import pooch

    folder = roots[0] / published.name
    failures = []
    for mirror in published.mirrors:
        try:
            known_hash = f"md5:{published.downloads[name]}"
            return Path(pooch.retrieve(mirror + name, known_hash, fname=name, path=folder))
        except (OSError, ValueError) as error:  # network or disk; wrong checksum
            failures.append(f"{mirror}{name}: {error}")
    raise DataError(
        f"{published.name} isn't in {_listed(roots)} and couldn't be downloaded. {_advice(published, roots)}"
        + "".join(f"\n{failure}" for failure in failures)
    )


def _listed(names: Collection[object]) -> str:
    """Join names with commas."""
    return ", ".join(str(name) for name in names)


def _advice(published: Published, roots: Sequence[Path]) -> str:
    """Say which files to put where."""
    return (
        f"Put {_listed(published.downloads)} (from {published.mirrors[0]}, unpacked or not) into "
        f"{roots[0] / published.name}, or name the folder that holds them with --data-dir, data_dir= or "
        f"CROSSBOW_DATA."
    )


def _unpacked(path: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """Return the wanted contents of a plain, .gz or .tar.gz file. Nothing is written to disk."""
    try:
        if path.name.endswith(".tar.gz"):
            contents = _members(path, wanted)
        else:
            data = path.read_bytes()
            contents = dict.fromkeys(wanted, gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:  # BadGzipFile is an OSError
        raise DataError(
            f"{path} can't be read ({str(error) or type(error).__name__}); if it is damaged, move it away, "
            f"to have it downloaded, or put the published one in its place"
        ) from error
    missing = [content for content in wanted if content not in contents]
    if missing:
        raise DataError(f"{path} doesn't hold {_listed(missing)}; replace it with the published archive")
    return contents


def _members(path: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """Return archive members by their last name, in the archive's order so that it is decompressed once."""
    contents = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            stream = archive.extractfile(member) if member.isfile() and name in wanted else None
            if stream is not None:
                contents[name] = stream.read()
    return contents


def _check_md5(data: bytes, path: Path, content: str, expected: str) -> None:
    """Raise DataError unless the content is the published one."""
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()  # what the publishers state
    if found != expected:
        inside = "" if path.name == content else f" (of {content} inside it)"
        raise DataError(
            f"{path} has a wrong checksum{inside}: expected MD5 {expected}, found {found}. It is damaged, or "
            f"another data set's: move it away, to have it downloaded, or put the published one in its place"
        )
