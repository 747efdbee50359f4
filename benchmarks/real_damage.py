"""What happens to records on their way: renamed, cut, wrapped, broken, packed.

A damaged record may be refused. What it may not be is taken for something else.
"""

from __future__ import annotations

import bz2
import codecs
import copy
import csv
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.real_records import Json, Record

_WEIGHTY = frozenset(
    [
        "text",
        "intent",
        "messages",
        "message",
        "content",
        "tool_calls",
        "calls",
        "function",
        "function_call",
        "name",
        "arguments",
        "args",
        "input",
        "output",
        "request",
        "response",
        "choices",
        "parts",
        "parse_data",
        "entities",
        "value",
        "label",
        "result",
        "verdict",
        "prediction_id",
        "score",
        "stringValue",
        "string_value",
        "dataType",
        "data_type",
        "source",
        "annotator_kind",
        "annotator",
        "metric_name",
        "inference_id",
        "attributes",
        "functionCall",
        "toolUse",
        "toolName",
        "parsed",
        "entity",
        "feedback",
        "expectation",
        "id",
        "ts",
        "type",
        "item",
        "additional_kwargs",
    ]
)
"""Keys on which the meaning of a record rests."""
_GIVEN = ("arguments", "args", "parameters", "slots", "raw_arguments", "entities")
_SPOKEN = ("content", "text", "parts", "messages", "request", "role", "input", "contents")
Place = tuple[Any, Any]
"""An object or a list, and the key in it."""
Damage = Callable[[random.Random, Record], Record | None]


def damaged(chance: random.Random, record: Record) -> Record:
    """The record with some damage, or as it is where none fits."""
    made = chance.choice(DAMAGES)
    done = made(chance, record)
    if done is None:
        return record
    return replace(done, damages=(*record.damages, made.__name__.strip("_")))


def _changed(record: Record, change: Callable[[Json], bool], **meaning: Any) -> Record | None:
    event = copy.deepcopy(record.event)
    if not change(event):
        return None
    return replace(record, event=event, meaning=replace(record.meaning, held=False, **meaning))


def _places(value: Any) -> Iterator[Place]:
    """Every key of every object within."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        if isinstance(value, dict):
            yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)


def _weighty(event: Json) -> list[Place]:
    return [place for place in _places(event) if _last(place[1]) in _WEIGHTY]


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _rename(chance: random.Random, record: Record) -> Record | None:
    """A key under another name."""

    def change(event: Json) -> bool:
        around, key = chance.choice(_weighty(event))
        head, dot, last = key.rpartition(".")
        name = chance.choice((
            f"x_{last}", f"{last}_value", f"my_{last}", f"predicted_{last}", f"{last}s",
            last.upper(), last.capitalize(), f" {last}", last[:-1] or "k",
        ))  # fmt: skip
        name = head + dot + name
        if name in around:
            return False
        items = [(name if each == key else each, value) for each, value in around.items()]
        around.clear()
        around.update(items)
        return True

    return _changed(record, change)


def _drop(chance: random.Random, record: Record) -> Record | None:
    """A key less; what a person said is left alone, for then the record means something else."""

    def droppable(event: Json) -> list[Place]:
        """Keys that are not alone: what is left of an object says something still."""
        return [
            (around, key)
            for around, key in _weighty(event)
            if _last(key) not in _SPOKEN and len(around) > 1
        ]

    places = droppable(record.event)
    if not places:
        return None
    at = chance.randrange(len(places))
    name = _last(places[at][1])

    def change(event: Json) -> bool:
        around, key = droppable(event)[at]
        del around[key]
        return True

    bare = name in (*_GIVEN, "input", "value", "entity") or "arguments" in name
    return _changed(record, change, bare=bare)


def _type(chance: random.Random, record: Record) -> Record | None:
    """A value of another type."""

    def change(event: Json) -> bool:
        places = [p for p in _weighty(event) if _last(p[1]) not in ("arguments", "args", "value")]
        around, key = chance.choice(places)
        if key in (
            "id",
            "verdict",
            "prediction_id",
            "value",
            "score",
            "label",
            "input",
            "output",
            "parsed",
            "content",
        ):
            return False
        around[key] = chance.choice(("", [], {}, 0, 3.5, True, [[]], {"x": 1}, [None], "   "))
        return True

    return _changed(record, change, bare=True)


def _arguments(chance: random.Random, record: Record) -> Record | None:
    """Arguments that are no JSON any more."""
    if record.meaning.kind != "prediction" or len(record.meaning.calls or ()) != 1:
        return None
    bad = chance.choice(('{"time": "si', "{time: six}", "[1, 2]", '"six"', "null,", "{'a': b}"))

    def change(event: Json) -> bool:
        broken = False
        for around, key in _places(event):
            if _last(key) in ("arguments", "raw_arguments", "args") and "kwargs" not in around:
                around[key] = bad
                broken = True
        return broken

    return _changed(record, change, broken=True)


def _extra(chance: random.Random, record: Record) -> Record | None:
    """More keys than anybody knows, some of them odd."""
    odd = chance.choice((
        None, 2**70, 1e300, -0.0, "x" * 5_000, [[]], {"a": {"b": [1, {"c": None}]}}, "\u0000",
        "\ud83d", json.loads("[" * 60 + "]" * 60), {"": {}}, True,
    ))  # fmt: skip

    def change(event: Json) -> bool:
        event[chance.choice(("extra", "x", "_meta", "comment2", "zz"))] = odd
        return True

    return _changed(record, change)


def _deep(chance: random.Random, record: Record) -> Record | None:
    """A key that holds thousands of lists in lists."""
    depth = chance.choice((200, 900, 1_200, 5_000))
    text = json.dumps(record.event, ensure_ascii=False)
    nested = "[" * depth + "]" * depth
    meaning = replace(record.meaning, held=False)
    return replace(record, meaning=meaning, line=(text[:-1] + f', "deep": {nested}}}').encode())


def _surrogate(chance: random.Random, record: Record) -> Record | None:
    """Half of a surrogate pair in the text, as an escape or as bytes."""
    if record.meaning.kind == "verdict":
        return None
    meaning = replace(record.meaning, held=False, calls=None)
    text = json.dumps(record.event, ensure_ascii=True)
    mark = record.meaning.mark
    at = text.find(" " + mark)
    half = chance.choice(("\\ud83d", "\\udc00 "))
    escaped = text[:at].count('\\"') > 0 and '"{' in text[:at]  # JSON text in JSON text
    if escaped:
        return None
    line = (text[:at] + half + text[at:]).encode()
    if chance.random() < 0.3:
        line = text[:at].encode() + b"\xed\xa0\xbd" + text[at:].encode()
    return replace(record, meaning=meaning, line=line)


def _nan(chance: random.Random, record: Record) -> Record | None:
    """A number that is none."""

    def change(event: Json) -> bool:
        numbers = [
            (around, key)
            for around, key in _places(event)
            if isinstance(around[key], (int, float)) and not isinstance(around[key], bool)
        ]
        if not numbers:
            return False
        around, key = chance.choice(numbers)
        around[key] = chance.choice((float("nan"), float("inf"), float("-inf")))
        return True

    done = _changed(record, change)
    if done is None:
        return None
    return replace(done, line=json.dumps(done.event, ensure_ascii=False).encode())


def _cut(chance: random.Random, record: Record) -> Record | None:
    """The first part of a line."""
    raw = record.raw
    line = raw[: chance.randint(len(raw) // 3, len(raw) - 1)]
    return replace(record, meaning=replace(record.meaning, held=False, calls=None), line=line)


def _shuffle(chance: random.Random, record: Record) -> Record | None:
    """Keys in another order, which changes nothing."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(item) for item in value]
        if not isinstance(value, dict):
            return value
        items = [(key, shuffled(item)) for key, item in value.items()]
        chance.shuffle(items)
        return dict(items)

    return replace(record, event=shuffled(record.event))


def _wrap(chance: random.Random, record: Record) -> Record | None:
    """A record in what another tool puts around it."""
    event = record.event
    known = (
        {"_index": "l", "_id": "e1", "_score": 1.0, "_source": event},
        {"data": [event]}, {"inferences": [event]}, [event], {"results": [event], "next": None},
    )  # fmt: skip
    unknown = (
        {"data": event}, {"message": json.dumps(event)}, {"body": event}, {"payload": event},
        {"event": json.dumps(event)}, {"record": {"value": event}}, {"log": json.dumps(event)},
        [[event]], json.dumps(event), {"jsonPayload": event}, {"detail": event},
    )  # fmt: skip
    held = chance.random() < 0.5
    wrapped: Any = chance.choice(known if held else unknown)
    meaning = record.meaning if held else replace(record.meaning, held=False)
    line = json.dumps(wrapped, ensure_ascii=False).encode()
    return replace(record, meaning=meaning, line=line)


DAMAGES: Sequence[Damage] = (
    _rename, _rename, _rename, _drop, _drop, _type, _type, _arguments, _extra, _deep, _surrogate,
    _nan, _cut, _shuffle, _wrap, _wrap,
)  # fmt: skip


# Files.


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A file of records, and what must be said to have it read."""

    name: str  # layout, encoding and compression
    content: bytes
    ending: str
    records: tuple[Record, ...]
    told: int  # records that must be accounted for; 0 where the file is cut off
    encoding: str = ""


def packed(chance: random.Random, records: Sequence[Record]) -> Packed:
    """The records in one file, of any layout, encoding and compression."""
    whole = not any(record.line for record in records)
    layout = chance.choice(LAYOUTS if whole else LAYOUTS[:4])
    text = layout(chance, [record.raw for record in records])
    name, encoding, told, kept = layout.__name__.strip("_"), "", len(records), tuple(records)
    style = chance.random()
    if style < 0.12:
        done = _recoded(text, chance.choice(("utf-16", "utf-16-be", "utf-32", "utf-8-sig")))
        if done:
            name, text = f"{name} {done[0]}", done[1]
    elif style < 0.3:
        wanted = chance.choice(("cp1252", "gbk", "shift_jis", "latin-1"))
        try:
            text = text.decode().encode(wanted)
        except UnicodeError:
            pass
        else:
            encoding, name = wanted, f"{name} {wanted}"
            if chance.random() < 0.5:  # nobody says so
                encoding = ""
                kept = tuple(_maybe(record) for record in kept)
    style = chance.random()
    if style < 0.2:
        pack = chance.choice((gzip.compress, bz2.compress, lzma.compress, zstd))
        text, name = pack(text), f"{name} packed"
        if style < 0.04:
            text, told, name = text[: len(text) * 3 // 4], 0, f"{name} cut"
            kept = tuple(_maybe(record) for record in kept)
    return Packed(
        name=name, content=text, ending="jsonl", records=kept, told=told, encoding=encoding
    )


def _maybe(record: Record) -> Record:
    return replace(record, meaning=replace(record.meaning, held=False))


def _recoded(text: bytes, encoding: str) -> tuple[str, bytes] | None:
    marks = {"utf-16-be": codecs.BOM_UTF16_BE}
    try:
        return encoding, marks.get(encoding, b"") + text.decode().encode(encoding)
    except UnicodeError:
        return None


def zstd(data: bytes) -> bytes:
    """Compress as zstd."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def _lines(chance: random.Random, lines: Sequence[bytes]) -> bytes:
    return chance.choice((b"\n", b"\r\n", b"\n\n", b" \n")).join(lines) + chance.choice(
        (b"\n", b"")
    )


def _marked(chance: random.Random, lines: Sequence[bytes]) -> bytes:
    return b"\n".join(codecs.BOM_UTF8 + line for line in lines)


def _comma(chance: random.Random, lines: Sequence[bytes]) -> bytes:
    return b",\n".join(lines) + b"\n"


def _bulk(chance: random.Random, lines: Sequence[bytes]) -> bytes:
    return b"".join(b'{"index":{"_index":"l"}}\n' + line + b"\n" for line in lines)


def _array(chance: random.Random, lines: Sequence[bytes]) -> bytes:
    return b"[" + chance.choice((b",", b",\n", b" , ")).join(lines) + b"]"


def _pretty_array(chance: random.Random, lines: Sequence[bytes]) -> bytes:
    values = [json.loads(line) for line in lines]
    return json.dumps(values, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _pretty(chance: random.Random, lines: Sequence[bytes]) -> bytes:
    values = [json.dumps(json.loads(line), indent=2, ensure_ascii=False) for line in lines]
    return "\n".join(values).encode("utf-8", "surrogatepass")


def _mixed(chance: random.Random, lines: Sequence[bytes]) -> bytes:
    some = [_pretty(chance, [line]) if chance.random() < 0.4 else line for line in lines]
    return b"\n".join(some)


def _data(chance: random.Random, lines: Sequence[bytes]) -> bytes:
    key = chance.choice((b"data", b"inferences", b"traces", b"results"))
    return b'{"%s":%s,"next":null}' % (key, _array(chance, lines))


def _hits(chance: random.Random, lines: Sequence[bytes]) -> bytes:
    hits = [b'{"_index":"l","_id":"h%d","_source":%s}' % (i, line) for i, line in enumerate(lines)]
    return b'{"took":1,"hits":{"total":{"value":9},"hits":%s}}' % _array(chance, hits)


LAYOUTS: Sequence[Callable[[random.Random, Sequence[bytes]], bytes]] = (
    _lines, _marked, _comma, _bulk, _lines, _array, _pretty_array, _pretty, _mixed, _data, _hits,
)  # fmt: skip


def table(chance: random.Random, records: Sequence[Record]) -> Packed:
    """Native records as a CSV."""
    delimiter = chance.choice((",", ";", "\t", "|"))
    columns = list(dict.fromkeys(key for record in records for key in record.event))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=chance.choice(("\n", "\r\n")))
    writer.writerow(columns)
    for record in records:
        writer.writerow([_cell(record.event, column) for column in columns])
    text = out.getvalue()
    encoding = chance.choice(("utf-8", "utf-8-sig", "utf-16", "gbk", "cp1252"))
    try:
        content = text.encode(encoding)
    except UnicodeError:
        encoding, content = "utf-8", text.encode()
    said = encoding if encoding in ("gbk", "cp1252") else ""
    return Packed(
        name=f"csv {encoding}", content=content, ending="csv", records=tuple(records),
        told=len(records), encoding=said,
    )  # fmt: skip


def _cell(event: Mapping[str, Any], column: str) -> str:
    """An intent of null is written `none`; what is not there is an empty cell."""
    value = event.get(column)
    if value is None:
        return "none" if column in event else ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
