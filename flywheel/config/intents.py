"""intents.toml, or a JSON file in OpenAI's `tools` form: what the model may call."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flywheel.errors import ConfigError
from flywheel.parameters import schema_problem
from flywheel.records import NONE, Intent

_KNOWN = frozenset(
    {
        "name",
        "description",
        "parameters",
        "critical",
        "renamed_from",
        "split_from",
        "merged_from",
    }
)

_SCHEMA_HINT = (
    "parameters are a JSON Schema (draft 2020-12); a reference stays inside of it: #/$defs/NAME"
)


def load_intents(path: Path) -> tuple[Intent, ...]:
    """Read the intents, in the file's order; `none` is always known and never listed.

    Raises:
        ConfigError: the file is missing or malformed, a name is empty, doubled or reserved, or
            parameters are no JSON Schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}",
            hint="list your functions there; `flywheel init` writes an example",
        ) from error
    try:
        rows = _from_tools(json.loads(text)) if path.suffix == ".json" else _from_toml(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="mend that line") from error
    except (TypeError, KeyError) as error:
        raise ConfigError(f"{path}: not a list of intents ({error})") from error
    intents = tuple(_intent(row, number, path) for number, row in enumerate(rows, 1))
    _refuse_doubled(intents, path)
    return intents


def _from_toml(text: str) -> Sequence[Mapping[str, Any]]:
    rows = tomllib.loads(text).get("intent", [])
    if not isinstance(rows, list):
        raise TypeError("intents are written [[intent]]")
    return rows


def _from_tools(value: Any) -> Sequence[Mapping[str, Any]]:
    tools = value["tools"] if isinstance(value, Mapping) else value
    return [tool.get("function", tool) for tool in tools]


def _intent(row: Mapping[str, Any], number: int, path: Path) -> Intent:
    name = row.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{path}: intent {number} has no `name`")
    if name == NONE:
        raise ConfigError(
            f"{path}: intent {number} is named `{NONE}`", hint="that name means no call at all"
        )
    known = {key: value for key, value in row.items() if key in _KNOWN}
    unknown = sorted(set(row) - _KNOWN - {"strict"})
    if unknown:
        raise ConfigError(
            f"{path}: intent {name}: unknown key {unknown[0]}",
            hint=f"known here: {', '.join(sorted(_KNOWN))}",
        )
    try:
        intent = TypeAdapter(Intent).validate_python(known)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: intent {name}: {at}: {first['msg'].lower()}") from error
    if problem := schema_problem(intent):
        raise ConfigError(f"{path}: intent {name}: {problem}", hint=_SCHEMA_HINT)
    return intent


def _refuse_doubled(intents: Sequence[Intent], path: Path) -> None:
    seen: set[str] = set()
    for intent in intents:
        for name in sorted({intent.name, *intent.renamed_from, *intent.merged_from}):
            if name in seen:
                raise ConfigError(f"{path}: two intents are (or were) named {name}")
            seen.add(name)
        former = (*intent.renamed_from, *intent.merged_from, *intent.split_from)
        if NONE in former:
            raise ConfigError(
                f"{path}: intent {intent.name} cannot come of `{NONE}`",
                hint=f"`{NONE}` means no call at all; label its texts anew instead",
            )
