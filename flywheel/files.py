"""How a file is made durable, how it takes the place of another at once, and what is in a folder.

A file is written beside its place, synced, renamed, and then its folder is synced. After a crash
at any moment the old file or the new one is there, whole. Nothing else in flywheel calls fsync,
but for the spool and the log of answers, which sync what they append in groups.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk when this returns.

    Raises:
        OSError: it is not there, or the disk failed.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Have a folder on disk: every file below it, the names in it, and its own name."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what a folder holds before the folder
        if not path.is_symlink():
            sync(path)
    sync(folder)
    sync(folder.parent)


def flush(file: IO[Any]) -> None:
    """Have what was written to an open file on disk; its name is on disk after a folder's sync."""
    file.flush()
    os.fsync(file.fileno())


def replace(written: Path, path: Path) -> None:
    """Put a closed file in the place of `path`, with the permissions of the file it replaces.

    Durable when it returns. Both are in the same file system.

    Raises:
        OSError: `path` is as it was, unless its folder alone could not be synced.
    """
    _take_permissions(written, path)
    sync(written)
    written.replace(path)
    sync(path.parent)


def move(source: Path, to: Path) -> None:
    """Rename a file or a folder, durably: both folders' names are on disk when it returns.

    What is in it must be on disk already.
    """
    source.rename(to)
    sync(to.parent)
    if source.parent != to.parent:
        sync(source.parent)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a name to write to; at the end of the block that file is put in the place of `path`.

    After an error, the old file is as it was and the new one is removed.

    Args:
        path: one writer at a time, in all processes, unless `durable` is False.
        durable: on disk at the end of the block. False for a cache, which may be lost, but is
            never half: several processes may write the same file.
    """
    own = "" if durable else f".{os.getpid()}"
    staged = path.with_name(f".{path.name}{own}.tmp")
    try:
        yield staged
        if durable:
            replace(staged, path)
        else:
            staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file by a JSON object; durable when it returns."""
    with replacing(path) as staged:
        staged.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _take_permissions(written: Path, path: Path) -> None:
    try:
        before = path.stat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(before.st_mode):
        written.chmod(stat.S_IMODE(before.st_mode))


# What is in a folder, by content.

_BLOCK = 1 << 20  # bytes read at a time
_MOST = 4 << 30  # bytes of a file that are read: a sparse file of terabytes would take hours
_UNREAD = "not read"


def hashes(folder: Path, known: Collection[str] | None = None) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its name relative to the folder.

    What is no plain file that stood still while it was read has a word in the place of its hash:
    "a link", "no plain file", "unreadable", "too large", "replaced while it was read".

    Args:
        folder: read with everything below it; no link is followed.
        known: names that are expected; the content of others is not read. None: of all.

    Raises:
        OSError: there is no such folder, or it cannot be listed.
    """
    found = {}
    for place, folders, names in os.walk(folder, onerror=_raise):
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in (*names, *linked):
            path = Path(place) / name
            relative = path.relative_to(folder).as_posix()
            found[relative] = _hash(path, read=known is None or relative in known)
    return dict(sorted(found.items()))


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Name what differs between the `hashes` of a folder then and now; empty when it is the same.

    >>> differences({"a": "1" * 64, "b": "2" * 64}, {"a": "3" * 64, "c": "a link"})
    ['a changed', 'b is missing', 'c is a link']
    """
    named = []
    for name in sorted({*wanted, *found}):
        now = found.get(name)
        if now is None:
            named.append(f"{name} is missing")
        elif name not in wanted and (len(now) == _HEX or now == _UNREAD):
            named.append(f"{name} was added")
        elif len(now) != _HEX:
            named.append(f"{name} {'was' if now.startswith('replaced') else 'is'} {now}")
        elif wanted[name] != now:
            named.append(f"{name} changed")
    return named


_HEX = hashlib.sha256().digest_size * 2


def _hash(path: Path, *, read: bool) -> str:
    if path.is_symlink():
        return "a link"
    if not read:
        return _UNREAD
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return "unreadable"
    with os.fdopen(handle, "rb", buffering=0) as file:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            return "no plain file"
        if before.st_size > _MOST:
            return "too large"
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
        try:
            stood_still = _mark(os.fstat(handle)) == _mark(before) == _mark(path.lstat())
        except FileNotFoundError:
            stood_still = False
    return digest.hexdigest() if stood_still else "replaced while it was read"


def _mark(of: os.stat_result) -> tuple[int, int, int, int]:
    return of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns


def _raise(error: OSError) -> None:
    raise error
