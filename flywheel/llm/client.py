"""The client of OpenAI-compatible endpoints: rate limits, retries, budget, cached answers.

The key of a request is the hash of its content. An answer is stored before it is returned, and
looked up before the request is sent: no request is paid for twice.
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
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from flywheel.config import TeacherTable, secret
from flywheel.content import canonical
from flywheel.errors import FlywheelError
from flywheel.llm import wire
from flywheel.llm.answer_size import AnswerTooLarge, BoundedClient
from flywheel.protocols import AnswerStore, StoredAnswer

_MINUTE = 60.0
_LONGEST_WAIT = 120.0  # seconds; a request with a longer Retry-After fails
_LONGEST_BACKOFF = 30.0  # seconds
_TEMPORARY = frozenset({408, 409, 425, 429})  # and 500 and above
_HOPELESS = frozenset({401, 403, 404})  # every later request would fail too
_UNKNOWN_FORMAT = frozenset({400, 422})  # statuses for an unsupported `response_format`

# At debug level the library logs whole request bodies, which are user text; the other two log a
# line or more for every request.
for _name in ("openai", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class EndpointUnusable(FlywheelError):
    """The configured address or key cannot be used; nothing was sent."""


class RequestFailed(FlywheelError):
    """One request has no answer after its retries; other requests may succeed."""


class BudgetSpent(FlywheelError):
    """The request was not started, since the budget is spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The model's answer to one request."""

    key: str  # hash of the request's content
    text: str
    finish: str  # "stop", "length", "content_filter", …; "" when the server does not say
    refusal: str  # "" unless the model declined
    usd: float
    input_tokens: int
    output_tokens: int
    bought: bool  # False when the answer was already stored


# Cost and pace.


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of answers, or a limit on it."""

    usd: float = 0.0
    tokens: float = 0.0  # in and out

    def __str__(self) -> str:
        return f"{self.usd:.4f} US dollars and {self.tokens:.0f} tokens"

    def plus(self, other: Cost, times: int = 1) -> Cost:
        """Return the sum of this and `times` times `other`."""
        return Cost(usd=self.usd + times * other.usd, tokens=self.tokens + times * other.tokens)

    def reaches(self, limit: Cost, share: float) -> bool:
        """Whether the cost reaches a share (0..1) of one of the limits."""
        return self.usd >= share * limit.usd or self.tokens >= share * limit.tokens


class Pace:
    """Rate limiter that spaces requests evenly, since bursts hit limits per minute.

    For one event loop.

    Args:
        requests: maximum requests started in a minute; 0 sets no limit.
        tokens: maximum tokens, in and out, of the requests started in a minute; 0: no limit.
    """

    def __init__(self, requests: int, tokens: int) -> None:
        self._request_s = _MINUTE / requests if requests else 0.0
        self._token_s = _MINUTE / tokens if tokens else 0.0
        self._next = 0.0  # loop time at which the next request may start

    async def enter(self, tokens: int) -> None:
        """Wait until a request of about this many tokens may start."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._next)
        self._next = start + max(self._request_s, tokens * self._token_s)
        if start > now:
            await asyncio.sleep(start - now)


# Answer cache. A durable write costs the same for one answer as for fifty, and a look-up nearly so,
# so calls of concurrent requests are batched. No answer is returned before its write has returned.

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class AnswerCache:
    """Batched access to a store of answers, for one event loop and called from its thread only."""

    def __init__(self, store: AnswerStore) -> None:
        self._find = _Batched(store.get)
        self._store = _Batched(store.put)

    async def find(self, key: str) -> StoredAnswer | None:
        """Return the stored answer of a request key; None when there is none."""
        return (await self._find(key)).get(key)

    async def keep(self, answer: StoredAnswer) -> None:
        """Store the answer and wait until it is durable.

        Cancellation of the caller does not cancel the write: the answer is paid for.
        """
        await self._store(answer)


class _Batched(Generic[_Item, _Result]):
    """One call for all items of the same pass of the event loop; all callers get its exception."""

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


# Address and key of [teacher], validated before anything is sent.


def is_loopback(base_url: str) -> bool:
    """Whether the endpoint is on this machine, so that no proxy is used."""
    try:
        host = urlsplit(base_url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def key_of(table: TeacherTable) -> str:
    """Return the API key.

    Raises:
        EndpointUnusable: `api_key_env` names a variable that is not set.
    """
    if not table.api_key_env:
        return "none"  # local servers require some key, but no particular one
    key = secret(table.api_key_env)
    if not key:
        raise EndpointUnusable(
            f"[teacher] api_key_env names {table.api_key_env}, which is not set",
            hint=f"export {table.api_key_env}, or give systemd a credential of that name",
        )
    return key


def host_of(table: TeacherTable) -> str:
    """Return host and port, for messages: the full address may contain a password.

    Raises:
        EndpointUnusable: `base_url` is not an HTTP address.
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


class Client:
    """Client of one endpoint; use as `async with`, in one event loop.

    Args:
        table: endpoint, limits and prices.
        kept: store of answers; called from the loop's thread only.
        max_usd: no request starts when the answers of this client, stored ones included, and the
            requests under way (each estimated at the highest cost so far) cost this or more.
        max_tokens: the same in tokens, in and out.
        backoff_s: pause before the first retry; doubled each time. A server's Retry-After wins.

    Raises:
        EndpointUnusable: the address is invalid, or the key is not set.
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
        self._cache = AnswerCache(kept)
        self._limit = Cost(usd=max_usd, tokens=max_tokens)
        self._backoff_s = backoff_s
        self._places = asyncio.Semaphore(max(1, table.max_concurrency))
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._counted: set[str] = set()
        self._spent = Cost()
        self._dearest = Cost()
        self._pace = Pace(table.requests_per_minute, table.tokens_per_minute)
        self._longest_answer = 0  # tokens out of the longest answer so far
        self._under_way = 0
        self._not_before = 0.0  # loop time; a Retry-After holds for every request
        self._refused_formats: set[str] = set()
        self._hopeless: RequestFailed | None = None
        self._host = host_of(table)
        self._client = AsyncOpenAI(
            base_url=table.base_url,
            api_key=key_of(table),
            max_retries=0,  # retried here, where a whole answer has a time limit
            timeout=table.timeout_s,
            http_client=BoundedClient(trust_env=not is_loopback(table.base_url)),
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
        """Maximum number of concurrent requests."""
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
            share: of the budget, 0..1, above which this request does not start.

        Raises:
            RequestFailed: no answer within the retries, or the request was refused.
            BudgetSpent: the request was not started.
        """
        content = {"model": self._table.model, "messages": messages, "schema": schema}
        request = wire.valid(content)
        key = hashlib.sha256(canonical(request).encode()).hexdigest()
        async with self._locks.setdefault(key, asyncio.Lock()):
            stored = await self._cache.find(key)
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
            sent_tokens, received_tokens = wire.tokens(request, response)
            usd = self._price(sent_tokens, received_tokens)
            answer = StoredAnswer(
                key=key,
                request=request,
                response=response,
                usd=usd,
                input_tokens=sent_tokens,
                output_tokens=received_tokens,
            )
            await self._cache.keep(answer)
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
                raise self._final_error(error) from error
            except AnswerTooLarge as error:
                raise self._final_error(error) from error
            except (openai.OpenAIError, TimeoutError, ValueError, RecursionError) as error:
                raise self._final_error(error) from error
        raise AssertionError("the plain format is never skipped")

    async def _with_retries(
        self, messages: list[dict[str, Any]], form: Mapping[str, Any]
    ) -> dict[str, Any]:
        for attempt in range(self._table.max_retries + 1):
            await self._until_allowed()
            await self._pace.enter(wire.estimated(messages) + self._longest_answer)
            try:
                return await self._once(messages, form)
            except (openai.OpenAIError, TimeoutError, ValueError, RecursionError) as error:
                wait = self._pause(error, attempt)
                if wait is None or attempt == self._table.max_retries:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self, messages: list[dict[str, Any]], form: Mapping[str, Any]
    ) -> dict[str, Any]:
        """One HTTP request. The timeout is for the whole answer, not for its next byte."""
        async with asyncio.timeout(self._table.timeout_s):
            completion: Any = await self._client.chat.completions.create(
                model=self._table.model,
                messages=(),  # the library would validate every part of it, which takes 1 ms
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
        requested_s = wire.retry_after(error.response.headers, datetime.now(UTC))
        if not requested_s:
            return backoff
        if requested_s > _LONGEST_WAIT:
            return None
        allowed = asyncio.get_running_loop().time() + requested_s
        self._not_before = max(self._not_before, allowed)
        return 0.0

    def _final_error(self, error: Exception) -> RequestFailed:
        why = error.message if isinstance(error, AnswerTooLarge) else wire.told(error)
        failed = RequestFailed(
            f"{self._host} did not answer for model {self._table.model!r}: {why}",
            hint="see [teacher] in config.toml: base_url, model, api_key_env, timeout_s",
        )
        if isinstance(error, openai.APIStatusError) and error.status_code in _HOPELESS:
            self._hopeless = failed
        return failed

    def _price(self, input_tokens: int, output_tokens: int) -> float:
        input_cost = input_tokens * self._table.usd_per_million_input
        return (input_cost + output_tokens * self._table.usd_per_million_output) / 1e6

    def _count(self, answer: StoredAnswer) -> None:
        if answer.key not in self._counted:
            self._counted.add(answer.key)
            cost = Cost(usd=answer.usd, tokens=answer.input_tokens + answer.output_tokens)
            self._spent = self._spent.plus(cost)
            self._dearest = Cost(
                usd=max(self._dearest.usd, cost.usd), tokens=max(self._dearest.tokens, cost.tokens)
            )
            self._longest_answer = max(self._longest_answer, answer.output_tokens)


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
