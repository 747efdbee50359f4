from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow.parquet
import pytest

from flywheel.records import Feedback, Prediction
from flywheel.store import (
    archive,
    database,
    erasure,
    events,
    file_copies,
    health,
    open_store,
    retention,
    schema,
)
from flywheel.store.columns import scalar

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def prediction(number, days, **more):
    at = NOW - days * DAY
    said = {"text": f"text {number}", "intent": "alarm", "slices": {"session": f"s-{number % 3}"}}
    return Prediction(id=f"p-{number}", ts=at, **(said | more))


def verdict(number, days, **more):
    said = {"verdict": "corrected", "intent": "timer", "rater": f"u-{number % 2}"}
    return Feedback(
        id=f"f-{number}",
        prediction_id=f"p-{number}",
        ts=NOW - days * DAY,
        rater_kind="user",
        **(said | more),
    )


def fill(store):
    """Ten days, two predictions a day; every other one judged; one verdict waits."""
    with store.write() as con:
        events.add_predictions(con, [prediction(n, n / 2 + 0.1) for n in range(20)])
        events.add_feedback(con, [verdict(n, n / 2) for n in range(0, 20, 2)])
        events.add_feedback(con, [verdict(99, 8.5)])


def state(store):
    """What a person or a turn can see."""
    with store.read() as con:
        counts = events.counts(con)
        gone = archive.archived(con)
        whole = health.halves(con, NOW - 30 * DAY, NOW - 30 * DAY, NOW)[0]
        labels = health.labelled_texts(con, ())
    total = counts.predictions + gone.predictions, counts.feedback + gone.feedback
    return total, counts.labelled, whole, labels


def rows(store, kind):
    folder = store.path.parent / "archive"
    found = [pyarrow.parquet.read_table(path) for path in sorted(folder.glob(f"{kind}-*.parquet"))]
    return [row for table in found for row in table.to_pylist()]


def test_old_days_move_to_files_and_everything_that_is_asked_stays(store):
    fill(store)
    before = state(store)
    assert retention.archive_before(store, NOW - 4 * DAY, NOW) == 12 + 6
    with store.read() as con:
        assert (events.counts(con).predictions, events.counts(con).waiting_feedback) == (8, 0)
        assert archive.archived(con).before == NOW - 4 * DAY
    assert state(store) == before
    assert {row["id"] for row in rows(store, "predictions")} == {f"p-{n}" for n in range(8, 20)}
    assert len(rows(store, "feedback")) == 6
    assert retention.archive_before(store, NOW - 4 * DAY, NOW) == 0


def test_what_left_is_known_when_it_is_sent_again_and_what_is_late_leaves_later(store):
    fill(store)
    retention.archive_before(store, NOW - 4 * DAY, NOW)
    before = state(store)
    fill(store)
    assert state(store) == before
    with store.write() as con:
        assert events.add_predictions(con, [prediction(15, 7.6), prediction(50, 7.6)]).new == 1
    assert retention.archive_before(store, NOW - 4 * DAY, NOW) == 1
    ids = [row["id"] for row in rows(store, "predictions")]
    assert sorted(ids) == sorted({*ids})
    assert "p-50" in ids


def test_a_window_that_cuts_a_day_that_left_counts_it_whole(store):
    fill(store)
    retention.archive_before(store, NOW - 4 * DAY, NOW)
    with store.read() as con:
        assert health.halves(con, NOW - 6.5 * DAY, NOW - 6.5 * DAY, NOW)[0].volume == {"alarm": 14}
        assert health.halves(con, NOW - 6.5 * DAY, NOW - 6.5 * DAY, NOW - 5.5 * DAY)[0].volume == {
            "alarm": 4
        }


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_crash_while_a_day_leaves_loses_nothing_and_keeps_nothing_twice(
    tmp_path, monkeypatch, moment
):
    store = open_store(tmp_path / "flywheel.duckdb")
    fill(store)
    before = state(store)
    honest, calls = archive.settle, []

    def die(con):
        calls.append(con)
        if len(calls) > 1 and moment == "after the commit":
            raise KeyboardInterrupt
        honest(con)

    with monkeypatch.context() as patched:
        patched.setattr(archive, "settle", die)
        if moment == "before the commit":
            patched.setattr(retention, "changed", lambda *_: 1 / 0)
        with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
            retention.archive_before(store, NOW - 4 * DAY, NOW)
    assert list((tmp_path / "archive").glob("*.arriving"))
    store.close()
    store = open_store(tmp_path / "flywheel.duckdb")
    assert state(store) == before
    retention.archive_before(store, NOW - 4 * DAY, NOW)
    assert state(store) == before
    ids = [row["id"] for row in rows(store, "predictions")]
    assert sorted(ids) == sorted(f"p-{n}" for n in range(8, 20))
    assert not list((tmp_path / "archive").glob("*.arriving"))
    store.close()


def test_a_person_is_erased_from_the_files_too(store):
    fill(store)
    retention.archive_before(store, NOW - 4 * DAY, NOW)
    for person in (erasure.Person(session="s-1"), erasure.Person(rater="u-0")):
        with store.write() as con:
            found = erasure.traces(con, person)
            removed = erasure.remove(con, found)
        with store.write() as con:
            archive.settle(con)
        with store.read() as con:
            assert erasure.left(con, found) == {}
    assert removed["archive/feedback"] == 3
    kept = rows(store, "predictions")
    assert {row["slices"] for row in kept} == {'{"session":"s-0"}', '{"session":"s-2"}'}
    with store.read() as con:
        assert archive.archived(con).predictions == len(kept) == 8
        assert scalar(con, "SELECT sum(predictions) FROM daily") == 20 - 7
        assert events.counts(con).waiting_feedback == 0


def test_the_files_of_a_database_that_was_set_aside_are_left_alone(tmp_path, store):
    fill(store)
    retention.archive_before(store, NOW - 9 * DAY, NOW)
    other = open_store(tmp_path / "other" / "flywheel.duckdb")
    (tmp_path / "other" / "archive").mkdir()
    folder = store.path.parent / "archive"
    for path in folder.iterdir():
        (tmp_path / "other" / "archive" / path.name).write_bytes(path.read_bytes())
    fill(other)
    retention.archive_before(other, NOW - 9 * DAY, NOW)
    with other.read() as con, store.read() as first:
        assert sorted(archive.unnamed(con)) == [one.name for one in archive.listed(first)]
    other.close()


def test_a_file_that_is_mostly_free_is_written_anew_while_others_read_and_write(store, monkeypatch):
    monkeypatch.setattr(file_copies, "_WORTH_BYTES", 1 << 20)
    with store.write() as con:
        con.execute(
            "INSERT INTO predictions (id, ts, text, intent, arguments, confidence, adapter, "
            "latency_ms, slices) SELECT 'x-' || i, TIMESTAMP '2026-01-01' + to_seconds(i // 9), "
            "md5(i::VARCHAR), 'alarm', '{}', .5, NULL, 1, '{}' FROM range(220_000) AS r(i)"
        )
        con.execute("INSERT INTO daily SELECT DATE '2026-01-01', 'alarm', NULL, '{}', 220_000")
    fill(store)
    assert not store.compact()
    retention.archive_before(store, NOW - 4 * DAY, NOW)
    store.checkpoint()
    before, size = state(store), store.path.stat().st_size
    with store.read() as con:
        marks = schema.fingerprints(con)
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append(state(store) == before)

    reader = threading.Thread(target=read)
    reader.start()
    assert store.compact()
    stop.set()
    reader.join()
    assert seen
    assert all(seen)
    assert store.path.stat().st_size < size / 2
    assert not (store.path.parent / "compacting").exists()
    with store.read() as con:
        assert schema.fingerprints(con) == marks
    with store.write() as con:
        assert events.add_predictions(con, [prediction(77, 0.5)]).new == 1
    store.probe()
    store.close()
    again = open_store(store.path)
    with again.read() as con:
        assert events.counts(con).predictions == 9
    again.close()


def test_a_reader_in_the_way_leaves_the_file_as_it_was(store, monkeypatch):
    monkeypatch.setattr(database, "worth_compacting", lambda con: True)
    monkeypatch.setattr(database, "PATIENCE_S", 0.1)
    fill(store)
    with store.read() as con:
        assert not store.compact()
        assert events.counts(con).predictions == 20
    assert store.compact()
    store.probe()


def test_no_other_file_can_be_touched(store):
    path = store.path.parent
    for sql in (f"COPY predictions TO '{path}/archive/../x.csv'", f"ATTACH '{path}/other.duckdb'"):
        with pytest.raises(duckdb.PermissionException), store.read() as con:
            con.execute(sql)
