"""Where a plug-in's name leads: a file `plugins/NAME.py`, or an entry point of a group.

The file wins, so that a user can replace an installed plug-in by a file. Only a name that the
configuration gives is ever imported: installed is not active.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from flywheel.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plug-in, imported."""

    offered: object  # the file's module, or the value of the entry point
    where: str  # path of the file, or the entry point's value
    path: Path | None  # None: of an entry point

    def source(self, used: Callable[..., object]) -> bytes:
        """The source of the file, or of the module that `used` (what it offered) is from."""
        if self.path is not None:
            return self.path.read_bytes()
        return inspect.getsource(inspect.getmodule(used) or used).encode()


def plugin_name(plugin: str) -> str:
    """The name that `NAME`, `NAME.py` and `plugins/NAME.py` stand for."""
    return plugin.removeprefix("plugins/").removesuffix(".py")


def find_plugin(plugin: str, plugins_dir: Path, group: str) -> Plugin | None:
    """Import what a name leads to; None when nothing has that name.

    Args:
        plugin: a name, or `plugins/NAME.py`.
        plugins_dir: the folder `plugins/` beside config.toml; it may be missing.
        group: of entry points, as `flywheel.sources`.

    Raises:
        ConfigError: it cannot be imported, or breaks when it is.
    """
    name = plugin_name(plugin)
    path = plugins_dir / f"{name}.py"
    if Path(name).name == name and path.is_file():
        return Plugin(offered=import_file(path), where=str(path), path=path)
    for entry in entries(group):
        if entry.name == name:
            return Plugin(offered=_loaded(entry), where=entry.value, path=None)
    return None


def entries(group: str) -> list[EntryPoint]:
    """The installed entry points of a group, by name; none is imported."""
    return sorted(entry_points(group=group), key=lambda entry: entry.name)


def import_file(path: Path) -> ModuleType:
    """The module in a file, under a name that no installed one has.

    Raises:
        ConfigError: it cannot be imported, or breaks when it is.
    """
    spec = importlib.util.spec_from_file_location(f"flywheel_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a stranger's code may raise anything at import
        raise ConfigError(
            f"{path} fails on import: {type(error).__name__}: {error}",
            hint="mend it; `flywheel plugins check` tries it again",
        ) from error
    return module


def _loaded(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:  # a stranger's code may raise anything at import
        raise ConfigError(
            f"entry point {entry.name} ({entry.value}) fails on import: "
            f"{type(error).__name__}: {error}"
        ) from error
