"""The one thread that runs turns, whenever there is a step to run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from flywheel import label_queue, turn
from flywheel.store import DiskFull, StoreFailed, adapters, turns
from flywheel.turn import Runtime, answered_anew
from flywheel.turn.artifacts import cancel_jobs

log = logging.getLogger(__name__)

IDLE_S = 30.0
"""The thread looks around at least this often while it has nothing to do."""
_SILENT_S = 4 * IDLE_S  # longer than this without a sign: the thread hangs
_EXPIRE_S = 600.0  # decisions that waited too long are let go of this often
_FOLLOW_S = 600.0  # labels that came late are put to the champion this often
_NO_ROOM_S = 30.0  # a turn that finds the disk full is tried again after this
_BACKOFF_S = (5.0, 30.0, 120.0, 600.0)  # after a defect outside every step


class TurnThread:
    """Runs open turns, one step after another, until it is told to stop.

    A step may take hours; its jobs have their own time limit, and no step waits for anything
    without one. So the thread counts as alive while it is in a turn.
    """

    def __init__(
        self,
        runtime: Runtime,
        idle: Callable[[], object] = lambda: None,
        catch_up: Callable[[], object] = lambda: None,
    ) -> None:
        """Call `catch_up` before turns are run, and `idle` whenever none is left to run."""
        self._runtime = runtime
        self._idle = idle
        self._catch_up = catch_up
        self._thread = threading.Thread(target=self._run, name="turns", daemon=True)
        self._busy = False
        self._seen = time.monotonic()
        self._defects = 0
        self._no_room = ""  # what found the disk full, at the last try
        self._expired = float("-inf")
        self._followed: str | None = None  # the champion that knows what is labelled, and when
        self._followed_at = float("-inf")
        self.failure: StoreFailed | None = None  # the database is lost: the process must end

    def start(self) -> None:
        """Start, with whatever turn was left open."""
        self._runtime.wake.set()
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Leave the running step as it is: it runs again at the next start.

        Its worker is ended, nothing is recorded as failed, and what was paid for is kept.

        Returns:
            Whether the thread ended within `timeout` seconds; if not, it ends with the process.
        """
        self._runtime.stopping.set()
        self._runtime.wake.set()
        until = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < until:
            self._end_jobs()
            self._thread.join(0.5)
        return not self._thread.is_alive()

    def alive(self) -> bool:
        """Whether turns are being run, or would be as soon as there is one."""
        moves = self._busy or time.monotonic() - self._seen < _SILENT_S
        return self._thread.is_alive() and moves and self.failure is None

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the thread, in words; empty when all is well."""
        if not self.alive():
            return ("the thread that runs turns is dead: restart the daemon",)
        if self._no_room:
            return (self._no_room,)
        if self._defects:
            return ("turns could not be run, see `flywheel log`; trying again",)
        return ()

    def _run(self) -> None:
        while not self._runtime.stopping.is_set() and self.failure is None:
            self._seen = time.monotonic()
            if self._runtime.wake.is_set() or self._seen - self._expired > _EXPIRE_S:
                self._runtime.wake.clear()
                self._busy = True
                self._turn()
                self._busy = False
            else:
                self._runtime.wake.wait(IDLE_S)

    def _turn(self) -> None:
        try:
            self._serve()
            label_queue.settle(self._runtime, quiet=True)
            turn.expire(self._runtime)
            self._expired = time.monotonic()
            self._catch_up()
            turn.run_until_idle(self._runtime)
            self._follow_champion()
            self._idle()
            self._defects, self._no_room = 0, ""
        except DiskFull as error:
            self._no_room = f"{error.message} → {error.hint}"
            log.error("turns wait: %s", error.message, extra={"event": "disk.full"})  # noqa: TRY400
            self._runtime.stopping.wait(_NO_ROOM_S)
            self._runtime.wake.set()
        except StoreFailed as error:
            if not self._runtime.stopping.is_set():
                self.failure = error
                log.critical("turns end: %s", error.message, extra={"event": "store.failed"})
        except Exception:
            log.exception("turns could not be run", extra={"event": "turns.defect"})
            pause = _BACKOFF_S[min(self._defects, len(_BACKOFF_S) - 1)]
            self._defects += 1
            self._runtime.stopping.wait(pause)
            self._runtime.wake.set()

    def _serve(self) -> None:
        """Serve the champion, where that failed when a person said who it is."""
        try:
            turn.serve(self._runtime)
        except turn.NotServed as error:
            log.error("%s", error.message, extra={"event": "champion.not_served"})  # noqa: TRY400

    def _follow_champion(self) -> None:
        """Put labelled texts to a champion that is new, and now and then those that came since."""
        if self._runtime.stopping.is_set():
            return
        with self._runtime.store.read() as con:
            champion = adapters.champion(con)
        now = time.monotonic()
        if champion == self._followed and now - self._followed_at < _FOLLOW_S:
            return
        if turn.follow(self._runtime):
            self._runtime.wake.set()  # more of them wait; a turn may go between
        else:
            self._followed, self._followed_at = champion, now

    def _end_jobs(self) -> None:
        answered_anew.end_jobs(self._runtime)
        try:
            with self._runtime.store.read() as con:
                open_turns = turns.open_turns(con)
        except StoreFailed:
            return  # nothing can be recorded either way; the jobs are found at the next start
        cancel_jobs(self._runtime, [one.id for one in open_turns])
