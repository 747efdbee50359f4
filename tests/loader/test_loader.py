import json
import threading
from datetime import UTC, datetime

import pytest

from flywheel import formats
from flywheel import loader as loader_module
from flywheel.loader import REFUSALS, Loader
from flywheel.spool import Spool
from flywheel.store import StoreFailed, events, open_store, schema
from tests.fakes.spool_writer import append_and_wait
from tests.waiting import CEILING_S, until

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "flywheel.duckdb")
    yield store
    store.close()


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool", 1 << 24)
    yield spool
    spool.close()


def prediction(number, **changes):
    event = {"id": f"p-{number}", "ts": "2026-11-22T05:17:00Z", "text": "我要听音乐"}
    return event | {"intent": "play_music", "arguments": {"b": 1, "a": "x"}} | changes


def verdict(number, **changes):
    event = {"id": f"f-{number}", "prediction_id": f"p-{number}", "ts": "2026-11-22T06:00:00Z"}
    return event | {"verdict": "corrected", "intent": "set_alarm"} | changes


def send(spool, kind, *sent):
    body = b"\n".join(s if isinstance(s, bytes) else json.dumps(s).encode() for s in sent)
    written = formats.write_body(kind, body, received=NOON)
    append_and_wait(spool, written.lines)


def counts(store):
    with store.read() as con:
        return events.counts(con)


def test_what_was_acknowledged_is_in_the_tables_after_a_drain(store, spool):
    send(spool, "feedback", verdict(1))
    send(spool, "predictions", prediction(1), b"{not json", prediction(2))
    Loader(store, spool).drain()
    found = counts(store)
    assert (found.predictions, found.feedback, found.labelled, found.rejected) == (2, 1, 1, 1)


def test_the_tables_are_the_same_as_after_a_direct_commit(store, spool, tmp_path):
    sent = [prediction(n, confidence=0.5, slices={"locale": "de", "channel": "v"}) for n in "ab"]
    said = [verdict("a", arguments={}), verdict("b", verdict="correct", intent=None, rater="u")]
    send(spool, "predictions", *sent)
    send(spool, "feedback", *said)
    Loader(store, spool).drain()
    direct = open_store(tmp_path / "direct.duckdb")
    lines = [json.dumps(one).encode() for one in [*sent, *said]]
    parsed = formats.read_lines(None, lines)
    with direct.write() as con:
        events.add_predictions(con, parsed.predictions)
        events.add_feedback(con, parsed.feedback)
    with store.read() as one, direct.read() as other:
        assert schema.fingerprints(one) == schema.fingerprints(other)
    direct.close()


def test_a_segment_is_deleted_only_after_a_checkpoint(store, spool, monkeypatch):
    send(spool, "predictions", prediction(1))
    loader = Loader(store, spool)
    loader.drain()
    assert len(list(spool.folder.iterdir())) == 1
    monkeypatch.setattr(store, "checkpoint", lambda: False)
    loader._checkpoint()
    assert len(list(spool.folder.iterdir())) == 1
    monkeypatch.undo()
    loader._checkpoint()
    assert list(spool.folder.iterdir()) == []
    assert counts(store).predictions == 1


def test_segments_that_no_checkpoint_lets_go_are_a_problem(store, spool, monkeypatch):
    loader = Loader(store, spool)
    with monkeypatch.context() as patch:
        patch.setattr(store, "checkpoint", lambda: False)
        for number in range(REFUSALS):
            send(spool, "predictions", prediction(number))
            assert not any("checkpoint" in problem for problem in loader.problems())
            assert not loader.empty()
    assert any("checkpoint" in problem for problem in loader.problems())
    assert loader.empty()
    assert not any("checkpoint" in problem for problem in loader.problems())


def test_a_segment_that_is_loaded_again_changes_nothing(store, spool):
    send(spool, "predictions", prediction(1), prediction(1), prediction(2))
    Loader(store, spool).drain()
    Loader(store, spool).drain()  # as after a crash between commit and deletion
    assert counts(store).predictions == 2


def test_a_torn_last_line_was_never_acknowledged(store, spool, tmp_path):
    send(spool, "predictions", prediction(1))
    (segment,) = spool.close_segment()
    with segment.open("ab") as file:
        file.write(b'{"kind":"predictions","id":"p-9"')
    Loader(store, spool).drain()
    assert counts(store).predictions == 1


def test_a_damaged_line_holds_up_no_other(store, spool, caplog):
    send(spool, "predictions", prediction(1), prediction(2))
    (segment,) = spool.close_segment()
    first, second = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(first + b'{"kind":"predictions","id":3}\n' + second)
    Loader(store, spool).drain()
    assert counts(store).predictions == 2
    assert "1 lines are damaged" in caplog.text
    assert counts(store).rejected == 1


def test_a_lost_database_ends_loading_and_keeps_the_events(store, spool, monkeypatch):
    send(spool, "predictions", prediction(1))

    def lost(**_):
        raise StoreFailed("FATAL")

    monkeypatch.setattr(store, "write", lost)
    loader = Loader(store, spool)
    loader.start()
    loader._thread.join(CEILING_S)
    assert isinstance(loader.failure, StoreFailed)
    assert "are not loaded" in loader.problems()[0]
    assert len(list(spool.folder.iterdir())) == 1


def test_at_its_end_everything_is_loaded_and_the_spool_is_empty(store, spool):
    loader = Loader(store, spool)
    loader.start()
    send(spool, "predictions", prediction(1))
    loader.stop()
    assert counts(store).predictions == 1
    assert list(spool.folder.iterdir()) == []


def test_a_stray_file_in_the_spool_is_told_and_not_loaded(store, tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "old\nday.ndjson").write_text(json.dumps({"kind": "predictions", **prediction(9)}))
    spool = Spool(folder, 1 << 24)
    loader = Loader(store, spool)
    send(spool, "predictions", prediction(1))
    loader.drain()
    spool.close()
    assert loader.strays() == (
        f"in {folder} lies what is no segment and is not loaded: 'old\\nday.ndjson'; "
        "`flywheel ingest FILE` takes events in; move it elsewhere and restart",
    )
    with store.read() as con:
        assert con.execute("SELECT id FROM predictions").fetchall() == [("p-1",)]


def test_events_that_cannot_be_loaded_are_a_problem_until_they_are(store, spool, monkeypatch):
    monkeypatch.setattr(loader_module, "LOAD_S", 0.01)
    broken, load = threading.Event(), Loader.drain
    broken.set()

    def drained(loader):
        if broken.is_set():
            raise KeyError("a defect")
        load(loader)

    monkeypatch.setattr(Loader, "drain", drained)
    loader = Loader(store, spool)
    loader.start()
    until(lambda: loader.problems() != ())
    (problem,) = loader.problems()
    assert problem.startswith("acknowledged events could not be loaded ")
    assert problem.endswith(" (KeyError), see `flywheel log`; trying again")
    broken.clear()
    send(spool, "predictions", prediction(1))
    until(lambda: loader.problems() == ())
    until(lambda: counts(store).predictions == 1)
    loader.stop()
