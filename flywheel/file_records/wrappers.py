"""What tools wrap around records in their exports, and the records within.

Lists under a key ({"data": […], "next": …}), Elasticsearch's hits, dumps and bulk lines, MongoDB's
extended JSON, and OTLP envelopes that are too large for one event. An object that is a record
itself is none of these, whatever lists it has: a Rasa tracker, a trace with its spans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from flywheel.file_records.brackets import JsonMember, members

_LISTS = frozenset(
    b"data inferences traces records results items rows events logs runs observations generations "
    b"responses documents docs entries examples samples predictions feedback feedbacks annotations "
    b"assessments scores spans hits".split()
)
_OF_RECORDS = frozenset(
    b"id text utterance input output inputs outputs messages intent request response sender_id "
    b"prediction_id verdict trace_id traceId span_id inference_id model info".split()
)
_ENVELOPES = {
    b"resourceSpans": ("scopeSpans", "spans"),
    b"resourceLogs": ("scopeLogs", "logRecords"),
}
_WORTH_A_LOOK = re.compile(rb'"(?:%s)"\s*:\s*[\[{]' % b"|".join(sorted(_LISTS | _ENVELOPES.keys())))
_ACTION = re.compile(rb'\{\s*"(?:index|create|update|delete)"\s*:\s*\{')
_MONGO = re.compile(rb'"\$(?:oid|date|number\w+|uuid|binary|timestamp|symbol|undefined)"\s*:')
_LARGE = 100_000  # bytes of an OTLP envelope that are one event
_FORMS = (msgspec.DecodeError, UnicodeError, RecursionError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedList:
    """A list of records within an object."""

    start: int  # behind its opening bracket
    end: int  # of its closing bracket; -1 where that has not come yet
    depth: int  # objects around it
    before: bytes = b""  # what each record needs before and behind it, to be one
    behind: bytes = b""


def listed_in(data: bytes, *, whole: bool) -> WrappedList | None:
    """The list of records in the object that `data` starts with; None where it is a record.

    Args:
        data: an object, or its beginning.
        whole: the object ends with `data`.
    """
    if not _WORTH_A_LOOK.search(data):
        return None
    found = members(data)
    for each in found:
        if each.key in _ENVELOPES and data[each.start : each.start + 1] == b"[":
            if whole and len(data) <= _LARGE:
                return None
            return _list_at(data, each, 1, b'{"%s":[' % each.key, b"]}")
    if any(each.key in _OF_RECORDS for each in found):
        return None
    lists = [each for each in found if each.key in _LISTS]
    for each in lists:
        if data[each.start : each.start + 1] == b"{" and each.key == b"hits":
            inner = listed_in(data[each.start : each.end if each.end > 0 else None], whole=whole)
            if inner is None:
                return None
            end = inner.end if inner.end < 0 else inner.end + each.start
            return WrappedList(start=inner.start + each.start, end=end, depth=inner.depth + 1)
    lists = [each for each in lists if _LIST.match(data, each.start)]
    return _list_at(data, lists[0], 1) if len(lists) == 1 else None


_LIST = re.compile(rb"\[\s*(?:[{\]]|$)")


def _list_at(
    data: bytes, member: JsonMember, depth: int, before: bytes = b"", behind: bytes = b""
) -> WrappedList:
    end = member.end - 1 if member.end > 0 else -1
    return WrappedList(start=member.start + 1, end=end, depth=depth, before=before, behind=behind)


def is_action(raw: bytes) -> bool:
    """Whether the object is an action line of an Elasticsearch bulk file, which is no record."""
    if len(raw) > 1_000 or not _ACTION.match(raw):
        return False
    found = members(raw)
    return len(found) == 1 and all(
        each.key[:1] == b"_" or each.key in _ACTION_KEYS for each in members(raw, found[0].start)
    )


_ACTION_KEYS = frozenset(b"routing pipeline version version_type retry_on_conflict parent".split())


def parts_of(raw: bytes) -> Iterator[bytes]:
    """The records in one object: itself, without what a database put around it.

    The bytes stay as they are where nothing is around it.
    """
    if b'"_source"' in raw:
        raw = _source_of(raw)
    elif b'"doc"' in raw[:20]:
        raw = _document_of(raw)
    if _MONGO.search(raw):
        raw = _without_mongo(raw)
    if len(raw) > _LARGE and any(b'"%s"' % key in raw[:1_000] for key in _ENVELOPES):
        yield from _by_trace(raw)
    else:
        yield raw


def _source_of(raw: bytes) -> bytes:
    """An Elasticsearch hit's document, with the hit's id where it is a native event without one."""
    found = {each.key: each for each in members(raw)}
    source = found.get(b"_source")
    if source is None or source.end < 0 or raw[source.start : source.start + 1] != b"{":
        return raw
    inner = raw[source.start : source.end]
    keys = {each.key for each in members(inner)}
    if b"text" in keys and b"id" not in keys and b"_id" in found:
        at = found[b"_id"].start
        name = re.compile(rb'"(?:[^"\\]|\\.)*"').match(raw, at)
        if name:
            return b'{"id":' + name.group() + b"," + inner[1:]
    return inner


def _document_of(raw: bytes) -> bytes:
    """The document of a bulk file's update."""
    found = {each.key: each for each in members(raw)}
    document = found.get(b"doc")
    if document and document.end > 0 and found.keys() <= {b"doc", b"doc_as_upsert"}:
        return raw[document.start : document.end]
    return raw


def _without_mongo(raw: bytes) -> bytes:
    """The object with MongoDB's extended values as plain ones."""
    try:
        value = _plain(msgspec.json.decode(raw))
        if isinstance(value, dict) and "text" in value and "id" not in value and "_id" in value:
            value["id"] = value.pop("_id")
        return msgspec.json.encode(value)
    except (*_FORMS, OverflowError, TypeError):
        return raw


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key in _EXTENDED:
            return _EXTENDED[key](_plain(inner))
    return {key: _plain(each) for key, each in value.items()}


def _time(value: Any) -> Any:
    """A date as MongoDB writes it: text, or milliseconds since 1970."""
    if isinstance(value, int | float):
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)).isoformat()
    return value


def _number(value: Any) -> Any:
    """A number; None for NaN and the infinities, which JSON does not have."""
    number = float(value)
    return number if abs(number) < float("inf") else None


_EXTENDED: Mapping[str, Any] = {
    "$oid": str,
    "$uuid": str,
    "$symbol": str,
    "$date": _time,
    "$numberInt": int,
    "$numberLong": int,
    "$numberDouble": _number,
    "$numberDecimal": _number,
    "$undefined": lambda value: None,
    "$binary": lambda value: value.get("base64") if isinstance(value, dict) else value,
    "$timestamp": lambda value: (
        _time(1_000 * value["t"]) if isinstance(value, dict) and "t" in value else value
    ),
}


def _by_trace(raw: bytes) -> Iterator[bytes]:
    """A large OTLP envelope as one for each trace; a trace that is large still, span by span."""
    try:
        envelope = msgspec.json.decode(raw)
    except _FORMS:
        yield raw
        return
    for key, (scopes, leaves) in _ENVELOPES.items():
        name = key.decode()
        traces: dict[str, list[dict[str, Any]]] = {}
        for number, (resource, scope, leaf) in enumerate(_leaves(envelope, name, scopes, leaves)):
            alone = {**resource, scopes: [{**scope, leaves: [leaf]}]}
            trace = leaf.get("traceId") or str(number) if isinstance(leaf, dict) else str(number)
            traces.setdefault(str(trace), []).append(alone)
        for parts in traces.values():
            together = msgspec.json.encode({name: parts})
            if len(together) <= _LARGE:
                yield together
            else:
                yield from (msgspec.json.encode({name: [part]}) for part in parts)


def _leaves(
    envelope: Any, name: str, scopes: str, leaves: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any], Any]]:
    for resource in _dicts(envelope, name):
        around = {key: value for key, value in resource.items() if key != scopes}
        for scope in _dicts(resource, scopes):
            within = {key: value for key, value in scope.items() if key != leaves}
            for leaf in scope.get(leaves) or ():
                yield around, within, leaf


def _dicts(value: Any, key: str) -> Iterator[dict[str, Any]]:
    listed = value.get(key) if isinstance(value, dict) else None
    yield from (each for each in listed or () if isinstance(each, dict))
