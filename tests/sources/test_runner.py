"""The runner: commit, then ack; and a source that fails stops nothing else."""

import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config.tables import SourceTable
from flywheel.errors import SourceUnavailable
from flywheel.protocols import Batch
from flywheel.sources import Runner
from flywheel.sources import runner as runner_module
from flywheel.sources.runner import backoff
from tests.waiting import CEILING_S, until


class Ledger:
    """What the daemon's store does: events and cursor in one transaction, repeats dropped by id."""

    def __init__(self):
        self.lock = threading.Lock()
        self.events = {}
        self.cursors = {}
        self.fail_next = 0
        self.log = []

    def commit(self, name, events, cursor):
        with self.lock:
            if self.fail_next:
                self.fail_next -= 1
                raise RuntimeError("disk full")
            self.events |= {(name, event["id"]): event for event in events}
            self.cursors[name] = cursor
            self.log.append((name, "commit", cursor))

    def cursor_of(self, name):
        return self.cursors.get(name)


class Numbers:
    """Gives 0..count-1; fails where `failures` says so, once each."""

    def __init__(self, ledger, name, count, failures):
        self.ledger, self.name, self.count, self.failures = ledger, name, count, failures

    def open(self, options, cursor):
        self.next = int(cursor or 0)
        self.log("open")

    def poll(self, limit, timeout):
        if self.next in self.failures:
            raise self.failures.pop(self.next)
        if self.next >= self.count:
            return None
        events = [{"id": number} for number in range(self.next, min(self.next + 2, self.count))]
        self.next += len(events)
        return Batch(events=events, cursor=str(self.next))

    def ack(self, cursor):
        self.log("ack", cursor)

    def close(self):
        self.log("close")

    def log(self, what, cursor=""):
        self.ledger.log.append((self.name, what, cursor))


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def started(ledger, noon, monkeypatch, tmp_path):
    """Start a runner over named sources; it is stopped when the test ends."""
    runners = []
    monkeypatch.setattr(runner_module, "POLL_S", 0.01)
    monkeypatch.setattr(runner_module, "FIRST_BACKOFF_S", 0.01)

    def start(**makes):
        monkeypatch.setattr(runner_module, "find", lambda plugin, _: makes[plugin])
        configured = {name: SourceTable(plugin=name) for name in makes}
        runner = Runner(
            configured, tmp_path, commit=ledger.commit, cursor_of=ledger.cursor_of, now=noon
        )
        runner.start()
        runners.append(runner)
        return runner

    yield start
    for runner in runners:
        assert runner.stop(CEILING_S) == ()


def test_a_batch_is_committed_then_acknowledged(started, ledger):
    runner = started(a=lambda: Numbers(ledger, "a", 4, {}))
    until(lambda: runner.states()[0]["events"] == 4)
    assert runner.stop(CEILING_S) == ()
    assert ledger.log == [
        ("a", "open", ""),
        ("a", "commit", "2"),
        ("a", "ack", "2"),
        ("a", "commit", "4"),
        ("a", "ack", "4"),
        ("a", "close", ""),
    ]


def test_the_state_is_what_status_shows(started, ledger):
    runner = started(a=lambda: Numbers(ledger, "a", 2, {}))
    until(lambda: runner.states()[0]["events"] == 2)
    assert runner.states() == [
        {
            "name": "a",
            "plugin": "a",
            "state": "running",
            "events": 2,
            "last_event_at": "2026-11-22T12:00:00+00:00",
            "error": None,
            "backoff_s": None,
            "stuck": False,
        }
    ]
    runner.stop(CEILING_S)
    assert runner.states()[0]["state"] == "stopped"


@pytest.mark.parametrize(
    "error", [SourceUnavailable("no broker", hint="wait"), ZeroDivisionError("a bug")]
)
def test_a_source_that_fails_goes_on_at_its_last_committed_cursor(started, ledger, error):
    failures = {0: error, 4: error}
    started(a=lambda: Numbers(ledger, "a", 7, failures))
    until(lambda: len(ledger.events) == 7)
    assert [what for _, what, _ in ledger.log].count("open") == 3
    assert [what for _, what, _ in ledger.log].count("close") >= 2


def test_a_failed_commit_repeats_the_batch_and_loses_nothing(started, ledger):
    ledger.fail_next = 2
    started(a=lambda: Numbers(ledger, "a", 5, {}))
    until(lambda: len(ledger.events) == 5)


def test_a_failing_source_stops_nothing_else_and_says_why(started, ledger):
    class Broken(Numbers):
        def open(self, options, cursor):
            raise SourceUnavailable("no broker at 10.0.0.9", hint="start it")

    runner = started(
        broken=lambda: Broken(ledger, "broken", 1, {}), good=lambda: Numbers(ledger, "good", 9, {})
    )
    until(lambda: len(ledger.events) == 9)
    until(lambda: runner.states()[0]["state"] == "backing_off")
    broken = runner.states()[0]
    assert broken["error"] == "no broker at 10.0.0.9 (start it)"
    assert broken["backoff_s"] is not None
    assert runner.states()[1]["state"] == "running"


def test_a_source_that_fails_at_one_place_again_and_again_is_stuck_until_it_goes_on(
    started, ledger, monkeypatch
):
    ready = threading.Event()

    class Poisoned(Numbers):
        def poll(self, limit, timeout):
            if self.next == 2 and not ready.is_set():
                raise ValueError("a bad cell")
            return super().poll(limit, timeout)

    runner = started(a=lambda: Poisoned(ledger, "a", 4, {}), b=lambda: Numbers(ledger, "b", 2, {}))
    assert runner.problems() == ()
    until(lambda: runner.states()[0]["stuck"])
    (problem,) = runner.problems()
    assert problem.startswith("the source a has failed ")
    assert problem.endswith(" times at the same place: ValueError: a bad cell")
    ready.set()
    until(lambda: len(ledger.events) == 6)
    until(lambda: runner.problems() == ())


def test_a_source_that_does_not_come_back_from_a_call_is_stuck_until_it_does(
    started, ledger, monkeypatch
):
    monkeypatch.setattr(runner_module, "STUCK_S", 0.05)  # seconds
    released = threading.Event()

    class Hanging(Numbers):
        def poll(self, limit, timeout):
            if not released.is_set():
                released.wait(CEILING_S)
            return super().poll(limit, timeout)

    runner = started(a=lambda: Hanging(ledger, "a", 2, {}))
    until(lambda: runner.states()[0]["stuck"])
    (problem,) = runner.problems()
    assert problem.startswith("the source a has not come back from `poll` for ")
    released.set()
    until(lambda: len(ledger.events) == 2)
    until(lambda: runner.problems() == ())


def test_stopping_interrupts_a_long_backoff(started, ledger, monkeypatch):
    monkeypatch.setattr(runner_module, "FIRST_BACKOFF_S", 1e6)  # seconds
    runner = started(a=lambda: Numbers(ledger, "a", 1, {0: OSError("gone")}))
    until(lambda: runner.states()[0]["state"] == "backing_off")
    assert runner.stop(CEILING_S) == ()


def test_a_source_that_hangs_is_named_and_does_not_hold_up_the_stop(ledger, noon, monkeypatch):
    released = threading.Event()

    class Hung(Numbers):
        def poll(self, limit, timeout):
            released.wait(CEILING_S)

    monkeypatch.setattr(runner_module, "find", lambda *_: lambda: Hung(ledger, "hung", 1, {}))
    runner = Runner(
        {"hung": SourceTable(plugin="hung")},
        None,
        commit=ledger.commit,
        cursor_of=ledger.cursor_of,
        now=noon,
    )
    runner.start()
    assert runner.stop(0.05) == ("hung",)
    released.set()
    assert runner.stop(CEILING_S) == ()


@given(st.integers(1, 10_000), st.integers())
def test_a_pause_grows_with_the_failures_and_is_bounded(failures, seed):
    chance = random.Random(seed)
    longest = min(300.0, 2.0 ** min(failures - 1, 30))
    assert longest / 2 <= backoff(failures, chance) <= longest
