"""The queue in the forms of two labelling tools, and what people answered there.

`labelstudio`: its JSON task format, one task an item, with `data.item` as its name; annotations
come back as JSON or JSON_MIN. `argilla`: what `Dataset.records.to_json` writes and `from_json`
reads, one record an item, with the item as its id. Both ask one question, `intent`.

Who answered there is only a name in a file: answers are the word of whoever imports them, and
where the people in the file differ, nothing is imported for that item.

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
    """What a file says of one item."""

    place: int  # in the file, from 1
    item: str
    text: str
    label: str | None = None  # None: nobody answered it, or `problem` says why it is not used
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFormat:
    """One tool's form."""

    write: Callable[[Iterable[Item]], list[dict[str, Any]]]
    read: Callable[[Mapping[str, Any], int], Read | None]


def interface(intents: Sequence[str]) -> str:
    """Return the labelling interface that Label Studio needs for its tasks.

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
    guessed = [{"model_version": _AGENT, "result": [_choice(guess)]} for guess in item.guesses[:1]]
    return {
        "data": {_FIELD: item.text, "item": item.id, "kind": item.kind},
        "annotations": [],
        "predictions": guessed,
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
            for each in _list(task.get("annotations"))
            if not each.get("was_cancelled")
            for label in _chosen(each)
        ]
    else:  # JSON_MIN: the data and the answers side by side
        data, labels = task, _flat(task.get(QUESTION))
    return _read(data.get("item"), data.get(_FIELD), labels, place)


def _chosen(annotation: Mapping[str, Any]) -> list[str]:
    results = _list(annotation.get("result"))
    return [
        label
        for each in results
        if each.get("type") == "choices" and each.get("from_name") == QUESTION
        for label in _flat(each.get("value"))
    ]


def _flat(value: Any) -> list[str]:
    """One label or several, as a text, a list, or {"choices": [...]}."""
    if isinstance(value, Mapping):
        value = value.get("choices")
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _record(item: Item) -> dict[str, Any]:
    guessed = [{"value": guess, "score": None, "agent": _AGENT} for guess in item.guesses[:1]]
    return {
        "id": item.id,
        "fields": {_FIELD: item.text},
        "metadata": {"kind": item.kind},
        "suggestions": {QUESTION: guessed[0]} if guessed else {},
        "responses": {},
        "vectors": {},
        "_server_id": None,
    }


def _read_record(record: Mapping[str, Any], place: int) -> Read | None:
    fields, responses = record.get("fields"), record.get("responses")
    text = fields.get(_FIELD) if isinstance(fields, Mapping) else None
    given = _list(responses.get(QUESTION)) if isinstance(responses, Mapping) else []
    labels = [
        label
        for each in given
        if each.get("status", "submitted") == "submitted"
        for label in _flat(each.get("value"))
    ]
    return _read(record.get("id"), text, labels, place)


def _read(item: Any, text: Any, labels: Sequence[str], place: int) -> Read | None:
    """None where nobody has answered."""
    if not isinstance(item, str) or not isinstance(text, str):
        return Read(place=place, item="", text="", problem="it has no item or no text")
    different = sorted(set(labels))
    if not different:
        return None
    if len(different) > 1:
        problem = f"the file has different labels for it: {', '.join(different)}"
        return Read(place=place, item=item, text=text, problem=problem)
    return Read(place=place, item=item, text=text, label=different[0])


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _tasks(items: Iterable[Item]) -> list[dict[str, Any]]:
    return [_task(item) for item in items]


def _records(items: Iterable[Item]) -> list[dict[str, Any]]:
    return [_record(item) for item in items]


FORMS: Mapping[str, ToolFormat] = {
    "argilla": ToolFormat(write=_records, read=_read_record),
    "labelstudio": ToolFormat(write=_tasks, read=_read_task),
}
