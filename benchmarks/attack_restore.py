"""Attacks by a file: an edited, damaged or foreign database is neither served nor fatal."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from benchmarks.attack_lab import ADA, NOW, Cases, Daemon, Lab, Reply, acts, refused, token_of
from flywheel.errors import FlywheelError
from flywheel.store import decisions, open_store
from flywheel.turn import Runtime, backups, integrity, proof
from flywheel.turn.backups import Replaced

CASES = Cases("restore")

Edit = Callable[[duckdb.DuckDBPyConnection, Lab], object]


def _backup(lab: Lab, runtime: Runtime, name: str = "backup.duckdb") -> Path:
    place = runtime.config.path.parent / name
    backups.back_up(runtime.store, place, ADA, NOW)
    return place


def _edited(lab: Lab, edit: Edit) -> tuple[Runtime, Path]:
    """A loop, and a backup of it that somebody edited."""
    runtime = lab.loop()
    place = _backup(lab, runtime)
    with contextlib.closing(duckdb.connect(str(place))) as con:
        edit(con, lab)
    return runtime, place


def _examined(runtime: Runtime, copy: Path, *, apart: bool = False) -> list[str]:
    """What a restore of the file says; `apart`: in a child process, as the daemon reads it.

    Raises:
        FlywheelError: it is refused.
    """
    with runtime.store.read() as con:
        replaced = Replaced.of(con)
    examine = proof.examine if apart else integrity.examine
    return list(examine(copy, runtime.config.state_dir, NOW, ADA, replaced)["problems"])


def _is_refused(lab: Lab, edit: Edit) -> str:
    runtime, place = _edited(lab, edit)
    return refused(lambda: _examined(runtime, place), "cannot be used")


def _another_champion(con: duckdb.DuckDBPyConnection, lab: Lab) -> None:
    con.execute("UPDATE champions SET adapter = ? WHERE number = 2", [lab.history.better])


def _one_more_champion(con: duckdb.DuckDBPyConnection, lab: Lab) -> None:
    con.execute(
        "INSERT INTO champions SELECT max(number) + 1, ?, 'd-3', now()::TIMESTAMP FROM champions",
        [lab.history.better],
    )


def _applied_without_people(con: duckdb.DuckDBPyConnection, lab: Lab) -> None:
    """The forged champion with an event of the chain for it, hashed as it must be."""
    _append(con, ["d-3", "applied", "applied", "gates", "passed", NOW.replace(tzinfo=None)])
    con.execute(
        "INSERT INTO champions SELECT max(number) + 1, ?, 'd-3', ?::TIMESTAMP FROM champions",
        [lab.history.better, NOW.replace(tzinfo=None)],
    )
    con.execute("UPDATE adapters SET state = 'retired' WHERE state = 'champion'")
    con.execute("UPDATE adapters SET state = 'champion' WHERE id = ?", [lab.history.better])


def _append(con: duckdb.DuckDBPyConnection, event: list[object]) -> None:
    (number, tip), *_ = con.execute(
        "SELECT number, hash FROM decision_events ORDER BY number DESC LIMIT 1"
    ).fetchall()
    numbered = [number + 1, *event]
    link = decisions.chain_link(tip, numbered, None)
    con.execute(
        "INSERT INTO decision_events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [*numbered, tip, link]
    )


@CASES
def a_backup_with_another_champion_is_refused(lab: Lab) -> str:
    for edit in (_another_champion, _one_more_champion):
        if got := _is_refused(lab, edit):
            return f"{edit.__name__}: {got}"
    return ""


@CASES
def a_champion_forged_with_its_own_event_is_told(lab: Lab) -> str:
    """Who recomputes the chain leaves this database's history, and that is said."""
    runtime, place = _edited(lab, _applied_without_people)
    try:
        told = _examined(runtime, place)
    except FlywheelError:
        return ""
    return "" if any("decision log" in line or "bytes" in line for line in told) else f"{told}"


@CASES
def a_backup_whose_queries_would_say_something_else_is_refused(lab: Lab) -> str:
    views = {
        "a view": "CREATE OR REPLACE VIEW labels_standing AS SELECT * FROM labels WHERE false",
        "a macro": "CREATE OR REPLACE MACRO truth_of(v, p, i) AS 'pay_bill'",
        "a macro before DuckDB's": "CREATE MACRO sum(x) AS 0",
        "another one": "CREATE MACRO md5(x) AS '0'",
        "a table macro": "CREATE OR REPLACE MACRO standing_predictions() AS TABLE SELECT 1 AS id",
        "a default": "ALTER TABLE adapters ALTER state SET DEFAULT 'champion'",
        "a type": "CREATE TYPE varchar2 AS ENUM ('a')",
        "an index": "CREATE UNIQUE INDEX one ON feedback (rater)",
        "a column": "ALTER TABLE decisions ADD COLUMN approved BOOLEAN DEFAULT true",
        "a column less": "ALTER TABLE disputes DROP COLUMN from_generation",
        "a table less": "DROP TABLE disputes",
    }
    for what, sql in views.items():
        runtime = lab.loop()
        place = _backup(lab, runtime)
        with contextlib.closing(duckdb.connect(str(place))) as con:
            try:
                con.execute(sql)
            except duckdb.Error:
                continue  # DuckDB does not let that be done
        if got := refused(lambda r=runtime, p=place: _examined(r, p), "cannot be used"):
            return f"{what}: {got}"
    return ""


@CASES
def a_decision_log_that_was_cut_or_rewritten_is_refused_or_told(lab: Lab) -> str:
    edits: dict[str, str] = {
        "an actor": "UPDATE decision_events SET actor = 'bob (uid 1001)' WHERE number = 2",
        "a reason": "UPDATE decision_events SET because = 'fine' WHERE number = 1",
        "a verdict": "UPDATE decisions SET gates = '[]' WHERE id = 'd-2'",
        "the end": "DELETE FROM decision_events WHERE number > 3",
        "the middle": "DELETE FROM decision_events WHERE number = 3",
        "every hash": "UPDATE decision_events SET hash = NULL, previous = NULL",
        "everything": "DELETE FROM decision_events",
    }
    for what, sql in edits.items():
        runtime, place = _edited(lab, lambda con, _, s=sql: con.execute(s))
        with contextlib.suppress(FlywheelError):
            told = _examined(runtime, place)
            if not any("log" in line or "bytes" in line for line in told):
                return f"{what}: {told}"
    return ""


@CASES
def rows_changed_in_a_backup_are_not_taken_silently(lab: Lab) -> str:
    edits = [
        "UPDATE samples SET intent = 'pay_bill' WHERE split = 'golden'",
        "DELETE FROM golden_queries",
        "DELETE FROM golden_rows WHERE generation = 1",
        "UPDATE feedback SET rater = 'ana'",
        "UPDATE adapters SET files = '{}'",
        "UPDATE adapters SET state = 'challenger' WHERE state = 'retired'",
        "INSERT INTO disputes SELECT 1, sample, true, 'x', 'x', now()::TIMESTAMP, 1 "
        "FROM golden_rows LIMIT 1",
    ]
    for sql in edits:
        runtime, place = _edited(lab, lambda con, _, s=sql: con.execute(s))
        with contextlib.suppress(FlywheelError):
            told = _examined(runtime, place)
            if not told:
                return f"{sql}: silent"
    return ""


# Files that are no backup at all


def _damaged(place: Path, lab: Lab) -> Iterator[tuple[str, bytes]]:
    whole = place.read_bytes()
    yield "nothing", b""
    yield "text", b"SELECT 1;" * 10_000
    yield "compressed", gzip.compress(whole)
    yield "half", whole[: len(whole) // 2]
    yield "a header alone", whole[:8192]
    yield "twice", whole + whole
    yield "a longer one", whole + b"\0" * 4096
    for number in range(12):
        at = lab.chance.randrange(4096, len(whole) - 64)
        changed = bytes(lab.chance.randrange(256) for _ in range(64))
        yield f"damage {number}", whole[:at] + changed + whole[at + 64 :]
    for number in range(4):
        start = lab.chance.randrange(len(whole) // 4096) * 4096
        yield f"a block of zeros {number}", whole[:start] + bytes(4096) + whole[start + 4096 :]


@CASES
def a_damaged_upload_ends_no_daemon_and_restores_nothing_silently(lab: Lab) -> str:
    runtime = lab.loop()
    folder = runtime.config.path.parent
    place = _backup(lab, runtime)
    runtime.store.close()
    daemon = lab.daemon(folder=folder)
    for what, body in _damaged(place, lab):
        reply = _upload(daemon, body)
        if not daemon.alive:
            return f"{what}: the daemon died"
        if reply.status == 202 and not reply.json["problems"]:
            return f"{what}: {reply}"
        if reply.status == 202:
            return ""  # it starts anew with what it told of
    status = daemon.admin("GET", "/v1/status")["champion"]
    left = [path.name for path in (folder / "var").glob("*arriving*")]
    return "" if (status, left) == (lab.history.champion, []) else f"{status} {left}"


def _upload(daemon: Daemon, body: bytes, name: str = "admin") -> Reply:
    headers = {"Content-Type": "application/octet-stream"}
    return daemon.ask("POST", "/v1/restore", body, token=token_of(name), headers=headers)


@CASES
def a_database_of_somebody_else_is_refused(lab: Lab) -> str:
    runtime = lab.loop()
    place = runtime.config.path.parent / "foreign.duckdb"
    with contextlib.closing(duckdb.connect(str(place))) as con:
        con.execute("CREATE TABLE champions (adapter VARCHAR)")
    if got := refused(lambda: _examined(runtime, place), "not a database of flywheel's"):
        return got
    with contextlib.closing(duckdb.connect(str(place))) as con:
        con.execute("CREATE TABLE schema_version (version INTEGER, name VARCHAR)")
        con.execute("INSERT INTO schema_version VALUES (1, 'x'), (9999, 'later')")
    return refused(lambda: _examined(runtime, place), "cannot be used")


@CASES
def a_file_that_unpacks_to_far_more_than_it_is_ends_with_its_reader(lab: Lab) -> str:
    runtime, place = _edited(
        lab,
        lambda con, _: con.execute(
            "CREATE VIEW bomb AS SELECT * FROM range(100000000) a, range(100000000) b"
        ),
    )
    with contextlib.suppress(FlywheelError):
        told = _examined(runtime, place, apart=True)
        if not told:
            return "it was taken silently"
    sparse = runtime.config.path.parent / "sparse.duckdb"
    sparse.write_bytes(place.read_bytes()[:4096])
    os.truncate(sparse, 1 << 30)
    return refused(lambda: _examined(runtime, sparse, apart=True))


@CASES
def a_backup_with_paths_to_files_of_this_machine_reads_none_of_them(lab: Lab) -> str:
    secret = lab.root / "secret.csv"
    secret.write_text("a\nthe daemon alone may read this\n", encoding="utf-8")
    runtime, place = _edited(
        lab,
        lambda con, _: con.execute(f"CREATE VIEW leak AS SELECT * FROM read_csv('{secret}')"),
    )
    told = []
    with contextlib.suppress(FlywheelError):
        told = _examined(runtime, place, apart=True)
    return f"{told}" if "daemon alone" in "".join(told) else ""


# What it says of itself


@CASES
def a_restore_is_an_event_with_both_tips_and_whose_it_was(lab: Lab) -> str:
    runtime = lab.loop()
    folder = runtime.config.path.parent
    place = _backup(lab, runtime)
    runtime.store.close()
    daemon = lab.daemon(folder=folder)
    later = daemon.by("ada", "POST", "/v1/decisions/d-3/reject", {"because": "no"}).status
    for role in ("ingest", "label", "look", "decide"):
        if (status := _upload(daemon, place.read_bytes(), role).status) != 403:
            return f"{role}: {status}"
    reply = _upload(daemon, place.read_bytes())
    if reply.status != 202:
        return f"{reply}"
    daemon.stop()
    again = lab.daemon(folder=folder)
    again.stop()
    runtime = lab.loop(folder=folder)
    (because, by), *_ = [(w, b) for what, b, w in acts(runtime) if what == "database.restored"]
    if later != 200 or by != "token admin" or because.count("ends at") != 2:
        return f"{by}: {because}"
    problems = integrity.check(runtime.store, runtime.config.state_dir)["problems"]
    return f"{problems}" if problems else ""


@CASES
def a_database_that_was_edited_while_nobody_ran_is_not_opened_or_told(lab: Lab) -> str:
    edits = {
        "a view": "CREATE OR REPLACE VIEW labels_standing AS SELECT * FROM labels WHERE false",
        "a macro": "CREATE MACRO sum(x) AS 0",
    }
    for what, sql in edits.items():
        runtime = lab.loop()
        path = runtime.store.path
        runtime.store.close()
        with contextlib.closing(duckdb.connect(str(path))) as con:
            con.execute(sql)
        if got := refused(lambda p=path: open_store(p).close(), "not as flywheel makes it"):
            return f"{what}: {got}"
    runtime = lab.loop()
    with runtime.store.write() as con:
        _another_champion(con, lab)
    told = integrity.check(runtime.store, runtime.config.state_dir)["problems"]
    return "" if any("champions has" in line for line in told) else f"{told}"


@CASES
def a_champion_that_was_edited_in_is_not_served_at_the_start(lab: Lab) -> str:
    runtime = lab.loop()
    folder = runtime.config.path.parent
    with runtime.store.write() as con:
        _one_more_champion(con, lab)
    runtime.store.close()
    daemon = lab.daemon(folder=folder, start=False)
    try:
        daemon.start()
    except RuntimeError as error:
        return "" if "Traceback" not in str(error) else str(error)
    link = (folder / "var" / "adapters" / "champion").readlink().name
    problems = daemon.admin("GET", "/v1/status")["problems"]
    if link == lab.history.better:
        return f"{link} serves; problems: {problems}"
    return "" if problems else "no problem is told"
