"""Read config.toml into a frozen `Config`, or say on which line it is wrong.

What the environment sets stands over the file (`overrides`). Below: what differs between two
configurations, what of it a running daemon can take on, and what is asked for in vain.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from flywheel.config.overrides import NOT_KEYS, Key, overridden
from flywheel.config.tables import Config, SourceTable, WatchTable
from flywheel.errors import ConfigError


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
        options = {key: item for key, item in table.items() if key != "plugin"}
        sources[name] = SourceTable(plugin=table["plugin"], options=options)
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


def _refuse_unknown(values: Mapping[str, Any], kind: type, where: Key, origin: _Origin) -> None:
    hints = {k: v for k, v in get_type_hints(kind).items() if k not in NOT_KEYS}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
            name = ".".join((*where, key))
            raise ConfigError(
                f"{origin.at((*where, key))}: unknown key {name}",
                hint=f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(hints)}",
            )
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                name = ".".join((*where, key))
                raise ConfigError(f"{origin.at((*where, key))}: {name} must be a table")
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
        key = re.match(r'\s*"?([\w.=-]+?)"?\s*=', line)
        if key is None:
            continue
        full = ".".join(part for part in (table, key.group(1)) if part)
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
        serving=old.serving,
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


# Keys that nothing acts on yet: to set one is a problem that is said. Pure.


def without_effect(config: Config) -> tuple[str, ...]:
    """What the configuration asks for in vain; empty with the shipped one.

    >>> without_effect(Config())
    ()
    """
    if config.watch == WatchTable():
        return ()
    return (
        f'[watch] is set (mode = "{config.watch.mode}"), but nothing watches a new champion yet: '
        "look at `flywheel intents`, and go back with `flywheel adapters rollback`; "
        'mode = "off" ends this warning',
    )
