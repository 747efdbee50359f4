"""A server that answers `/v1/predict`: asked over its Unix socket, or at a URL. Blocking."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from flywheel.errors import FlywheelError, NotLoaded, ServingAway
from flywheel.records import ServedAnswer
from flywheel.unix_socket import UnixConnection

ADAPTER_HEADER = "x-flywheel-adapter"
"""Names the loaded adapter that is asked, which need not be the one that answers traffic."""

_BATCH = 8  # texts of one request: traffic is answered between two of them
_BUSY_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)  # where its queue is full
_REFUSALS = (400, 404, 409, 422)  # the same request would be refused again


class Endpoint:
    """A server's address; each request has a connection of its own.

    Args:
        connect: gives an unopened connection.
        where: for messages.
        token: of TCP; "" sends none.
    """

    def __init__(self, connect: _Connect, where: str, token: str = "") -> None:
        self._connect = connect
        self._where = where
        self._token = token

    def ask(self, adapter_id: str, texts: Sequence[str]) -> list[ServedAnswer | None]:
        """Answers of a loaded adapter, in order; as `AskedServing.ask`."""
        found: list[ServedAnswer | None] = []
        headers = {ADAPTER_HEADER: adapter_id}
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            inputs = {"inputs": [{"text": text} for text in batch]}
            reply = self.post("/v1/predict", inputs, headers)
            answers = reply.get("predictions")
            if not isinstance(answers, list) or len(answers) != len(batch):
                raise ServingAway(f"{self._where} answered otherwise than `/v1/predict` does")
            found += map(_answer_of, answers)
        return found

    def get(self, path: str) -> Mapping[str, Any]:
        """GET an object; raises as `post` does."""
        return self._exchange("GET", path, None, {})

    def post(
        self, path: str, value: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """POST an object and return the answered one. A full queue is waited for.

        Raises:
            NotLoaded: the server refused this request; the message is its own.
            ServingAway: it does not answer, or with another error.
        """
        return self._exchange("POST", path, value, headers or {})

    def _exchange(
        self, method: str, path: str, value: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Mapping[str, Any]:
        body = None if value is None else json.dumps(value, ensure_ascii=False).encode()
        sent = {"Content-Type": "application/json", **headers}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        for wait in (*_BUSY_WAITS_S, None):
            status, answer = self._send(method, path, body, sent)
            if status != 429 or wait is None:
                break
            time.sleep(wait)
        if status < 400:
            return answer
        message, hint = _error_of(answer, status)
        kind: type[FlywheelError] = NotLoaded if status in _REFUSALS else ServingAway
        raise kind(message if kind is NotLoaded else f"{self._where}: {message}", hint=hint)

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, Any]]:
        connection = self._connect()
        try:
            connection.request(method, path, body, dict(headers))
            reply = connection.getresponse()
            content = reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise _away(self._where, error) from error
        finally:
            connection.close()
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        return reply.status, answer if isinstance(answer, dict) else {}


class _Connect(Protocol):
    def __call__(self) -> http.client.HTTPConnection: ...


def on_socket(path: Path, timeout_s: float) -> Endpoint:
    """The endpoint of a Unix socket."""
    return Endpoint(lambda: UnixConnection(path, timeout_s), f"the server on {path}")


def at_url(url: str, token: str, timeout_s: float) -> Endpoint:
    """The endpoint below `url`, which may have a path.

    Raises:
        ValueError: it is no http or https address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url} is no http or https address")
    host, port = parts.hostname, parts.port

    def connect() -> http.client.HTTPConnection:
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)

    return _Below(connect, f"the server at {parts.scheme}://{parts.netloc}", token, parts.path)


class _Below(Endpoint):
    """An endpoint whose paths begin with a prefix."""

    def __init__(self, connect: _Connect, where: str, token: str, prefix: str) -> None:
        super().__init__(connect, where, token)
        self._prefix = prefix.rstrip("/")

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, Any]]:
        return super()._send(method, self._prefix + path, body, headers)


def _answer_of(answer: Any) -> ServedAnswer | None:
    """One prediction as the server gave it; None where it is none."""
    if not isinstance(answer, dict) or not isinstance(answer.get("intent"), str):
        return None
    confidence, arguments = answer.get("confidence"), answer.get("arguments")
    return ServedAnswer(
        adapter=str(answer.get("adapter")),
        intent=answer["intent"],
        arguments=arguments if isinstance(arguments, dict) else {},
        confidence=float(confidence) if isinstance(confidence, int | float) else None,
    )


def _error_of(answer: Mapping[str, Any], status: int) -> tuple[str, str]:
    """Message and hint, in flywheel's form of an error or in OpenAI's."""
    error = answer.get("error") or f"it answered {status}"
    if isinstance(error, dict):
        error = error.get("message") or f"it answered {status}"
    return str(error), str(answer.get("hint") or "")


def _away(where: str, error: Exception) -> ServingAway:
    if isinstance(error, TimeoutError):
        return ServingAway(f"{where} did not answer in time", hint="see `flywheel log`")
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return ServingAway(
            f"no server answers: {where} is not there",
            hint="start it with `flywheel serve` (or `systemctl start flywheel-serve`)",
        )
    return ServingAway(f"{where} cannot be reached ({error})")
