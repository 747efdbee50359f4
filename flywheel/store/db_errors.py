"""What goes wrong with the database file itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from flywheel.errors import NO_ROOM, StoreFailed, no_room

_BROKEN = (duckdb.FatalException, duckdb.InternalException, duckdb.IOException)
_NO_ROOM = re.compile("|".join(map(os.strerror, sorted(NO_ROOM))))


@contextmanager
def readable_failures(path: Path) -> Iterator[None]:
    """Say plainly when the file, not the statement, is at fault."""
    try:
        yield
    except duckdb.FatalException as error:
        raise lost(path, error) from error
    except (*_BROKEN, duckdb.TransactionException) as error:
        if _NO_ROOM.search(str(error)):  # the commit was undone; later ones work again
            raise no_room(path) from error
        if isinstance(error, _BROKEN):
            raise lost(path, error) from error
        raise


def lost(path: Path, error: duckdb.Error) -> StoreFailed:
    """Say that the database can no longer be used, and what its engine said."""
    return StoreFailed(
        f"the database {path} cannot be used: {error}",
        hint="check disk space and `flywheel db check`; if the file is damaged, "
        "`flywheel db restore` a backup",
    )
