"""intents.toml, or a JSON file with a list of tools: what the model may call."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flywheel.config.tool_lists import NotTools, listed_tools
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

_TOOLS_HINT = "a list of tools, or an object with `tools`: each with a name and its JSON Schema"
_SCHEMA_HINT = (
    "parameters are a JSON Schema (draft 2020-12); a reference stays inside of it: #/$defs/NAME"
)


def load_intents(path: Path) -> tuple[Intent, ...]:
    """Read the intents, in the file's order; `none` is always known and never listed.

    Raises:
        ConfigError: the file is missing or malformed, a name is empty, doubled or reserved (the
            error says at which place), or parameters are no JSON Schema.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}",
            hint="list your functions there; `flywheel init` writes an example",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}", hint="save it as UTF-8") from error
    try:
        rows = _from_tools(text) if path.suffix == ".json" else _from_toml(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="mend that line") from error
    except NotTools as error:
        raise ConfigError(f"{path}: {error}", hint=_TOOLS_HINT) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error
    except TypeError as error:
        raise ConfigError(f"{path}: not a list of intents ({error})") from error
    intents = tuple(_intent(row, place, path) for place, row in rows)
    _refuse_doubled(intents, [place for place, _ in rows], path)
    return intents


_Rows = Sequence[tuple[str, Mapping[str, Any]]]
"""Where an intent stands in its file, such as `intent 2`, and its fields."""


def _from_toml(text: str) -> _Rows:
    rows = tomllib.loads(text).get("intent", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TypeError("intents are written [[intent]]")
    return [(f"intent {number}", row) for number, row in enumerate(rows, 1)]


def _from_tools(text: str) -> _Rows:
    return [(tool.place, tool.row) for tool in listed_tools(json.loads(text))]


def _intent(row: Mapping[str, Any], place: str, path: Path) -> Intent:
    name = row.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{path}: {place} has no `name`")
    if name == NONE:
        raise ConfigError(
            f"{path}: {place} is named `{NONE}`", hint="that name means no call at all"
        )
    known = {key: value for key, value in row.items() if key in _KNOWN}
    unknown = sorted(set(row) - _KNOWN)
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


def _refuse_doubled(intents: Sequence[Intent], places: Sequence[str], path: Path) -> None:
    seen: dict[str, str] = {}
    for intent, place in zip(intents, places, strict=True):
        for name in sorted({intent.name, *intent.renamed_from, *intent.merged_from}):
            if name in seen:
                at = f"{seen[name]} and {place}"
                raise ConfigError(f"{path}: two intents are (or were) named {name}: {at}")
            seen[name] = place
        former = (*intent.renamed_from, *intent.merged_from, *intent.split_from)
        if NONE in former:
            raise ConfigError(
                f"{path}: intent {intent.name} cannot come of `{NONE}`",
                hint=f"`{NONE}` means no call at all; label its texts anew instead",
            )
