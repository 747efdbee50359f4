"""One answer in a trace as a prediction: what was asked, what was answered, and its ids.

A trace holds one exchange several times: the model's span, the agent's around it, the workflow's
around that. Each becomes a record of the same `exchange`; its `precedence` says how far it is
preferred, so that the innermost one with a call counts, whichever arrives first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flywheel.formats.calls import asked
from flywheel.formats.chat_log import Logged, answered, tools_id
from flywheel.formats.otlp import decoded
from flywheel.formats.reading import BadEvent, Context, Fields, Parsed, skip
from flywheel.formats.replies import Rule, read_reply
from flywheel.formats.tool_results import call_ids

_CALL_REASONS = ("tool_call", "tool_calls", "tool-calls", "tool_use", "function_call")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlace:
    """Where in a trace an answer was logged, and what is said of it beside its messages."""

    id: str
    ts: datetime
    trace: str = ""
    aliases: tuple[str, ...] = ()
    precedence: int = 0  # of the kind of span, without that of a call
    adapter: str = ""
    latency_ms: float | None = None
    slices: Mapping[str, str]
    session: str = ""
    rater: str = ""
    tools: Any = None  # definitions that were offered, as logged
    tools_called: bool = False  # tools were called in this trace
    finish_reasons: Any = None  # of the answer, as logged
    is_agent: bool = False  # the span is of an agent or a workflow, not of a model


def answer_of(
    place: AnswerPlace,
    given: Any,
    answer: Any,
    fields: Fields,
    names: tuple[str, str],
    context: Context,
) -> Parsed:
    """Return an exchange as a prediction; one that continues a turn is skipped.

    Args:
        place: the span.
        given: messages that the model was given.
        answer: messages of its answer.
        fields: of the span, for errors.
        names: fields that hold the two.
        context: of the reading.

    Raises:
        BadEvent: no person's text is in the messages, or the answer says nothing.
    """
    if isinstance(given, str) and not given.strip():
        raise fields.bad(names[0], "is empty")
    said = asked(given, fields, names[0], context.context_turns)
    if said.continues:
        return skip(f"continues a turn: {said.continues}")
    reply = read_reply(
        answer, fields.path(names[1]), Rule(format=fields.format, known=context.known)
    )
    if not reply.calls and _ended_by_a_call(answer, place.finish_reasons):
        raise fields.bad(names[1], "ended with a call of a tool, but hold none that can be read")
    if not reply.calls and place.is_agent and place.tools_called:
        return skip("is an agent's last word: the spans inside it say which tools it called")
    return answered(said, reply, _logged(place, call_ids(answer), fields.format))


def _logged(place: AnswerPlace, called: tuple[str, ...], format: str) -> Logged:
    """What is known of the answer beside its messages."""
    in_trace = (call_alias(place.trace, each) for each in called if place.trace)
    return Logged(
        id=place.id,
        ts=place.ts,
        adapter=place.adapter,
        latency_ms=place.latency_ms,
        slices=place.slices,
        aliases=[*place.aliases, *called, *in_trace],
        session=place.session,
        rater=place.rater,
        tools=fingerprint(place.tools, format),
        trace=place.trace,
        precedence=place.precedence,
    )


def _ended_by_a_call(answered: Any, reasons: Any) -> bool:
    """Whether an answer says that it stopped to have a tool called."""
    listed = answered if isinstance(answered, (list, tuple)) else ()
    told = [each.get("finish_reason") for each in listed if isinstance(each, Mapping)]
    read = decoded(reasons)
    told += read if isinstance(read, (list, tuple)) else [read]
    return any(isinstance(each, str) and each.casefold() in _CALL_REASONS for each in told)


def call_alias(trace: str, call: str) -> str:
    """Return the name of a tool call within its trace: ids of calls alone may come again."""
    return f"{trace}/{call}"


def fingerprint(tools: Any, format: str) -> str:
    """Return the content id of a list of tools; "" for none, or for one that cannot be read."""
    read = decoded(tools)
    listed = [decoded(tool) for tool in read] if isinstance(read, (list, tuple)) else None
    try:
        return tools_id(listed, format, "tools")
    except BadEvent:
        return ""
