"""The life of the daemon: open, listen, ready; look after itself; stop, close.

It ends with 0 when it was asked to, and with 1 when the database can no longer be used, so
that whoever started it starts it anew. To put a backup in the place of the database it starts
anew by itself, as the same process. systemd is told of each change (sd_notify).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvloop

from flywheel import __version__, intake, logs, turn
from flywheel.api import ProcessStatus
from flywheel.config import load, without_effect
from flywheel.daemon import wiring
from flywheel.daemon.checkpoint_proof import CheckpointProof
from flywheel.daemon.hooks import Hooks
from flywheel.daemon.http_server import server_of
from flywheel.daemon.retention import Retention
from flywheel.daemon.rollout_thread import RolloutThread
from flywheel.daemon.schedule import Schedule
from flywheel.daemon.source_ingest import Feed
from flywheel.daemon.triggers import LOOK_S, Triggers
from flywheel.daemon.turn_thread import TurnThread
from flywheel.daemon.wiring import Reload, built
from flywheel.errors import FlywheelError, Refused
from flywheel.loader import Loader
from flywheel.spool import Spool, SpoolFailed
from flywheel.store import DiskFull, turns
from flywheel.systemd import Notifier, watchdog_seconds
from flywheel.turn import Runtime
from flywheel.web.sockets import listening

# `flywheel run --once`: one turn, or the one that was left open, to its end.

log = logging.getLogger(__name__)

_LOOK_S = 0.2


async def one_turn(runtime: Runtime) -> int:
    """Wait for the end of one turn; returns the exit status: 0 where it ended well."""
    try:
        turn_id = await asyncio.to_thread(_open_turn, runtime)
    except turn.NotReady as refused:
        log.error("%s → %s", refused.message, refused.hint)  # noqa: TRY400
        return 1
    state = ""
    while state not in turns.ENDED:
        await asyncio.sleep(_LOOK_S)
        state = await asyncio.to_thread(_state, runtime, turn_id)
    log.info("%s ended: %s", turn_id, state, extra={"event": "daemon.once", "turn": turn_id})
    return 0 if state in ("done", "held") else 1


def _open_turn(runtime: Runtime) -> str:
    try:
        return turn.request(runtime, "run --once").id
    except turn.NotReady:
        raise
    except Refused:
        with runtime.store.read() as con:
            return turns.open_turns(con)[0].id


def _state(runtime: Runtime, turn_id: str) -> str:
    with runtime.store.read() as con:
        return str(turns.get(con, turn_id).state)


PULSE_S = 10.0
"""The daemon looks after itself this often, or three times within systemd's patience."""
STOP_S = 4.0
"""The running step and the sources have this long to end, while requests are finished."""
_CLOCK_JUMP_S = 60.0


def run(config_path: Path, once: bool) -> int:
    """Run the daemon of this configuration in the foreground until it is told to stop.

    Args:
        config_path: config.toml.
        once: run one turn to its end and exit; the schedule and the sources stay off.

    Returns:
        The exit status: 0; 1 when the database failed, or `once` and the turn did.

    Raises:
        FlywheelError: the daemon cannot start as configured.
    """
    config = load(config_path)
    wiring.refuse_start(config)
    table = config.flywheel
    logs.start(config.root / table.log_dir if table.log_dir else None, table.log_level)
    if config.overrides:
        names = ", ".join(config.overrides)
        log.info("set over config.toml: %s", names, extra={"event": "config.overridden"})
    try:
        with built(config) as runtime:
            daemon = Daemon(runtime)
            with (
                daemon.taking_events(),
                listening(
                    config.socket_path,
                    config.api.tcp,
                    config.ingest_path,
                    config.api.ingest_group,
                ) as sockets,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                code = runner.run(daemon.live(sockets, once=once))
        log.info("stopped", extra={"event": "daemon.stopped", "code": code})
    finally:
        logs.stop()
    if daemon.again:
        _start_anew()
    if daemon.left_behind:
        os._exit(code)  # what cannot be interrupted must not hold the exit up
    return code


class Daemon:
    """The running loop with everything around it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loader = Loader(
            runtime.store,
            Spool(runtime.config.state_dir / "spool", runtime.config.flywheel.spool_mb << 20),
            rejected_bytes=runtime.config.flywheel.rejected_mb << 20,
        )
        self._schedule = Schedule(runtime)
        self._triggers = Triggers(runtime)
        self._reload = Reload(runtime, self._reread)
        self._turns = TurnThread(runtime, self._reload.settle, self._loader.drain)
        self._rollout = RolloutThread(runtime)
        self._feed = Feed(runtime)
        self._hooks = Hooks(runtime)
        self._retention = Retention(runtime)
        self._proof = CheckpointProof(runtime)
        self._notifier = Notifier()
        self._stop = asyncio.Event()
        self._code = 0
        self._no_room = ""  # what found the disk full, at the last pulse
        process_status = ProcessStatus(
            next_turn=self._schedule.next_turn,
            sources=self._feed.states,
            problems=self.problems,
            serving_problems=self._rollout.problems,
            redo_problems=self._proof.problems,
            proved_at=lambda: self._proof.proved_at,
            reload=self._reload.ask,
            restart=self._asked_to_restart,
        )
        self._server = server_of(runtime, self._loader, process_status)
        self.left_behind = False  # a thread still ran when the daemon ended
        self.again = False  # it ends to start anew

    async def live(self, sockets: list[socket.socket], *, once: bool) -> int:
        """Serve these sockets until a signal, a lost database, or the end of the one turn."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._asked_to_stop, number)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked_to_reload)
        with contextlib.suppress(DiskFull):  # the pulse tells, and the next start records them
            await asyncio.to_thread(turn.record_unknown, self._runtime)
        await asyncio.to_thread(self._reconcile)
        serving = asyncio.create_task(self._server.serve(sockets))
        await self._server.listening.wait()
        await asyncio.to_thread(self._start, once=once)
        gc.collect()
        gc.freeze()  # what is there by now stays: to look it all through again stops everything
        self._notifier.ready(f"flywheel {__version__}")
        log.info("ready", extra={"event": "daemon.ready", "version": __version__})
        watching = [asyncio.create_task(self._pulse())]
        watching.append(asyncio.create_task(self._one_turn() if once else self._look()))
        for task in (serving, *watching):
            task.add_done_callback(self._ended)
        await self._stop.wait()
        if self.again:
            self._notifier.reloading()
        else:
            self._notifier.stopping()
        for task in watching:
            task.cancel()
        self._server.should_exit = True
        await asyncio.gather(serving, asyncio.to_thread(self._end), return_exceptions=True)
        return self._code

    def problems(self) -> Sequence[str]:
        """What is wrong, in words; empty when all is well."""
        if self.again:
            return ("it starts anew, with a backup in the place of the database",)
        full = (self._no_room,) if self._no_room else ()
        running = (
            *self._turns.problems(),
            *self._loader.problems(),
            *self._hooks.problems(),
            *self._feed.problems(),
        )
        unserved = (self._runtime.unserved,) if self._runtime.unserved else ()
        return (*unserved, *without_effect(self._runtime.config), *full, *running)

    @contextlib.contextmanager
    def taking_events(self) -> Iterator[None]:
        """Load what a crash left in the spool; at the end, what was acknowledged since."""
        self._loader.start()
        try:
            yield
        finally:
            self._loader.stop()

    def _asked_to_stop(self, number: int) -> None:
        if self._stop.is_set():
            self._server.force_exit = True  # asked twice: requests are not waited for
        log.info("stopping", extra={"event": "daemon.stopping", "signal": number})
        self.again = False
        self._stop.set()

    def _asked_to_restart(self) -> None:
        if self._stop.is_set():
            return  # who stops it wants it to stay so; the backup waits for the next start
        self.again = True
        self._code = 0  # whatever becomes of the one turn
        self._stop.set()

    def _asked_to_reload(self) -> None:
        self._notifier.reloading()
        reading = asyncio.create_task(asyncio.to_thread(self._reload.signalled))
        reading.add_done_callback(lambda _: self._notifier.ready(f"flywheel {__version__}"))

    def _reconcile(self) -> None:
        """Serve the database's champion, or have it served by the thread for it.

        A daemon that cannot still answers, and says so.
        """
        if not self._runtime.serving.immediate:
            self._runtime.rollout.wake.set()
            return
        told = self._runtime.unserved
        try:
            turn.reconcile(self._runtime)
        except turn.NotServed as error:
            if error.message != told:
                log.error("%s", error.message, extra={"event": "champion.not_served"})  # noqa: TRY400
        else:
            if told:
                log.info("the champion is served", extra={"event": "champion.served"})

    def _start(self, *, once: bool) -> None:
        for words in without_effect(self._runtime.config):
            log.warning("%s", words, extra={"event": "config.without_effect"})
        self._recount()
        self._rollout.start()
        self._turns.start()
        if not once:
            self._schedule.start()
            self._feed.start()
            self._retention.start()
        self._hooks.start()
        self._proof.start()

    def _reread(self) -> None:
        """After a reload: the schedule, scores whose rule changed, and what serves."""
        self._schedule.reread()
        self._recount()
        self._runtime.rollout.asked_at = None  # it is asked again
        self._runtime.rollout.wake.set()

    def _recount(self) -> None:
        try:
            names = intake.recount_scores(self._runtime)
        except FlywheelError as error:
            log.error("scores keep their old rules: %s", error.message)  # noqa: TRY400
            return
        if names:
            log.info("the scores of %d names were counted anew", names)

    def _end(self) -> None:
        """End every thread; blocks for `STOP_S` at most, but for a slot that is being answered."""
        until = time.monotonic() + STOP_S
        self._runtime.stopping.set()
        self._schedule.stop()
        ended = self._turns.stop(STOP_S)
        self._hooks.stop(max(0.0, until - time.monotonic()))
        ended &= self._rollout.stop(max(0.0, until - time.monotonic()))
        left = self._feed.stop(max(0.0, until - time.monotonic()))
        ended &= self._retention.stop(max(0.0, until - time.monotonic()))
        ended &= self._proof.stop(max(0.0, until - time.monotonic()))
        self.left_behind = not ended or bool(left)

    async def _pulse(self) -> None:
        """Try the database, serve its champion, look at the turns; only then tell the watchdog.

        Raises:
            StoreFailed: the database is lost.
        """
        patience = watchdog_seconds()
        pause = min(PULSE_S, patience / 3) if patience else PULSE_S
        offset = time.time() - time.monotonic()
        while not self._stop.is_set():
            await asyncio.to_thread(self._probe)
            await asyncio.to_thread(self._reconcile)
            for lost in (self._turns.failure, self._loader.failure, self._rollout.failure):
                if lost is not None:
                    raise lost
            if not self._loader.spool.alive():
                raise SpoolFailed("the thread that writes the spool is dead")
            if self._turns.alive():
                self._notifier.alive()
            moved, offset = time.time() - time.monotonic() - offset, time.time() - time.monotonic()
            if abs(moved) > _CLOCK_JUMP_S:
                await asyncio.to_thread(self._schedule.clock_moved, moved)
            await asyncio.sleep(pause)

    def _probe(self) -> None:
        """Use the database; a full disk is told and waited for, since a restart mends nothing."""
        try:
            self._runtime.store.probe()
            self._no_room = ""
        except DiskFull as error:
            if not self._no_room:
                log.error("%s", error.message, extra={"event": "disk.full"})  # noqa: TRY400
            self._no_room = f"{error.message} → {error.hint}"

    async def _look(self) -> None:
        """Look for a reason to open a turn, again and again."""
        while not self._stop.is_set():
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.to_thread(self._triggers.look)
                await asyncio.to_thread(self._watch)
            except DiskFull:
                continue  # the pulse tells

    def _watch(self) -> None:
        """See what production says of a new champion, and whether it changed itself."""
        with contextlib.suppress(turn.NotServed):
            turn.look(self._runtime)
        turn.look_at_traffic(self._runtime)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Give up when a part of the daemon failed: whoever started it starts it anew."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        log.critical("giving up", exc_info=error, extra={"event": "daemon.gives_up"})
        self._code = 1
        self.again = False
        self._stop.set()

    async def _one_turn(self) -> None:
        """Run one turn, or the one that was left open, and stop at its end."""
        self._code = 1  # until it ended well
        self._code = await one_turn(self._runtime)
        self._stop.set()


def _start_anew() -> None:
    """Be the same command from its beginning: threads end, the process id and its guard stay."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
