"""What a daemon does not start with; asked by `run`, by a reload, and by `flywheel doctor`.

One list for all of them, so that a green doctor is a daemon that starts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping

from flywheel import gates, logs
from flywheel.config import Config, HooksTable, load_intents
from flywheel.daemon import sockets
from flywheel.daemon.schedule import trigger_of
from flywheel.daemon.server import token_of
from flywheel.daemon.wiring import teacher_of
from flywheel.errors import ConfigError, FlywheelError

_TOLD_OF = HooksTable().events


def _hooks(config: Config) -> None:
    """Refuse hooks that cannot be told anything.

    Raises:
        ConfigError: the command is missing or not executable, the webhook is no http address, or
            an event has another name.
    """
    table, where = config.promotion.hooks, "[promotion.hooks]"
    if table.command and shutil.which(table.command[0]) is None:
        program = table.command[0]
        why = "is not executable" if os.path.isfile(program) else "is not there"  # noqa: PTH113
        raise ConfigError(
            f"{where} command: {program} {why}",
            hint=f"chmod +x {program}" if why.endswith("executable") else "write its whole path",
        )
    if table.webhook and not table.webhook.startswith(("http://", "https://")):
        raise ConfigError(
            f"{where} webhook: {table.webhook} is no http or https address",
            hint='for example webhook = "https://example.org/flywheel"',
        )
    unknown = [name for name in table.events if name not in _TOLD_OF]
    if unknown:
        raise ConfigError(
            f"{where} events: there is no event {unknown[0]!r}",
            hint=f"known are {', '.join(_TOLD_OF)}",
        )


_CONFIGURED: Mapping[str, Callable[[Config], object]] = {
    "intents": lambda config: load_intents(config.root / config.intents.file),
    "gates": lambda config: gates.check(config.gates),
    "own gates": lambda config: gates.custom_gates(config.gates, config.root / "plugins"),
    "schedule": lambda config: trigger_of(config.schedule.cron),
    "hooks": _hooks,
    "teacher": lambda config: teacher_of(config, ()),
}
_AT_START: Mapping[str, Callable[[Config], object]] = {
    "logs": lambda config: (
        logs.writable(config.root / config.flywheel.log_dir) if config.flywheel.log_dir else None
    ),
    "token": lambda config: token_of(config.api),
    "listen": lambda config: sockets.can_listen(config.socket_path, config.api.tcp),
}


def refuse(config: Config) -> None:
    """Refuse a configuration that a running daemon could not go by.

    Raises:
        FlywheelError: what is wrong, and what to do.
    """
    for check in _CONFIGURED.values():
        check(config)


def refuse_start(config: Config) -> None:
    """Refuse what a daemon could not start with here; raises as `refuse`."""
    refuse(config)
    for check in _AT_START.values():
        check(config)


def found(config: Config, *, running: bool) -> Iterator[tuple[str, FlywheelError | None]]:
    """Each check by name, and what it refuses; of a running daemon only what a reload refuses."""
    checks = _CONFIGURED if running else {**_CONFIGURED, **_AT_START}
    for name, check in checks.items():
        try:
            check(config)
        except FlywheelError as error:
            yield name, error
        else:
            yield name, None
