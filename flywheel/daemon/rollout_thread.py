"""The one thread that talks to the server of the champion, where that is not done in an instant.

It applies what is being applied, brings the server to the champion of the database, and asks it
again for evaluated answers. Nothing else waits for it: a server that hangs delays a promotion only.
"""

from __future__ import annotations

import logging
import threading

from flywheel import turn
from flywheel.store import DiskFull, StoreFailed
from flywheel.turn import Runtime

log = logging.getLogger(__name__)

POLL_S = 10.0
"""What waits for its server is tried again this often."""


class RolloutThread:
    """Follows the database with the server, until it is told to stop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._thread = threading.Thread(target=self._run, name="rollout", daemon=True)
        self._defect = ""
        self.failure: StoreFailed | None = None  # the database is lost: the process must end

    def start(self) -> None:
        """Start; does nothing where what serves is told at once by whoever changes it."""
        if not self._runtime.serving.immediate:
            self._runtime.rollout.wake.set()
            self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Stop, and return whether it ended; a decision that is being applied goes on later."""
        self._runtime.stopping.set()
        self._runtime.rollout.wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the server or with this thread, in words; empty when all is well."""
        rollout = self._runtime.rollout
        problems = (rollout.waiting, rollout.problem, rollout.earlier.problem, self._defect)
        return tuple(filter(None, problems))

    def _run(self) -> None:
        told = ""
        while not self._runtime.stopping.is_set() and self.failure is None:
            self._runtime.rollout.wake.clear()
            self._roll_out()
            waiting = self._runtime.rollout.waiting
            if waiting and waiting != told:
                log.warning("%s", waiting, extra={"event": "rollout.waits"})
            told = waiting
            self._runtime.rollout.wake.wait(POLL_S)

    def _roll_out(self) -> None:
        unserved = self._runtime.unserved
        try:
            turn.reconcile(self._runtime)
            self._defect = ""
        except turn.NotServed as error:
            if error.message != unserved:
                log.error("%s", error.message, extra={"event": "champion.not_served"})  # noqa: TRY400
        except DiskFull as error:
            self._defect = f"{error.message} → {error.hint}"
        except StoreFailed as error:
            if not self._runtime.stopping.is_set():
                self.failure = error
        except Exception:
            log.exception("what serves could not be seen to", extra={"event": "rollout.defect"})
            self._defect = "what serves could not be seen to, see `flywheel log`; trying again"
