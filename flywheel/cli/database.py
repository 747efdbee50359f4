"""`flywheel db`: check, back up and restore the database file."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.cli.command import Json, daemon, examples, group, place
from flywheel.cli.place import Place
from flywheel.cli.screen import Progress, paint, prose, raw_json, say
from flywheel.cli.text import clean, number, plural
from flywheel.errors import DaemonUnreachable, FlywheelError, NotFound, Refused

if TYPE_CHECKING:
    from flywheel.cli.client import Daemon

app = group("The database: check, back up, restore.")

_NAME = "flywheel.duckdb"


@app.command(epilog=examples("flywheel db check", "flywheel db check --json"))
def check(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Compare tables, sums, spool and archive; verify the decision log.

    The daemon does it where it runs, else this command. Exit code 1 when something is wrong.
    """
    folders = place(ctx)
    found = daemon(ctx).get("check").value if running(folders) else _check_alone(folders)
    problems = found["problems"]
    if as_json:
        raw_json(json.dumps(found, ensure_ascii=False).encode())
    else:
        rows = sum(found["rows"].values())
        text = f"{plural(rows, 'row')} in {plural(len(found['rows']), 'table')} read and written"
        say(f"{paint('FAIL' if problems else 'ok')}  {clean(_file(folders))}: {text}")
        log = found.get("decision_log") or {}
        if log.get("tip"):
            say(f"    decision log: {plural(log['events'], 'event')}, the last {clean(log['tip'])}")
        if waiting := (found.get("spool") or {}).get("waiting"):
            say(f"    spool: {plural(waiting, 'event')} not in the tables; a daemon loads them")
        say(*(line for problem in problems for line in prose(clean(problem), "  ")))
    if problems:
        raise typer.Exit(1)


@app.command(epilog=examples("flywheel db backup flywheel-2026-11-22.duckdb"))
def backup(
    ctx: typer.Context,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
) -> None:
    """Copy the database to a new file, proven to open.

    It is of one moment, and the daemon goes on meanwhile. Adapters and datasets are files
    beside the database (state_dir), never changed once written; copy them with your usual tools.
    """
    folders = place(ctx)
    if to.exists():
        raise Refused(f"{to} exists already", hint="name a new file")
    arriving = to.with_name(f"{to.name}.arriving")
    try:
        if running(folders):
            _fetch(daemon(ctx), arriving)
        else:
            _copy_alone(folders, arriving)
        _prove(arriving)
        arriving.rename(to)
    finally:
        arriving.unlink(missing_ok=True)
    say(f"wrote {clean(to)}: {number(to.stat().st_size // 1_000_000)} MB, opens and reads")


@app.command(epilog=examples("flywheel db restore flywheel-2026-11-22.duckdb"))
def restore(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Written by `db backup`.")],
) -> None:
    """Put a backup in the place of the database. The daemon must be stopped.

    The database that was there is kept beside it under another name.
    """
    folders = place(ctx)
    _refuse_running(folders, "restore")
    if not source.is_file():
        raise NotFound(f"{source}: no such file", hint="name a file that `db backup` wrote")
    from flywheel.store import copy_file

    folders.state_dir.mkdir(parents=True, exist_ok=True)
    arriving = folders.state_dir / f"{_NAME}.arriving"
    arriving.unlink(missing_ok=True)
    try:
        copy_file(source, arriving)
        _prove(arriving)
        _own_as(arriving, folders.state_dir)
        kept = _set_aside(_file(folders))
        arriving.replace(_file(folders))
    finally:
        for name in (_NAME, f"{_NAME}.wal", f"{_NAME}.lock"):
            (folders.state_dir / name.replace(_NAME, arriving.name)).unlink(missing_ok=True)
    say(f"restored {clean(source)} to {clean(_file(folders))}")
    if kept:
        say(f"the one before is {clean(kept)}")
    say("next: start the daemon; it serves the champion that this database names")


def running(folders: Place) -> bool:
    """Whether a daemon answers for these folders."""
    from flywheel.cli.client import Daemon

    client = Daemon(folders.socket, timeout_s=10)
    try:
        client.get("status")
    except DaemonUnreachable:
        return False
    except FlywheelError:
        return True
    finally:
        client.close()
    return True


def _refuse_running(folders: Place, what: str) -> None:
    if running(folders):
        raise Refused(
            f"cannot {what} {_file(folders)}: the daemon has it open",
            hint="stop it first: systemctl stop flywheel",
        )


def _file(folders: Place) -> Path:
    return folders.state_dir / _NAME


def _existing(folders: Place) -> Path:
    if not _file(folders).is_file():
        raise NotFound(
            f"no database at {_file(folders)}", hint="the daemon makes it: `flywheel run`"
        )
    return _file(folders)


def _check_alone(folders: Place) -> dict[str, Any]:
    path = _existing(folders)
    from flywheel.store import open_store
    from flywheel.turn.upkeep import check as look

    store = open_store(path)
    try:
        store.probe()
        return look(store, folders.state_dir)
    finally:
        store.close()


def _copy_alone(folders: Place, to: Path) -> None:
    path = _existing(folders)
    from flywheel.store import open_store

    store = open_store(path)  # held during the copy, so that no daemon starts to write
    try:
        store.copy_to(to)
    finally:
        store.close()


def _fetch(ask: Daemon, to: Path) -> None:
    progress = Progress()
    try:
        with to.open("xb") as file:
            for done, whole, part in ask.download("backup"):
                file.write(part)
                if whole:
                    progress.show(f"{100 * done // whole} % of {whole // 1_000_000} MB")
            file.flush()
            os.fsync(file.fileno())
    finally:
        progress.clear()


def _prove(path: Path) -> None:
    """Open a copy and use it; raises FlywheelError when it is damaged."""
    from flywheel.store import prove

    prove(path)


def _own_as(path: Path, folder: Path) -> None:
    """Give the file to the folder's owner: who restores is root, who serves is not."""
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, folder.stat().st_uid, folder.stat().st_gid)


def _set_aside(path: Path) -> Path | None:
    """Rename the database, and the log that belongs to it; returns its new name."""
    if not path.is_file():
        return None
    kept = path.with_name(f"{path.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    path.rename(kept)
    wal = path.with_name(f"{path.name}.wal")
    if wal.exists():
        wal.rename(kept.with_name(f"{kept.name}.wal"))
    return kept
