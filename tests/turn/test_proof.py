"""A file of strangers is read in a child: whatever becomes of that one, this process lives on."""

import contextlib
import os
import shutil
import sys
import threading

import duckdb
import pytest
from runtimes import NOW

from flywheel.errors import Refused
from flywheel.records import Prediction
from flywheel.store import decisions, events, open_store, restoring, seal
from flywheel.turn import backups, integrity, proof
from flywheel.turn.backups import Replaced

EVENT = Prediction(id="p-1", ts=NOW, text="wake me", intent="set_alarm")


def filled(path):
    store = open_store(path)
    with store.write() as con:
        events.add_predictions(con, [EVENT])
    return store


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A backup, and what is known of the database that made it."""
    folder = tmp_path_factory.mktemp("origin")
    store = filled(folder / "flywheel.duckdb")
    backups.back_up(store, folder / "backup", "ada (uid 7)", NOW)
    with store.read() as con:
        known = Replaced.of(con)
    store.close()
    return folder / "backup", known


@pytest.fixture
def copy(origin, tmp_path):
    return shutil.copy(origin[0], tmp_path / "flywheel.duckdb.arriving")


def child(monkeypatch, code):
    monkeypatch.setattr(proof, "COMMAND", (sys.executable, "-c", code))


_HEADERS, _BLOCK = 3 * 4096, 256 * 1024  # bytes of a file of DuckDB's before its blocks, of each


def edit(path, sql):
    with contextlib.closing(duckdb.connect(str(path))) as con:
        con.execute(sql)


def test_a_backup_is_proved_in_a_child_and_its_log_says_who_restored_it(origin, copy, tmp_path):
    found = proof.examine(copy, tmp_path, NOW, "bob (uid 8)", origin[1])
    assert (found["problems"], found["own_history"], found["replaced"]) == ([], True, origin[1].tip)
    store = open_store(restoring.proved(copy))
    with contextlib.closing(store), store.read() as con:
        act = decisions.acts(con)[0]
        assert (found["rows"]["predictions"], decisions.chain_tip(con)) == (
            1,
            found["decision_log"]["tip"],
        )
    assert (act["what"], act["by"], act["at"]) == ("database.restored", "bob (uid 8)", NOW)
    assert act["because"] == (
        f"a backup whose log ends at {origin[1].links[0]} (this database's own history, seal: "
        f"whole) replaces a database whose log ends at {origin[1].tip}"
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
        ("import sys; sys.exit(3)", "exit 3"),
    ],
)
def test_a_child_that_dies_is_a_refusal_that_says_how(monkeypatch, copy, tmp_path, code, words):
    child(monkeypatch, code)
    with pytest.raises(proof.ChildDied) as refused:
        proof.examine(copy, tmp_path, NOW, "bob", None)
    assert refused.value.message == (
        f"the backup cannot be used: reading it ended the process that tried, {words}"
    )
    assert not proof.survives(copy)


def test_a_file_that_is_no_database_is_refused_by_the_child(tmp_path):
    path = tmp_path / "flywheel.duckdb.arriving"
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(Refused, match=r"^the backup cannot be used: "):
        proof.examine(path, tmp_path, NOW, "bob", None)


def test_a_caller_who_goes_away_ends_the_child(monkeypatch, copy, tmp_path):
    started = tmp_path / "started"
    code = (
        "import os, pathlib, signal; "
        f"pathlib.Path({str(started)!r}).write_text(str(os.getpid())); signal.pause()"
    )
    child(monkeypatch, code)
    gone = threading.Event()

    def look():
        if started.exists() and started.read_text():
            gone.set()
        return gone.is_set()

    with pytest.raises(Refused, match="its caller went away"):
        proof.examine(copy, tmp_path, NOW, "bob", None, look)
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


EDITED = {
    "UPDATE predictions SET intent = 'set_timer'": "its rows are not those that were backed up",
    "DELETE FROM predictions": "its rows are not those that were backed up",
    "INSERT INTO aliases VALUES ('a', 'p-1')": "its rows are not those that were backed up",
    "CREATE OR REPLACE VIEW labelled AS SELECT 1": "the view labelled was changed",
    "UPDATE decision_events SET actor = 'eve'": "was changed after it was written",
}


@pytest.mark.parametrize(("sql", "words"), EDITED.items())
def test_a_backup_that_was_edited_is_refused(copy, tmp_path, sql, words):
    edit(copy, sql)
    with pytest.raises(Refused, match=words):
        integrity.examine(copy, tmp_path, NOW)
    assert not restoring.proved(copy).exists()


def test_a_header_that_is_there_twice_is_refused(copy, tmp_path):
    content = bytearray(copy.read_bytes())
    content[4096:8192] = content[8192:12288]
    copy.write_bytes(content)
    with pytest.raises(Refused, match="one of its headers is lost"):
        integrity.examine(copy, tmp_path, NOW)


def test_what_nobody_can_vouch_for_is_named(origin, copy, tmp_path):
    """A forger who writes the seal anew, or takes it away, leaves the log of this database."""
    known = origin[1]
    edit(copy, "UPDATE predictions SET intent = 'set_timer'; DELETE FROM decision_events")
    found = integrity.examine(copy, tmp_path, NOW, replaced=known)
    assert found["problems"][0].startswith("it has no seal of `flywheel db backup` at its end: ")
    shutil.copy(origin[0], copy)
    restoring.proved(copy).unlink()
    with contextlib.closing(duckdb.connect(str(copy))) as con:
        con.execute("UPDATE predictions SET intent = 'set_timer'; DELETE FROM decision_events")
        seal.put(con, "ada (uid 7)", NOW)
    found = integrity.examine(copy, tmp_path, NOW, replaced=known)
    assert (found["own_history"], found["problems"][0]) == (
        False,
        "its decision log is not a part of this database's: they begin with the same 0 events, "
        "and then differ",
    )


def test_a_table_of_ones_own_stays_behind_and_is_named(copy, tmp_path):
    edit(copy, "CREATE TABLE notes (text VARCHAR)")
    found = integrity.examine(copy, tmp_path, NOW)
    assert found["problems"] == ["the table notes is not flywheel's, and is not taken over"]
    store = open_store(restoring.proved(copy))
    with contextlib.closing(store), store.read() as con:
        assert con.execute("FROM duckdb_tables() WHERE table_name = 'notes'").fetchall() == []


def test_a_file_that_changed_after_it_was_proved_is_not_staged(copy, tmp_path):
    digest = integrity.examine(copy, tmp_path, NOW)["digest"]
    with restoring.proved(copy).open("ab") as file:
        file.write(b"x")
    database = copy.with_name("flywheel.duckdb")
    with pytest.raises(Refused, match="changed after it was read"):
        restoring.stage(database, NOW, digest=digest)
    assert restoring.staged(database) is None


def test_a_database_that_ends_whoever_opens_it_is_set_aside_unopened(origin, copy, tmp_path):
    integrity.examine(copy, tmp_path, NOW)
    database = copy.with_name("flywheel.duckdb")
    database.write_bytes(b"deadly")
    restoring.stage(database, NOW)
    with restoring.held(database) as lock:
        kept = restoring.put_in_place(
            database, lock, lambda _: pytest.fail("it was opened"), survives=lambda _: False
        )
    assert [path.read_bytes() for path in kept] == [b"deadly"]
    with contextlib.closing(open_store(database)) as store, store.read() as con:
        assert decisions.acts(con)[0]["what"] == "database.restored"


def test_what_is_looked_at_is_read_to_its_last_row(copy):
    edit(copy, "INSERT INTO rejected BY NAME SELECT hash(i)::VARCHAR AS raw FROM range(90000) r(i)")
    with contextlib.closing(duckdb.connect(str(copy))) as con:
        (block,) = con.execute(
            "SELECT max(block_id) FROM pragma_storage_info('rejected') "
            "WHERE column_name = 'raw' AND segment_type = 'VARCHAR' AND persistent"
        ).fetchone()
    content = bytearray(copy.read_bytes())
    place = _HEADERS + block * _BLOCK + _BLOCK // 2
    content[place : place + 8192] = bytes(8192)
    copy.write_bytes(content)
    with pytest.raises(Refused, match="Corrupt database file"):
        proof.look(copy)
    assert proof.survives(copy)


def test_what_a_library_prints_in_the_child_is_no_part_of_its_answer(monkeypatch, copy):
    drawn = (
        "import os, sys; from flywheel.turn import __main__ as entry; look = entry._look\n"
        "entry._look = lambda asked: (print('100% done'), os.write(1, b'100%'), look(asked))[2]\n"
        "sys.exit(entry.main())"
    )
    expected = proof.look(copy)
    child(monkeypatch, drawn)
    assert proof.look(copy) == expected
