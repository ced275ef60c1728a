"""Errors that a user can act on; the command line prints them without a traceback."""

import errno
import os
import re
from collections.abc import Sequence

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where there is no room for a file to grow."""

_OF_CONTENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL}
"""What the system says where files are missing or not what they should be."""

_BY_TEXT = (
    *sorted(FULL),
    *(errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENFILE, errno.EMFILE),
    *(errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT),
)
_BY_NUMBER = re.compile(r"os_error_code='(\d+)'|OS error (\d+)")
"""How TensorStore tells the system's errors, now and in older versions."""


def first_of(entries: Sequence[str], shown: int = 5) -> str:
    """The first entries of a list that may be long, and how many more there are."""
    more = f"; and {len(entries) - shown:,} more" if len(entries) > shown else ""
    return "; ".join(entries[:shown]) + more


def system_errors(error: BaseException) -> set[int]:
    """The numbers of the operating system's errors behind an error.

    Args:
      error: where libraries raise an error of their own, its causes are looked at,
        and texts are: libraries in C++ tell no number apart.

    Returns:
      Numbers as in `errno`; empty where the system had nothing to do with it.
    """
    found: set[int] = set()
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen)
        if isinstance(seen, OSError) and seen.errno is not None:
            found.add(seen.errno)
        elif isinstance(seen, TimeoutError):
            found.add(errno.ETIMEDOUT)
        for match in _BY_NUMBER.finditer(text):
            found.add(int(match[1] or match[2]))
        found.update(code for code in _BY_TEXT if os.strerror(code) in text)
        seen = seen.__cause__ or seen.__context__
    return found


def storage_problem(error: BaseException) -> str | None:
    """What hinders reading, in the system's words; None if it is the content.

    A file that cannot be read for want of a permission, or since a disk or a
    network fails, may be whole: nothing follows about what is in it.
    """
    found = system_errors(error) - _OF_CONTENT
    return os.strerror(min(found)) if found else None


def short(error: BaseException, most: int = 160) -> str:
    """The first line of an error; of a long one how it begins and how it ends."""
    line = next(iter(f"{error}".strip().splitlines()), type(error).__name__)
    line = line.partition(" [tensorstore_spec")[0]  # pages of settings
    return line if len(line) <= most else f"{line[: most // 4]} ... {line[-most:]}"


class JaxferError(Exception):
    """Base of all errors that say what was expected, found, and what to do."""


class ConfigError(JaxferError):
    """A config, a field of it or an override is wrong."""


class DataError(JaxferError):
    """Source files, a prepared data set or a split is wrong or missing."""


class CheckpointError(JaxferError):
    """A checkpoint is missing, damaged or belongs to another config."""


class WeightsError(JaxferError):
    """A file of official weights does not fit the model it is meant for."""
