"""`flywheel db`: check, back up and restore the database file."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flywheel.cli.command import daemon, examples, group, place
from flywheel.cli.place import Place
from flywheel.cli.screen import paint, say
from flywheel.cli.text import clean, number
from flywheel.errors import DaemonUnreachable, FlywheelError, NotFound, Refused

app = group("The database: check, back up, restore.")

_NAME = "flywheel.duckdb"


@app.command(epilog=examples("flywheel db check"))
def check(ctx: typer.Context) -> None:
    """Check that the database can be read and written.

    The daemon does it where it runs, else this command. Exit code 1 when that does not work.
    """
    folders = place(ctx)
    if running(folders):
        daemon(ctx).ready()
        say(f"{paint('ok')}  {clean(_file(folders))}: the daemon reads and writes it")
        return
    path = _existing(folders)
    from flywheel.store import open_store

    store = open_store(path)
    try:
        store.probe()
    finally:
        store.close()
    size = number(path.stat().st_size // 1_000_000)
    say(f"{paint('ok')}  {clean(path)}: read and written, {size} MB")


@app.command(epilog=examples("flywheel db backup flywheel-2026-11-22.duckdb"))
def backup(
    ctx: typer.Context,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
) -> None:
    """Copy the database to a new file, whole and checked. The daemon must be stopped.

    Adapters and datasets are files beside it (state_dir); copy them with your usual tools.
    """
    folders = place(ctx)
    _refuse_running(folders, "back up")
    if to.exists():
        raise Refused(f"{to} exists already", hint="name a new file")
    from flywheel.store import open_store

    path = _existing(folders)
    store = open_store(path)  # held during the copy, so that no daemon starts to write
    try:
        store.checkpoint()
        _copy(path, to)
    finally:
        store.close()
    _prove(to)
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
    folders.state_dir.mkdir(parents=True, exist_ok=True)
    arriving = folders.state_dir / f"{_NAME}.arriving"
    arriving.unlink(missing_ok=True)
    try:
        _copy(source, arriving)
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


def _copy(source: Path, to: Path) -> None:
    """Copy in another process.

    Closing any descriptor of the file in this one would drop the lock that DuckDB holds on it.
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
    with to.open("rb") as file:
        os.fsync(file.fileno())


def _prove(path: Path) -> None:
    """Open a copy and use it; raises FlywheelError when it is damaged."""
    from flywheel.store import open_store

    store = open_store(path)
    try:
        store.probe()
    finally:
        store.close()
        path.with_name(path.name + ".lock").unlink(missing_ok=True)


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
