"""A scripted teacher: sentences of a grammar over the OpenAI protocol, no language model.

With it the demo runs the real teacher client over HTTP without a key or a network. It identifies
itself in its model name, in every answer's `system_fingerprint` and in a header.
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
from flywheel.demo.grammar import Utterance, grammar
from flywheel.records import NONE
from flywheel.teacher.prompts import DATA_CLOSE, DATA_OPEN

MODEL = "scripted-teacher"
WHAT_IT_IS = "scripted: sentences of a grammar, no language model"

_HARD_SHARE = 0.7  # share of sentences worded like another intent's
_NEAR_SHARE = 0.5  # share of those worded like the confused intent, where there are any
_MAX_TRIES = 50  # tries for each sentence, since a grammar is finite
_LARGEST_BODY = 1 << 20  # bytes
_DATA = re.compile(f"{DATA_OPEN}(.*?){DATA_CLOSE}(.*)", re.DOTALL)
_WRITTEN: dict[str, Utterance] = {}  # sentences written by this process, by text
_CHINESE = re.compile(r"Write them in Chinese")
_COUNT = re.compile(r"Write (\d+) sentences")


class NotUnderstood(ValueError):
    """The request has not the form of flywheel's prompts."""


@contextmanager
def serving(port: int = 0) -> Iterator[str]:
    """Serve on the loopback interface until the block ends; yields the base URL.

    Args:
        port: 0 selects a free one.
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
    """Return the sentences that the messages ask for; the same messages give the same sentences.

    The brief names the function, the function it is confused with, and known sentences, none of
    which is repeated.

    Raises:
        NotUnderstood: there is no brief in the messages, or the grammar lacks the function.
    """
    prompt = "\n".join(str(message.get("content", "")) for message in messages)
    brief, count, language = _read(str([*messages][-1].get("content", "")) if messages else "")
    intent = brief["function"]["name"]
    said = grammar(language)
    if intent not in said.intents():
        known = said.intents()
        raise NotUnderstood(f"the script has no sentences for {intent!r}, only for {known}")
    neighbour = (brief.get("confused_with") or {}).get("name")
    avoided = {text for name in ("failed_texts", "examples") for text in brief.get(name, ())}
    chance = Random(prompt)  # noqa: S311  reproducible, no secret
    sentences: dict[str, Utterance] = {}
    for _ in range(count * _MAX_TRIES):
        if len(sentences) == count:
            break
        like = neighbour if chance.random() < _NEAR_SHARE else None
        sentence = said.draw(chance, intent, _HARD_SHARE, near=like)
        if sentence.text not in avoided:
            sentences[sentence.text] = sentence
    return tuple(sentences.values())


def _read(message: str) -> tuple[dict[str, Any], int, str]:
    """The brief, how many sentences it wants, and in which language."""
    brief, order = _data(message)
    count = _COUNT.search(order)
    try:
        brief["function"]["name"].strip()
    except (TypeError, KeyError, AttributeError) as error:
        raise NotUnderstood("the brief is not readable") from error
    if count is None:
        raise NotUnderstood("the brief does not say how many sentences it wants")
    return brief, int(count[1]), "zh" if _CHINESE.search(order) else "en"


def _data(message: str) -> tuple[dict[str, Any], str]:
    match = _DATA.search(message)
    if match is None:
        raise NotUnderstood("no brief between the data marks")
    try:
        data: dict[str, Any] = json.loads(match[1])
    except json.JSONDecodeError as error:
        raise NotUnderstood("the brief is not readable") from error
    return data, match[2]


def label(messages: Collection[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Answer the blind question; sentences that this process did not write get `none`.

    Raises:
        NotUnderstood: there is no such question in the messages.
    """
    data, _ = _data(str([*messages][-1].get("content", "")) if messages else "")
    labels = []
    for sentence in data["sentences"]:
        written = _WRITTEN.get(sentence["text"])
        name, arguments = (written.intent, dict(written.arguments)) if written else (NONE, {})
        labels.append({"number": sentence["number"], "function": name, "arguments": arguments})
    return labels


def _content(messages: Collection[Mapping[str, Any]]) -> str:
    data, _ = _data(str([*messages][-1].get("content", "")) if messages else "")
    if "sentences" in data:
        return json.dumps({"labels": label(messages)}, ensure_ascii=False)
    sentences = write(messages)
    _WRITTEN.update({sentence.text: sentence for sentence in sentences})
    samples = [
        {"text": sentence.text, "arguments": dict(sentence.arguments)} for sentence in sentences
    ]
    return json.dumps({"samples": samples}, ensure_ascii=False)


def _completion(request: Mapping[str, Any]) -> dict[str, Any]:
    content = _content(request.get("messages", ()))
    input_tokens, output_tokens = len(canonical(request).split()), len(content.split())
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
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
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
