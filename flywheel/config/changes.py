"""What differs between two configurations, and what of it a running daemon can take on.

Pure: two configurations in, names and a third configuration out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from flywheel.config.tables import Config

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
    kept = dataclasses.replace(
        new.flywheel, state_dir=old.flywheel.state_dir, log_dir=old.flywheel.log_dir
    )
    return dataclasses.replace(
        new,
        flywheel=kept,
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
        if name != "path":
            yield from _flat(item, f"{where}.{name}" if where else name)
