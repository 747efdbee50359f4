"""The model that answers while there is no champion: any OpenAI-compatible endpoint.

Requests go to it as they are, but for the model's name; its answers and errors come back as they
are. What is asked and answered is recorded as at ingest, under the adapter `upstream:MODEL`. The
key is sent to it and to nobody else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from flywheel import __version__
from flywheel.config import UpstreamTable, secret
from flywheel.errors import ConfigError, FlywheelError
from flywheel.inference.concurrency import EndedStream, NoPlace, Places, while_asked
from flywheel.inference.exchanges import Exchanged, Exchanges, PricedAnswer
from flywheel.inference.refused import OPENAI_PATHS, refuse
from flywheel.inference.serve_metrics import ServeMetrics
from flywheel.records import Intent

log = logging.getLogger(__name__)

_PASSED_ON = ("retry-after", "x-request-id", "openai-processing-ms")
_LIMITS = ("x-ratelimit-",)  # beginnings of further ones
_KEY_REFUSED = frozenset({401, 403})
_GONE_STATUS = 499  # nginx's word for a client that closed the connection


_TASK = "Call the function that the user's message asks for. Where none fits, call none."


class UpstreamFailed(FlywheelError):
    """The upstream model gave no answer.

    Args:
        message, hint: for the caller.
        status: 502, 504, or what it answered with.
        code: for programs.
        body: what it said; b"" where it said nothing that may be passed on.
        headers: of the same.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        status: int,
        code: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.body = body
        self.headers = dict(headers or {})


class _Asked(NamedTuple):
    """A reply of the upstream model, and what is held for it."""

    reply: httpx.Response
    held: AsyncExitStack
    streams: bool

    def kept_open(self) -> Callable[[], Awaitable[None]]:
        """Hold it on; returns what lets go of it."""
        return self.held.pop_all().aclose


class Upstream:
    """The client of one endpoint; used in one event loop.

    Args:
        table: with an address and a model.
        exchanges: records what was asked and answered.
        metrics: counts it.
        intents: the functions of the router.

    Raises:
        ConfigError: the address is none, or the key is not set.
    """

    def __init__(
        self,
        table: UpstreamTable,
        exchanges: Exchanges,
        metrics: ServeMetrics,
        intents: Sequence[Intent] = (),
    ) -> None:
        self.table = table
        self.adapter = f"upstream:{table.model}"
        self._exchanges = exchanges
        self._metrics = metrics
        self._tools = [_tool(intent) for intent in intents]
        self._key = _key(table)
        self._places = Places(table.max_requests, table.queue)
        _refuse_address(table.base_url)
        headers = {
            "User-Agent": f"flywheel/{__version__}",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
        }
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._client = httpx.AsyncClient(
            base_url=table.base_url.rstrip("/") + "/",
            headers=headers,
            timeout=httpx.Timeout(table.timeout_s, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=not _is_loopback(table.base_url),
        )

    def answers(self, *, champion: bool) -> bool:
        """Whether it answers traffic, where there is a champion or none."""
        return not champion or self.table.when == "always"

    async def close(self) -> None:
        """Let go of its connections."""
        await self._client.aclose()

    async def pass_on(
        self, request: Request, path: str, raw: Mapping[str, msgspec.Raw], *, streamed: bool
    ) -> Response:
        """Ask with the caller's own request, and answer with what comes back.

        Args:
            request: the caller's.
            path: below the address, such as `chat/completions`.
            raw: fields of the body, as sent.
            streamed: the caller asked for a stream.

        Raises:
            UpstreamFailed: nothing came back, or an error; too many requests wait.
            ClientGone: the caller closed the connection, and so the request was given up.
        """
        return await while_asked(request, self._passed_on(path, raw, streamed=streamed))

    async def _passed_on(
        self, path: str, raw: Mapping[str, msgspec.Raw], *, streamed: bool
    ) -> Response:
        began = Exchanged(path, raw, self.adapter)
        body = msgspec.json.encode({**raw, "model": self.table.model})
        async with self._asked(path, body, streamed=streamed) as asked:
            reply = asked.reply
            if asked.streams:
                response = EndedStream(
                    self._pieces(reply, began), 200, self._headers(reply), "text/event-stream"
                )
                response.ended = asked.kept_open()
                return response
            content = await _whole(reply)
        self._record(began, content)
        return Response(
            content,
            200,
            self._headers(reply),
            media_type=reply.headers.get("content-type", "application/json"),
        )

    async def call(self, text: str) -> PricedAnswer:
        """Ask which of the router's own functions a text calls; nothing is recorded yet.

        Raises:
            UpstreamFailed: there is no answer, or one that says nothing.
        """
        spoken = [
            {"role": "system", "content": _TASK},
            {"role": "user", "content": text},
        ]
        body = {"messages": spoken, "tools": self._tools, "tool_choice": "auto"}
        raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
        began = Exchanged("chat/completions", raw, self.adapter)
        encoded = msgspec.json.encode({**raw, "model": self.table.model})
        async with self._asked("chat/completions", encoded) as asked:
            content = await _whole(asked.reply)
        answered = self._exchanges.read(began, content)
        if not answered:
            raise UpstreamFailed(
                "the answer of the model behind this server cannot be read",
                hint="send it again",
                status=502,
                code="upstream_unread",
            )
        return answered[0]

    def keep(self, answered: PricedAnswer) -> None:
        """Record what `call` returned."""
        self._exchanges.keep(answered)

    @asynccontextmanager
    async def _asked(
        self, path: str, body: bytes, *, streamed: bool = False
    ) -> AsyncIterator[_Asked]:
        """A good reply, of which the head has been read, and its place; let go of at the end.

        Raises:
            UpstreamFailed: no place, no reply, or an error within `timeout_s`, which counts from
                here to the end of what is not a stream.
        """
        try:
            async with AsyncExitStack() as held, asyncio.timeout(self.table.timeout_s):
                held.callback(await self._places.take())
                reply = await self._send(path, body)
                held.push_async_callback(reply.aclose)
                kind = reply.headers.get("content-type", "")
                yield _Asked(reply, held, streamed and kind.startswith("text/event-stream"))
        except NoPlace as error:
            raise UpstreamFailed(
                f"{self.table.max_requests} requests are under way to the model behind this "
                f"server, and {self.table.queue} wait",
                hint="send it again in a second",
                status=429,
                code="rate_limit_exceeded",
            ) from error
        except TimeoutError as error:
            raise _not_in_time(self.table) from error

    async def _send(self, path: str, body: bytes) -> httpx.Response:
        """A good reply, of which the head has been read."""
        try:
            request = self._client.build_request("POST", path, content=body)
            reply = await self._client.send(request, stream=True)
            if reply.is_success:
                return reply
            content = await reply.aread()
        except httpx.HTTPError as error:
            raise _not_reached(error, self.table) from error
        raise self._said(reply, content)

    def _said(self, reply: httpx.Response, content: bytes) -> UpstreamFailed:
        """The upstream's own error."""
        status = reply.status_code
        if status in _KEY_REFUSED:
            log.error("the upstream model refuses the key", extra={"event": "upstream.key"})
            return UpstreamFailed(
                f"the model behind this server refuses the server's own key ({status})",
                hint="who runs it sets the key that [serving.upstream] api_key_env names",
                status=status,
                code="upstream_key",
            )
        if self._key:
            content = content.replace(self._key.encode(), b"***")
        try:
            value = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            value = None
        return UpstreamFailed(
            f"the model behind this server answered {status}",
            hint="send it again later" if status >= 500 or status == 429 else "mend the request",
            status=status if status >= 400 else 502,
            code="upstream_error",
            body=content if isinstance(value, dict) and "error" in value else b"",
            headers=self._headers(reply),
        )

    async def _pieces(self, reply: httpx.Response, began: Exchanged) -> AsyncIterator[bytes]:
        """The stream as it comes; recorded before its last piece leaves."""
        pieces: list[bytes] = []
        recorded = False
        try:
            async for piece in reply.aiter_bytes():
                pieces.append(piece)
                if not recorded and _ends(piece):
                    recorded = True
                    self._record(began, b"".join(pieces), streamed=True)
                yield piece
        except httpx.HTTPError:
            log.exception("the upstream cut a stream", extra={"event": "upstream.cut"})
            self._metrics.refused("upstream_cut")
            raise
        if not recorded:
            self._record(began, b"".join(pieces), streamed=True)

    def _record(self, began: Exchanged, content: bytes, *, streamed: bool = False) -> None:
        self._exchanges.record(began, content, streamed=streamed)

    def _headers(self, reply: httpx.Response) -> dict[str, str]:
        kept = {
            name: value
            for name, value in reply.headers.items()
            if name in _PASSED_ON or name.startswith(_LIMITS)
        }
        return {**kept, "x-flywheel-adapter": self.adapter}


def of_upstream_failed(request: Request, error: Exception) -> Response:
    """What the upstream said, or why it said nothing."""
    assert isinstance(error, UpstreamFailed)
    request.app.state.service.metrics.refused(error.code)
    path = request.scope["path"]
    if error.body and path.startswith(OPENAI_PATHS):
        return Response(error.body, error.status, error.headers, media_type="application/json")
    return refuse(path, error.status, error.message, error.hint, code=error.code)


def _tool(intent: Intent) -> dict[str, Any]:
    parameters = intent.parameters or {"type": "object", "properties": {}}
    function = {"name": intent.name, "description": intent.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _ends(piece: bytes) -> bool:
    return b"[DONE]" in piece or b'"response.completed"' in piece


async def _whole(reply: httpx.Response) -> bytes:
    try:
        return await reply.aread()
    except httpx.HTTPError as error:
        raise UpstreamFailed(
            "the model behind this server cut its answer off",
            hint="send it again",
            status=502,
            code="upstream_cut",
        ) from error


def _not_reached(error: httpx.HTTPError, table: UpstreamTable) -> UpstreamFailed:
    if isinstance(error, httpx.TimeoutException):
        return _not_in_time(table)
    log.error(
        "the upstream model was not reached: %s",
        type(error).__name__,
        extra={"event": "upstream.unreachable"},
    )
    return UpstreamFailed(
        "the model behind this server cannot be reached",
        hint="send it again later",
        status=502,
        code="upstream_unreachable",
    )


def _not_in_time(table: UpstreamTable) -> UpstreamFailed:
    log.error("the upstream model was too slow", extra={"event": "upstream.timeout"})
    return UpstreamFailed(
        f"the model behind this server did not answer within {table.timeout_s:g} s",
        hint="send it again later",
        status=504,
        code="upstream_timeout",
    )


def of_client_gone(request: Request, error: Exception) -> Response:
    """Nobody reads it; the request is counted."""
    request.app.state.service.metrics.refused("client_gone")
    return Response(status_code=_GONE_STATUS)


def _key(table: UpstreamTable) -> str:
    if not table.api_key_env:
        return ""
    key = secret(table.api_key_env)
    if not key:
        raise ConfigError(
            f"[serving.upstream] api_key_env names {table.api_key_env}, which is not set",
            hint=f"export {table.api_key_env}, or give systemd a credential of that name",
        )
    return key.strip()


def _refuse_address(base_url: str) -> None:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f'[serving.upstream] base_url = "{base_url}" is no http address',
            hint='write it like "https://host/v1"',
        )


def _is_loopback(base_url: str) -> bool:
    """Whether the endpoint is on this machine, so that no proxy is asked."""
    host = urlsplit(base_url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
