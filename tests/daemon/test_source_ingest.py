from functools import partial

from flywheel.daemon.source_ingest import Feed
from flywheel.store import events
from tests.waiting import CEILING_S, until

SOURCED = """
[sources.log]
plugin = "three_events"
"""
PLUGIN = '''
"""Three events, then none."""

from flywheel.protocols import Batch

EVENTS = [
    {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "我要听音乐", "intent": "play_music"},
    {"nobody": "knows"},
    {"id": "f-1", "prediction_id": "p-1", "ts": "2026-11-22T06:00:00Z", "verdict": "correct"},
]


class Three:
    def open(self, options, cursor):
        self.at = int(cursor or 0)

    def poll(self, limit, timeout):
        if self.at >= len(EVENTS):
            return None
        self.at += 1
        return Batch(events=EVENTS[self.at - 1 : self.at], cursor=str(self.at))

    def ack(self, cursor):
        pass

    def close(self):
        pass


def source():
    return Three()
'''


def has_read(runtime, feed):
    """Whether all three events are behind it."""
    with runtime.store.read() as con:
        cursor = events.source_cursor(con, "log")
    return cursor == "3" and feed.states()[0]["state"] == "running"


def test_a_source_feeds_the_store_and_goes_on_where_it_was(make_runtime, tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "three_events.py").write_text(PLUGIN, encoding="utf-8")
    for _ in range(2):  # the second start finds everything read
        runtime = make_runtime(SOURCED)
        feed = Feed(runtime)
        feed.start()
        until(partial(has_read, runtime, feed), what=feed.states)
        assert feed.stop(CEILING_S) == ()
        with runtime.store.read() as con:
            counts = events.counts(con)
        assert (counts.predictions, counts.feedback, counts.rejected) == (1, 1, 1)
        assert counts.labelled == 1
