"""A real HTTP server on a Unix socket that speaks the control routes of `flywheel serve`.

Its models are the word counts of `tests/turn/runtimes.py`. It can be made to fail: away, slow to
begin, or with one of the faults by which a server answers otherwise than what was evaluated.
"""

from __future__ import annotations

import http.server
import json
import secrets
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any


class _UnixServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    address_family = socket.AF_UNIX
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 0

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, _ = self.socket.accept()
        return connection, ("socket", 0)


def answer_by_words(folder: Path, text: str) -> dict[str, Any]:
    """As the worker of the tests evaluates."""
    model = json.loads((folder / "flywheel.json").read_text())
    votes = Counter(model[word] for word in text.split() if word in model)
    intent = votes.most_common(1)[0][0] if votes else "none"
    return {"intent": intent, "arguments": {}, "confidence": 0.8}


class InferenceServer:
    """The server of one state folder; `start` and `stop` as often as wanted."""

    def __init__(self, state_dir: Path) -> None:
        self.adapters = state_dir / "adapters"
        self.path = state_dir / "serve.sock"
        self.answer: Callable[[Path, str], dict[str, Any] | None] = answer_by_words
        self.refuses = ""  # why it loads nothing
        self.before: Callable[[str], None] = lambda path: None  # called with each request's path
        self.adapter: str | None = None
        self.loaded: list[str] = []
        self.switches: list[str | None] = []
        self.asked: list[tuple[str, str]] = []  # adapter and text of each question
        self._http: _UnixServer | None = None

    def start(self) -> InferenceServer:
        """Begin, with the adapter that the link names, as a new instance."""
        self.path.unlink(missing_ok=True)
        self.instance, self.since = secrets.token_hex(4), 0
        link = self.adapters / "champion"
        self.adapter = link.readlink().name if link.is_symlink() else None
        self.loaded = [self.adapter] if self.adapter else []
        self._http = _UnixServer(str(self.path), self._handler())
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        """End as if killed: the socket stays."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def __enter__(self) -> InferenceServer:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def reply(self, path: str, body: dict[str, Any], asked: str | None) -> tuple[int, Any]:
        """Status and JSON of a request."""
        if path == "/v1/predict":
            return self._predict(body["inputs"], asked)
        if path == "/v1/serving":
            state = {"adapter": self.adapter, "loaded": self.loaded, "engine": "words"}
            return 200, state | {"instance": self.instance, "since": self.since}
        name = body["adapter"]
        if path == "/v1/serving/prepare":
            return self._prepare(name)
        if path == "/v1/serving/switch":
            if name is not None and name not in self.loaded:
                return 404, {"error": f"adapter {name} is not loaded", "hint": ""}
            self.adapter, self.since = name, self.since + 1
            self.switches.append(name)
        elif name in self.loaded and name != self.adapter:
            self.loaded.remove(name)
        return 200, {"adapter": self.adapter}

    def _prepare(self, name: str) -> tuple[int, Any]:
        if self.refuses:
            return 409, {"error": self.refuses, "hint": ""}
        if name not in self.loaded:
            self.loaded.append(name)
        return 200, {"adapter": name, "engine": "words"}

    def _predict(self, inputs: list[Any], asked: str | None) -> tuple[int, Any]:
        name = asked or self.adapter
        if name not in self.loaded:
            return 404, {"error": {"message": f"adapter {name} is not loaded"}}
        found = []
        for one in inputs:
            self.asked.append((str(name), one["text"]))
            answered = self.answer(self.adapters / str(name), one["text"])
            found.append(None if answered is None else {"id": "x", "adapter": name, **answered})
        return 200, {"predictions": found}

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self._answer(json.loads(self.rfile.read(length)))

            def _answer(self, body: dict[str, Any]) -> None:
                server.before(self.path)
                status, value = server.reply(
                    self.path, body, self.headers.get("x-flywheel-adapter")
                )
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *words: object) -> None:
                pass

        return Handler
