"""Opening the files of a source: nothing is read through a symbolic link that nobody asked for.

Whoever may write into a source's folder could link a file there that only the daemon may read, and
find its lines among the rejected ones. So the file, and every folder below the fixed part of the
pattern, must be what it seems. Where links are meant, `links = true` of the source follows them.
"""

from __future__ import annotations

import errno
import glob
import os
from pathlib import Path
from typing import BinaryIO

from flywheel.errors import FlywheelError

HINT = "set `links = true` for the source if it is meant"


def checked_links(value: object) -> bool:
    """Return the option `links`.

    Raises:
        FlywheelError: it is not true or false.
    """
    if not isinstance(value, bool):
        raise FlywheelError(f"`links` is {value!r}", hint="it is true or false")
    return value


def matching(pattern: str, *, links: bool) -> list[str]:
    """Return the paths that a pattern matches, in no order.

    Without `links`, `**` enters no linked folder: one that leads back to itself has no end.
    """
    if links or "**" not in pattern:
        return glob.glob(pattern, recursive=True)  # noqa: PTH207  may be absolute
    root = _fixed_part(pattern)
    below = Path(pattern).relative_to(root)
    hidden = any(part.startswith(".") for part in below.parts)
    return [
        str(path)
        for path in root.glob(str(below))
        if hidden or not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]


def opened(path: str, pattern: str, *, links: bool) -> BinaryIO:
    """Open a file of a source to read its bytes.

    Args:
        path: that `pattern` matched.
        pattern: of the source's option `path`.
        links: follow symbolic links.

    Raises:
        OSError: it cannot be opened, or a link is in the way.
    """
    if not links and _leads_elsewhere(path, pattern):
        raise _is_a_link(path)
    # A pipe without a writer would keep the thread waiting.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW)
    try:
        return os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        raise _is_a_link(path) if error.errno == errno.ELOOP else error from None


def _is_a_link(path: str) -> OSError:
    return OSError(errno.ELOOP, f"it is reached by a symbolic link; {HINT}", path)


def _leads_elsewhere(path: str, pattern: str) -> bool:
    """Whether a folder below the pattern's fixed part is a link."""
    root = _fixed_part(pattern)
    folder = Path(path).parent
    below = folder.relative_to(root) if folder.is_relative_to(root) else Path()
    return folder.resolve() != root.resolve() / below


def _fixed_part(pattern: str) -> Path:
    """The folder that a pattern begins with; of a path without a pattern, its folder."""
    fixed = pattern if glob.has_magic(pattern) else os.path.dirname(pattern)  # noqa: PTH120
    while glob.has_magic(fixed):
        fixed = os.path.dirname(fixed)  # noqa: PTH120  of a pattern, not of a path
    return Path(fixed)
