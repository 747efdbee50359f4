"""Rasa's training data: NLU files in YAML, and `rasa_nlu_data` in JSON.

Entities in the markup of an example are the arguments of its label. Synonyms, lookup tables,
regular expressions, stories and rules are no labelled texts; they are counted and left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from flywheel.formats.training_rows import BadRow, entity_values

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # every scalar is text: `no` is a name
_NOT_TEXTS = {
    "synonym": "synonym",
    "lookup": "lookup table",
    "regex": "regular expression",
    "entity_synonyms": "synonym",
    "lookup_tables": "lookup table",
    "regex_features": "regular expression",
}
_MARKUP = re.compile(
    r"\[(?P<text>[^\]\[]+?)\]"
    r"(?:\((?P<entity>[^):]+)(?::(?P<value>[^)]*))?\)|(?P<json>\{[^}]*\})|(?P<list>\[\s*\{.*?\]))"
)


@dataclass(frozen=True, slots=True)
class RasaExample:
    """One example: where it stands, and its text with markup, or why it cannot be read."""

    line: int  # of the file, from 1
    row: Mapping[str, Any] | None
    why: str = ""


class NoTrainingData(ValueError):
    """YAML that cannot be read, or that holds no `nlu`; the message says which."""


def read_yaml(text: str, skipped: Counter[str]) -> Iterator[RasaExample]:
    """Yield the examples of every intent, in the file's order.

    Args:
        text: of the file.
        skipped: what is left out is counted here, by its kind.

    Raises:
        NoTrainingData: it is no YAML, or has no `nlu`.
    """
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, RecursionError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f"line {mark.line + 1}: " if mark else ""
        raise NoTrainingData(f"{at}{getattr(error, 'problem', None) or 'is no YAML'}") from error
    sections = _fields(root)
    nlu = sections.pop("nlu", None)
    if not isinstance(nlu, yaml.SequenceNode):
        raise NoTrainingData(f"has no `nlu:`; it has {', '.join(sections) or 'no sections'}")
    for name, node in sections.items():
        if name != "version":
            skipped[f"{name}: no labelled texts"] += _size(node)
    for block in nlu.value:
        yield from _block(block, skipped)


def _block(block: yaml.Node, skipped: Counter[str]) -> Iterator[RasaExample]:
    """The examples of one entry of `nlu`."""
    fields = _fields(block)
    examples = fields.get("examples")
    line = block.start_mark.line + 1
    kind = next((name for name in _NOT_TEXTS if name in fields), None)
    if kind is not None:
        skipped[_NOT_TEXTS[kind]] += max(1, _size(examples))
    elif not isinstance(fields.get("intent"), yaml.ScalarNode):
        yield RasaExample(line, None, f"has no intent; it has {', '.join(fields) or 'nothing'}")
    elif examples is None:
        yield RasaExample(line, None, f"intent {fields['intent'].value} has no examples")
    else:
        for at, said in _examples(examples):
            yield _example(at, said, fields["intent"].value)


def _examples(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Each example with its line: `- text` in a block of text, or items of a list."""
    if isinstance(node, yaml.ScalarNode):
        first = node.start_mark.line + 1 + (node.style in ("|", ">"))
        for number, line in enumerate(node.value.splitlines()):
            if line.strip():
                yield first + number, line.strip()
        return
    for item in node.value:
        said = item if isinstance(item, yaml.ScalarNode) else _fields(item).get("text")
        text = said.value if isinstance(said, yaml.ScalarNode) else ""
        mark = "" if text.lstrip().startswith("- ") else "- "
        yield item.start_mark.line + 1, f"{mark}{text.strip()}"


def _example(line: int, said: str, intent: str) -> RasaExample:
    if not said.startswith("-"):
        return RasaExample(line, None, "an example begins with `- `")
    try:
        text, entities = unmarked(said[1:].strip())
        row: dict[str, Any] = {"text": text, "intent": intent}
        if entities:
            row["arguments"] = entity_values(entities, text)
    except BadRow as error:
        return RasaExample(line, None, str(error))
    return RasaExample(line, row)


def unmarked(example: str) -> tuple[str, list[dict[str, Any]]]:
    r"""Return an example's text without markup, and its entities.

    Raises:
        BadRow: the JSON of an annotation cannot be read.

    >>> unmarked('wake me at [six](time) in [New York]{"entity": "city", "value": "NYC"}')[1]
    [{'entity': 'time', 'value': 'six'}, {'entity': 'city', 'value': 'NYC'}]
    """
    entities: list[dict[str, Any]] = []

    def plain(match: re.Match[str]) -> str:
        said = match["text"]
        if match["entity"] is not None:
            entities.append({"entity": match["entity"], "value": match["value"] or said})
            return said
        entities.extend(
            {"entity": each["entity"], "value": each.get("value", said)}
            for each in _annotations(match["json"] or match["list"])
        )
        return said

    return _MARKUP.sub(plain, example), entities


def _annotations(written: str) -> list[dict[str, Any]]:
    try:
        value = msgspec.json.decode(written)
    except msgspec.DecodeError:
        raise BadRow(f"the annotation {written[:60]} is not JSON") from None
    listed = value if isinstance(value, list) else [value]
    for each in listed:
        if not isinstance(each, dict) or not isinstance(each.get("entity"), str):
            raise BadRow(f"the annotation {written[:60]} names no entity")
    return listed


def read_json(data: Mapping[str, Any], skipped: Counter[str]) -> Iterator[RasaExample]:
    """Yield the examples of `rasa_nlu_data`; `line` is their number in it.

    Raises:
        NoTrainingData: it has no list of examples.
    """
    kinds = ("common_examples", "intent_examples", "entity_examples")
    listed = [value for kind in kinds if isinstance(value := data.get(kind), list)]
    examples = [each for value in listed for each in value]
    for name, value in data.items():
        if name not in kinds:
            many = len(value) if isinstance(value, (list, Mapping)) else 1
            skipped[_NOT_TEXTS.get(name, f"{name}: no labelled texts")] += many
    if not examples:
        raise NoTrainingData(f"rasa_nlu_data has no common_examples; it has {', '.join(data)}")
    for number, example in enumerate(examples, 1):
        if not isinstance(example, Mapping):
            yield RasaExample(number, None, "is no object")
            continue
        row = {key: value for key, value in example.items() if key != "entities"}
        yield RasaExample(number, row | ({"entities": e} if (e := example.get("entities")) else {}))


def _fields(node: yaml.Node | None) -> dict[str, yaml.Node]:
    """The values of a YAML mapping by key; {} of anything else."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _size(node: yaml.Node | None) -> int:
    """How many entries a node holds: items, keys or lines."""
    if isinstance(node, yaml.ScalarNode):
        return len([line for line in node.value.splitlines() if line.strip()])
    return len(node.value) if isinstance(node, yaml.CollectionNode) else 0
