"""The life of the inference process: load the champion, listen, ready; drain, stop.

It is ready once the champion has answered its test vector. systemd is told of each change
(sd_notify), and that the process lives only while the thread that answers does.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from flywheel import __version__, logs
from flywheel.config import Config, Role, load, load_intents
from flywheel.errors import FlywheelError
from flywheel.inference.answer_log import AnswerLog
from flywheel.inference.batching import Limits, Question
from flywheel.inference.delivery import Delivery
from flywheel.inference.exchanges import Exchanges
from flywheel.inference.following import LINK_S, first, named_by
from flywheel.inference.interface import create_serve_app
from flywheel.inference.loaded import Load, LoadedAdapter, LoadedAdapters, ServedRouter, linked
from flywheel.inference.recording import Recorder
from flywheel.inference.service import SLICES, AnswerService
from flywheel.inference.upstream import Upstream
from flywheel.serving.arms_file import planned
from flywheel.systemd import Notifier, handed_over, watchdog_seconds
from flywheel.web.sockets import LINGER_S, listening, server
from flywheel.web.tokens import tokens_of

log = logging.getLogger(__name__)

PULSE_S = 10.0
"""The engine is asked this often, or three times within systemd's patience."""
HANGS_S = 60.0
"""A batch that takes longer will not end: the watchdog is told nothing any more."""
AGAIN_S = 30.0
"""An adapter that is named and could not be loaded is tried again after this."""
MOST_THREADS = 4
"""That answer at a time, where the configuration leaves it to the machine."""
KEEP_ALIVE_S = 75
"""Idle connections are kept longer than clients keep theirs, so that no request meets a close."""
_ASKS: tuple[Role, ...] = (
    "ask",
    "prove",
    "ingest",
    "look",
)  # roles that any route of this process takes
_PROBE = "hello"


def serve(config_path: Path) -> int:
    """Be the inference process of this configuration, in the foreground, until told to stop.

    Returns:
        The exit status: 0; 1 when the server ended by itself.

    Raises:
        FlywheelError: it cannot start as configured.
    """
    config = load(config_path)
    table = config.flywheel
    config.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)  # the daemon may come later
    logs.start(config.root / table.log_dir if table.log_dir else None, table.log_level, "serve")
    try:
        managed = Notifier().there
        with (
            listening(
                config.serve_path,
                config.serving.tcp,
                key="[serving] tcp",
                handed=handed_over(),
                leave=managed,
            ) as sockets,
            _recording(config) as (recorder, delivery),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            process = InferenceProcess(config, recorder, router_loader(config))
            process.service.delivery = delivery.state
            code = runner.run(process.live(sockets))
        log.info("stopped", extra={"event": "serve.stopped", "code": code})
    finally:
        logs.stop()
    return code


def router_loader(config: Config) -> Load:
    """What makes a router of an adapter's folder, as configured."""

    def load_router(folder: Path, beside: ServedRouter | None) -> ServedRouter:
        from flywheel.router import Router

        return Router.load(
            folder,
            engine=config.serving.engine,
            device=config.model.device,
            beside=beside if isinstance(beside, Router) else None,
        )

    return load_router


def limits_of(config: Config) -> Limits:
    """How much is gathered, and how much may wait."""
    table = config.serving
    return Limits(
        window_s=table.window_ms / 1000,
        max_batch=table.max_batch,
        queue=table.queue,
        deadline_s=table.deadline_s,
    )


def slices_of(config: Config) -> frozenset[str]:
    """Names in a request's metadata that are slices: the usual ones, and those that are judged."""
    return SLICES | {name.partition("=")[0] for name in config.gates.slices.margins}


def threads_here() -> int:
    """Half of the cores that this process may use: the others are for the daemon's trainings."""
    return max(1, min(MOST_THREADS, len(os.sched_getaffinity(0)) // 2))


def upstream_of(config: Config, service: AnswerService) -> Upstream | None:
    """The model behind the server; None where none is configured.

    Raises:
        ConfigError: it cannot be asked as configured.
    """
    table = config.serving.upstream
    if not table.base_url:
        return None
    intents = load_intents(config.root / config.intents.file)
    turns = config.intents.context_turns
    exchanges = Exchanges(service.recorder, service.metrics, table, intents, turns)
    return Upstream(table, exchanges, service.metrics, intents)


@contextmanager
def _recording(config: Config) -> Iterator[tuple[Recorder, Delivery]]:
    """What keeps the answers, and their delivery to the daemon."""
    folder = config.state_dir / "serve"
    answer_log = AnswerLog(folder / "answers", config.serving.log_mb << 20)
    recorder = Recorder(answer_log, config.serving.log_share, folder / "left_out.json")
    delivery = Delivery(answer_log, config.socket_path)
    delivery.start()
    try:
        yield recorder, delivery
    finally:
        recorder.close()
        delivery.stop()
        answer_log.close()


class InferenceProcess:
    """The event loop with everything around it.

    Args:
        config: as read.
        recorder: keeps the answers.
        load_router: of an adapter's folder.
    """

    def __init__(self, config: Config, recorder: Recorder, load_router: Load) -> None:
        self._config = config
        self._adapters = LoadedAdapters(config.state_dir / "adapters", load_router)
        self.service = AnswerService(
            self._adapters,
            limits_of(config),
            recorder,
            threads=config.serving.threads or threads_here(),
            context_turns=config.intents.context_turns,
            slices=slices_of(config),
            max_body=config.api.max_body_mb << 20,
            max_line=config.api.max_line_kb << 10,
        )
        self.service.upstream = upstream_of(config, self.service)
        self.service.look_at_arms = self._look_at_arms
        name = config.serving.tcp.rpartition(":")[0].lower()
        app = create_serve_app(
            self.service,
            tokens=tokens_of(config.api, config.serving.tcp, "[serving] tcp", _ASKS),
            hosts=frozenset({name} if name else ()),
        )
        grace_s = config.serving.deadline_s + 1
        self._server = server(app, grace_s=grace_s, keep_alive_s=KEEP_ALIVE_S, linger_s=LINGER_S)
        self._notifier = Notifier()
        self._server.handed_on = self._notifier.there
        self._stop = asyncio.Event()
        self._named = named_by(config)
        self._seen: str | None = None  # that was named last
        self._code = 0

    async def live(self, sockets: list[socket.socket]) -> int:
        """Serve these sockets until a signal, or until the server ends by itself.

        Raises:
            FlywheelError: the champion cannot be loaded, or answers otherwise than it did.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._asked_to_stop, number)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        self.service.engine.start()
        self._seen = await asyncio.to_thread(self._first)
        if self._seen is not None:
            await self._adapters.prepare(self._seen)
            await self._look_at_arms()
            self._adapters.switch(self._seen)
        serving = asyncio.create_task(self._server.serve(sockets))
        await self._server.listening.wait()
        self._notifier.keep(sockets)
        gc.collect()
        gc.freeze()  # what is there by now stays: to look it all through again stops everything
        self._notifier.ready(self._status())
        log.info("%s", self._status(), extra={"event": "serve.ready", "version": __version__})
        watching = [asyncio.create_task(self._pulse())]
        if self._named is not None or self._config.serving.kind == "local":
            watching.append(asyncio.create_task(self._keep_looking()))
        for task in (serving, *watching):
            task.add_done_callback(self._ended)
        await self._stop.wait()
        self._notifier.stopping()
        self.service.problems["stopping"] = "the server is stopping"
        for task in watching:
            task.cancel()
        self._server.should_exit = True
        await asyncio.gather(serving, *watching, return_exceptions=True)
        await asyncio.to_thread(self.service.engine.stop)
        return self._code

    def _status(self) -> str:
        current = self._adapters.current
        return f"{current.id} answers ({current.router.engine})" if current else "no champion yet"

    def _asked_to_stop(self, number: int) -> None:
        if self._stop.is_set():
            self._server.force_exit = True  # asked twice: requests are not waited for
        log.info("stopping", extra={"event": "serve.stopping", "signal": number})
        self._stop.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that never ends by itself has ended."""
        if task.cancelled() or self._stop.is_set():
            return
        self._code = 1
        log.error("the server ended by itself", exc_info=task.exception())
        self._stop.set()

    def _reload(self) -> None:
        """Take on what of the configuration needs no restart."""
        self._notifier.reloading()
        try:
            config = load(self._config.path)
            upstream = upstream_of(config, self.service)
        except FlywheelError as error:
            log.error("the configuration stays: %s", error.message)  # noqa: TRY400
        else:
            self._take_on(config, upstream)
        self._notifier.ready(self._status())

    def _take_on(self, config: Config, upstream: Upstream | None) -> None:
        service = self.service
        service.engine.limits = limits_of(config)
        service.context_turns = config.intents.context_turns
        service.slices = slices_of(config)
        service.upstream = upstream  # of the one before, requests under way end as they began
        service.recorder.share(config.serving.log_share)
        log.info("the configuration was read anew", extra={"event": "serve.reloaded"})

    async def _pulse(self) -> None:
        """Have the engine answer; only then tell the watchdog."""
        patience = watchdog_seconds()
        pause = min(PULSE_S, patience / 3) if patience else PULSE_S
        while True:
            if await self._answers(pause):
                self._notifier.alive()
            await asyncio.sleep(pause)

    async def _answers(self, within_s: float) -> bool:
        """Whether every thread of the engine does its work."""
        if self.service.engine.hangs(HANGS_S):
            log.error("a batch is not answered for %g s", HANGS_S, extra={"event": "serve.hangs"})
            return False
        current = self._adapters.current
        done = asyncio.get_running_loop().create_future()
        question = Question(
            texts=[_PROBE] if current else [],
            answerer=current.router if current else _Nothing(),
            done=done,
        )
        try:
            async with asyncio.timeout(within_s):
                await self.service.engine.ask(question)
        except (FlywheelError, TimeoutError) as error:
            log.error("the engine does not answer: %s", error, extra={"event": "serve.hangs"})  # noqa: TRY400
            return False
        return True

    def _first(self) -> str | None:
        """The adapter to start with: by the link, where the daemon orders it."""
        if self._named is None:
            return linked(self._adapters.folder)
        return first(self._named[0], self._adapters.folder)

    async def look_once(self) -> None:
        """Answer with the adapter that is named, once it is loaded and checked, and by the plan.

        Raises:
            FlywheelError: that adapter cannot be had; what answers goes on.
        """
        await self._look_at_arms()
        if self._named is None:
            return  # the daemon orders it
        wanted = await asyncio.to_thread(self._named[0])
        if wanted != self._seen:
            await self._follow(wanted)
            self._seen = wanted

    async def _keep_looking(self) -> None:
        pause = pause_s = self._named[1] if self._named else LINK_S
        while True:
            await asyncio.sleep(pause)
            try:
                await self.look_once()
            except FlywheelError as error:
                self._tell_unfollowed(error)
                pause = AGAIN_S
            else:
                self.service.problems.pop("following", None)
                pause = pause_s

    async def _follow(self, wanted: str | None) -> None:
        before = self._adapters.current
        if wanted is not None:
            await self._adapters.prepare(wanted)
        self._adapters.switch(wanted)
        self._drop_unused(before)

    def _drop_unused(self, before: LoadedAdapter | None) -> None:
        if before is None or before is self._adapters.current or self._adapters.is_arm(before.id):
            return
        self._adapters.drop(before.id)

    async def _look_at_arms(self) -> None:
        """Answer by the daemon's plan; where that cannot be, the champion answers alone."""
        plan = await asyncio.to_thread(planned, self._config.state_dir)
        try:
            await self._adapters.follow_arms(plan)
        except FlywheelError as error:
            words = f"the champion answers alone: {error.message}"
            if self.service.problems.get("arms") != words:
                log.error("%s", words, extra={"event": "serve.no_arms"})  # noqa: TRY400
            self.service.problems["arms"] = words
        else:
            self.service.problems.pop("arms", None)

    def _tell_unfollowed(self, error: FlywheelError) -> None:
        words = f"the adapter that is named does not serve: {error.message}"
        if self.service.problems.get("following") != words:
            log.error("%s", words, extra={"event": "serve.not_loaded"})
        self.service.problems["following"] = words


class _Nothing:
    """Answers no text."""

    def answer_batch(self, texts: object) -> tuple[()]:
        return ()
