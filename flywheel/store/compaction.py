"""The database written anew, without the room that deleted rows left.

DuckDB fills freed room with later rows and never shortens its file, so this pays only when most
of a large file is free.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from flywheel.store.archive import sync
from flywheel.store.columns import Connection, first_row, scalar

FOLDER = "compacting"
_WORTH_BYTES = 64 << 20
_FREE = "SELECT block_size * free_blocks, block_size * total_blocks FROM pragma_database_size()"


def worth_it(con: Connection) -> bool:
    """Whether at least half of a file, and enough to care about, is free."""
    free, total = first_row(con, _FREE) or (0, 0)
    return bool(free >= _WORTH_BYTES and free * 2 >= total)


def write_anew(con: Connection, path: Path) -> Path:
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
    sync(fresh)
    return fresh


def put_in_place(fresh: Path, path: Path) -> bool:
    """Give the new file the old one's name; nobody may have either open.

    False where the old one has a log still, which belongs to no other file.
    """
    wal = path.with_name(f"{path.name}.wal")
    if wal.exists() and wal.stat().st_size:
        return False
    fresh.chmod(path.stat().st_mode & 0o777)
    fresh.replace(path)
    sync(path.parent)
    shutil.rmtree(fresh.parent, ignore_errors=True)
    return True


def _quoted(path: Path) -> str:
    return str(path.resolve()).replace("'", "''")
