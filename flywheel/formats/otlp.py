"""OTLP's JSON: envelopes and their records, attributes and values, ids of spans.

Also read: spans and log records as the SDKs' console exporters print them. What an envelope alone
knows of a record (which spans a span is in, which messages belong to one answer) is written
into the record by `unfolded`, so that each can be read by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from flywheel.formats.reading import BadEvent

ANCESTORS = "flywheel:ancestors"
"""Ids of a span's ancestors that its envelope knows, the parent first."""
RECORD = "flywheel:record"
"""Marks a record of an envelope, which is read as such whatever it says."""
TOOLS_CALLED = "flywheel:tools_called"
"""Whether tools were called in a span's trace, as far as its envelope knows."""
MESSAGES = "flywheel:messages"
"""Messages of an exchange whose log records are in one envelope: (name, body) pairs."""

_LEVELS = {
    "resourceLogs": ("scopeLogs", "logRecords"),
    "resourceSpans": ("scopeSpans", "spans"),
    "resource_logs": ("scope_logs", "log_records"),
    "resource_spans": ("scope_spans", "spans"),
}
CHOICE = "gen_ai.choice"
_MESSAGE_EVENTS = (
    "gen_ai.system.message",
    "gen_ai.user.message",
    "gen_ai.assistant.message",
    "gen_ai.tool.message",
)


def is_envelope(event: Mapping[str, Any]) -> bool:
    """Whether it is an export request of OTLP."""
    return bool(_LEVELS.keys() & event.keys())


def unfolded(envelope: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every span and log record of an envelope, each readable by itself.

    Evaluations among a span's events are records of their own. What is no object is passed over.

    Raises:
        BadEvent: the envelope holds no list.
    """
    records = []
    for outer, (middle, inner) in _LEVELS.items():
        if not isinstance(envelope.get(outer) or [], (list, tuple)):
            raise BadEvent("otel", outer, "is not a list")
        for resource in objects(envelope, outer):
            for scope in objects(resource, middle):
                for record in objects(scope, inner):
                    records.append({RECORD: True, **record})
                    records += evaluations(record)
    _note_traces(records)
    _note_exchanges(records)
    return records


def objects(value: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list; [] where there is none."""
    listed = value.get(name)
    if not isinstance(listed, (list, tuple)):
        return []
    return [each for each in listed if isinstance(each, Mapping)]


def attributes(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as an object, whether they are one or OTLP's list of key and value."""
    given = event.get("attributes")
    if isinstance(given, str):
        given = decoded(given)
    if isinstance(given, Mapping):
        return {str(key): any_value(value) for key, value in given.items()}
    if not isinstance(given, (list, tuple)):
        return {}
    return {
        str(pair.get("key")): any_value(pair.get("value"))
        for pair in given
        if isinstance(pair, Mapping)
    }


_KINDS = {"stringValue", "boolValue", "intValue", "doubleValue", "bytesValue", "arrayValue",
          "kvlistValue"}  # fmt: skip


def any_value(value: Any) -> Any:
    """Return OTLP's AnyValue as plain JSON; integers come as text there."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    kind, inner = next(iter(value.items()))
    if kind not in _KINDS:
        return value
    if kind == "arrayValue":
        return [any_value(item) for item in _inner_values(inner)]
    if kind == "kvlistValue":
        pairs = [pair for pair in _inner_values(inner) if isinstance(pair, Mapping)]
        return {str(pair.get("key")): any_value(pair.get("value")) for pair in pairs}
    if kind == "intValue" and isinstance(inner, str) and inner.lstrip("-").isdecimal():
        return int(inner)
    return inner


def decoded(value: Any) -> Any:
    """Return JSON text as what it says; anything else is itself."""
    if not isinstance(value, str) or value.strip()[:1] not in ("{", "[", '"'):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return value


def event_name(event: Mapping[str, Any]) -> str:
    """Return the name of a log record or of a span's event; "" for none."""
    found = event.get("eventName") or event.get("event_name")
    found = found or attributes(event).get("event.name") or event.get("name")
    return found if isinstance(found, str) else ""


def span_id(event: Mapping[str, Any]) -> str:
    """Return the id of a span, or of the span that a record belongs to; "" for none."""
    return _id(event, "spanId", "span_id", "context.span_id", "id")


def trace_id(event: Mapping[str, Any]) -> str:
    """Return the id of the trace; "" for none."""
    return _id(event, "traceId", "trace_id", "context.trace_id")


def parent_id(event: Mapping[str, Any]) -> str:
    """Return the id of the parent span; "" for none."""
    return _id(event, "parentSpanId", "parent_span_id", "parent_id", "parentId")


def ancestors(event: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the spans that a record of an envelope is in; () for one that came alone."""
    above = event.get(ANCESTORS)
    return tuple(filter(None, map(str, above))) if isinstance(above, (list, tuple)) else ()


def failed(event: Mapping[str, Any]) -> bool:
    """Whether a span ended with an error."""
    status = event.get("status")
    code = (
        (status.get("code") or status.get("status_code"))
        if isinstance(status, Mapping)
        else (event.get("status_code"))
    )
    return code == 2 or (isinstance(code, str) and code.rpartition("_")[2] == "ERROR")


def nested(flat: Mapping[str, Any], prefix: str) -> Any:
    """Return what stands under a prefix of dotted keys, as lists and objects; None for nothing.

    >>> nested({"p.0.role": "user", "p.1.role": "tool", "q": 1}, "p")
    [{'role': 'user'}, {'role': 'tool'}]
    """
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        if not key.startswith(f"{prefix}."):
            continue
        holder = tree
        *outer, last = key[len(prefix) + 1 :].split(".")
        for name in outer[:16]:
            inner = holder.get(name)
            holder[name] = inner = inner if isinstance(inner, dict) else {}
            holder = inner
        if not isinstance(holder.get(last), dict):
            holder[last] = value
    return _listed(tree) if tree else flat.get(prefix)


def _listed(value: Any) -> Any:
    """Objects whose keys are all numbers as lists."""
    if not isinstance(value, dict):
        return value
    if value and all(key.isascii() and key.isdigit() and len(key) < 9 for key in value):
        return [_listed(value[key]) for key in sorted(value, key=int)]
    return {key: _listed(item) for key, item in value.items()}


def _inner_values(inner: Any) -> list[Any]:
    values = inner.get("values") if isinstance(inner, Mapping) else None
    return list(values) if isinstance(values, (list, tuple)) else []


def _id(event: Mapping[str, Any], *names: str) -> str:
    """The first of these ids; one of zeros alone is none, as OTLP has it."""
    context = event.get("context") or event.get("spanContext")
    holders: Sequence[Mapping[str, Any]] = (
        (event, context) if isinstance(context, Mapping) else (event,)
    )
    for holder in holders:
        for name in names:
            value = holder.get(name)
            if isinstance(value, str) and value.removeprefix("0x").strip("0 "):
                return value.removeprefix("0x")
    return ""


def evaluations(span: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the evaluation results among a span's events, each as a record of the span."""
    for happened in objects(span, "events"):
        if "gen_ai.evaluation.name" in attributes(happened):
            yield {RECORD: True, "spanId": span_id(span), "traceId": trace_id(span), **happened}


def _note_traces(records: list[dict[str, Any]]) -> None:
    """Write into each span which spans it is in, and whether tools were called in its trace."""
    parents = {span_id(record): parent_id(record) for record in records if parent_id(record)}
    with_tools = {
        trace_id(record)
        for record in records
        if attributes(record).get("gen_ai.operation.name") == "execute_tool"
        or attributes(record).get("openinference.span.kind") == "TOOL"
    }
    for record in records:
        name, above = span_id(record), list[str]()
        while len(above) < 9 and (name := parents.get(name, "")):
            above.append(name)
        if above:
            record[ANCESTORS] = above
        if trace_id(record) and trace_id(record) in with_tools:
            record[TOOLS_CALLED] = True


def _note_exchanges(records: list[dict[str, Any]]) -> None:
    """Write into each choice the messages that were logged beside it, in their order."""
    messages: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for record in records:
        if event_name(record) in _MESSAGE_EVENTS:
            key = (trace_id(record), span_id(record))
            messages[key].append([event_name(record), _body(record)])
    for record in records:
        key = (trace_id(record), span_id(record))
        if event_name(record) == CHOICE and messages.get(key):
            record[MESSAGES] = [*messages[key], [CHOICE, _body(record)]]


def _body(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a log record says: its body where that is an object, and its attributes."""
    body = decoded(any_value(record.get("body")))
    return {**attributes(record), **(body if isinstance(body, Mapping) else {})}


def is_message_event(event: Mapping[str, Any]) -> bool:
    """Whether a log record is one message of an exchange, which its choice tells whole."""
    return event_name(event) in (*_MESSAGE_EVENTS, CHOICE)
