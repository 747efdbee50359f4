"""Answers that were logged as they were streamed: the pieces put together, if all are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from flywheel.formats.reading import BadEvent

_CHUNK = "chat.completion.chunk"
_EVENTS = ("response.", "content_block_", "message_start", "message_delta", "message_stop")


def is_chunk(value: Mapping[str, Any]) -> bool:
    """Whether an object is one piece of a stream."""
    if value.get("object") == _CHUNK:
        return True
    kind = value.get("type")
    if isinstance(kind, str) and kind.startswith(_EVENTS):
        return True
    choices = value.get("choices")
    return isinstance(choices, (list, tuple)) and any(
        isinstance(choice, Mapping) and "delta" in choice and not choice.get("message")
        for choice in choices
    )


def put_together(stream: str | Sequence[Any], format: str, path: str) -> dict[str, Any]:
    """Return the message of a whole stream.

    Args:
        stream: its pieces, or the text of its server-sent events.
        format, path: for errors.

    Raises:
        BadEvent: pieces are missing: nothing says how it ended.
    """
    pieces = _sent(stream) if isinstance(stream, str) else stream
    pieces = [piece for piece in pieces if isinstance(piece, Mapping)]
    message = _of_responses(pieces) or _of_blocks(pieces) or _of_choices(pieces)
    if message is None:
        raise BadEvent(format, path, "is a piece of a stream: log the answer when it is whole")
    return message


def _sent(text: str) -> list[Any]:
    pieces = []
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            try:
                pieces.append(msgspec.json.decode(data))
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                return []
    return pieces


def _of_responses(pieces: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The response that the last event of a Responses stream holds."""
    for piece in pieces:
        if piece.get("type") == "response.completed" and isinstance(piece.get("response"), Mapping):
            return dict(piece["response"])
    return None


def _of_blocks(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The message of Anthropic's events."""
    if not any(piece.get("type") == "message_stop" for piece in pieces):
        return None
    blocks: dict[Any, dict[str, Any]] = {}
    for piece in pieces:
        index, block, delta = (piece.get(key) for key in ("index", "content_block", "delta"))
        if isinstance(block, Mapping) and isinstance(index, int):
            blocks[index] = {**block, "_json": ""}
        elif isinstance(delta, Mapping) and isinstance(index, int) and index in blocks:
            if isinstance(delta.get("text"), str):
                blocks[index]["text"] = f"{blocks[index].get('text') or ''}{delta['text']}"
            if isinstance(delta.get("partial_json"), str):
                blocks[index]["_json"] += delta["partial_json"]
    content = [
        {**block, "input": block["_json"] or block.get("input")} if "input" in block else block
        for block in blocks.values()
    ]
    return {"role": "assistant", "content": content}


def _of_choices(pieces: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The message of the first choice of OpenAI's chunks."""
    content, refusal, ended = "", "", False
    calls: dict[int, dict[str, Any]] = {}
    for choice in _first_choices(pieces):
        ended = ended or choice.get("finish_reason") is not None
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            continue
        content += delta["content"] if isinstance(delta.get("content"), str) else ""
        refusal += delta["refusal"] if isinstance(delta.get("refusal"), str) else ""
        for number, call in enumerate(_pieces_of_calls(delta)):
            at = call.get("index", number)
            whole = calls.setdefault(
                at if isinstance(at, int) else number, {"name": "", "arguments": ""}
            )
            for name in whole:
                part = call["function"].get(name)
                whole[name] += part if isinstance(part, str) else ""
    if not ended:
        return None
    said = {"role": "assistant", "content": content, "refusal": refusal}
    return {**said, "tool_calls": list(calls.values())} if calls else said


def _first_choices(pieces: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [
        choice
        for piece in pieces
        for choice in _listed(piece.get("choices"))
        if choice.get("index", 0) == 0
    ]


def _listed(value: Any) -> list[Mapping[str, Any]]:
    items = value if isinstance(value, (list, tuple)) else ()
    return [item for item in items if isinstance(item, Mapping)]


def _pieces_of_calls(delta: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    legacy = delta.get("function_call")
    if isinstance(legacy, Mapping):
        return [{"index": 0, "function": legacy}]
    calls = _listed(delta.get("tool_calls"))
    return [call for call in calls if isinstance(call.get("function"), Mapping)]
