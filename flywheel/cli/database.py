"""`flywheel db`: check, back up and restore the database file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.cli.command import Json, daemon, examples, group, place, running
from flywheel.cli.place import Place
from flywheel.cli.restore import restore
from flywheel.cli.screen import Progress, paint, prose, raw_json, say
from flywheel.cli.text import clean, number, plural
from flywheel.errors import NotFound, Refused

if TYPE_CHECKING:
    from flywheel.cli.client import Daemon

app = group("The database: check, back up, restore.")


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
        say(f"{paint('FAIL' if problems else 'ok')}  {clean(folders.database)}: {text}")
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


app.command(
    epilog=examples(
        "flywheel db restore flywheel-2026-11-22.duckdb",
        "flywheel db restore flywheel-2026-11-22.duckdb --json",
    )
)(restore)


def _existing(folders: Place) -> Path:
    if not folders.database.is_file():
        raise NotFound(
            f"no database at {folders.database}", hint="the daemon makes it: `flywheel run`"
        )
    return folders.database


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
