"""`kill -9` while old events leave the tables: each stays in the one place or the other."""

import random
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow.parquet
import pytest

from flywheel.records import Prediction
from flywheel.store import consistency, events, open_store, retention

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CHILD = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from flywheel.store import database, open_store, retention

NOW = datetime(2026, 11, 22, tzinfo=UTC)
database.worth_compacting = lambda con: True
store = open_store(Path(sys.argv[1]))
print("open", flush=True)
for days in range(300, 0, -1):
    retention.archive_before(store, NOW - timedelta(days=days), NOW)
    print(days, flush=True)
    if days % 10 == 0:
        store.compact()
"""


@pytest.mark.slow
def test_no_event_is_lost_or_kept_twice_by_fifteen_kills(tmp_path):
    path, chance = tmp_path / "flywheel.duckdb", random.Random(4)
    store = open_store(path)
    with store.write() as con:
        for day in range(300):
            at = NOW - timedelta(days=day, hours=3)
            made = [
                Prediction(id=f"p-{day}-{n}", ts=at, text=f"text {n}", intent="set_alarm")
                for n in range(50)
            ]
            events.add_predictions(con, made)
    store.close()
    for _ in range(15):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout.readline() == b"open\n"
            for _ in range(chance.randrange(40)):  # killed in the step that comes after
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
    store = open_store(path)
    retention.archive_before(store, NOW - timedelta(days=5), NOW)
    with store.read() as con:
        assert consistency.differences(con) == []
        ids = Counter(key for (key,) in con.execute("SELECT id FROM predictions").fetchall())
    store.close()
    for file in (tmp_path / "archive").iterdir():
        ids.update(pyarrow.parquet.read_table(file)["id"].to_pylist())
    assert ids == Counter(f"p-{day}-{n}" for day in range(300) for n in range(50))
