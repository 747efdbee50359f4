"""What a state folder of schema version 10 holds; under its code this file wrote version10.tar.gz.

`PYTHONPATH=CHECKOUT python tests/store/version10.py FOLDER`, CHECKOUT being one of that version.
"""

import json
import queue
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flywheel import formats
from flywheel.loader import Loader
from flywheel.spool import Spool
from flywheel.store import open_store, retention

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

CORRECTED = [
    ({"time": "Seven "}, {"time": "seven"}, True),
    ({"time": "７ AM"}, {"time": "7 am"}, True),
    ({"count": 7}, {"count": "7"}, True),
    ({"count": 7.0}, {"count": 7}, True),
    ({"time": "noon", "label": None}, {"time": "NOON"}, True),
    ({"days": ["Mon", "Tue"]}, {"days": ["mon", "tue"]}, True),
    ({"time": "seven"}, {"time": "eight"}, False),
    ({"count": "07"}, {"count": 7}, False),
    ({"days": ["mon", "tue"]}, {"days": ["tue", "mon"]}, False),
    ({}, {"time": "seven"}, False),
    ({"time": "seven"}, None, True),  # the rater named the intent alone
]
"""Arguments that were predicted, those that a rater gave, and whether they are the same."""


def events(first, last):
    """Predictions and feedback of these cases, a prediction an hour; one in five judged twice."""
    predictions, feedback = [], []
    for number in range(first, last):
        said, given, _ = CORRECTED[number % len(CORRECTED)]
        at = NOW - timedelta(days=4) + timedelta(hours=number)
        event = {"id": f"p-{number}", "ts": at.isoformat(), "text": f"wake me {number}"}
        predictions.append(event | {"intent": "set_alarm", "arguments": said})
        for again in range(1 + (number % 5 == 0)):
            verdict = {
                "id": f"f-{number}-{again}",
                "prediction_id": f"p-{number}",
                "ts": (at + timedelta(hours=1 + again)).isoformat(),
                "verdict": "incorrect" if again and number % 2 else "corrected",
                "intent": "set_alarm",
                "rater": f"u-{number % 3}",
            }
            feedback.append(verdict | ({} if given is None else {"arguments": given}))
    return predictions, feedback


def send(spool, first, last):
    """Have these cases on disk in the spool."""
    for kind, rows in zip(("predictions", "feedback"), events(first, last), strict=True):
        body = "\n".join(json.dumps(row) for row in rows).encode()
        settled = queue.SimpleQueue()
        spool.append(formats.write_body(kind, body, received=NOW).lines, settled.put)
        assert settled.get() is None


def write(folder):
    """44 cases in the tables, the first days of them in the archive, and 22 in the spool."""
    store, spool = open_store(folder / "flywheel.duckdb"), Spool(folder / "spool", 1 << 24)
    loader = Loader(store, spool)
    send(spool, 0, 44)
    loader.empty()
    retention.archive_before(store, datetime(2026, 11, 20, tzinfo=UTC), NOW)
    send(spool, 44, 66)
    spool.close()
    store.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
