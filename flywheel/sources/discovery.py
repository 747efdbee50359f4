"""Which source does a name in config.toml stand for?

A name is looked up among the built-in sources, then as plugins/NAME.py beside config.toml, then
among the entry points of group `flywheel.sources`; the first that has it wins. Only a configured
name is ever imported: installed is not active.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import cast

from flywheel.errors import ConfigError
from flywheel.plugin import import_file
from flywheel.protocols import Source

GROUP = "flywheel.sources"
BUILT_IN = ("jsonl", "parquet", "csv", "postgres", "kafka", "s3")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

MakeSource = Callable[[], Source]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A source that could be configured; it was not imported to be found."""

    name: str
    kind: str  # "built-in", "plugins/" or "entry point"
    where: str  # module, path, or the entry point's value


def find(plugin: str, plugins_dir: Path) -> MakeSource:
    """Return what makes the source that `plugin` names.

    Args:
        plugin: a name, or `plugins/NAME.py`.
        plugins_dir: the folder `plugins/` beside config.toml; it may be missing.

    Raises:
        ConfigError: nothing has that name, it cannot be imported, or it offers no `source()`.
    """
    name = plugin.removeprefix("plugins/").removesuffix(".py")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"`{plugin}` is no name of a plug-in", hint="use a-z, 0-9, _ and -, at most 64"
        )
    if name in BUILT_IN:
        return _offered(importlib.import_module(f"flywheel.sources.{name}"), name)
    path = plugins_dir / f"{name}.py"
    if path.is_file():
        return _offered(import_file(path), str(path))
    for entry in _entries():
        if entry.name == name:
            return _loaded(entry)
    raise ConfigError(
        f"no source is called `{name}`",
        hint=f"there is {', '.join(found.name for found in available(plugins_dir))}; "
        f"or write {path}",
    )


def available(plugins_dir: Path) -> tuple[Found, ...]:
    """Every source that could be configured, in the order in which names are looked up."""
    found = [
        Found(name=name, kind="built-in", where=f"flywheel.sources.{name}") for name in BUILT_IN
    ]
    found += [
        Found(name=path.stem, kind="plugins/", where=str(path))
        for path in sorted(plugins_dir.glob("*.py"))
        if _NAME.fullmatch(path.stem)
    ]
    found += [Found(name=entry.name, kind="entry point", where=entry.value) for entry in _entries()]
    return tuple({each.name: each for each in reversed(found)}[name] for name in _names(found))


def _names(found: list[Found]) -> list[str]:
    return list(dict.fromkeys(each.name for each in found))


def _entries() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def _loaded(entry: EntryPoint) -> MakeSource:
    """The entry point's value: the function `source` itself, or the module that has it."""
    try:
        offered = entry.load()
    except Exception as error:  # a stranger's code may raise anything at import
        raise ConfigError(
            f"entry point {entry.name} ({entry.value}) fails on import: "
            f"{type(error).__name__}: {error}"
        ) from error
    if isinstance(offered, ModuleType):
        return _offered(offered, entry.value)
    return cast(MakeSource, offered)


def _offered(module: ModuleType, where: str) -> MakeSource:
    make = getattr(module, "source", None)
    if not callable(make):
        raise ConfigError(
            f"{where} offers no `source()`", hint="define `def source() -> Source` in it"
        )
    return cast(MakeSource, make)
