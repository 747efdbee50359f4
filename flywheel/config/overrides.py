"""Which keys of config.toml does the environment set?

`FLYWHEEL_API__TCP=127.0.0.1:8765` sets `tcp` of `[api]`; `FLYWHEEL_GATES__OVERALL__ALPHA=0.05` sets
`alpha` of `[gates.overall]`. The name is FLYWHEEL_, the table and the key, joined by two
underscores, in capitals or not. Variables without two underscores after the prefix
(FLYWHEEL_CONFIG, a FLYWHEEL_TOKEN of the reader's) are none of ours.

A text is taken as it is written. A number, true and false, a list and a table are read as TOML or
as JSON. Options of a source or of a gate of one's own can be set where config.toml has its table.

Pure: the file's values and the variables in, values and names out.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from flywheel.config.tables import Config, GatesTable
from flywheel.errors import ConfigError

PREFIX = "FLYWHEEL_"
NOT_KEYS = {"path", "overrides"}
"""Fields of `Config` that no file and no variable sets."""
_JOIN = "__"
_SOURCES, _OPEN = "sources", "open"
"""In place of a type: [sources]; a table whose keys flywheel does not know, or one of its keys."""

Key = tuple[str, ...]


def overridden(
    written: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[dict[str, Any], dict[Key, str]]:
    """Put what the environment sets over what the file says.

    Args:
        written: config.toml as parsed; not changed.
        environment: every variable of the process.

    Returns:
        The values to use, and the name of the variable for each key that one sets.

    Raises:
        ConfigError: a variable names no key, or its value does not fit; the message begins with
            the variable's name.

    >>> overridden({"api": {"max_body_mb": 8}}, {"FLYWHEEL_API__MAX_BODY_MB": "64"})
    ({'api': {'max_body_mb': 64}}, {('api', 'max_body_mb'): 'FLYWHEEL_API__MAX_BODY_MB'})
    """
    values = copy.deepcopy(dict(written))
    variables: dict[Key, str] = {}
    for name in sorted(environment):
        parts = name.upper().removeprefix(PREFIX).lower().split(_JOIN)
        if not name.upper().startswith(PREFIX) or len(parts) < 2:
            continue
        key, hint = _resolve(parts, written, name)
        if key in variables:
            raise ConfigError(
                f"{name}: {variables[key]} sets {'.'.join(key)} too", hint="unset one of them"
            )
        variables[key] = name
        where = f"{name}: {'.'.join(key)}: "
        _set(values, key, _value(environment[name], hint, _get(written, key), where))
    return values, variables


def _resolve(parts: Sequence[str], written: Mapping[str, Any], variable: str) -> tuple[Key, Any]:
    """The key that lower-case `parts` name, and its type."""
    key: Key = ()
    hint: Any = Config
    for part in parts:
        known = _known(hint, _get(written, key))
        names = {name.lower(): name for name in known}
        if part not in names and not (hint == _OPEN and part):
            near = difflib.get_close_matches(part, names, n=1, cutoff=0.5)
            meant = _JOIN.join((*key, *near, *parts[len(key) + 1 :])).upper()
            here = ", ".join(known) or "nothing below a key"
            raise ConfigError(
                f"{variable}: unknown key {'.'.join((*key, part))}",
                hint=f"did you mean `{PREFIX}{meant}`?" if near else f"known here: {here}",
            )
        name = names.get(part, part)
        key, hint = (*key, name), known.get(name, _OPEN)
    if dataclasses.is_dataclass(hint) or (hint == _OPEN and len(key) < 3):
        inside = ", ".join(_known(hint, _get(written, key))) or "its options"
        raise ConfigError(
            f"{variable}: {'.'.join(key)} is a table", hint=f"name one of its keys: {inside}"
        )
    return key, hint


def _known(hint: Any, written: Any) -> dict[str, Any]:
    """Names that may follow, with their types; of an open table, those that the file has."""
    there = written if isinstance(written, Mapping) else {}
    if hint in (_SOURCES, _OPEN):
        return dict.fromkeys(there, _OPEN)
    if not dataclasses.is_dataclass(hint):
        return {}
    known = {name: each for name, each in get_type_hints(hint).items() if name not in NOT_KEYS}
    if hint is Config:
        known["sources"] = _SOURCES
    if hint is GatesTable:
        del known["custom"]
        own = (name for name, rule in there.items() if isinstance(rule, Mapping))
        known |= {name: _OPEN for name in own if "plugin" in there[name]}
    return known


def _value(text: str, hint: Any, before: Any, where: str) -> Any:
    """`text` as the type says; an option of a plug-in as what the file has in its place."""
    if hint == _OPEN:
        return text if isinstance(before, str) else _readings(text)[0]
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    literally = hint is str or any(isinstance(each, str) for each in choices)
    problem: ValidationError | None = None
    for reading in [text] if literally else _readings(text):
        try:
            return TypeAdapter(hint).validate_python(reading)
        except ValidationError as error:
            problem = problem or error
    assert problem is not None
    raise ConfigError(
        f"{where}{problem.errors()[0]['msg'].lower()}, not {text!r}",
        hint="mend or unset it, and start again",
    ) from problem


def _readings(text: str) -> list[Any]:
    """What a text may mean: TOML, JSON, and itself."""
    readings: list[Any] = []
    with contextlib.suppress(tomllib.TOMLDecodeError):
        parsed = tomllib.loads(f"value = {text}")
        readings += parsed.values() if len(parsed) == 1 else ()
    with contextlib.suppress(ValueError):
        readings.append(json.loads(text))
    return [*readings, text]


def _get(values: Any, key: Key) -> Any:
    for name in key:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def _set(values: dict[str, Any], key: Key, value: Any) -> None:
    """Where the file has no table in a table's place it stays, to be refused with its line."""
    for name in key[:-1]:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        values = inner
    values[key[-1]] = value
