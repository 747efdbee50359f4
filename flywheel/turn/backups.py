"""Backups: who made one, and what can be said of one that comes back.

A backup is sealed, and the database that made it notes its bytes. So a backup of this database's
own history can be told from an edited one; of another one only its own seal speaks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flywheel.store import Connection, Store, decisions, seal


def back_up(store: Store, to: Path, by: str, now: datetime) -> None:
    """Copy the database to a new file, sealed; the log says of both who made it, and its bytes.

    Raises: as `Store.copy_to`.
    """
    store.copy_to(to, lambda con: seal.put(con, by, now))
    digest = seal.file_digest(to)
    with store.write() as con:
        seal.note_copy(con, digest, by, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """What is known of the database that a backup replaces."""

    tip: str = ""  # of its decision log
    links: Sequence[str] = ()  # the hash of each event of it, oldest first
    copies: Sequence[str] = ()  # SHA-256 of the backups that it knows it made

    @classmethod
    def of(cls, con: Connection) -> Replaced:
        """Read it from the database that is there."""
        tip = decisions.chain_tip(con)
        return cls(tip=tip, links=seal.links(con), copies=seal.noted_copies(con))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the decision log of a backup stands in that of the database that it replaces."""

    tip: str
    own: bool  # all of it is a part of that one
    shared: int  # events that both begin with


def origin(con: Connection, known: Replaced) -> Origin:
    """Compare the log of a backup with that of the database that is replaced."""
    tip, links = decisions.chain_tip(con), seal.links(con)
    pairs = itertools.takewhile(
        lambda pair: pair[0] == pair[1], zip(links, known.links, strict=False)
    )
    own = not tip or tip == known.tip or tip in known.links
    return Origin(tip=tip, own=own, shared=sum(1 for _ in pairs))


def not_vouched(
    con: Connection, sealed: seal.State, origin: Origin, known: Replaced, bytes_of_it: str
) -> list[str]:
    """Return in sentences what nobody can vouch for.

    Args:
        con: of the backup.
        sealed: whether its rows are as they were sealed.
        origin: of its decision log.
        known: the database that is replaced.
        bytes_of_it: SHA-256 of the file as it came.
    """
    return list(_not_vouched(con, sealed, origin, known, bytes_of_it))


def _not_vouched(
    con: Connection, sealed: seal.State, origin: Origin, known: Replaced, bytes_of_it: str
) -> Iterator[str]:
    if bytes_of_it in known.copies:
        return  # this database wrote these very bytes
    if sealed == "none" and not seal.is_empty(con):
        yield (
            "it has no seal of `flywheel db backup` at its end: "
            "rows that somebody changed would not be seen"
        )
    elif sealed == "other engine":
        yield "another DuckDB sealed it, so its rows cannot be compared with what was backed up"
    elif sealed == "whole" and origin.own and known.copies:
        yield "its bytes are not those that were backed up: something opened it since"
    if not origin.own and known.links:
        yield (
            f"its decision log is not a part of this database's: they begin with the same "
            f"{origin.shared} events, and then differ"
        )


def record_restore(
    con: Connection, origin: Origin, known: Replaced, sealed: seal.State, by: str, now: datetime
) -> None:
    """Write into the restored database who restored it, from which tip, over which tip."""
    history = "this database's own history" if origin.own else "another history"
    because = (
        f"a backup whose log ends at {origin.tip or 'nothing'} ({history}, seal: {sealed}) "
        f"replaces a database whose log ends at {known.tip or 'nothing'}"
    )
    decisions.record_act(con, "database.restored", by, because, now)
