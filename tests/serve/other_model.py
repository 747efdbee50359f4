"""An OpenAI-compatible model of ours: it gives the answers that a test puts into its queue."""

import json
import os
import select
from collections import deque
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Semaphore, Thread


def completion(message, name="chatcmpl-up", usage=(100, 10)):
    sent, received = usage
    return {
        "id": name,
        "object": "chat.completion",
        "created": 1796000000,
        "model": "big-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": sent,
            "completion_tokens": received,
            "total_tokens": sent + received,
        },
    }


def calling(*calls):
    """A message that calls (name, arguments as text), in their order."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": f"call-{n}", "type": "function", "function": {"name": name, "arguments": given}}
            for n, (name, given) in enumerate(calls)
        ],
    }


def streamed(name, given, *, ends=True):
    """Server-sent events of one call."""
    begun = {"index": 0, "id": "call-0", "type": "function"}
    deltas = [
        {"role": "assistant", "content": None},
        {"tool_calls": [{**begun, "function": {"name": name, "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": given}}]},
    ]
    head = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "big-1"}
    chunks = [{**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    if ends:
        choice = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
        chunks.append({**head, "choices": [choice]})
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return [*events, "data: [DONE]\n\n"] if ends else events


class OtherModel:
    """Says what is in `says`: a JSON value, or (status, JSON value), or a list of events."""

    def __init__(self):
        self.says = deque()
        self.asked = []  # (path, headers, body)
        self.url = ""
        self.gate = Gate()  # answers leave while it is open
        self.arrived = Semaphore(0)  # once for each request
        self.left = Semaphore(0)  # once for each caller that went away before an answer

    def waits(self, connection):
        """Wait for the gate; False where the caller closed the connection meanwhile."""
        ready, _, _ = select.select([self.gate, connection], [], [])
        if self.gate in ready:
            return True
        self.left.release()  # it is readable at its end, since nobody sends so early
        return False


class Gate:
    """Open or closed; `select` finds it readable while it is open."""

    def __init__(self):
        self._event = os.eventfd(1, os.EFD_NONBLOCK)

    def fileno(self):
        """For `select`."""
        return self._event

    def set(self):
        """Open it."""
        os.eventfd_write(self._event, 1)

    def clear(self):
        """Close it."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)

    def close(self):
        """Let go of it."""
        os.close(self._event)


class Handler(BaseHTTPRequestHandler):
    """Answers by the model that is its server's."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        model = self.server.model
        body = self.rfile.read(int(self.headers["Content-Length"]))
        model.asked.append((self.path, dict(self.headers), json.loads(body)))
        model.arrived.release()
        said = model.says.popleft()
        self.close_connection = not model.waits(self.connection)
        if self.close_connection:
            return
        with suppress(BrokenPipeError, ConnectionResetError):
            if isinstance(said, list):
                self.stream(said)
            else:
                self.say(*said if isinstance(said, tuple) else (200, said))

    def stream(self, events):
        """Send the events; at one that is None the gate closes."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in [*events, ""]:
            if event is None:
                self.server.model.gate.clear()
                if not self.server.model.waits(self.connection):
                    self.close_connection = True
                    return
                continue
            data = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def say(self, status, value):
        """Send a JSON value."""
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-request-id", "req-1")
        if status == 429:
            self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        """Say nothing."""


@contextmanager
def other_model():
    model = OtherModel()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.model = True, model
    model.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield model
    finally:
        model.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
        model.gate.close()
