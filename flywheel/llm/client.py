"""The one client of OpenAI-compatible endpoints: limits, retries, cost, answers kept before use.

A request is named by the hash of its content. Its answer is stored before anybody reads it, and
looked up before it is asked for: what was paid for once is never bought again.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletion

from flywheel.config import TeacherTable, secret
from flywheel.content import canonical
from flywheel.errors import FlywheelError
from flywheel.llm import wire
from flywheel.protocols import AnswerStore, StoredAnswer

# What answers cost, in money and in tokens.


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A sum of answers, or a limit on one."""

    usd: float = 0.0
    tokens: float = 0.0  # in and out

    def __str__(self) -> str:
        return f"{self.usd:.4f} US dollars and {self.tokens:.0f} tokens"

    def plus(self, other: Cost, times: int = 1) -> Cost:
        """Return the sum with `other`, counted so many times."""
        return Cost(usd=self.usd + times * other.usd, tokens=self.tokens + times * other.tokens)

    def reaches(self, limit: Cost, share: float) -> bool:
        """Whether a share of one of the limits is reached."""
        return self.usd >= share * limit.usd or self.tokens >= share * limit.tokens


# When the next request may start, so that an endpoint's limits per minute hold.

_MINUTE = 60.0


class Pace:
    """Spreads requests evenly: bursts are what limits per minute punish. One event loop uses it.

    Args:
        requests: most requests started in a minute; 0 sets no limit.
        tokens: most tokens, in and out, of the requests started in a minute; 0 sets no limit.
    """

    def __init__(self, requests: int, tokens: int) -> None:
        self._request_s = _MINUTE / requests if requests else 0.0
        self._token_s = _MINUTE / tokens if tokens else 0.0
        self._next = 0.0  # loop time at which the next request may start

    async def enter(self, tokens: int) -> None:
        """Return when a request of about so many tokens may start."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._next)
        self._next = start + max(self._request_s, tokens * self._token_s)
        if start > now:
            await asyncio.sleep(start - now)


# Paid answers to the store and back: together where they come together.
#
# A durable write costs the same for one answer as for fifty, a look-up nearly so, and concurrent
# requests come in bunches. Nobody reads an answer before the write that holds it has returned.

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class AnswerCache:
    """A store of answers as one event loop uses it; the store is called from its thread alone."""

    def __init__(self, kept: AnswerStore) -> None:
        self._find = _Together(kept.get)
        self._store = _Together(kept.put)

    async def find(self, key: str) -> StoredAnswer | None:
        """Return the answer kept for this request; None when it was never bought."""
        return (await self._find(key)).get(key)

    async def keep(self, answer: StoredAnswer) -> None:
        """Return when the answer is durable.

        Who is cancelled while waiting takes no answer with them: it is paid for.
        """
        await self._store(answer)


class _Together(Generic[_Item, _Result]):
    """One call for all that is asked in the same pass of the loop; what it raises, all get."""

    def __init__(self, call: Callable[[Sequence[_Item]], _Result]) -> None:
        self._call = call
        self._items: list[_Item] = []
        self._next: asyncio.Task[_Result] | None = None

    async def __call__(self, item: _Item) -> _Result:
        self._items.append(item)
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return await asyncio.shield(self._next)

    async def _run(self) -> _Result:
        items, self._items, self._next = self._items, [], None
        return self._call(items)


# Where requests go: the address and the key of [teacher], checked before anything is sent.


class EndpointUnusable(FlywheelError):
    """The configured address or key cannot be used; nothing was sent."""


def is_loopback(base_url: str) -> bool:
    """Whether the endpoint is on this machine, so that no proxy stands between."""
    try:
        host = urlsplit(base_url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def key_of(table: TeacherTable) -> str:
    """Return the key to send.

    Raises:
        EndpointUnusable: the key is named and not set.
    """
    if not table.api_key_env:
        return "none"  # local servers want a key's place filled, not a key
    found = secret(table.api_key_env)
    if not found:
        raise EndpointUnusable(
            f"[teacher] api_key_env names {table.api_key_env}, which is not set",
            hint=f"export {table.api_key_env}, or give systemd a credential of that name",
        )
    return found


def host_of(table: TeacherTable) -> str:
    """Return host and port, for messages: the address itself may hold a password.

    Raises:
        EndpointUnusable: the address is none.
    """
    try:
        parts = urlsplit(table.base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https") or not table.base_url.isprintable():
        raise EndpointUnusable(
            f"[teacher] base_url is {table.base_url!r}, which is no http address",
            hint='write it like "https://host/v1"',
        )
    return f"{host}:{port}" if port else host


_LONGEST_WAIT = 120.0  # seconds; a server that wants a longer pause is given up
_LONGEST_BACKOFF = 30.0  # seconds
_TEMPORARY = frozenset({408, 409, 425, 429})  # and 500 and above
_HOPELESS = frozenset({401, 403, 404})  # the next request would fail alike
_UNKNOWN_FORMAT = frozenset({400, 422})  # how servers refuse a `response_format`

# At debug level the library logs whole request bodies, which are user text; the other two log a
# line or more for every request.
for _name in ("openai", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class RequestFailed(FlywheelError):
    """One request has no answer after its retries; others may."""


class BudgetSpent(FlywheelError):
    """The request was not started, since the money is spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model said to one request."""

    key: str  # hash of the request's content
    text: str
    finish: str  # "stop", "length", "content_filter", …; "" when the server does not say
    refusal: str  # "" unless the model declined
    usd: float
    input_tokens: int
    output_tokens: int
    bought: bool  # False when the answer was already stored


class Client:
    """Asks one endpoint; use as `async with`, in one event loop.

    Args:
        table: endpoint, limits and prices.
        kept: where answers are stored; called from the loop's thread only.
        max_usd: no request is started when the answers of this client, stored ones included, and
            those under way (each taken for as dear as the dearest so far) cost this or more.
        max_tokens: the same in tokens, in and out.
        backoff_s: pause before the first retry; doubled each time. A server's Retry-After wins.

    Raises:
        EndpointUnusable: the address is none, or the key is not set.
    """

    def __init__(
        self,
        table: TeacherTable,
        kept: AnswerStore,
        *,
        max_usd: float = math.inf,
        max_tokens: float = math.inf,
        backoff_s: float = 0.5,
    ) -> None:
        self._table = table
        self._kept = AnswerCache(kept)
        self._limit = Cost(usd=max_usd, tokens=max_tokens)
        self._backoff_s = backoff_s
        self._places = asyncio.Semaphore(max(1, table.max_concurrency))
        self._one_each: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._counted: set[str] = set()
        self._spent = Cost()
        self._dearest = Cost()
        self._pace = Pace(table.requests_per_minute, table.tokens_per_minute)
        self._usual_answer = 0  # tokens out of the longest answer so far
        self._under_way = 0
        self._not_before = 0.0  # loop time; a rate limit holds for every request
        self._refused_formats: set[str] = set()
        self._hopeless: RequestFailed | None = None
        self._host = host_of(table)
        self._client = AsyncOpenAI(
            base_url=table.base_url,
            api_key=key_of(table),
            max_retries=0,  # retried here, where a whole answer has a time limit
            timeout=table.timeout_s,
            http_client=DefaultAsyncHttpxClient(trust_env=not is_loopback(table.base_url)),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    @property
    def places(self) -> int:
        """How many requests may be under way at once."""
        return max(1, self._table.max_concurrency)

    async def ask(
        self,
        messages: list[dict[str, Any]],
        schema: Mapping[str, Any] | None = None,
        *,
        share: float = 1.0,
    ) -> Reply:
        """Return the model's answer to these messages, stored before it is returned.

        Args:
            messages: as in the chat-completions protocol.
            schema: the `json_schema` object of a `response_format`. An endpoint that refuses it is
                asked for a JSON object, then for plain text.
            share: of the budget that may be spent by then; what is left is for other requests.

        Raises:
            RequestFailed: no answer within the retries, or the request was refused.
            BudgetSpent: the request was not started.
        """
        content = {"model": self._table.model, "messages": messages, "schema": schema}
        request = wire.valid(content)
        key = hashlib.sha256(canonical(request).encode()).hexdigest()
        async with self._one_each.setdefault(key, asyncio.Lock()):
            stored = await self._kept.find(key)
            bought = stored is None
            if stored is None:
                async with self._places:
                    stored = await self._buy(key, request, share)
            self._count(stored)
            return _reply(stored, bought=bought)

    async def _buy(self, key: str, request: Mapping[str, Any], share: float) -> StoredAnswer:
        if self._hopeless is not None:
            raise self._hopeless
        if self._spent.plus(self._dearest, self._under_way).reaches(self._limit, share):
            raise BudgetSpent(f"{self._spent} are spent; the limit is {self._limit}")
        self._under_way += 1
        try:
            response = await self._in_an_accepted_format(request)
            sent, received = wire.tokens(request, response)
            usd = self._price(sent, received)
            answer = StoredAnswer(
                key=key,
                request=request,
                response=response,
                usd=usd,
                input_tokens=sent,
                output_tokens=received,
            )
            await self._kept.keep(answer)
            return answer
        finally:
            self._under_way -= 1

    async def _in_an_accepted_format(self, request: Mapping[str, Any]) -> dict[str, Any]:
        for name, form in wire.formats(request["schema"]):
            if name in self._refused_formats:
                continue
            try:
                return await self._with_retries(request["messages"], form)
            except openai.APIStatusError as error:
                if form and error.status_code in _UNKNOWN_FORMAT:
                    self._refused_formats.add(name)
                    continue
                raise self._given_up(error) from error
            except (openai.OpenAIError, TimeoutError, ValueError) as error:
                raise self._given_up(error) from error
        raise AssertionError("the plain format is never skipped")

    async def _with_retries(
        self, messages: list[dict[str, Any]], form: Mapping[str, Any]
    ) -> dict[str, Any]:
        for attempt in range(self._table.max_retries + 1):
            await self._until_allowed()
            await self._pace.enter(wire.estimated(messages) + self._usual_answer)
            try:
                return await self._once(messages, form)
            except (openai.OpenAIError, TimeoutError, ValueError) as error:
                wait = self._pause(error, attempt)
                if wait is None or attempt == self._table.max_retries:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self, messages: list[dict[str, Any]], form: Mapping[str, Any]
    ) -> dict[str, Any]:
        """One HTTP request. The limit is for the whole answer, not for the next byte of it."""
        async with asyncio.timeout(self._table.timeout_s):
            completion: Any = await self._client.chat.completions.create(
                model=self._table.model,
                messages=(),  # the library walks through every part of a known field: 1 ms
                extra_body={"messages": messages, **form},
            )
        if not isinstance(completion, ChatCompletion) or not completion.choices:
            raise ValueError("the endpoint's answer is not a chat completion")
        dumped: dict[str, Any] = wire.valid(completion.model_dump(mode="json", warnings=False))
        return dumped

    async def _until_allowed(self) -> None:
        loop = asyncio.get_running_loop()
        while (wait := self._not_before - loop.time()) > 0:
            await asyncio.sleep(wait)

    def _pause(self, error: Exception, attempt: int) -> float | None:
        """Seconds before the next attempt; None when there should be none."""
        backoff = min(self._backoff_s * 2.0**attempt, _LONGEST_BACKOFF)
        if not isinstance(error, openai.APIStatusError):
            return backoff  # a timeout, a cut connection, an answer that is not one
        if error.status_code not in _TEMPORARY and error.status_code < 500:
            return None
        asked = wire.retry_after(error.response.headers, datetime.now(UTC))
        if not asked:
            return backoff
        if asked > _LONGEST_WAIT:
            return None
        allowed = asyncio.get_running_loop().time() + asked
        self._not_before = max(self._not_before, allowed)
        return 0.0

    def _given_up(self, error: Exception) -> RequestFailed:
        failed = RequestFailed(
            f"{self._host} did not answer for model {self._table.model!r}: {wire.told(error)}",
            hint="see [teacher] in config.toml: base_url, model, api_key_env, timeout_s",
        )
        if isinstance(error, openai.APIStatusError) and error.status_code in _HOPELESS:
            self._hopeless = failed
        return failed

    def _price(self, sent: int, received: int) -> float:
        dear = sent * self._table.usd_per_million_input
        return (dear + received * self._table.usd_per_million_output) / 1e6

    def _count(self, answer: StoredAnswer) -> None:
        if answer.key not in self._counted:
            self._counted.add(answer.key)
            cost = Cost(usd=answer.usd, tokens=answer.input_tokens + answer.output_tokens)
            self._spent = self._spent.plus(cost)
            self._dearest = Cost(
                usd=max(self._dearest.usd, cost.usd), tokens=max(self._dearest.tokens, cost.tokens)
            )
            self._usual_answer = max(self._usual_answer, answer.output_tokens)


def _reply(answer: StoredAnswer, *, bought: bool) -> Reply:
    choice = answer.response["choices"][0]
    message = wire.message_of(answer.response)
    return Reply(
        key=answer.key,
        text=wire.text_of(message.get("content")),
        finish=choice.get("finish_reason") or "",
        refusal=wire.text_of(message.get("refusal")),
        usd=answer.usd,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        bought=bought,
    )
