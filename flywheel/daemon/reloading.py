"""A changed configuration, taken on by a running daemon.

It is read and checked whole first: one mistake, and the daemon goes on as it was. What can
change does so as soon as no turn is open, so that every turn runs by one configuration; what
is read at the start only is named, and waits for a restart.
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
"""Keys that also an open turn goes by from now on: a person who wants to be asked is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a reload replaces."""

    config: Config
    intents: tuple[Intent, ...]
    teacher: Teacher | None
    custom_gates: tuple[gates.CustomGate, ...]


class Reload:
    """Takes on config.toml and intents.toml as they are when asked.

    Args:
        runtime: whose configuration it is.
        applied: called after every change; it goes by the runtime's configuration then.
    """

    def __init__(self, runtime: Runtime, applied: Callable[[], None]) -> None:
        self._runtime = runtime
        self._applied = applied
        self._lock = threading.RLock()  # who asks last is heard last
        self._waiting: _Parts | None = None

    def ask(self) -> Mapping[str, Any]:
        """Read the files anew, and apply what can change.

        Returns:
            `changed`: keys that differ and are applied or wait; `waits_for`: the turn they wait
            for, None when they are applied; `at_once`: those of `changed` that wait for no turn;
            `restart`: keys that only a restart changes.

        Raises:
            ConfigError: the files cannot be used as written; nothing was changed.
        """
        with self._lock:
            return self._take_on()

    def _take_on(self) -> Mapping[str, Any]:
        old = self._runtime.config
        new = load(old.path)
        wiring.refuse(new)
        kept = live(old, new)
        intents = load_intents(kept.root / kept.intents.file)
        own_gates = gates.custom_gates(kept.gates, kept.root / "plugins")
        names = changed(old, new)
        differing = [name for name in names if not needs_restart(name)]
        if intents != self._runtime.intents:
            differing.append(kept.intents.file)
        self._waiting = _Parts(
            config=kept,
            intents=intents,
            teacher=teacher_of(kept, intents),
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
        """Do the same for SIGHUP: what was wrong is in the log."""
        try:
            self.ask()
        except FlywheelError as error:
            log.error(  # noqa: TRY400
                "the configuration stays as it was: %s", error.message, extra={"hint": error.hint}
            )

    def settle(self) -> str | None:
        """Apply what waits, unless a turn is open; returns that turn."""
        with self._lock:
            parts = self._waiting
            if parts is None:
                return None
            with self._runtime.store.write() as con:  # no turn opens meanwhile
                running = turns.open_turns(con)
                if running:  # who decides is asked anew at every promotion
                    now = replace(self._runtime.config, promotion=parts.config.promotion)
                    self._runtime.config = now
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
