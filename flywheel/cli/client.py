"""The daemon, asked over its Unix socket. Standard library only, one connection per command."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from flywheel.errors import DaemonUnreachable, FlywheelError, NotFound, Refused
from flywheel.unix_socket import UnixConnection

_TIMEOUT_S = 120.0  # a promotion writes, renames and answers; a listing takes milliseconds
_PART = 1 << 20  # bytes of a download
_BUSY = (429, 503)
_BUSY_WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonReply:
    """What the daemon answered; 200, 202, or the 422 of a batch in which nothing was good."""

    status: int
    body: bytes
    content_type: str

    @property
    def value(self) -> Any:
        """The body's JSON.

        Raises:
            FlywheelError: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise FlywheelError(
                "the daemon's answer is not JSON",
                hint="are the command and the daemon of one version? `flywheel --version`",
            ) from error


class DaemonClient:
    """A client of the daemon that listens on `path`."""

    def __init__(self, path: Path, timeout_s: float = _TIMEOUT_S) -> None:
        self.path = path
        self._connection = UnixConnection(path, timeout_s)

    def close(self) -> None:
        """Let go of the connection; harmless when there is none."""
        self._connection.close()

    def get(self, *segments: str, query: Mapping[str, str] | None = None) -> DaemonReply:
        """GET /v1/`segments`.

        Raises:
            DaemonUnreachable: nothing answers.
            FlywheelError: it refused; message and hint are the daemon's.
        """
        return self._ask("GET", _target(segments, query), b"", "")

    def post(self, *segments: str, value: Mapping[str, Any] | None = None) -> DaemonReply:
        """POST a JSON object to /v1/`segments`; raises as `get` does."""
        body = json.dumps(value or {}, ensure_ascii=False).encode()
        return self._ask("POST", _target(segments, None), body, "application/json")

    def post_lines(
        self, *segments: str, lines: bytes, query: Mapping[str, str] | None = None
    ) -> DaemonReply:
        """POST NDJSON to /v1/`segments`; a busy daemon is asked again, up to half a minute.

        Raises as `get` does, but a batch in which nothing was good is an answer.
        """
        target = _target(segments, query)
        for wait in (*_BUSY_WAITS_S, None):
            reply = self._send("POST", target, lines, "application/x-ndjson")
            if reply.status not in _BUSY or wait is None:
                break
            time.sleep(wait)
        if reply.status == 422 and "accepted" in _object(reply.body):
            return reply
        return _checked(reply)

    def download(self, *segments: str) -> Iterator[tuple[int, int, bytes]]:
        """GET /v1/`segments` in parts: bytes so far, bytes in all (0: not said), the part.

        Raises as `get` does; also when the connection ends before the last byte.
        """
        try:
            self._connection.request("GET", _target(segments, None))
            reply = self._connection.getresponse()
            if reply.status >= 400:
                _checked(DaemonReply(status=reply.status, body=reply.read(), content_type=""))
            whole, done = int(reply.headers.get("Content-Length") or 0), 0
            while part := reply.read(_PART):
                done += len(part)
                yield done, whole, part
            if done < whole:
                raise http.client.IncompleteRead(b"", whole - done)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise _unreachable(self.path, error) from error

    def upload(self, *segments: str, parts: Iterable[bytes], size: int) -> DaemonReply:
        """POST `size` bytes to /v1/`segments`, part by part; raises as `get` does."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.request("POST", _target(segments, None), parts, headers)
            return _checked(self._answer())  # also where it did not want the rest
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise _unreachable(self.path, error) from error

    def ready(self) -> None:
        """Have the daemon read and write its database.

        Raises:
            DaemonUnreachable: nothing answers.
            FlywheelError: it is not ready; the message says why.
        """
        _checked(self._send("GET", "/readyz", b"", ""))

    def _ask(self, method: str, target: str, body: bytes, content_type: str) -> DaemonReply:
        return _checked(self._send(method, target, body, content_type))

    def _send(self, method: str, target: str, body: bytes, content_type: str) -> DaemonReply:
        """One request; a second try where an idle connection was closed meanwhile."""
        idle = self._connection.sock is not None
        try:
            try:
                return self._exchange(method, target, body, content_type)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self._connection.close()
                if not idle:
                    raise
                return self._exchange(method, target, body, content_type)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise _unreachable(self.path, error) from error

    def _exchange(self, method: str, target: str, body: bytes, content_type: str) -> DaemonReply:
        headers = {"Content-Type": content_type} if content_type else {}
        self._connection.request(method, target, body or None, headers)
        return self._answer()

    def _answer(self) -> DaemonReply:
        answer = self._connection.getresponse()
        return DaemonReply(
            status=answer.status,
            body=answer.read(),
            content_type=answer.headers.get_content_type(),
        )


def _target(segments: tuple[str, ...], query: Mapping[str, str] | None) -> str:
    path = "/v1/" + "/".join(quote(segment, safe="") for segment in segments)
    return f"{path}?{urlencode(query)}" if query else path


def _checked(reply: DaemonReply) -> DaemonReply:
    """Return a good reply; turn any other into the error it describes."""
    if reply.status < 400:
        return reply
    body = _object(reply.body)
    message = str(body.get("error") or f"the daemon answered {reply.status}")
    hint = str(body.get("hint") or "")
    kinds: dict[int, type[FlywheelError]] = {404: NotFound, 409: Refused}
    raise kinds.get(reply.status, FlywheelError)(message, hint=hint)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _unreachable(path: Path, error: Exception) -> DaemonUnreachable:
    """Say why nothing answers on `path`, and what to do."""
    if isinstance(error, PermissionError):
        return DaemonUnreachable(
            f"not allowed to use {path}",
            hint="join the group that owns it (`flywheel` under systemd) and log in again",
        )
    if isinstance(error, TimeoutError):
        return DaemonUnreachable(
            f"the daemon on {path} did not answer in time",
            hint="look at what it does with `flywheel log`",
        )
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return DaemonUnreachable(
            f"no daemon answers on {path}",
            hint="start it with `flywheel run` (or `systemctl start flywheel`); "
            "name another folder's config.toml with --config FILE",
        )
    return DaemonUnreachable(
        f"the daemon on {path} cut the connection ({error})",
        hint="see whether it still runs with `flywheel status`, and why not with `flywheel log`",
    )
