"""Hooks: decision events are delivered to a command and a webhook.

Delivery is after the commit, in order and at least once. A failing hook is retried with backoff
and delays no other hook; `status` shows it as a problem. Events from before a hook was configured
are not delivered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from flywheel import programs
from flywheel.config import HooksTable, secret
from flywheel.daemon.background_thread import BackgroundThread
from flywheel.store import StoreFailed, decisions
from flywheel.turn import Runtime
from flywheel.web.outgoing import send

log = logging.getLogger(__name__)

POLL_S = 2.0
_BACKOFF_S = (2.0, 10.0, 60.0, 300.0)
_EVERY = "every"  # key of the problem that no hook was tried
_SHOWN = 200  # characters of an error


class Hooks:
    """One thread for all hooks of a daemon."""

    def __init__(self, runtime: Runtime) -> None:
        table = runtime.config.promotion.hooks
        self._runtime = runtime
        self._events = frozenset(table.events)
        self._deliveries: dict[str, Callable[[bytes, int], None]] = {}
        if table.command:
            self._deliveries["command"] = lambda body, number: _run(table, body, number)
        if table.webhook:
            self._deliveries["webhook"] = lambda body, number: _post(table, body, number)
        self._thread = BackgroundThread("hooks", self._loop)
        self._failures: dict[str, int] = {}
        self._problems: dict[str, str] = {}

    def start(self) -> None:
        """Start the thread; does nothing without a hook."""
        if self._deliveries:
            self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Stop the thread and return whether it ended; pending events are delivered later."""
        return self._thread.stop(timeout)

    def problems(self) -> tuple[str, ...]:
        """Return one sentence for each failing hook."""
        return tuple(self._problems.values())

    def tell(self) -> None:
        """Deliver pending events to every hook; a failure ends that hook's delivery until later."""
        for name, deliver in self._deliveries.items():
            with self._runtime.store.write() as con:
                waiting = decisions.untold_events(con, name)
            for event in waiting:
                if event["event"] in self._events and not self._delivered(name, deliver, event):
                    break
                with self._runtime.store.write() as con:
                    decisions.set_told(con, name, event["number"])

    def _delivered(
        self, name: str, deliver: Callable[[bytes, int], None], event: Mapping[str, Any]
    ) -> bool:
        body = json.dumps(event, ensure_ascii=False, default=str).encode()
        try:
            deliver(body, event["number"])
        except Exception as error:  # noqa: BLE001  whatever a hook does, the daemon goes on
            self._failures[name] = self._failures.get(name, 0) + 1
            reason = f"{type(error).__name__}: {error}"[:_SHOWN]
            about = event["decision"] or event["what"]
            where = f"{self._failures[name]} times on {about}"
            self._problems[name] = f"the {name} hook failed {where}: {reason}"
            log.warning("the %s hook failed", name, extra={"event": "hook.failed", "hook": name})
            return False
        self._failures.pop(name, None)
        self._problems.pop(name, None)
        return True

    def _loop(self) -> None:
        while not self._thread.stopping.is_set():
            try:
                self.tell()
                self._problems.pop(_EVERY, None)
            except StoreFailed:
                return  # the daemon ends by itself
            except Exception as error:
                said = f"hooks could not be told ({type(error).__name__}), see `flywheel log`"
                self._problems[_EVERY] = said
                log.exception("hooks could not be told", extra={"event": "hook.defect"})
            worst = max(self._failures.values(), default=0)
            pause = _BACKOFF_S[min(worst, len(_BACKOFF_S)) - 1] if worst else POLL_S
            self._thread.stopping.wait(pause)


def _run(table: HooksTable, body: bytes, number: int) -> None:
    done = programs.run(table.command, timeout_s=table.timeout_s, body=body, also=table.command_env)
    if done.code:
        raise OSError(f"exit {done.code} on event {number}: {done.said[-100:]!r}")


def _post(table: HooksTable, body: bytes, number: int) -> None:
    about = {"Content_Type": "application/json", "Flywheel_Event": str(number)}
    token = secret(table.token_env) or ""
    send(table.webhook, timeout_s=table.timeout_s, token=token, body=body, **about)
