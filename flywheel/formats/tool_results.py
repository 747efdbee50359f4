"""What came back from the tools that an answer called: failed calls, and calls a person refused.

Both become scores on the answer, which the id of the call names. A tool's own failure is not a
wrong intent, so they count only where `[feedback.scores]` names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from flywheel.formats.reading import Context, Parsed, merged
from flywheel.formats.verdicts import Given, score, scored
from flywheel.score_rules import TOOL_ERROR, TOOL_REFUSED

_MOST = 64  # calls of one answer whose ids are read
_DEEPEST = 6
_CALLS = ("id", "call_id", "tool_call_id", "toolCallId", "toolUseId")
_RESULTS = ("tool_use_id", "tool_call_id", "toolCallId", "toolUseId", "call_id", "id")
_NAMED = ("name", "function", "tool_name", "toolName", "function.name")
_HOLDERS = ("tool_calls", "parts", "content", "message", "tool_call", "choices", "output",
            "toolUse")  # fmt: skip
_ANSWERS = ("assistant", "model", "ai")
_CALL_TYPES = ("function_call", "mcp_approval_request", "custom_tool_call", "tool_use")
_FAILED = ("error", "failed")


def call_ids(answered: Any) -> tuple[str, ...]:
    """Return the ids of the calls in an answer, in their order, the first 64."""
    return tuple(dict.fromkeys(_call_ids(answered, _DEEPEST)))[:_MOST]


def tool_scores(
    messages: Any, answered: Any, format: str, ts: datetime, context: Context, rater: str = ""
) -> Parsed:
    """Return what failed or was refused since the last answer, and in this answer itself.

    Args:
        messages: what the model was given; the results at its end are new, others came before.
        answered: its answer, in which tools of the server have run already.
        format: of the event.
        ts: when the request was made.
        context: with the rules that count.
        rater: the person who refuses.
    """
    parts = []
    for item in [*_newest(messages), *_blocks(answered, _DEEPEST)]:
        refused = item.get("type") == "mcp_approval_response" and item.get("approve") is False
        named = item.get("approval_request_id") if refused else _failed_call(item)
        if not isinstance(named, str) or not named:
            continue
        name = TOOL_REFUSED if refused else TOOL_ERROR
        given = Given(
            id=f"{name}:{named}",
            prediction_id=named,
            ts=ts,
            rater=rater if refused else "",
            rater_kind="user" if refused else "rule",
            person=refused,
        )
        parts.append(scored(score(given, format, name, True), context))
    return merged(parts)


def _failed_call(item: Mapping[str, Any]) -> Any:
    """The id of a call whose result says that it failed; None for any other object."""
    kind = item.get("type")
    failed = item.get("is_error") is True or item.get("isError") is True or kind == "tool-error"
    if kind == "mcp_call":
        failed = failed or bool(item.get("error")) or item.get("status") in _FAILED
    elif item.get("role") == "tool" or kind in ("tool", "function_call_output", "toolResult"):
        failed = failed or item.get("status") in _FAILED or _says_error(item)
    if not failed:
        return None
    return next((item[key] for key in _RESULTS if isinstance(item.get(key), str)), None)


def _says_error(item: Mapping[str, Any]) -> bool:
    """Whether the content of a result is one of MCP that has `isError`."""
    content = item.get("content") or item.get("output")
    if isinstance(content, str) and "isError" in content:
        try:
            content = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False
    return isinstance(content, Mapping) and content.get("isError") is True


def _newest(messages: Any) -> list[Mapping[str, Any]]:
    """Objects of the messages after the last answer or call."""
    if not isinstance(messages, (list, tuple)):
        return []
    last = max((n for n, message in enumerate(messages) if _is_answer(message)), default=-1)
    return list(_blocks(messages[last + 1 :], _DEEPEST)) if last >= 0 else []


def _is_answer(message: Any) -> bool:
    return isinstance(message, Mapping) and (
        message.get("role") in _ANSWERS or message.get("type") in _CALL_TYPES
    )


def _blocks(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Every message and block inside a value, itself first."""
    if depth and isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _blocks(item, depth - 1)
    elif depth and isinstance(value, Mapping):
        yield value
        for key in ("content", "output", "parts", "toolResult"):
            if isinstance(value.get(key), (list, tuple, Mapping)):
                yield from _blocks(value[key], depth - 1)


def _call_ids(value: Any, depth: int) -> Iterator[str]:
    if depth == 0:
        return
    if isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _call_ids(item, depth - 1)
    if not isinstance(value, Mapping) or value.get("role") in ("tool", "user", "system"):
        return
    is_message = "role" in value or "choices" in value
    if not is_message and any(name in value for name in _NAMED):
        for key in _CALLS:
            if isinstance(value.get(key), str) and value[key]:
                yield value[key]
    for key in _HOLDERS:
        if isinstance(value.get(key), (list, tuple, Mapping)):
            yield from _call_ids(value[key], depth - 1)
