"""A source's cursor moves with its events, or not at all."""

from datetime import UTC, datetime

import pytest

from flywheel.store import events, open_store

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "flywheel.duckdb"


def cursors(store, *names):
    with store.read() as con:
        return [events.source_cursor(con, name) for name in names]


def test_each_source_has_its_own_cursor_and_keeps_it_over_a_restart(path):
    store = open_store(path)
    with store.write() as con:
        events.set_source_cursor(con, "app", '["甲.csv", 7]', NOON)
        events.set_source_cursor(con, "queue", "41", NOON)
        events.set_source_cursor(con, "queue", "42", NOON)
    store.close()
    again = open_store(path)
    assert cursors(again, "app", "queue", "unheard_of") == ['["甲.csv", 7]', "42", None]
    again.close()


def test_a_transaction_that_fails_leaves_the_cursor_where_it_was(path):
    store = open_store(path)
    with store.write() as con:
        events.set_source_cursor(con, "app", "1", NOON)
    with pytest.raises(RuntimeError), store.write() as con:
        events.set_source_cursor(con, "app", "2", NOON)
        raise RuntimeError("the events could not be written")
    assert cursors(store, "app") == ["1"]
    store.close()
