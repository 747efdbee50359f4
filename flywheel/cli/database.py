"""`flywheel db`: check, back up and restore the database file; and `flywheel erase`.

What `db` does goes through the daemon where one runs, and else to the file itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel import files
from flywheel.cli.command import Json, Place, daemon, examples, group, place, running
from flywheel.cli.screen import ProgressLine, paint, prose, raw_json, remark, say
from flywheel.cli.text import clean, number, plural, wrap
from flywheel.errors import FlywheelError, NotFound, Refused

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient
    from flywheel.turn.backups import Replaced

_PROVING_S = 3600.0  # every row of it is read
_BACK_S = 120.0  # a start takes a second or two, and systemd waits as long
_UNWELL_S = 10.0  # a daemon that answers is ready within this long, or says why not
_NO_LOGIN = (1 << 32) - 1  # what the kernel says of a process that nobody logged in for
_PART = 1 << 20  # bytes sent at once
_COUNTED = ("predictions", "feedback", "samples", "turns", "decisions", "adapters")


def restore(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Written by `db backup`.")],
    *,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of the database.

    It is read to its last row first. A running daemon then starts anew with it by itself, and
    this command waits until it is ready. The database that was there, with everything that was
    acknowledged, is kept beside it under another name. Exit code 1 when the daemon is not ready.
    """
    folders = place(ctx)
    if not source.is_file():
        raise NotFound(f"{source}: no such file", hint="name a file that `db backup` wrote")
    problem = ""
    if running(folders):
        restored, problem = _with_daemon(folders, source)
    else:
        restored = _alone(folders, source)
    if as_json:
        say(json.dumps(restored, ensure_ascii=False))
    else:
        _tell(restored, source)
    if problem:
        raise FlywheelError(f"restored, but {problem}", hint="look at `flywheel log`")


def _tell(restored: dict[str, Any], source: Path) -> None:
    rows = restored["rows"]
    counted = [plural(rows[n], n.removesuffix("s"), n) for n in _COUNTED if rows.get(n)]
    say(f"restored {clean(source)}: {', '.join(counted) or 'nothing in it'}")
    if (log := restored["decision_log"])["tip"]:
        say(f"    decision log: {plural(log['events'], 'event')}, the last {clean(log['tip'])}")
    say(*(f"    kept what was there: {clean(path)}" for path in restored["kept"]))
    for problem in restored["problems"]:
        say(*prose(clean(f"note: {problem}"), "    "))
    if restored["champion"] is not None:
        say(f"the daemon is ready; champion: {clean(restored['champion'] or 'none')}")
    else:
        say("next: start the daemon; it serves the champion that this database names")


def _with_daemon(folders: Place, source: Path) -> tuple[dict[str, Any], str]:
    """Hand the backup over and wait; returns what came back, and what is wrong with the daemon."""
    from flywheel.cli.client import DaemonClient

    if _log_of(source).is_file():
        raise Refused(
            f"{_log_of(source)} belongs to {source} and would be left behind",
            hint="stop the daemon (systemctl stop flywheel), then restore: that takes both",
        )
    client, progress = DaemonClient(folders.socket, timeout_s=_PROVING_S), ProgressLine()
    try:
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            parts = _parts(file, size, progress)
            restored: dict[str, Any] = client.upload("restore", parts=parts, size=size).value
    finally:
        client.close()
        progress.clear()
    try:
        champion, problem = _back(folders, time.monotonic(), progress)
    except KeyboardInterrupt:
        remark("the daemon has the backup and goes on by itself: see `flywheel status`")
        raise
    finally:
        progress.clear()
    return {**restored, "champion": champion}, problem


def _parts(file: Any, size: int, progress: ProgressLine) -> Iterator[bytes]:
    done = 0
    while part := file.read(_PART):
        done += len(part)
        progress.show(f"{100 * done // size} % of {size // 1_000_000} MB")
        yield part
    if done != size:
        raise FlywheelError(f"{file.name} changed while it was read", hint="restore a copy of it")
    progress.show("the daemon reads it to its last row")


def _back(folders: Place, since: float, progress: ProgressLine) -> tuple[str, str]:
    """Wait for the daemon to be ready again; its champion, and why it is not ready ("": it is).

    Args:
        folders: of the daemon.
        since: when the daemon had answered, as `time.monotonic` says it: the one that comes
            back is younger.
        progress: where to say that this waits.

    Raises:
        FlywheelError: it did not come back.
    """
    from flywheel.cli.client import DaemonClient

    until = time.monotonic() + _BACK_S
    while time.monotonic() < until:
        progress.show("the daemon starts anew")
        client, asked = DaemonClient(folders.socket, timeout_s=10), time.monotonic()
        try:
            status = client.get("status").value
            if status["uptime_s"] < asked - since:
                return status["champion"] or "", _unready(client)
        except FlywheelError:
            pass  # not yet
        finally:
            client.close()
        time.sleep(0.1)
    raise FlywheelError(
        "the daemon has the backup, and did not come back in two minutes",
        hint="look at `flywheel log`, start it (systemctl start flywheel): it restores then",
    )


def _unready(client: DaemonClient) -> str:
    until = time.monotonic() + _UNWELL_S
    while True:
        try:
            client.ready()
        except FlywheelError as error:
            if time.monotonic() > until:
                return f"the daemon is not ready: {error.message}"
            time.sleep(0.1)
        else:
            return ""


def _alone(folders: Place, source: Path) -> dict[str, Any]:
    """Do what the daemon does, where none runs; raises DatabaseHeld where one does after all."""
    from flywheel.daemon.wiring import finish
    from flywheel.store import copy_file, restoring
    from flywheel.turn import integrity, proof

    database = folders.database
    folders.state_dir.mkdir(parents=True, exist_ok=True)
    with restoring.held(database) as lock:
        _own_as(database.with_name(f"{database.name}.lock"), folders.state_dir)
        finish(database, lock)  # of one that was cut off
        restoring.discard(database)
        copy = restoring.arriving(database)
        try:
            copy_file(source, copy)
            if _log_of(source).is_file():
                copy_file(_log_of(source), _log_of(copy))
            now = datetime.now(UTC)
            there, lives = _there(database)
            report = proof.examine(copy, folders.state_dir, now, _person(), there)
            _own_as(restoring.proved(copy), folders.state_dir)
            restoring.stage(database, now, integrity.OF_ITS_TURNS, report.pop("digest"))
            set_aside = finish(database, lock, lambda _: lives)
        finally:
            restoring.discard(database)
    return {"kept": list(map(str, set_aside)), **report, "champion": None}


def _there(database: Path) -> tuple[Replaced | None, bool]:
    """What is known of the database that is replaced, and whether opening it ends no process."""
    from flywheel.turn import proof

    try:
        return (proof.look(database) if database.is_file() else None), True
    except proof.ChildDied:
        return None, False
    except Refused:
        return None, True


def _person() -> str:
    """Who runs this command, as the daemon would name them: by the login, also behind sudo."""
    uid = os.getuid()
    with contextlib.suppress(OSError, ValueError):
        login = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
        uid = uid if login == _NO_LOGIN else login
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _log_of(path: Path) -> Path:
    """DuckDB's own log, which is beside a file that was not closed."""
    return path.with_name(f"{path.name}.wal")


def _own_as(path: Path, folder: Path) -> None:
    """Give the file to the folder's owner: who restores is root, who serves is not."""
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, folder.stat().st_uid, folder.stat().st_gid)


app = group("The database: check, back up, restore.")


@app.command(epilog=examples("flywheel db check", "flywheel db check --json"))
def check(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Compare tables, sums, spool and archive; verify the decision log.

    The daemon does it where it runs, else this command. Exit code 1 when something is wrong.
    """
    folders = place(ctx)
    report = daemon(ctx).get("check").value if running(folders) else _check_alone(folders)
    problems = report["problems"]
    if as_json:
        raw_json(json.dumps(report, ensure_ascii=False).encode())
    else:
        rows = sum(report["rows"].values())
        text = f"{plural(rows, 'row')} in {plural(len(report['rows']), 'table')} read and written"
        say(f"{paint('FAIL' if problems else 'ok')}  {clean(folders.database)}: {text}")
        log = report.get("decision_log") or {}
        if log.get("tip"):
            say(f"    decision log: {plural(log['events'], 'event')}, the last {clean(log['tip'])}")
        if waiting := (report.get("spool") or {}).get("waiting"):
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
        files.move(arriving, to)
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
    from flywheel.store import open_store, redo
    from flywheel.turn.integrity import check as look

    store = open_store(path, redo_folder=path.parent / redo.FOLDER)
    try:
        store.probe()
        return look(store, folders.state_dir)
    finally:
        store.close()


def _copy_alone(folders: Place, to: Path) -> None:
    path = _existing(folders)
    from flywheel.store import open_store, redo
    from flywheel.turn import backups

    store = open_store(
        path, redo_folder=path.parent / redo.FOLDER
    )  # held during the copy, so that no daemon starts to write
    try:
        backups.back_up(store, to, _person(), datetime.now(UTC))
    finally:
        store.close()


def _fetch(ask: DaemonClient, to: Path) -> None:
    progress = ProgressLine()
    try:
        with to.open("xb") as file:
            for done, whole, part in ask.download("backup"):
                file.write(part)
                if whole:
                    progress.show(f"{100 * done // whole} % of {whole // 1_000_000} MB")
            files.flush(file)
    finally:
        progress.clear()


def _prove(path: Path) -> None:
    """Open a copy and read it, without a change to its bytes; raises Refused when it is damaged."""
    from flywheel.turn import proof

    proof.look(path)


def _tell_erased(erased: dict[str, Any]) -> None:
    """Say what was removed, what learned from it, and what is left."""
    rows = ", ".join(f"{count} of {name}" for name, count in erased["removed"].items())
    say(f"removed {rows or 'nothing'}; {len(erased['files'])} files rewritten or deleted")
    for each in erased["adapters"]:
        say(f"trained on it: {clean(each)}")
    for left in erased["left"]:
        if ".before-" in left and "/" not in left:
            say(f"not searched: {clean(left)}, which a restore set aside; delete it")
        else:
            say(f"still found in {clean(left)}")
    if erased["turn"]:
        say(f"{erased['turn']} learns anew without it: `flywheel turn show {erased['turn']}`")
    if erased["removed"] or erased["files"]:
        say("what stays:", *(f"  {line}" for kept in erased["stays"] for line in wrap(kept, 76)))


def erase(
    ctx: typer.Context,
    *,
    session: Annotated[str, typer.Option(help="Predictions of this conversation.")] = "",
    rater: Annotated[str, typer.Option(help="What this person asked, said and labelled.")] = "",
    prediction: Annotated[str, typer.Option(help="One prediction, by its id.")] = "",
    and_retrain: Annotated[
        bool, typer.Option("--and-retrain", help="Then open a turn that learns without it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Remove one person's data everywhere.

    Tables, datasets and jobs are cleaned, and the adapters that learned from it are named.

    A text that somebody else said too stays theirs. Adapters are named and not changed: roll back,
    or train anew by --and-retrain. What that trains is what would have been trained had the data
    never come, from the samples of the teacher that remain, and is decided like any other; a
    diagnosis that counted the person may have chosen for which intents the teacher wrote.
    Exit code 1 when a search still finds something, or no turn could be opened.
    """
    asked = {"session": session, "rater": rater, "prediction": prediction}
    asked = {name: value for name, value in asked.items() if value}
    if len(asked) != 1:
        raise typer.BadParameter("name one of --session, --rater, --prediction")
    erased = daemon(ctx).post("erase", value=asked | {"and_retrain": and_retrain}).value
    if as_json:
        say(json.dumps(erased, ensure_ascii=False))
    else:
        _tell_erased(erased)
    if not (erased["removed"] or erased["files"] or erased["left"]):
        ((kind, name),) = asked.items()
        raise NotFound(
            f"nothing is stored of the {kind} {clean(name)}",
            hint="its id is as its producer sent it; see docs/how-to/keep-less.md",
        )
    if erased["not_retrained"]:
        reason = clean(erased["not_retrained"])
        raise Refused(
            f"the data was removed, and no turn was opened: {reason}", hint="flywheel turn start"
        )
    if erased["left"]:
        raise typer.Exit(1)
