"""The engine: what is answered together, what is refused, and by which adapter."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from word_service import LIMITS, running

from tests.waiting import CEILING_S, until


def ask(served, text, **options):
    return served.client.post("/v1/predict", json={"text": text}, **options)


def held(served, pool, texts):
    """Requests for these texts, of which the first holds the engine until the gate opens."""
    router = served.routers["a-1"]
    while router.asked.acquire(blocking=False):
        pass  # batches of before
    router.gate.clear()
    first = pool.submit(ask, served, texts[0])
    assert router.asked.acquire(timeout=CEILING_S)
    rest = [pool.submit(ask, served, text) for text in texts[1:]]
    until_waiting(served, len(texts))
    return router, [first, *rest]


def until_waiting(served, texts):
    """Until so many texts wait or are being answered."""
    until(lambda: served.there(lambda: served.service.engine.depth) >= texts)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(20) as made:
        yield made


def test_what_arrives_while_the_engine_works_is_the_next_batch(served, pool):
    router, answers = held(served, pool, [f"play {n}" for n in range(4)])
    router.gate.set()
    titles = [each.result().json()["arguments"]["title"] for each in answers]
    assert titles == ["0", "1", "2", "3"]
    assert [sorted(batch) for batch in router.batches] == [
        ["play 0"],
        ["play 1", "play 2", "play 3"],
    ]


def test_where_several_ask_those_just_answered_are_waited_for(state, pool):
    with running(state, limits=replace(LIMITS, window_s=CEILING_S)) as served:
        assert ask(served, "play alone").status_code == 200  # nobody else: answered at once
        router, (first, second) = held(served, pool, ["play 0", "play 1"])
        router.gate.set()
        first.result()
        third = ask(served, "play 2")
        assert (second.result().status_code, third.status_code) == (200, 200)
        assert router.batches == [["play alone"], ["play 0"], ["play 1", "play 2"]]


def test_a_switch_meanwhile_leaves_waiting_requests_to_the_adapter_they_came_to(served, pool):
    served.client.post("/v1/serving/prepare", json={"adapter": "a-2"})
    router, answers = held(served, pool, ["play 0", "play 1"])
    served.client.post("/v1/serving/switch", json={"adapter": "a-2"})
    later = pool.submit(ask, served, "play 2")
    until_waiting(served, 3)
    served.client.post("/v1/serving/drop", json={"adapter": "a-1"})
    router.gate.set()
    assert [each.result().json()["adapter"] for each in [*answers, later]] == ["a-1", "a-1", "a-2"]
    assert served.there(lambda: served.service.adapters._retired) == []


def test_above_the_queue_a_request_is_refused_at_once(state, pool):
    with running(state, limits=replace(LIMITS, queue=2)) as served:
        router, answers = held(served, pool, ["play 0", "play 1"])
        refused = ask(served, "play 2")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json() == {
            "error": "2 texts wait, and 1 more would be above [serving] queue = 2",
            "hint": "send it again in a second",
        }
        router.gate.set()
        assert [each.result().status_code for each in answers] == [200, 200]
        assert ask(served, "play 3").status_code == 200


def test_past_its_deadline_a_request_is_answered_504_though_the_engine_hangs(state, pool):
    with running(state, limits=replace(LIMITS, deadline_s=0.05)) as served:
        router, (first, second) = held(served, pool, ["play 0", "play 1"])
        assert first.result().status_code == second.result().status_code == 504
        assert first.result().json()["error"] == "not answered within [serving] deadline_s = 0.05"
        router.gate.set()
        until(lambda: not served.there(lambda: served.service.engine.depth))
        assert router.batches == [["play 0"]]  # the second was not worked on for nobody


def test_a_question_whose_asker_went_away_is_not_answered(served, pool):
    router, (first,) = held(served, pool, ["play 0"])
    body = b'{"text": "play 1"}'
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as impatient:
        impatient.connect(served.sockets[0].getsockname())
        impatient.sendall(head % len(body) + body)
        until_waiting(served, 2)
    pending = served.service.engine._pending
    until(lambda: served.there(lambda: pending[-1].gone()))
    router.gate.set()
    assert first.result().status_code == 200
    until(lambda: not served.there(lambda: served.service.engine.depth))
    assert router.batches == [["play 0"]]
    assert [line["text"] for line in served.log.lines] == ["play 0"]


def test_a_long_batch_does_not_hold_up_what_came_after_it(served, pool):
    router = served.routers["a-1"]
    router.gate.clear()
    texts = {"inputs": [f"play {n}" for n in range(15)]}
    long = pool.submit(served.client.post, "/v1/predict", json=texts)
    assert router.asked.acquire(timeout=CEILING_S)
    short = pool.submit(ask, served, "play x")
    until_waiting(served, 16)
    router.gate.set()
    assert len(long.result().json()["predictions"]) == 15
    assert short.result().status_code == 200
    assert ["play x" in batch for batch in router.batches] == [False, True, False, False]


def test_two_threads_answer_two_batches_at_a_time_and_parts_of_one_request_in_order(state, pool):
    with running(state, threads=2) as served:
        router, (first,) = held(served, pool, ["play 0"])
        texts = {"inputs": [f"play {n}" for n in range(9)]}
        long = pool.submit(served.client.post, "/v1/predict", json=texts)
        assert router.asked.acquire(
            timeout=CEILING_S
        )  # by the other thread, while the gate is shut
        assert router.batches == [["play 0"], ["play 0", "play 1", "play 2", "play 3"]]
        router.gate.set()
        titles = [each["arguments"]["title"] for each in long.result().json()["predictions"]]
        assert titles == [str(n) for n in range(9)]
        assert first.result().status_code == 200
        assert len(served.log.lines) == 10


def test_a_batch_that_does_not_end_is_told(served, pool):
    router, (first,) = held(served, pool, ["play 0"])
    assert served.service.engine.hangs(0)
    assert not served.service.engine.hangs(CEILING_S)
    router.gate.set()
    assert first.result().status_code == 200
    until(lambda: not served.service.engine.hangs(0))


def test_stopping_answers_what_was_asked_before(state, pool):
    with running(state) as served:
        router, answers = held(served, pool, ["play 0", "play 1"])
        stopping = threading.Thread(target=served.service.engine.stop)
        stopping.start()
        router.gate.set()
        assert [each.result().status_code for each in answers] == [200, 200]
        stopping.join(CEILING_S)
        assert not stopping.is_alive()
