"""A folder or a zip file, seen as a list of names to read."""

import contextlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from jaxfer.data.builders.plan import Skip
from jaxfer.data.decode import MAX_BYTES, SUFFIXES
from jaxfer.errors import DataError

_SHOWN = 8
"""How many entries of a wrong source an error shows."""


@dataclass(frozen=True)
class Source:
    """Files below a folder or inside a zip.

    Attributes:
      path: the folder or the zip file.
      sizes: name (posix, relative) -> bytes on disk, sorted by name. Files
        that operating systems leave behind (hidden ones, `__MACOSX`,
        `Thumbs.db`) are not in it.
      read: name -> content.
      skips: names that cannot be used at all.
    """

    path: Path
    sizes: dict[str, int]
    read: Callable[[str], bytes]
    skips: tuple[Skip, ...] = field(default=())

    def text(self, name: str) -> str:
        """Returns a text file's content.

        Raises:
          DataError: it is not text, or cannot be read.
        """
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: {name} is not a text file.") from error
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(
                f"{self.path}: {name} cannot be read ({error}). See to the disk and "
                "the permissions, or get the file again from its owner."
            ) from error

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Gives a path to the file for libraries that read only from disk.

        Raises:
          DataError: a file of a zip has no room where temporary files are.
        """
        if self.path.is_dir():
            yield self.path / name
            return
        content = self.read(name)
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(name).suffix) as file:
            try:
                file.write(content)
                file.flush()
            except OSError as error:
                raise DataError(
                    f"Cannot unpack {name} of {self.path} into {tempfile.gettempdir()}"
                    f": {error.strerror}. {len(content) / 1e6:,.1f} MB are needed "
                    "there: free some space, set TMPDIR to another folder, or unpack "
                    "the zip yourself and name the folder."
                ) from error
            yield Path(file.name)


def open_source(path: str | os.PathLike[str]) -> Source:
    """Lists a folder or a zip file.

    Raises:
      DataError: it does not exist, is neither, or cannot be read.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _open_folder(path)
    if path.is_file():
        return _open_zip(path)
    parent = next(p for p in path.absolute().parents if p.exists())
    raise DataError(
        f"{path} does not exist. Expected a folder or a zip file; the nearest "
        f"folder that exists is {parent}."
    )


def is_image(name: str) -> bool:
    """Whether the name ends like an image's."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def size_problem(source: Source, name: str) -> str | None:
    """Says what is wrong with a file by its name and size alone."""
    if source.sizes[name] == 0:
        return "empty file"
    if source.sizes[name] > MAX_BYTES:
        return f"larger than {MAX_BYTES // 1_000_000} MB"
    return None


def layout_error(source: Source, name: str, layout: str, where: str) -> DataError:
    """Returns the error for a source in which nothing of a data set was found."""
    shown = list(source.sizes)[:_SHOWN]
    rest = len(source.sizes) - len(shown)
    found = "\n".join(f"  {entry}" for entry in shown) or "  (no files)"
    more = f"\n  ... and {rest:,} more" if rest else ""
    return DataError(
        f"No {name} data in {source.path}.\nExpected:\n{_indent(layout)}\n"
        f"Found:\n{found}{more}\nWhere to get it:\n{_indent(where)}"
    )


def _indent(text: str) -> str:
    return "\n".join(f"  {line.strip()}" for line in text.strip().splitlines())


def _open_folder(root: Path) -> Source:
    sizes: dict[str, int] = {}
    skips: list[Skip] = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise DataError(f"Cannot read the folder {error.filename}: {error.strerror}.")

    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back into the tree
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not _is_junk(f))
        below = Path(folder).relative_to(root)
        start = "" if below == Path() else f"{below.as_posix()}/"
        for file in files:
            if _is_junk(file):
                continue
            name = start + file  # no Path: that takes longer than asking for the size
            try:
                name.encode()
                sizes[name] = os.stat(f"{folder}/{file}").st_size  # noqa: PTH116
            except UnicodeEncodeError:
                readable = name.encode(errors="backslashreplace").decode()
                skips.append(Skip(readable, "file name is not valid UTF-8"))
            except OSError as error:
                skips.append(Skip(name, f"unreadable: {error.strerror}"))
    return Source(
        root,
        dict(sorted(sizes.items())),
        partial(_read_file, root),
        tuple(skips),
    )


def _read_file(root: Path, name: str) -> bytes:
    return Path(root, name).read_bytes()


def _open_zip(path: Path) -> Source:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(
            f"{path} is neither a folder nor a readable zip file ({error})."
        ) from error
    entries: dict[str, zipfile.ZipInfo] = {}
    skips: list[Skip] = []
    for info in archive.infolist():
        if info.is_dir() or any(map(_is_junk, info.filename.split("/"))):
            continue
        if info.flag_bits & 0x1:
            raise DataError(f"{path} is encrypted; unpack it and name the folder.")
        if info.filename in entries:
            skips.append(Skip(info.filename, "duplicate name in the zip"))
            continue
        entries[info.filename] = info
    return Source(
        path,
        {name: entries[name].file_size for name in sorted(entries)},
        lambda name: archive.read(entries[name]),
        tuple(skips),
    )


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")
