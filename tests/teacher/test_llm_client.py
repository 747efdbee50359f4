"""The client over real HTTP against a server that misbehaves in every known way."""

from __future__ import annotations

import asyncio
import gzip
import logging
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from flywheel.config import TeacherTable
from flywheel.errors import FlywheelError
from flywheel.llm import BudgetSpent, Client, EndpointUnusable, Reply, RequestFailed
from flywheel.llm.client import is_loopback
from flywheel.llm.wire import retry_after, text_of
from tests.fakes.answer_store import MemoryStore
from tests.fakes.teacher_server import (
    Cut,
    Drip,
    Raw,
    Says,
    Stall,
    Status,
    TeacherServer,
    Turn,
    teacher_server,
)
from tests.waiting import CEILING_S

SCHEMA = {"name": "samples", "strict": True, "schema": {"type": "object"}}


def message(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def table(server: TeacherServer, **keys: Any) -> TeacherTable:
    return TeacherTable(
        **{"base_url": server.base_url, "model": "m"}
        | {"timeout_s": CEILING_S, "max_retries": 2}
        | keys
    )


def ask(
    given: TeacherTable,
    texts: Sequence[str],
    store: MemoryStore | None = None,
    *,
    one_by_one: bool = False,
    schema: dict[str, Any] | None = None,
    **keys: Any,
) -> list[Reply | FlywheelError]:
    kept = MemoryStore() if store is None else store

    async def asked(client: Client, text: str) -> Reply | FlywheelError:
        try:
            return await client.ask(message(text), schema)
        except FlywheelError as error:
            return error

    async def run() -> list[Reply | FlywheelError]:
        async with Client(given, kept, backoff_s=0.01, **keys) as client:
            if one_by_one:
                return [await asked(client, text) for text in texts]
            return list(await asyncio.gather(*(asked(client, text) for text in texts)))

    return asyncio.run(run())


def test_an_answer_is_stored_with_its_request_before_it_is_returned() -> None:
    with teacher_server(Says("好的，听音乐")) as server:
        store = MemoryStore()
        (reply,) = ask(table(server), ["我要听音乐"], store)
    assert isinstance(reply, Reply)
    assert (reply.text, reply.finish, reply.refusal, reply.bought) == (
        "好的，听音乐",
        "stop",
        "",
        True,
    )
    (kept,) = store.kept.values()
    assert kept.key == reply.key
    assert len(kept.key) == 64
    assert kept.request["messages"] == message("我要听音乐")
    assert kept.response["choices"][0]["message"]["content"] == "好的，听音乐"


def test_a_stored_answer_is_not_bought_again() -> None:
    with teacher_server() as server:
        store = MemoryStore()
        ask(table(server), ["a", "b"], store)
        again = ask(table(server), ["b", "a", "c"], store)
        assert len(server.requests) == 3
    assert [reply.bought for reply in again if isinstance(reply, Reply)] == [False, False, True]


def test_the_same_request_asked_twice_at_once_is_bought_once() -> None:
    with teacher_server() as server:
        replies = ask(table(server), ["a"] * 5)
        assert len(server.requests) == 1
    assert sorted(r.bought for r in replies if isinstance(r, Reply)) == [False] * 4 + [True]


def test_another_model_or_another_schema_is_another_request() -> None:
    with teacher_server() as server:
        store = MemoryStore()
        ask(table(server), ["a"], store)
        ask(table(server, model="m2"), ["a"], store)
        ask(table(server), ["a"], store, schema=SCHEMA)
        assert len(server.requests) == len(store.kept) == 3


@pytest.mark.parametrize(
    "fault",
    [
        Status(500),
        Status(503),
        Status(429),
        Status(408),
        Status(529),
        Status(429, {"Retry-After": "0"}),
        Status(429, {"Retry-After": "soon"}),
        Cut(),
        Raw(b'{"id": "half'),
        Raw(b"<html>gateway</html>", "text/html"),
        Raw(b'{"choices": []}'),
        Raw(b'{"error": "busy"}'),
        Raw(b"[]"),
        Raw(b"null"),
    ],
    ids=repr,
)
def test_a_passing_fault_is_retried(fault: Turn) -> None:
    with teacher_server(fault, Says("at last")) as server:
        (reply,) = ask(table(server), ["a"])
        assert len(server.requests) == 2
    assert isinstance(reply, Reply)
    assert reply.text == "at last"


def test_a_stalled_request_is_cut_off_and_retried() -> None:
    with teacher_server(Stall(), Says("at last")) as server:
        (reply,) = ask(table(server, timeout_s=0.3, max_retries=50), ["a"])
    assert isinstance(reply, Reply)


def test_requests_that_all_stall_are_given_up() -> None:
    with teacher_server(otherwise=lambda body: Stall()) as server:
        (failed,) = ask(table(server, timeout_s=0.1, max_retries=1), ["a"])
        assert len(server.requests) <= 2
    assert isinstance(failed, RequestFailed)


def test_a_dripping_answer_does_not_outlive_the_time_limit() -> None:
    with teacher_server(Drip(0.05), Says("at last")) as server:
        (reply,) = ask(table(server, timeout_s=0.4, max_retries=50), ["a"])
    assert isinstance(reply, Reply)


def test_retry_after_holds_back_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep, now = asyncio.sleep, asyncio.BaseEventLoop.time

    async def skip(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", skip)
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda self: now(self) + sum(waits))
    with teacher_server(Status(429, {"Retry-After": "100"})) as server:
        replies = ask(table(server, max_concurrency=1), ["a", "b"])
    assert 0 < sum(waits) <= 100
    assert all(isinstance(reply, Reply) for reply in replies)


def test_a_server_that_wants_a_pause_of_minutes_is_given_up_at_once() -> None:
    with teacher_server(Status(429, {"Retry-After": "3600"})) as server:
        (reply,) = ask(table(server), ["a"])
        assert len(server.requests) == 1
    assert isinstance(reply, RequestFailed)


def test_retries_end() -> None:
    with teacher_server(otherwise=lambda body: Status(500)) as server:
        (failed,) = ask(table(server), ["a"])
        assert len(server.requests) == 3
        host = server.base_url.removeprefix("http://").removesuffix("/v1")
    assert isinstance(failed, RequestFailed)
    assert failed.message == f"{host} did not answer for model 'm': status 500"
    assert "config.toml" in failed.hint


def test_an_error_does_not_repeat_what_the_server_quotes() -> None:
    with teacher_server(Status(400, message="bad input: call my wife")) as server:
        (failed,) = ask(table(server), ["call my wife"])
    assert isinstance(failed, RequestFailed)
    assert "wife" not in f"{failed.message} {failed.hint}"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_unknown_model_is_asked_once(status: int) -> None:
    with teacher_server(otherwise=lambda body: Status(status)) as server:
        replies = ask(table(server), ["a", "b", "c"], one_by_one=True)
        assert len(server.requests) == 1
    assert all(isinstance(reply, RequestFailed) for reply in replies)


def test_nobody_at_the_address_fails_the_request() -> None:
    with teacher_server() as server:
        given = table(server, max_retries=1)
    (failed,) = ask(given, ["a"])
    assert isinstance(failed, RequestFailed)
    assert failed.message.endswith("no connection, or it was cut")


@pytest.mark.parametrize(
    "base_url",
    [
        "http://[bad",
        "not a url",
        "ftp://127.0.0.1/v1",
        "http://:x/",
        "http://a\x00/",
        "http://a:99999999/",
    ],
)
def test_an_address_that_is_none_is_told_before_anything_is_sent(base_url: str) -> None:
    with pytest.raises(EndpointUnusable, match="base_url"):
        ask(TeacherTable(base_url=base_url, model="m"), ["a"])


def test_no_more_requests_are_under_way_than_allowed() -> None:
    def slow(body: dict[str, Any]) -> Turn:
        return Says("x")

    with teacher_server(otherwise=slow) as server:
        replies = ask(table(server, max_concurrency=3), [str(n) for n in range(30)])
        assert server.busiest <= 3
    assert len(replies) == 30


def test_a_schema_is_asked_for() -> None:
    with teacher_server() as server:
        ask(table(server), ["a"], schema=SCHEMA)
        form = server.requests[0]["response_format"]
    assert form == {"type": "json_schema", "json_schema": SCHEMA}


def test_a_server_that_refuses_schemas_is_asked_for_an_object_then_for_text() -> None:
    def only_text(body: dict[str, Any]) -> Turn:
        return Status(400) if "response_format" in body else Says("{}")

    with teacher_server(otherwise=only_text) as server:
        replies = ask(table(server), ["a", "b"], one_by_one=True, schema=SCHEMA)
        forms = [body.get("response_format", {}).get("type") for body in server.requests]
    assert forms == ["json_schema", "json_object", None, None]
    assert all(isinstance(reply, Reply) for reply in replies)


def test_the_form_that_was_agreed_on_does_not_change_the_request_s_name() -> None:
    store = MemoryStore()
    with teacher_server(Status(422), Says("{}")) as server:
        ask(table(server), ["a"], store, schema=SCHEMA)
        ask(table(server), ["a"], store, schema=SCHEMA)
        assert len(server.requests) == 2


def test_money_is_counted_from_usage() -> None:
    prices = {"usd_per_million_input": 2.0, "usd_per_million_output": 8.0}
    with teacher_server(Says("x", usage=(1000, 500))) as server:
        (reply,) = ask(table(server, **prices), ["a"])
    assert isinstance(reply, Reply)
    assert reply.usd == pytest.approx(0.006)
    assert (reply.input_tokens, reply.output_tokens) == (1000, 500)


def test_tokens_are_estimated_where_the_server_does_not_count() -> None:
    with teacher_server(Says("听音乐", usage=None)) as server:
        (reply,) = ask(table(server, usd_per_million_output=1.0), ["我要听音乐"])
    assert isinstance(reply, Reply)
    assert (reply.output_tokens, reply.input_tokens > 5) == (3, True)


def test_no_request_is_started_once_the_money_is_spent() -> None:
    with teacher_server(otherwise=lambda body: Says("x", usage=(1_000_000, 0))) as server:
        given = table(server, usd_per_million_input=1.0, max_concurrency=1)
        store = MemoryStore()
        replies = ask(given, [str(n) for n in range(5)], store, max_usd=2.0)
        assert len(server.requests) == 2
        again = ask(given, [str(n) for n in range(5)], store, one_by_one=True, max_usd=2.0)
        assert len(server.requests) == 2
    assert [type(reply) for reply in replies] == [Reply, Reply, *[BudgetSpent] * 3]
    assert [type(reply) for reply in again] == [Reply, Reply, *[BudgetSpent] * 3]


def test_requests_under_way_count_as_spent() -> None:
    with teacher_server(otherwise=lambda body: Says("x", usage=(1_000_000, 0))) as server:
        given = table(server, usd_per_million_input=1.0, max_concurrency=4)
        store = MemoryStore()
        ask(given, ["first"], store)
        ask(given, ["first", *(str(n) for n in range(8))], store, max_usd=3.0)
        assert len(server.requests) == 3


def test_a_refusal_and_its_reason_are_read() -> None:
    with teacher_server(Says(None, refusal="I cannot")) as server:
        (reply,) = ask(table(server), ["a"])
    assert isinstance(reply, Reply)
    assert (reply.text, reply.refusal) == ("", "I cannot")


def test_half_characters_are_replaced_on_the_way_in_and_out() -> None:
    with teacher_server(Says("ok \ud83d")) as server:
        store = MemoryStore()
        (reply,) = ask(table(server), ["half \ud800"], store)
    assert isinstance(reply, Reply)
    assert reply.text == "ok ?"
    next(iter(store.kept.values())).request["messages"][0]["content"].encode()


def test_the_key_comes_from_the_environment_and_is_never_in_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-secret")
    caplog.set_level(logging.DEBUG)
    with teacher_server(Says("x"), Status(401)) as server:
        given = table(server, api_key_env="TEACHER_KEY")
        ok, failed = ask(given, ["call my wife", "b"], one_by_one=True)
        assert server.headers[0]["authorization"] == "Bearer sk-secret"
    assert isinstance(ok, Reply)
    assert isinstance(failed, RequestFailed)
    assert "sk-secret" not in failed.message + caplog.text
    assert "wife" not in caplog.text


def test_a_key_that_is_not_set_is_told_before_anything_is_sent() -> None:
    with teacher_server() as server:
        with pytest.raises(EndpointUnusable, match="NO_SUCH_KEY, which is not set"):
            ask(table(server, api_key_env="NO_SUCH_KEY"), ["a"])
        assert not server.requests


def test_a_proxy_of_the_environment_does_not_stand_before_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with teacher_server() as server:
        (reply,) = ask(table(server), ["a"])
    assert isinstance(reply, Reply)
    assert is_loopback("http://localhost:1/v1")
    assert is_loopback("http://[::1]:1/v1")
    assert not is_loopback("https://api.example.com/v1")


def test_a_wait_given_in_milliseconds_wins_and_nonsense_is_no_wait() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}, now) == 1.5
    assert retry_after({"retry-after": "Sun, 22 Nov 2020 00:00:00 GMT"}, now) == 0
    assert retry_after({"retry-after": "nan"}, now) is None
    assert retry_after({"retry-after": "-1"}, now) is None
    assert retry_after({}, now) is None


def test_a_content_given_in_parts_is_one_text() -> None:
    assert text_of([{"type": "text", "text": "a"}, "?", {"type": "image"}, {"text": "b"}]) == "ab"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"choices": [' + b"[]," * 136_000 + b"[]]}", "100,000 JSON values"),
        (b"[" * 200_000, "100,000 JSON values"),
        (b" " * (9 << 20), "8,388,608 bytes"),
    ],
)
def test_an_answer_larger_than_any_models_is_not_parsed_and_not_asked_for_again(
    body: bytes, what: str
) -> None:
    with teacher_server(Raw(body)) as server:
        (failed,) = ask(table(server), ["a"])
        assert isinstance(failed, RequestFailed)
        assert what in failed.message
        assert len(server.requests) == 1


def test_a_compressed_answer_is_inflated_no_further_than_the_limit() -> None:
    packed = gzip.compress(b" " * (512 << 20))
    assert len(packed) < 1 << 20
    with teacher_server(Raw(packed, headers={"Content-Encoding": "gzip"})) as server:
        tracemalloc.start()
        (failed,) = ask(table(server), ["a"])
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(failed, RequestFailed)
        assert "8,388,608 bytes" in failed.message
        assert len(server.requests) == 1
        assert most < 64 << 20


def test_an_answer_nested_deeper_than_can_be_read_is_none() -> None:
    with teacher_server(Raw(b'{"choices": ' + b"[" * 50_000 + b"]" * 50_000 + b"}")) as server:
        (failed,) = ask(table(server, max_retries=0), ["a"])
        assert isinstance(failed, RequestFailed)
