"""The contract check finds each way in which a source can break its promises."""

import pytest

from flywheel.errors import FlywheelError
from flywheel.protocols import Batch
from flywheel.sources import conformance
from flywheel.sources.conformance import check


class Good:
    """Seven events; the cursor is the number of the next one."""

    events = tuple({"id": f"p-{number}", "text": "订一张票"} for number in range(7))

    def open(self, options, cursor):
        for name in options:
            raise FlywheelError(f"no option `{name}`")
        self.next = int(cursor or 0)

    def poll(self, limit, timeout):
        events = self.events[self.next : self.next + limit]
        self.next += len(events)
        return Batch(events=events, cursor=str(self.next)) if events else None

    def ack(self, cursor): ...
    def close(self): ...


class IgnoresTheCursor(Good):
    events = tuple({"text": str(number)} for number in range(7))

    def open(self, options, cursor):
        super().open(options, None)


class LosesWhatWasNotAcked(Good):
    taken = 0

    def open(self, options, cursor):
        super().open(options, cursor)
        self.next = max(self.next, LosesWhatWasNotAcked.taken)

    def poll(self, limit, timeout):
        batch = super().poll(limit, timeout)
        LosesWhatWasNotAcked.taken = self.next
        return batch


class GivesMoreThanAsked(Good):
    def poll(self, limit, timeout):
        return super().poll(limit + 1, timeout)


class TakesAnyOption(Good):
    def open(self, options, cursor):
        super().open({}, cursor)


class ClosesOnce(Good):
    def close(self):
        del self.next


class RefusesTheSecondAck(Good):
    acked = ""

    def ack(self, cursor):
        if cursor == self.acked:
            raise ValueError("already acknowledged")
        self.acked = cursor


class NeverReturns(Good):
    def poll(self, limit, timeout):
        batch = super().poll(limit, timeout)
        if batch is None:
            self.late()
        return batch


class Empty(Good):
    events = ()


def failing(make, **options):
    return [name for name, ok, _ in check(make, {}, limit=3, **options) if not ok]


def test_a_good_source_passes_every_check():
    checks = check(Good, {}, limit=3)
    assert [name for name, ok, _ in checks if not ok] == []
    assert checks[1] == ("reads events from the start", True, "7 events in 3 batches")


@pytest.mark.parametrize(
    ("make", "failed"),
    [
        (object, ["offers open, poll, ack and close", "reads events from the start"]),
        (
            IgnoresTheCursor,
            ["a kill between commit and ack loses nothing", "a kill after the ack loses nothing"],
        ),
        (LosesWhatWasNotAcked, ["a killed poll loses nothing"]),
        (GivesMoreThanAsked, ["batches are bounded and cursors are text"]),
        (TakesAnyOption, ["refuses an unknown option by name"]),
        (ClosesOnce, ["closes twice"]),
        (RefusesTheSecondAck, ["a kill after the ack loses nothing"]),
        (Empty, ["reads events from the start"]),
    ],
)
def test_a_broken_promise_is_found(make, failed):
    assert set(failed) <= set(failing(make))


def test_a_poll_that_hangs_is_found(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(conformance.time, "monotonic", lambda: now[0])

    def late(source):
        now[0] += 5.3

    monkeypatch.setattr(NeverReturns, "late", late, raising=False)
    assert failing(NeverReturns) == ["an empty poll ends in time"]


def test_a_source_that_stops_at_a_bad_row_is_found():
    assert failing(Good, spoil=lambda: {"id": "behind the bad row"}) == [
        "a bad row does not stop it"
    ]


def test_repeats_without_an_id_are_said_to_be_unrecognisable():
    checks = {name: detail for name, _, detail in check(IgnoresTheCursor, {}, limit=3)}
    assert "7 without an `id`" in checks["reads events from the start"]
