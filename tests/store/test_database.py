from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import duckdb
import pytest

from flywheel.errors import DatabaseHeld
from flywheel.records import Feedback, Prediction
from flywheel.store import StoreFailed, events, open_store
from flywheel.store.columns import scalar

OPEN_IN_ANOTHER_PROCESS = """
import pathlib, sys
from flywheel.errors import DatabaseHeld
from flywheel.store import open_store
try:
    open_store(pathlib.Path(sys.argv[1]))
    print("opened")
except DatabaseHeld as held:
    print(held)
"""

WRITE_AND_SAY_SO = """
import datetime, pathlib, sys
from flywheel.records import Prediction
from flywheel.store import events, open_store
store = open_store(pathlib.Path(sys.argv[1]))
now = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
for batch in range(10_000):
    with store.write() as con:
        events.add_predictions(con, [
            Prediction(id=f"p-{batch}-{i}", ts=now, text="我要听音乐", intent="play")
            for i in range(10)
        ])
    print(batch, flush=True)
"""


def another_process(script, path) -> str:
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


# ---- who holds the file ------------------------------------------------------------------


def test_a_second_process_is_told_which_process_holds_the_file(store):
    said = another_process(OPEN_IN_ANOTHER_PROCESS, store.path)
    assert said == f"cannot open {store.path}: process {os.getpid()} holds it"


def test_a_second_store_in_this_process_is_refused_too(store):
    with pytest.raises(DatabaseHeld, match=f"process {os.getpid()} holds it"):
        open_store(store.path)


def test_the_file_stays_held_after_this_process_read_it(store):
    store.path.read_bytes()  # closing it drops DuckDB's own lock
    assert "holds it" in another_process(OPEN_IN_ANOTHER_PROCESS, store.path)


def test_a_plain_duckdb_that_holds_the_file_is_named(tmp_path):
    path = tmp_path / "flywheel.duckdb"
    hold = "import duckdb,sys; c=duckdb.connect(sys.argv[1]); print('held',flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        with pytest.raises(DatabaseHeld, match=f"process {holder.pid} holds it"):
            open_store(path)
        holder.communicate(b"\n")
    open_store(path).close()


def test_a_closed_file_can_be_opened_by_another_process(tmp_path):
    path = tmp_path / "new" / "flywheel.duckdb"
    first = open_store(path)
    first.close()
    first.close()
    assert another_process(OPEN_IN_ANOTHER_PROCESS, path) == "opened"
    with pytest.raises(StoreFailed, match="is closed"), first.read():
        pass


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "flywheel.duckdb"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreFailed, match="cannot be used") as refused:
        open_store(path)
    assert "flywheel db check" in refused.value.hint


# ---- transactions ------------------------------------------------------------------------


def beats(store) -> int:
    with store.read() as con:
        return con.execute("SELECT beats FROM heartbeat").fetchone()[0]


def test_an_exception_rolls_back_and_the_store_goes_on(store):
    def fail_in_python():
        with store.write() as con:
            con.execute("UPDATE heartbeat SET beats = 7")
            raise KeyError

    def fail_in_sql():
        with store.write() as con:
            con.execute("UPDATE heartbeat SET beats = 7")
            con.execute("SELECT * FROM no_such_table")

    with pytest.raises(KeyError):
        fail_in_python()
    assert beats(store) == 0
    with pytest.raises(duckdb.CatalogException):
        fail_in_sql()
    assert beats(store) == 0
    store.probe()
    assert beats(store) == 1


def test_a_write_inside_a_write_joins_it(store):
    def write_twice_and_fail():
        with store.write() as outer:
            with store.write() as inner:
                inner.execute("UPDATE heartbeat SET beats = 5")
            assert outer.execute("SELECT beats FROM heartbeat").fetchone() == (5,)
            raise KeyError

    with pytest.raises(KeyError):
        write_twice_and_fail()
    assert beats(store) == 0


def test_a_part_that_failed_dooms_the_whole_even_when_the_error_is_caught(store):
    def go_on_after_a_failure():
        with store.write() as con:
            con.execute("UPDATE heartbeat SET beats = 5")
            with contextlib.suppress(KeyError), store.write():
                raise KeyError

    with pytest.raises(RuntimeError, match="nothing was written"):
        go_on_after_a_failure()
    assert beats(store) == 0
    store.probe()
    assert beats(store) == 1


def test_a_durable_write_refuses_to_depend_on_another(store):
    with store.write_durably() as con:
        con.execute("UPDATE heartbeat SET beats = 3")
    with (
        pytest.raises(RuntimeError, match="part of another"),
        store.write(),
        store.write_durably(),
    ):
        pass
    assert beats(store) == 3


def test_a_reader_cannot_write(store):
    with pytest.raises(duckdb.Error, match="read-only"), store.read() as con:
        con.execute("UPDATE heartbeat SET beats = 5")


def test_one_thread_writes_at_a_time_and_none_of_it_is_lost(store):
    def count_up():
        for _ in range(20):
            with store.write() as con:
                (now,) = con.execute("SELECT beats FROM heartbeat").fetchone()
                con.execute("UPDATE heartbeat SET beats = ?", [now + 1])

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert beats(store) == 80


def test_readers_see_whole_transactions_while_another_thread_writes(store, now):
    done = threading.Event()
    torn: list[tuple] = []
    seen: list[int] = []

    def look():
        while not done.is_set():
            with store.read() as con:
                first = events.counts(con)
                second = events.counts(con)
            seen.append(first.predictions)
            if first != second or first.predictions != first.labelled:
                torn.append((first, second))

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(15):
        with store.write() as con:
            p = Prediction(id=f"p-{i}", ts=now, text="听音乐", intent="play")
            events.add_predictions(con, [p])
            said = Feedback(id=f"f-{i}", prediction_id=p.id, ts=now, verdict="correct")
            events.add_feedback(con, [said])
    store.checkpoint()  # readers do not stop it
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert seen


def test_a_reader_keeps_its_view_while_others_commit(store):
    with store.read() as con:
        before = con.execute("SELECT beats FROM heartbeat").fetchone()
        store.probe()
        assert con.execute("SELECT beats FROM heartbeat").fetchone() == before
    assert beats(store) == 1


def test_a_database_that_was_there_before_can_be_checkpointed(store):
    store.close()
    again = open_store(store.path)
    with contextlib.closing(again):
        again.probe()
        assert again.checkpoint()


def test_a_checkpoint_inside_a_transaction_is_a_mistake(store):
    with pytest.raises(RuntimeError, match="part of a transaction"), store.write():
        store.checkpoint()


# ---- what survives -----------------------------------------------------------------------


def test_kill_9_after_a_commit_loses_nothing(tmp_path):
    path = tmp_path / "flywheel.duckdb"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_SAY_SO, str(path)], stdout=subprocess.PIPE, text=True
    )
    said = [int(writer.stdout.readline()) for _ in range(25)]
    writer.send_signal(signal.SIGKILL)
    said += [int(line) for line in writer.stdout.read().splitlines() if line]
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    store = open_store(path)
    with store.read() as con:
        (rows,) = con.execute("SELECT count(*) FROM predictions").fetchone()
        batches = con.execute("SELECT DISTINCT split_part(id, '-', 2) FROM predictions").fetchall()
    store.close()
    assert rows % 10 == 0  # whole transactions only
    assert {int(batch) for (batch,) in batches} >= set(said)


def test_what_was_committed_is_there_after_closing(tmp_path):
    path = tmp_path / "flywheel.duckdb"
    for _ in range(3):
        store = open_store(path)
        store.probe()
        store.close()
    again = open_store(path)
    assert beats(again) == 3
    again.close()


def test_the_file_can_be_read_by_duckdb_1_whichever_wrote_it(store):
    fill(store)
    assert store.compact(anyway=True)
    with store.read() as con:
        tags = scalar(con, "SELECT tags FROM duckdb_databases() WHERE NOT internal")
    assert tags["storage_version"] == "v1.0.0+"


# ---- lock-down ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "ATTACH '{folder}/other.duckdb'",
        "COPY heartbeat TO '{folder}/out.parquet'",
        "EXPORT DATABASE '{folder}/out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM 'https://example.org/x.parquet'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET memory_limit = '100GB'",
    ],
)
def test_sql_reaches_nothing_outside_the_database(store, statement):
    before = sorted(store.path.parent.iterdir())
    with pytest.raises(duckdb.Error), store.write() as con:
        con.execute(statement.format(folder=store.path.parent))
    assert sorted(store.path.parent.iterdir()) == before


def test_a_variable_of_the_program_is_no_table(store):
    secret = [1, 2, 3]
    with pytest.raises(duckdb.CatalogException), store.read() as con:
        con.execute("SELECT * FROM secret")
    assert secret


# ---- memory ------------------------------------------------------------------------------


def held(store) -> int:
    with store.read() as con:
        return scalar(con, "SELECT sum(memory_usage_bytes) FROM duckdb_memory()")


def fill(store) -> None:
    with store.write() as con:
        con.execute(
            "INSERT INTO source_cursors (name, cursor) "
            "SELECT md5(i::VARCHAR), repeat('x', 4096) || i FROM range(4096) AS r(i)"
        )


def test_what_was_written_is_let_out_of_memory_and_is_still_there(store):
    calm = held(store)
    fill(store)
    assert held(store) > calm + (16 << 20)
    assert store.release_memory()
    assert held(store) < calm + (2 << 20)
    with store.read() as con:
        assert scalar(con, "SELECT count(*) FROM source_cursors") == 4096
    store.probe()


def test_memory_is_not_given_back_under_a_reader_or_in_a_transaction(store):
    with store.read():
        assert not store.release_memory()
    with store.write(), pytest.raises(RuntimeError, match="part of a transaction"):
        store.release_memory()
    assert store.release_memory()
