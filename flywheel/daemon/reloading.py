"""Reload of the configuration by a running daemon.

The files are read and validated completely first; on any error the daemon continues unchanged.
Changes apply as soon as no turn is open, so that every turn runs with one configuration. Keys that
are read only at the start are reported and need a restart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flywheel import gates, logs
from flywheel.config import Config, changed, live, load, load_intents, needs_restart
from flywheel.daemon import wiring
from flywheel.daemon.wiring import teacher_of
from flywheel.errors import FlywheelError
from flywheel.protocols import Teacher
from flywheel.records import Intent
from flywheel.store import turns
from flywheel.turn import Runtime

log = logging.getLogger(__name__)

_AT_ONCE = "promotion."
"""Prefix of keys that apply at once, to open turns too: a person who requires approval gets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The parts of the runtime that a reload replaces."""

    config: Config
    intents: tuple[Intent, ...]
    teacher: Teacher | None
    custom_gates: tuple[gates.CustomGate, ...]


class Reload:
    """Reloads config.toml and intents.toml into a runtime.

    Args:
        runtime: the runtime to change.
        applied: called after every change, with the new configuration in the runtime.
    """

    def __init__(self, runtime: Runtime, applied: Callable[[], None]) -> None:
        self._runtime = runtime
        self._applied = applied
        self._lock = threading.RLock()  # serialises reloads: the last one wins
        self._waiting: _Parts | None = None

    def ask(self) -> Mapping[str, Any]:
        """Read the files again, and apply the changes or queue them behind the open turn.

        Returns:
            `changed`: differing keys that are applied or queued; `waits_for`: the turn that the
            queued ones wait for, None when all are applied; `at_once`: those of `changed` that
            wait for no turn; `restart`: keys that need a restart.

        Raises:
            ConfigError: the files are invalid; nothing was changed.
        """
        with self._lock:
            return self._take_on()

    def _take_on(self) -> Mapping[str, Any]:
        old = self._runtime.config
        new = load(old.path)
        wiring.refuse(new)
        effective = live(old, new)
        intents = load_intents(effective.root / effective.intents.file)
        own_gates = gates.custom_gates(effective.gates, effective.root / "plugins")
        names = changed(old, new)
        differing = [name for name in names if not needs_restart(name)]
        if intents != self._runtime.intents:
            differing.append(effective.intents.file)
        self._waiting = _Parts(
            config=effective,
            intents=intents,
            teacher=teacher_of(effective, intents),
            custom_gates=own_gates,
        )
        waits_for = self.settle()
        answer = {
            "changed": differing,
            "waits_for": waits_for,
            "at_once": [name for name in differing if name.startswith(_AT_ONCE)],
            "restart": [name for name in names if needs_restart(name)],
        }
        log.info(
            "config.toml was read anew: %d keys changed%s",
            len(differing),
            f", applied when {waits_for} has ended" if waits_for else "",
            extra={"event": "config.reloaded", "changed": ", ".join(differing)},
        )
        return answer

    def signalled(self) -> None:
        """Reload on SIGHUP; errors are logged."""
        try:
            self.ask()
        except FlywheelError as error:
            log.error(  # noqa: TRY400
                "the configuration stays as it was: %s", error.message, extra={"hint": error.hint}
            )

    def settle(self) -> str | None:
        """Apply the queued changes, unless a turn is open; return that turn's id."""
        with self._lock:
            parts = self._waiting
            if parts is None:
                return None
            with self._runtime.store.write() as con:  # no turn opens meanwhile
                running = turns.open_turns(con)
                if running:  # [promotion] is read again at every promotion
                    updated = replace(self._runtime.config, promotion=parts.config.promotion)
                    self._runtime.config = updated
                    return running[0].id
                self._replace(parts)
            self._waiting = None
        self._applied()
        return None

    def _replace(self, parts: _Parts) -> None:
        old = self._runtime.config.flywheel
        new = parts.config.flywheel
        if new.log_level != old.log_level:
            folder = parts.config.root / new.log_dir if new.log_dir else None
            logs.start(folder, new.log_level)
        self._runtime.config = parts.config
        self._runtime.intents = parts.intents
        self._runtime.teacher = parts.teacher
        self._runtime.custom_gates = parts.custom_gates
