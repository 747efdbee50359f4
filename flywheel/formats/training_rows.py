"""A labelled text of somebody's training set, under the names they gave its fields.

Which field is the text and which the label, what an integer label is called, and what a row means
in flywheel's own form. Nothing is guessed: a row that does not say its label is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.records import NONE

TEXT_KEYS = ("text", "utterance", "query", "sentence", "input")
LABEL_KEYS = ("intent", "label", "labels", "intent_name", "label_text", "label_name")
GROUP_KEY = "category"  # often a group above the intent, so it counts only where nothing else does
ARGUMENT_KEYS = ("arguments", "slots", "parameters", "entities")
NAMED_SPLITS = {
    "seed": "seed",
    "train": "seed",
    "training": "seed",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "golden": "golden",
    "test": "golden",
    "testing": "golden",
    "fresh": "fresh",
}
"""Names that training sets give their parts, and the split that each is here."""
_KEPT = ("must_pass", "family", "slices", "weight", "provenance", "answer", "origin")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class BadRow(ValueError):
    """A row that holds no labelled text; the message says which field is at fault, and why."""


@dataclass(frozen=True, slots=True)
class LabelNames:
    """What labels are called: by number, or by the name that the file has for them."""

    names: Mapping[str, str]
    width: int = 0  # of a list that holds 1 for a label and 0 for the others; 0: not known

    def of(self, label: str) -> str:
        """Return the name of a label; a label without an entry is a name already."""
        return self.names.get(label, label)


NO_NAMES = LabelNames({})


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A row as a native sample: what it says, and which of its fields said it."""

    event: dict[str, Any]  # with `split` only where the row names one
    text_key: str
    label_key: str


def label_names(value: Any) -> LabelNames:
    """Return names of labels from what people keep them in.

    A list of names; {"0": "name"} or {"name of theirs": "name here"}; a list of {id, name}; and
    `features`, `names`, `id2label` or `intents` wherever they stand in an object.

    Raises:
        BadRow: it holds no names.
    """
    found = _names_in(value)
    if not found:
        raise BadRow('holds no names: write ["first", "second"] or {"0": "first"}')
    numbers = [int(key) for key in found if key.isdigit()]
    return LabelNames(found, max(numbers) + 1 if numbers else 0)


def _names_in(value: Any) -> dict[str, str]:
    if isinstance(value, (list, tuple)):
        if all(isinstance(name, str) for name in value):
            return {str(number): name for number, name in enumerate(value)}
        listed = [_id_and_name(item) for item in value]
        return dict(pair for pair in listed if pair) if all(listed) else {}
    if not isinstance(value, Mapping):
        return {}
    for key in ("id2label", "intents", "names", "labels"):
        if isinstance(value.get(key), (list, tuple, Mapping)) and (found := _names_in(value[key])):
            return found
    if all(isinstance(name, str) for name in value.values()) and "_type" not in value:
        return {str(key): name for key, name in value.items()}
    return _names_of_features(value)


def _names_of_features(value: Mapping[str, Any]) -> dict[str, str]:
    """Names of a Hugging Face `ClassLabel`, wherever `features` describes one."""
    features = value.get("features", value)
    if isinstance(features, (list, tuple)):  # as the rows of the datasets server come
        features = {
            str(each.get("name")): each.get("type", each)
            for each in features
            if isinstance(each, Mapping)
        }
    if not isinstance(features, Mapping):
        return {}
    for key in (*LABEL_KEYS, GROUP_KEY, *features):
        feature = features.get(key)
        if isinstance(feature, Mapping) and key != "features":
            for inner in (feature, feature.get("feature"), feature.get("class_label")):
                names = inner.get("names") if isinstance(inner, Mapping) else None
                if names and (found := _names_in(names)):
                    return found
            if "features" in feature and (found := _names_of_features(feature)):
                return found  # one configuration of several
    return {}


def _id_and_name(item: Any) -> tuple[str, str] | None:
    if not isinstance(item, Mapping):
        return None
    number = next((item[key] for key in ("id", "index", "label") if item.get(key) is not None), "")
    name = next((item[key] for key in ("name", "label_text", "intent") if item.get(key)), None)
    return (str(number), name) if isinstance(name, str) and str(number) else None


def sample_row(row: Any, names: LabelNames = NO_NAMES) -> SampleRow:
    """Return a row as a native sample.

    Args:
        row: an object, or a pair [text, label].
        names: what integer labels are called.

    Raises:
        BadRow: text or label is missing, empty, a bare number, or said twice and differently.
    """
    if isinstance(row, (list, tuple)) and len(row) == 2:
        row = {"text": row[0], "label": row[1]}
    if not isinstance(row, Mapping):
        raise BadRow("is neither an object nor a pair [text, label]")
    by_name = {str(key).strip().casefold(): key for key in row}
    if "messages" in by_name:  # a fine-tuning line: its own format reads it
        return SampleRow(dict(row), "messages", "messages")
    text_key = _first(row, by_name, TEXT_KEYS)
    if text_key is None:
        raise BadRow(_unseen("text", TEXT_KEYS, row))
    text = row[text_key]
    if not isinstance(text, str) or not text.strip():
        raise BadRow(f"{text_key}: is {'empty' if isinstance(text, str) else 'no text'}")
    intent, label_key = _label(row, by_name, names)
    event: dict[str, Any] = {"text": text.strip(), "intent": intent}
    arguments = _arguments(row, by_name, text)
    if arguments is not None:
        event["arguments"] = arguments
    for key in _KEPT:
        value = row[by_name[key]] if key in by_name else ""
        if value != "" and (value is not None or key == "answer"):
            event[key] = _from_cell(key, value)
    return SampleRow(event, text_key, label_key)


def _first(row: Mapping[str, Any], by_name: Mapping[str, str], keys: Sequence[str]) -> str | None:
    there = [by_name[key] for key in keys if key in by_name]
    return next((key for key in there if row[key] not in (None, "")), there[0] if there else None)


def _unseen(what: str, keys: Sequence[str], row: Mapping[str, Any]) -> str:
    """Which keys were looked for, and which are there."""
    seen = [str(key)[:40] for key in row]
    near = [key for name in seen for key in difflib.get_close_matches(name.casefold(), keys, 1)]
    hint = f"; is {near[0]} meant?" if near else ""
    shown = ", ".join(seen[:12]) + (", …" if len(seen) > 12 else "")
    return f"has no {what}: looked for {', '.join(keys)}; it has {shown or 'nothing'}{hint}"


def _label(
    row: Mapping[str, Any], by_name: Mapping[str, str], names: LabelNames
) -> tuple[str | None, str]:
    """The intent a row names, None for no call, and the key that named it."""
    keys = [by_name[key] for key in LABEL_KEYS if key in by_name]
    keys = keys or ([by_name[GROUP_KEY]] if GROUP_KEY in by_name else [])
    if not keys:
        raise BadRow(_unseen("label", (*LABEL_KEYS, GROUP_KEY), row))
    said: dict[str, str | None] = {}
    unnamed: BadRow | None = None
    for key in keys:
        try:
            said[key] = _named(row[key], key, names)
        except _Unnamed as error:  # another key may have its name
            unnamed = unnamed or error
    if not said:
        assert unnamed is not None
        raise unnamed
    (first, intent), *others = said.items()
    for key, other in others:
        if (other or NONE) != (intent or NONE):
            raise BadRow(f"{first}: says {intent or NONE}, but {key} says {other or NONE}")
    return intent, first


class _Unnamed(BadRow):
    """An integer label whose name nobody gave."""


def _named(value: Any, key: str, names: LabelNames) -> str | None:
    """The name in a label field; None for no call."""
    if isinstance(value, Mapping):
        value = value.get("name", value.get("intent", ""))
    if isinstance(value, (list, tuple)):
        value = _only(value, key, names)
    if value is None:
        return names.names.get("null")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadRow(f"{key}: is no intent's name")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas writes a column with gaps as 0.0
    label = str(value).strip()
    if not label:
        raise BadRow(f"{key}: is empty; no call at all is written null or {NONE}")
    if label in names.names:
        return names.names[label]
    if _is_number(label):
        known = f" (known: 0 to {names.width - 1})" if names.width else ""
        raise _Unnamed(f"{key}: {label} is a number without a name{known}; give --labels NAMES")
    return label


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip()) is not None


def _only(values: Sequence[Any], key: str, names: LabelNames) -> Any:
    """The one label in a list of labels, or in a list with 1 for it and 0 for the others."""
    if len(values) > 1 and len(values) == names.width and {*values} <= {0, 1}:
        values = [number for number, chosen in enumerate(values) if chosen]
    if not values:
        raise BadRow(f"{key}: is an empty list; no call at all is written null or {NONE}")
    if len(values) > 1:
        raise BadRow(f"{key}: holds {len(values)} labels, and a sample has one")
    return values[0]


def _arguments(row: Mapping[str, Any], by_name: Mapping[str, str], text: str) -> Any:
    """Arguments as an object or its JSON text; None where the row does not judge them."""
    key = _first(row, by_name, ARGUMENT_KEYS)
    value = None if key is None else row[key]
    if value is None or value == "":
        return None
    return entity_values(value, text) if isinstance(value, (list, tuple)) else value


def entity_values(entities: Sequence[Any], text: str) -> dict[str, Any]:
    """Return entities by name; several of one name as a list, in their order.

    Args:
        entities: of {entity, value} or {entity, start, end}; `end` is behind the last character.
        text: where they stand.

    Raises:
        BadRow: one has no name, or neither a value nor a place.
    """
    found: dict[str, list[Any]] = {}
    for number, entity in enumerate(entities):
        if not isinstance(entity, Mapping) or not isinstance(entity.get("entity"), str):
            raise BadRow(f"entities[{number}]: has no `entity`")
        value = entity.get("value")
        if value is None:
            start, end = entity.get("start"), entity.get("end")
            if not isinstance(start, int) or not isinstance(end, int):
                raise BadRow(f"entities[{number}]: has neither `value` nor `start` and `end`")
            value = text[start:end]
        found.setdefault(entity["entity"], []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _from_cell(key: str, value: Any) -> Any:
    """A cell of a table, which is always text, as the value that the field holds."""
    if not isinstance(value, str):
        return value
    if key == "must_pass":
        return _FLAGS.get(value.strip().casefold(), value)
    if key == "weight":
        return float(value) if _is_number(value) else value
    return value
