"""Proof of the checkpoint: what the redo log has is deleted only once the file was read back.

A thread checkpoints, copies the database file and has a child process read every row of the copy:
soon after the start, then once a day, and before the log grows long. Until a proof succeeds, the
log keeps all since the one before.
"""

from __future__ import annotations

import logging
import shutil
import time
from datetime import datetime

from flywheel.daemon.background_thread import BackgroundThread
from flywheel.turn import Runtime, proof

log = logging.getLogger(__name__)

FOLDER = "proving"
"""Folder under the state folder for the copy that is read; emptied before and after."""
DAY_S = 86_400.0
LONG_BYTES = 64 << 20
"""Of the redo log: at this length a proof does not wait for its day."""
_FIRST_S = 30.0  # first proof after the start, which is busy with other work
_LOOK_S = 10.0  # between looks at the log's length
_AGAIN_S = 600.0  # after a proof that failed


class CheckpointProof:
    """The thread that proves checkpoints."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._thread = BackgroundThread("checkpoint-proof", self._loop)
        self._failed = ""
        self.proved_at: datetime | None = None  # since the start of this process

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End the child and the thread; return whether it ended."""
        return self._thread.stop(timeout)

    def look(self) -> bool:
        """Prove a checkpoint now; False where a transaction is open.

        Raises:
            FlywheelError: no room for the copy, or it cannot be read; the log stays as it is.
        """
        folder = self._runtime.config.state_dir / FOLDER
        shutil.rmtree(folder, ignore_errors=True)  # of a daemon that was killed
        folder.mkdir(mode=0o700)
        store, stopping = self._runtime.store, self._thread.stopping.is_set
        try:
            proved = store.prove_checkpoint(
                folder / store.path.name, lambda copy: proof.checkpoint(copy, stopping)
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if proved:
            self._failed = ""
            self.proved_at = self._runtime.clock()
            log.info("a checkpoint was read back", extra={"event": "checkpoint.proved"})
        return proved

    def problems(self) -> tuple[str, ...]:
        """What keeps a checkpoint from being proved, in words; empty when all is well."""
        if not self._failed:
            return ()
        return (
            f"no checkpoint could be read back, so the redo log grows: {self._failed}; "
            "it is tried again every ten minutes",
        )

    def _loop(self) -> None:
        wait = _FIRST_S
        while not self._waited(wait):
            try:
                wait = DAY_S if self.look() else _LOOK_S
            except Exception as error:  # noqa: BLE001  whatever it is, the log keeps all
                if self._thread.stopping.is_set():
                    return
                wait = _AGAIN_S
                self._failed = str(error)
                said = {"event": "checkpoint.unproved"}
                log.error("no checkpoint was proved: %s", error, extra=said)  # noqa: TRY400

    def _waited(self, seconds: float) -> bool:
        """Wait, or until the log is long; True when the thread must stop."""
        until = time.monotonic() + seconds
        kept = self._runtime.store.log
        while time.monotonic() < until:
            if self._thread.stopping.wait(min(_LOOK_S, seconds)):
                return True
            if not self._failed and kept is not None and kept.size > LONG_BYTES:
                return False
        return self._thread.stopping.is_set()
