"""A staged backup takes the place of the database, while no daemon has it open."""

from __future__ import annotations

from pathlib import Path

from flywheel.errors import FlywheelError
from flywheel.executors.local import LocalExecutor
from flywheel.loader import Loader
from flywheel.spool import Spool
from flywheel.store import Store, restoring
from flywheel.turn.upkeep import OF_ITS_TURNS

_NO_LIMIT = 0  # nothing is appended


def finish(database: Path, lock: int) -> list[Path]:
    """Put the staged backup, if there is one, in the place of the database; returns what was kept.

    Workers of the old database's turns end first: a turn of the new one may have the same number.

    Args:
        database: in the state folder.
        lock: of `restoring.held`.

    Raises:
        DiskFull: there is no room for what the old database is owed; nothing was moved.
        FlywheelError: the spool cannot be emptied into the old database; nothing was moved.
    """
    if restoring.staged(database) is None:
        return []
    jobs = LocalExecutor(database.parent / "jobs")
    for job in database.parent.glob("jobs/*"):
        jobs.cancel(job.name)
    return restoring.put_in_place(database, lock, _load_all, beside=OF_ITS_TURNS)


def _load_all(store: Store) -> None:
    folder = store.path.parent / "spool"
    if not folder.is_dir():
        return
    spool = Spool(folder, _NO_LIMIT)
    try:
        if not Loader(store, spool).empty():
            raise FlywheelError(
                f"the events in {folder} cannot be put into {store.path}",
                hint="start it again; `flywheel log` says why",
            )
    finally:
        spool.close()
