"""Read config.toml and the environment into a frozen `Config`, or say on which line it is wrong.

A variable stands over the file: `FLYWHEEL_API__TCP` is `tcp` of `[api]`. Also here: what differs
between two configurations, what of it a running daemon can take on, and what is asked for in vain.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from flywheel.config.tables import Config, GatesTable, SourceTable
from flywheel.errors import ConfigError
from flywheel.score_rules import rule_of

# Keys from the environment.
#
# `FLYWHEEL_GATES__OVERALL__ALPHA=0.05` sets `alpha` of `[gates.overall]`: the prefix, the table and
# the key, joined by two underscores, in capitals or not. Variables without two underscores after
# the prefix are not read. A text is taken as it is written. A number, true and false, a list and a
# table are read as TOML or JSON.

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
        new = _tables_in(hint) or _OPEN
        if part not in names and not (part and (hint == _OPEN or new is not _OPEN)):
            near = difflib.get_close_matches(part, names, n=1, cutoff=0.5)
            meant = _JOIN.join((*key, *near, *parts[len(key) + 1 :])).upper()
            here = ", ".join(known) or "nothing below a key"
            raise ConfigError(
                f"{variable}: unknown key {'.'.join((*key, part))}",
                hint=f"did you mean `{PREFIX}{meant}`?" if near else f"known here: {here}",
            )
        name = names.get(part, part)
        key, hint = (*key, name), known.get(name, new)
    many = _tables_in(hint)
    if many or dataclasses.is_dataclass(hint) or (hint == _OPEN and len(key) < 3):
        inside = ", ".join(_known(hint, _get(written, key))) or ("NAME" if many else "its options")
        raise ConfigError(
            f"{variable}: {'.'.join(key)} is a table", hint=f"name one of its keys: {inside}"
        )
    return key, hint


def _known(hint: Any, written: Any) -> dict[str, Any]:
    """Names that may follow, with their types; of an open table, those that the file has."""
    there = written if isinstance(written, Mapping) else {}
    if hint in (_SOURCES, _OPEN):
        return dict.fromkeys(there, _OPEN)
    if table := _tables_in(hint):
        return dict.fromkeys(there, table)
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


def _tables_in(hint: Any) -> Any:
    """The type of the tables in a table of tables, such as [api.tokens.NAME]; else None."""
    inner = get_args(hint)[-1] if get_origin(hint) is dict else None
    return inner if dataclasses.is_dataclass(inner) else None


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


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where values come from, for messages."""

    path: Path
    text: str
    variables: Mapping[Key, str]

    def at(self, key: Key) -> str:
        """`FILE:LINE`, or the variable that sets the key or something of its table."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.variables:
                return self.variables[key[:length]]
        inside = [name for each, name in self.variables.items() if each[: len(key)] == key]
        return ", ".join([f"{self.path}:{_line(self.text, key)}", *inside])


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read and check a config file, with what the environment sets over it.

    Raises:
        ConfigError: the file is missing, is not TOML, has an unknown key, or a value of the
            wrong type or out of range; the message names the file, the line and the key, or
            the variable and the key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 (byte {error.start})", hint="save it as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}",
            hint="write one with `flywheel init`, or name it with `--config FILE`",
        ) from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="mend that line") from error
    values, variables = overridden(raw, environment)
    origin = _Origin(path, text, variables)
    sources = _sources(values.pop("sources", {}), origin)
    if isinstance(values.get("gates"), Mapping):
        values["gates"] = _with_custom_gates(values["gates"])
    _refuse_unknown(values, Config, (), origin)
    checked = {
        name: _table(hint, values[name], (name,), origin)
        for name, hint in get_type_hints(Config).items()
        if name in values
    }
    for name, value in values.items():
        _refuse_negative(value, (name,), origin)
    if "feedback" in checked:
        _refuse_bad_rules(checked["feedback"].scores, origin)
    overrides = tuple(variables.values())
    return Config(**checked, sources=sources, path=path.resolve(), overrides=overrides)


def secret(name: str) -> str | None:
    """The value of a systemd credential of this name, or of the environment variable."""
    if not name:
        return None
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and (Path(folder) / name).is_file():
        return (Path(folder) / name).read_text(encoding="utf-8").strip()
    return os.environ.get(name)


def _table(hint: Any, value: Any, where: Key, origin: _Origin) -> Any:
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        at = (*where, *(str(part) for part in first["loc"]))
        message = f"{origin.at(at)}: {'.'.join(at)}: {first['msg'].lower()}"
        raise ConfigError(
            f"{message}, not {first['input']!r}", hint="mend that line and start again"
        ) from error


def _sources(value: Any, origin: _Origin) -> dict[str, SourceTable]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{origin.path}: sources must be tables like [sources.NAME]")
    sources = {}
    for name, table in value.items():
        if not isinstance(table, Mapping) or not isinstance(table.get("plugin"), str):
            raise ConfigError(
                f"{origin.at(('sources', name))}: [sources.{name}] needs `plugin`",
                hint='for example plugin = "csv_drop"',
            )
        if not isinstance(may_give := table.get("samples", False), bool):
            raise ConfigError(
                f"{origin.at(('sources', name, 'samples'))}: sources.{name}.samples is "
                f"{may_give!r}, not true or false",
                hint="true lets the source give samples; leave it out otherwise",
            )
        options = {key: item for key, item in table.items() if key not in ("plugin", "samples")}
        sources[name] = SourceTable(plugin=table["plugin"], samples=may_give, options=options)
    return sources


def _with_custom_gates(gates: Mapping[str, Any]) -> dict[str, Any]:
    """[gates.NAME] with `plugin` is a gate of the reader's own; any other must be known."""
    own = {
        name: {
            "plugin": rule["plugin"],
            "options": {key: item for key, item in rule.items() if key != "plugin"},
        }
        for name, rule in gates.items()
        if isinstance(rule, Mapping) and "plugin" in rule
    }
    shipped = {name: rule for name, rule in gates.items() if name not in own}
    return {**shipped, "custom": own} if own else shipped


def _refuse_unknown(values: Any, kind: Any, where: Key, origin: _Origin) -> None:
    """Every key is one of `kind`: a dataclass, or a table of tables."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{origin.at(where)}: {'.'.join(where)} must be a table")
    if table := _tables_in(kind):
        for name, each in values.items():
            _refuse_unknown(each, table, (*where, name), origin)
        return
    hints = {k: v for k, v in get_type_hints(kind).items() if k not in NOT_KEYS}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
            name = ".".join((*where, key))
            raise ConfigError(
                f"{origin.at((*where, key))}: unknown key {name}",
                hint=f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(hints)}",
            )
        if dataclasses.is_dataclass(hints[key]) or _tables_in(hints[key]):
            _refuse_unknown(value, hints[key], (*where, key), origin)


def _refuse_negative(value: Any, where: Key, origin: _Origin) -> None:
    """No key of flywheel's own takes a number below 0; a plug-in's options are its own."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key != "options":
                _refuse_negative(item, (*where, key), origin)
    elif isinstance(value, int | float) and value < 0:
        name = ".".join(where)
        raise ConfigError(
            f"{origin.at(where)}: {name} is negative ({value})", hint="write 0 or more"
        )


def _refuse_bad_rules(scores: Mapping[str, str], origin: _Origin) -> None:
    for name, rule in scores.items():
        try:
            rule_of(rule)
        except ValueError as error:
            at = ("feedback", "scores", name)
            raise ConfigError(
                f"{origin.at(at)}: {'.'.join(at)}: {rule!r} {error}",
                hint='mend that line, for example stars = "1..5 >= 4"; `ignore` judges nothing',
            ) from error


def _line(text: str, where: Key) -> int:
    """Number of the line that sets the key, or of its table's header; 1 when neither is found."""
    table = ""
    best = 1
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        if header:
            table = header.group(1).replace('"', "")
            if table == ".".join(where[: len(table.split("."))]):
                best = number
            if table == ".".join(where):
                return number
            continue
        key = re.match(r"""\s*(?:"([^"]+)"|'([^']+)'|([\w.-]+))\s*=""", line)
        if key is None:
            continue
        full = ".".join(part for part in (table, key[1] or key[2] or key[3]) if part)
        if full == ".".join(where) or full == ".".join(where[: len(full.split("."))]):
            return number
    return best


# Two configurations: what differs, and what of it a running daemon can take on. Pure.

_AT_START = (
    "flywheel.state_dir",
    "flywheel.log_dir",
    "api",
    "sources",
    "executor",
    "serving",
    "promotion.hooks",
)
"""Keys and tables that are read once, when the daemon starts."""

_LIVE = ("serving.canary", "serving.parity_texts", "serving.parity_minutes")
"""Of those tables, keys that are read whenever they are used."""


def changed(old: Config, new: Config) -> list[str]:
    """Dotted names of the keys whose values differ, in the file's order.

    >>> changed(Config(), Config(schedule=ScheduleTable(cron="")))
    ['schedule.cron']
    """
    before, after = dict(_flat(old)), dict(_flat(new))
    names = [*before, *(name for name in after if name not in before)]
    return [name for name in names if before.get(name) != after.get(name)]


def needs_restart(name: str) -> bool:
    """Whether a running daemon cannot take this key on."""
    if name in _LIVE:
        return False
    return any(name == each or name.startswith(f"{each}.") for each in _AT_START)


def live(old: Config, new: Config) -> Config:
    """The new configuration, less what only a restart changes."""
    flywheel = dataclasses.replace(
        new.flywheel, state_dir=old.flywheel.state_dir, log_dir=old.flywheel.log_dir
    )
    return dataclasses.replace(
        new,
        flywheel=flywheel,
        api=old.api,
        sources=old.sources,
        executor=old.executor,
        serving=dataclasses.replace(
            old.serving,
            canary=new.serving.canary,
            parity_texts=new.serving.parity_texts,
            parity_minutes=new.serving.parity_minutes,
        ),
        promotion=dataclasses.replace(new.promotion, hooks=old.promotion.hooks),
    )


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        items = [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
    elif where == "sources" and isinstance(value, Mapping):
        items = list(value.items())
    else:
        yield where, value
        return
    for name, item in items:
        if name not in NOT_KEYS:
            yield from _flat(item, f"{where}.{name}" if where else name)


# Keys that have no effect beside others: to set one is a problem that is said. Pure.


WITH_ARMS = ("link", "local")
"""Kinds of serving in which `flywheel serve` answers with two champions beside each other."""


def without_effect(config: Config) -> tuple[str, ...]:
    """What the configuration asks for in vain; empty with the shipped one.

    >>> without_effect(Config())
    ()
    """
    if config.watch.mode == "off":
        return ()
    table = config.serving
    if table.kind not in WITH_ARMS:
        why = (
            f'[serving] kind is "{table.kind}", and two champions answer with link and local alone'
        )
    elif not table.canary:
        why = "[serving] canary is 0, so no earlier champion answers beside a new one"
    else:
        return ()
    return (
        f'[watch] mode is "{config.watch.mode}", but there is nothing to compare with: {why}; '
        'mode = "off" ends this warning',
    )
