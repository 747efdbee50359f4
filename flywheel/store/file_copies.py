"""Copies of the database file: byte by byte, and written anew without the room of deleted rows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from flywheel import files
from flywheel.errors import FlywheelError
from flywheel.store.columns import Connection, first_row, scalar

# Copies of a database file, whole or not at all.


def copy_file(source: Path, to: Path) -> None:
    """Copy a file in another process, and have it on disk before this returns.

    Closing any descriptor of a database file in this process would drop the lock that DuckDB
    holds on it.

    Raises:
        FlywheelError: it cannot be written; nothing is left behind.
    """
    done = subprocess.run(
        ["cp", "--reflink=auto", "--", os.fspath(source), os.fspath(to)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        to.unlink(missing_ok=True)
        raise FlywheelError(done.stderr.strip() or f"cannot write {to}", hint="is there room?")
    files.sync(to)


# The database written anew, without the room that deleted rows left.
#
# DuckDB fills freed room with later rows and never shortens its file, so this pays only when most
# of a large file is free.

FOLDER = "compacting"
_WORTH_BYTES = 64 << 20
_FREE = "SELECT block_size * free_blocks, block_size * total_blocks FROM pragma_database_size()"


def worth_compacting(con: Connection) -> bool:
    """Whether at least half of a file, and enough to care about, is free."""
    free, total = first_row(con, _FREE) or (0, 0)
    return bool(free >= _WORTH_BYTES and free * 2 >= total)


def compact(con: Connection, path: Path) -> Path:
    """Copy all that is committed to a new file, on disk when this returns; `path` is unchanged."""
    folder = path.parent / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir(mode=0o750)
    fresh = folder / path.name
    with con.cursor() as cursor:
        cursor.execute(f"ATTACH '{_quoted(fresh)}' AS fresh")
        try:
            name = scalar(cursor, "SELECT current_database()")
            cursor.execute(f'COPY FROM DATABASE "{name}" TO fresh')
        finally:
            cursor.execute("DETACH fresh")
    files.sync(fresh)
    return fresh


def put_in_place(fresh: Path, path: Path) -> bool:
    """Give the new file the old one's name; nobody may have either open.

    False where the old one has a log still, which belongs to no other file.
    """
    wal = path.with_name(f"{path.name}.wal")
    if wal.exists() and wal.stat().st_size:
        return False
    files.replace(fresh, path)
    shutil.rmtree(fresh.parent, ignore_errors=True)
    return True


def _quoted(path: Path) -> str:
    return str(path.resolve()).replace("'", "''")
