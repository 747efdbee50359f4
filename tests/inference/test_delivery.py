import errno
import json
import logging
import os
import threading

import pytest
from answer_lines import answer_line, verdict_line
from starlette.responses import JSONResponse

from flywheel.inference import delivery as delivering
from flywheel.inference.answer_log import AnswerLog
from flywheel.inference.delivery import Delivery
from tests.waiting import CEILING_S, until

MIB = 1 << 20


@pytest.fixture
def open_log(tmp_path):
    opened = []

    def make(**options):
        opened.append(AnswerLog(tmp_path / "answers", 16 * MIB, **options))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


@pytest.fixture
def deliver_from(daemon):
    begun = []

    def make(log):
        begun.append(Delivery(log, daemon.socket))
        return begun[-1]

    yield make
    for delivery in begun:
        delivery.stop(drain_s=CEILING_S)


@pytest.fixture
def log(open_log):
    return open_log()


@pytest.fixture
def delivery(log, deliver_from):
    return deliver_from(log)


def bodies(daemon, answers):
    """What is posted from now on; each reply is the next of `answers`, then the daemon's own."""
    seen = []

    def front(path, body):
        seen.append(body)
        return answers.pop(0) if answers else None

    daemon.front = front
    return seen


def refusal(status, **headers):
    return JSONResponse({"error": "no", "hint": ""}, status, headers)


def files_of(log):
    return sorted(path.name for path in log.folder.iterdir())


def test_answers_and_verdicts_reach_the_database(log, daemon, delivery):
    log.write([answer_line("p-1"), answer_line("p-2")])
    log.write([verdict_line("f-1", "p-1")], "feedback")
    assert delivery.deliver()
    assert (daemon.ids(), daemon.ids("feedback")) == (["p-1", "p-2"], ["f-1"])
    state = delivery.state()
    assert (state["delivered"], state["waiting_bytes"], state["daemon"]) == (3, 0, "")
    assert log.state()["bytes"] > 0  # of a segment that is still open


def test_it_sends_in_the_order_of_the_log_and_nothing_twice(log, daemon, delivery):
    seen = bodies(daemon, [])
    for number in range(3):
        log.write([answer_line(f"p-{number}")])
        assert delivery.deliver()
    assert [json.loads(body)["id"] for body in seen] == ["p-0", "p-1", "p-2"]


def test_a_segment_that_was_delivered_is_removed(daemon, open_log, deliver_from):
    log = open_log(segment_bytes=100)
    for number in range(3):
        log.write([answer_line(f"p-{number}")])
    assert len(log.segments()) == 3
    deliver_from(log).deliver()
    assert (files_of(log), log.state()["bytes"]) == (["cursor.json", "lock"], 0)


def test_a_new_segment_never_takes_the_number_that_a_cursor_names(daemon, open_log, deliver_from):
    """Its first bytes would count as delivered."""
    for number in range(3):
        log = open_log(segment_bytes=100)
        delivery = deliver_from(log)
        log.write([answer_line(f"p-{number}")])
        assert delivery.deliver()
        log.close()
    assert daemon.ids() == ["p-0", "p-1", "p-2"]


def test_what_was_delivered_is_not_sent_again_by_the_next_process(
    log, daemon, delivery, open_log, deliver_from
):
    log.write([answer_line("p-1")])
    delivery.deliver()
    log.close()
    seen = bodies(daemon, [])
    assert deliver_from(open_log()).deliver()
    assert seen == []


@pytest.mark.parametrize("cursor", [b"", b"{", b"[]", b'{"000000000001.predictions.ndjson":"x"}'])
def test_a_cursor_that_cannot_be_read_sends_all_again(
    log, daemon, delivery, cursor, open_log, deliver_from
):
    log.write([answer_line("p-1")])
    delivery.deliver()
    log.close()
    (log.folder / "cursor.json").write_bytes(cursor)
    assert deliver_from(open_log()).deliver()
    assert daemon.ids() == ["p-1"]


def test_while_the_daemon_is_away_answers_wait_and_then_go(log, daemon, delivery, caplog):
    daemon.stop()
    caplog.set_level(logging.INFO)
    log.write([answer_line("p-1")])
    assert [delivery.deliver(), delivery.deliver()] == [False, False]
    waiting = delivery.state()
    assert waiting["waiting_bytes"] == len(answer_line("p-1")) + 1
    assert waiting["daemon"] == "no daemon answers (No such file or directory)"
    daemon.start()
    assert delivery.deliver()
    daemon.stop()
    log.write([answer_line("p-2")])
    assert not delivery.deliver()  # over the connection that was open
    daemon.start()
    assert delivery.deliver()
    assert daemon.ids() == ["p-1", "p-2"]
    assert [record.message for record in caplog.records if "flywheel" in record.name][:2] == [
        "answers wait in the log: no daemon answers (No such file or directory)",
        "the daemon takes answers again",
    ]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503, 507])
def test_a_refusal_that_says_nothing_of_the_lines_keeps_them(log, daemon, delivery, status):
    bodies(daemon, [refusal(status)])
    log.write([answer_line("p-1"), answer_line("p-2")])
    assert not delivery.deliver()
    assert delivery.state()["daemon"] == "no"
    assert delivery.deliver()
    assert daemon.ids() == ["p-1", "p-2"]


def test_it_waits_longer_each_time_and_as_long_as_it_is_asked_to(log, daemon, delivery):
    log.write([answer_line("p-1")])
    asked = [refusal(503) for _ in range(7)]
    bodies(daemon, [*asked, refusal(429, **{"Retry-After": "7"}), refusal(503)])
    pauses = []
    while not delivery.deliver():
        pauses.append(delivery._pause_s())
    assert pauses == [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 10.0, 7.0, 10.0]


def test_a_line_that_the_daemon_rejects_does_not_stop_the_others(log, daemon, delivery):
    log.write([answer_line("p-1"), b'{"id":"p-2"}', b"{no json", answer_line("p-3")])
    assert delivery.deliver()
    assert daemon.ids() == ["p-1", "p-3"]
    state = delivery.state()
    assert (state["delivered"], state["rejected"], state["not_taken"]) == (2, 2, 0)


def test_a_batch_in_which_nothing_is_good_is_over_too(log, daemon, delivery):
    log.write([b'{"id":"p-2"}'])
    assert delivery.deliver()
    assert delivery.state()["rejected"] == 1


def test_a_line_because_of_which_a_batch_is_refused_is_found_and_put_aside(log, daemon, delivery):
    daemon.front = lambda path, body: refusal(400) if b"poison" in body else None
    events = [answer_line(f"p-{number:02}") for number in range(20)]
    events[13] = answer_line("poison")
    log.write(events)
    assert delivery.deliver()
    assert len(daemon.ids()) == 19
    assert (log.folder / "not_taken.ndjson").read_bytes() == answer_line("poison") + b"\n"
    state = delivery.state()
    assert (state["delivered"], state["not_taken"], state["waiting_bytes"]) == (19, 1, 0)


def test_a_line_on_which_the_daemon_fails_is_put_aside_only_after_many_tries(log, daemon, delivery):
    daemon.front = lambda path, body: refusal(500) if b"poison" in body else None
    log.write([answer_line("p-1"), answer_line("poison"), answer_line("p-2")])
    tries = 1
    while not delivery.deliver():
        tries += 1
    assert tries > 20
    assert daemon.ids() == ["p-1", "p-2"]
    assert delivery.state()["not_taken"] == 1


def test_a_line_that_is_longer_than_a_body_may_be_is_put_aside(log, daemon, delivery):
    log.write([answer_line("long", text="x" * (2 * MIB)), answer_line("p-1")])
    assert delivery.deliver()
    assert daemon.ids() == ["p-1"]
    assert delivery.state()["not_taken"] == 1


def test_of_lines_put_aside_the_newest_are_kept(log, daemon, delivery, monkeypatch):
    monkeypatch.setattr(delivering, "_ASIDE_BYTES", 1000)
    daemon.front = lambda path, body: refusal(400)
    log.write([answer_line(f"p-{number:02}") for number in range(20)])
    assert delivery.deliver()
    aside = (log.folder / "not_taken.ndjson").read_bytes().splitlines()
    kept = [json.loads(line)["id"] for line in aside]
    assert kept == [f"p-{number:02}" for number in range(20 - len(kept), 20)]
    assert 2 <= len(kept) <= 6


def test_a_line_that_a_power_cut_tore_is_counted_and_passed_over(
    log, daemon, open_log, deliver_from
):
    log.write([answer_line("p-1")])
    log.close()
    (segment,) = log.segments()
    with segment.path.open("ab") as file:
        file.write(answer_line("p-2")[:20])
    again = open_log()
    torn = deliver_from(again)
    again.write([answer_line("p-3")])
    assert torn.deliver()
    assert daemon.ids() == ["p-1", "p-3"]
    assert (torn.state()["torn"], segment.path.exists()) == (1, False)


def test_a_segment_that_lost_its_end_in_a_power_cut_is_over(
    log, daemon, delivery, open_log, deliver_from
):
    log.write([answer_line("p-1"), answer_line("p-2")])
    delivery.deliver()
    log.close()
    (segment,) = log.segments()
    os.truncate(segment.path, 40)
    assert deliver_from(open_log()).deliver()
    assert (segment.path.exists(), daemon.ids()) == (False, ["p-1", "p-2"])


def test_a_segment_that_somebody_removed_stops_nothing(log, daemon, delivery):
    log.write([answer_line("p-1")])
    log.segments()[0].path.unlink()
    assert delivery.deliver()
    log.write([answer_line("p-2")])
    assert delivery.deliver()
    assert daemon.ids() == ["p-2"]


def test_a_full_disk_does_not_stop_it_and_gets_room_by_it(
    daemon, monkeypatch, open_log, deliver_from
):
    log = open_log(segment_bytes=100)
    log.write([answer_line("p-1")])

    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(delivering.files, "write_json", full)
    assert deliver_from(log).deliver()
    assert files_of(log) == ["lock"]


def test_a_batch_is_as_long_as_the_daemon_reads_at_once(log, daemon, delivery):
    seen = bodies(daemon, [])
    log.write([answer_line(f"p-{number:04}") for number in range(3000)])
    assert delivery.deliver()
    assert len(seen) > 1
    assert max(map(len, seen)) <= delivering.BATCH_BYTES
    assert len(daemon.ids()) == 3000


def test_the_thread_delivers_by_itself_and_what_is_left_at_the_stop(log, daemon, delivery):
    seen, first = threading.Event(), daemon.front

    def front(path, body):
        seen.set()
        return first(path, body)

    daemon.front = front
    delivery.start()
    log.write([answer_line("p-1")])
    assert seen.wait(CEILING_S)
    until(lambda: delivery.state()["delivered"] == 1, "it is delivered")
    log.write([answer_line("p-2")])
    delivery.stop(drain_s=CEILING_S)
    assert daemon.ids() == ["p-1", "p-2"]


def test_a_stop_without_a_daemon_leaves_all_in_the_log(log, daemon, delivery):
    daemon.stop()
    delivery.start()
    log.write([answer_line("p-1")])
    delivery.stop(drain_s=CEILING_S)
    assert delivery.state()["waiting_bytes"] > 0
