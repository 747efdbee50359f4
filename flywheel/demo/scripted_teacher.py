"""A scripted teacher: no language model, but a grammar's sentences over the OpenAI protocol.

It lets the demo run the real teacher client over HTTP without a key or a network. It says what it
is in its model's name, in every answer's `system_fingerprint` and in a header.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

from flywheel.content import canonical, content_id
from flywheel.demo.grammar import Utterance, draw, intents
from flywheel.records import NONE
from flywheel.teacher.prompts import DATA_CLOSE, DATA_OPEN

MODEL = "scripted-teacher"
WHAT_IT_IS = "scripted: sentences of a grammar, no language model"

_HARD = 0.7  # share of sentences near the border, where a router fails
_NEAR = 0.5  # share of those that is worded like the very neighbour, where there is such wording
_MANY = 50  # tries a sentence; a grammar has an end
_LARGEST_BODY = 1 << 20  # bytes
_DATA = re.compile(f"{DATA_OPEN}(.*?){DATA_CLOSE}(.*)", re.DOTALL)
_SAID: dict[str, Utterance] = {}  # what this process wrote, by text
_COUNT = re.compile(r"Write (\d+) sentences")


class NotUnderstood(ValueError):
    """The request is not one of flywheel's; a language model would have coped."""


@contextmanager
def serving(port: int = 0) -> Iterator[str]:
    """Serve on this machine until the block ends; yields the base URL.

    Args:
        port: 0 takes a free one.
    """
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name=MODEL, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write(messages: Collection[Mapping[str, Any]]) -> tuple[Utterance, ...]:
    """Return the sentences these messages ask for; the same messages get the same sentences.

    Reads them as a model would: the function asked for, the one it is confused with, and the
    sentences already known, of which none is repeated.

    Raises:
        NotUnderstood: there is no brief in the messages, or the grammar lacks the function.
    """
    asked = "\n".join(str(message.get("content", "")) for message in messages)
    brief, count = _read(str([*messages][-1].get("content", "")) if messages else "")
    intent = brief["function"]["name"]
    if intent not in intents():
        raise NotUnderstood(f"the script has no sentences for {intent!r}, only for {intents()}")
    neighbour = (brief.get("confused_with") or {}).get("name")
    known = {text for name in ("failed_texts", "examples") for text in brief.get(name, ())}
    chance = Random(asked)  # noqa: S311  reproducible, no secret
    said: dict[str, Utterance] = {}
    for _ in range(count * _MANY):
        if len(said) == count:
            break
        near = neighbour if chance.random() < _NEAR else None
        sentence = draw(chance, intent, _HARD, near=near)
        if sentence.text not in known:
            said[sentence.text] = sentence
    return tuple(said.values())


def _read(message: str) -> tuple[dict[str, Any], int]:
    brief, order = _data(message)
    wanted = _COUNT.search(order)
    try:
        brief["function"]["name"].strip()
    except (TypeError, KeyError, AttributeError) as error:
        raise NotUnderstood("the brief is not readable") from error
    if wanted is None:
        raise NotUnderstood("the brief does not say how many sentences it wants")
    return brief, int(wanted[1])


def _data(message: str) -> tuple[dict[str, Any], str]:
    found = _DATA.search(message)
    if found is None:
        raise NotUnderstood("no brief between the data marks")
    try:
        data: dict[str, Any] = json.loads(found[1])
    except json.JSONDecodeError as error:
        raise NotUnderstood("the brief is not readable") from error
    return data, found[2]


def label(messages: Collection[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Answer the label-free question for sentences written here; others ask for nothing.

    Raises:
        NotUnderstood: there is no such question in the messages.
    """
    asked, _ = _data(str([*messages][-1].get("content", "")) if messages else "")
    labels = []
    for sentence in asked["sentences"]:
        own = _SAID.get(sentence["text"])
        name, arguments = (own.intent, dict(own.arguments)) if own else (NONE, {})
        labels.append({"number": sentence["number"], "function": name, "arguments": arguments})
    return labels


def _content(messages: Collection[Mapping[str, Any]]) -> str:
    asked, _ = _data(str([*messages][-1].get("content", "")) if messages else "")
    if "sentences" in asked:
        return json.dumps({"labels": label(messages)}, ensure_ascii=False)
    said = write(messages)
    _SAID.update({one.text: one for one in said})
    samples = [{"text": one.text, "arguments": dict(one.arguments)} for one in said]
    return json.dumps({"samples": samples}, ensure_ascii=False)


def _completion(request: Mapping[str, Any]) -> dict[str, Any]:
    content = _content(request.get("messages", ()))
    sent, received = len(canonical(request).split()), len(content.split())
    return {
        "id": content_id("scripted", request),
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "system_fingerprint": WHAT_IT_IS,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content},
            }
        ],
        "usage": {
            "prompt_tokens": sent,
            "completion_tokens": received,
            "total_tokens": sent + received,
        },
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0

    def do_GET(self) -> None:
        """The list of models: this one."""
        if self.path != "/v1/models":
            return self._answer(404, _error("no such page"))
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": WHAT_IT_IS}
        return self._answer(200, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        """One chat completion."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > _LARGEST_BODY:
            self.close_connection = True
            return self._answer(413, _error("the request is too large"))
        body = self.rfile.read(length)
        if self.path != "/v1/chat/completions":
            return self._answer(404, _error("no such page"))
        try:
            return self._answer(200, _completion(json.loads(body)))
        except (ValueError, AttributeError, TypeError) as error:
            return self._answer(400, _error(str(error)))

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: the daemon logs its requests."""

    def _answer(self, status: int, value: Mapping[str, Any]) -> None:
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Teacher", WHAT_IT_IS)
        self.end_headers()
        self.wfile.write(body)


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error"}}
