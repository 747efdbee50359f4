"""A local server of the OpenAI chat-completions protocol, with a queue of replies and faults."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import CEILING_S


@dataclass(frozen=True)
class Says:
    """A whole answer."""

    content: Any
    finish: str = "stop"
    refusal: str | None = None
    usage: tuple[int, int] | None = (100, 50)  # tokens in, out; None: the server does not count


@dataclass(frozen=True)
class Status:
    """An HTTP error."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "no"


@dataclass(frozen=True)
class Raw:
    """A body as it stands, with status 200."""

    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Stall:
    """Nothing, for longer than any client waits."""


@dataclass(frozen=True)
class Drip:
    """A byte of blank every `pause` seconds, without end."""

    pause: float


@dataclass(frozen=True)
class Cut:
    """A connection closed in the middle of the body."""


Turn = Says | Status | Raw | Stall | Drip | Cut


def samples(*texts: str) -> str:
    """An answer's content with these texts."""
    return json.dumps({"samples": [{"text": text, "arguments": {}} for text in texts]})


class TeacherServer:
    """Answers with `queue`, in the order requests come, then with `otherwise`.

    Attributes:
        requests: the JSON bodies received, oldest first.
        headers: their headers, names in lower case.
        busiest: most requests under way at once.
    """

    def __init__(self, otherwise: Callable[[dict[str, Any]], Turn] | None = None) -> None:
        self.queue: deque[Turn] = deque()
        self.otherwise = otherwise or (lambda body: Says(samples(f"text {len(self.requests)}")))
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.busiest = 0
        self.base_url = ""
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self._under_way = 0

    def take(self, body: dict[str, Any], headers: dict[str, str]) -> Turn:
        with self.lock:
            self.requests.append(body)
            self.headers.append(headers)
            self._under_way += 1
            self.busiest = max(self.busiest, self._under_way)
            return self.queue.popleft() if self.queue else self.otherwise(body)

    def done(self) -> None:
        with self.lock:
            self._under_way -= 1


@contextmanager
def teacher_server(
    *turns: Turn, otherwise: Callable[[dict[str, Any]], Turn] | None = None
) -> Iterator[TeacherServer]:
    teacher = TeacherServer(otherwise)
    teacher.queue.extend(turns)
    server = _Server(teacher)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    teacher.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield teacher
    finally:
        teacher.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, teacher: TeacherServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.teacher = teacher


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        turn = self.server.teacher.take(body, {k.lower(): v for k, v in self.headers.items()})
        try:
            self._play(turn)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.server.teacher.done()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _play(self, turn: Turn) -> None:
        match turn:
            case Says():
                self._send(200, json.dumps(_completion(turn)).encode())
            case Status(code, headers, message):
                error = {"error": {"message": message, "type": "fault"}}
                self._send(code, json.dumps(error).encode(), headers=headers)
            case Raw(body, content_type, headers):
                self._send(200, body, content_type, headers)
            case Stall():
                self.server.teacher.ended.wait(CEILING_S)
                self.close_connection = True
            case Drip(pause):
                self._head(200, 100_000, "application/json", {})
                while not self.server.teacher.ended.wait(pause):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                self.close_connection = True
            case Cut():
                self._head(200, 1000, "application/json", {})
                self.wfile.write(b'{"id": "cut')
                self.wfile.flush()
                self.close_connection = True

    def _send(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._head(status, len(body), content_type, headers or {})
        self.wfile.write(body)

    def _head(
        self, status: int, length: int, content_type: str, headers: Mapping[str, str]
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _completion(says: Says) -> dict[str, Any]:
    message = {"role": "assistant", "content": says.content, "refusal": says.refusal}
    found: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "fake",
        "choices": [{"index": 0, "message": message, "finish_reason": says.finish}],
    }
    if says.usage:
        sent, received = says.usage
        found["usage"] = {
            "prompt_tokens": sent,
            "completion_tokens": received,
            "total_tokens": sent + received,
        }
    return found
