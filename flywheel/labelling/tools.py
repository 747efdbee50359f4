"""Export of the queue to two labelling tools, and import of the answers given there.

`labelstudio`: its JSON task format, one task an item, with the item id in `data.item`;
annotations come back as JSON or JSON_MIN. `argilla`: the format of `Dataset.records.to_json` and
`from_json`, one record an item, with the item id as record id. Both ask one question, `intent`.

Annotator names in a file are not authenticated: imported answers count as answers of the person
who imports them. Where the labels of one item differ within the file, none is imported.

Source: labelstud.io/guide/task_format; docs.argilla.io, `rg.Record`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from flywheel.labelling.rules import Item

QUESTION = "intent"
_FIELD = "text"
_AGENT = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One item of an imported file."""

    place: int  # position in the file, from 1
    item: str
    text: str
    label: str | None = None  # None: `problem` says why there is none
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFormat:
    """Writer of all items, and reader of one record at a position, for one tool."""

    write: Callable[[Iterable[Item]], list[dict[str, Any]]]
    read: Callable[[Mapping[str, Any], int], Read | None]


def interface(intents: Sequence[str]) -> str:
    """Return the XML labelling interface that Label Studio needs for the tasks.

    >>> print(interface(["set_alarm"]).splitlines()[3])
        <Choice value="set_alarm"/>
    """
    choices = [f"    <Choice value={quoteattr(name)}/>" for name in intents]
    return "\n".join(
        [
            "<View>",
            f'  <Text name="{_FIELD}" value="${_FIELD}"/>',
            f'  <Choices name="{QUESTION}" toName="{_FIELD}" choice="single-radio">',
            *choices,
            "  </Choices>",
            "</View>",
            "",
        ]
    )


def _task(item: Item) -> dict[str, Any]:
    predictions = [
        {"model_version": _AGENT, "result": [_choice(guess)]} for guess in item.guesses[:1]
    ]
    return {
        "data": {_FIELD: item.text, "item": item.id, "kind": item.kind},
        "annotations": [],
        "predictions": predictions,
    }


def _choice(label: str) -> dict[str, Any]:
    return {
        "id": QUESTION,
        "from_name": QUESTION,
        "to_name": _FIELD,
        "type": "choices",
        "value": {"choices": [label]},
    }


def _read_task(task: Mapping[str, Any], place: int) -> Read | None:
    data = task.get("data")
    if isinstance(data, Mapping):
        labels = [
            label
            for annotation in _mappings(task.get("annotations"))
            if not annotation.get("was_cancelled")
            for label in _choices_of(annotation)
        ]
    else:  # JSON_MIN has data and answers in one object
        data, labels = task, _label_values(task.get(QUESTION))
    return _row(data.get("item"), data.get(_FIELD), labels, place)


def _choices_of(annotation: Mapping[str, Any]) -> list[str]:
    results = _mappings(annotation.get("result"))
    return [
        label
        for result in results
        if result.get("type") == "choices" and result.get("from_name") == QUESTION
        for label in _label_values(result.get("value"))
    ]


def _label_values(value: Any) -> list[str]:
    """Labels from a text, a list, or {"choices": [...]}."""
    if isinstance(value, Mapping):
        value = value.get("choices")
    if isinstance(value, str):
        return [value]
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _record(item: Item) -> dict[str, Any]:
    suggestions = [{"value": guess, "score": None, "agent": _AGENT} for guess in item.guesses[:1]]
    return {
        "id": item.id,
        "fields": {_FIELD: item.text},
        "metadata": {"kind": item.kind},
        "suggestions": {QUESTION: suggestions[0]} if suggestions else {},
        "responses": {},
        "vectors": {},
        "_server_id": None,
    }


def _read_record(record: Mapping[str, Any], place: int) -> Read | None:
    fields, responses = record.get("fields"), record.get("responses")
    text = fields.get(_FIELD) if isinstance(fields, Mapping) else None
    answers = _mappings(responses.get(QUESTION)) if isinstance(responses, Mapping) else []
    labels = [
        label
        for answer in answers
        if answer.get("status", "submitted") == "submitted"
        for label in _label_values(answer.get("value"))
    ]
    return _row(record.get("id"), text, labels, place)


def _row(item: Any, text: Any, labels: Sequence[str], place: int) -> Read | None:
    """The validated row; None where the item has no answer."""
    if not isinstance(item, str) or not isinstance(text, str):
        return Read(place=place, item="", text="", problem="it has no item or no text")
    distinct = sorted(set(labels))
    if not distinct:
        return None
    if len(distinct) > 1:
        problem = f"the file has different labels for it: {', '.join(distinct)}"
        return Read(place=place, item=item, text=text, problem=problem)
    return Read(place=place, item=item, text=text, label=distinct[0])


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return (
        [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
    )


def _tasks(items: Iterable[Item]) -> list[dict[str, Any]]:
    return [_task(item) for item in items]


def _records(items: Iterable[Item]) -> list[dict[str, Any]]:
    return [_record(item) for item in items]


FORMS: Mapping[str, ToolFormat] = {
    "argilla": ToolFormat(write=_records, read=_read_record),
    "labelstudio": ToolFormat(write=_tasks, read=_read_task),
}
