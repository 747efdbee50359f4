"""A service that answers on a real Unix socket, with a router that is quick and known."""

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import httpx

from flywheel.inference.batching import Limits
from flywheel.inference.interface import create_serve_app
from flywheel.inference.loaded import LoadedAdapters
from flywheel.inference.recording import Recorder
from flywheel.inference.service import AnswerService
from flywheel.web.sockets import listening, server
from tests.waiting import CEILING_S

LIMITS = Limits(window_s=0.0, max_batch=4, queue=16, deadline_s=CEILING_S)
ARGUMENTS = {"set_alarm": ["time"], "play_music": ["artist", "title"]}


@dataclass
class WordRouter:
    """Calls the intent whose words a text begins with; the rest is its one argument."""

    adapter: str
    engine: str = "words"
    labels: tuple = ("none", "play_music", "set_alarm")
    arguments: dict = field(default_factory=lambda: ARGUMENTS)
    rule: dict = field(default_factory=lambda: {"max_length": 64})
    batches: list = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self):
        self.gate.set()

    def answer_batch(self, texts):
        self.batches.append(list(texts))
        self.asked.release()
        assert self.gate.wait(CEILING_S)
        return [self.answer(text) for text in texts]

    def answer(self, text):
        if text == "break":
            raise RuntimeError("a layer")
        for begins, intent, argument in (
            ("wake me at ", "set_alarm", "time"),
            ("play ", "play_music", "title"),
        ):
            if text.startswith(begins):
                given = {argument: text.removeprefix(begins)}
                return self.said(text, intent=intent, arguments=given, confidence=0.75)
        return self.said(text, intent="none", arguments={}, confidence=0.5)

    def said(self, text, **answer):
        return SimpleNamespace(**answer, adapter=self.adapter, tokens=len(text.split()) + 2)


@dataclass
class Lines:
    """A log in memory."""

    lines: list = field(default_factory=list)
    feedback: list = field(default_factory=list)
    full: bool = False

    def write(self, events, route="predictions"):
        if not self.full:
            kept = self.feedback if route == "feedback" else self.lines
            kept += [json.loads(event) for event in events]
        return not self.full

    def state(self):
        counts = {"logged": len(self.lines), "not_logged": 0}
        return {"bytes": 0, "limit_bytes": 1 << 28, **counts}


class Running:
    """A service in a thread of its own, and a client of it."""

    def __init__(self, service, loop, client, routers, log):
        self.service, self.loop, self.client = service, loop, client
        self.routers, self.log = routers, log

    def there(self, call):
        """What `call` returns, called in the service's loop."""

        async def called():
            result = call()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(CEILING_S)


def adapter_folder(state: Path, name: str) -> Path:
    folder = state / "adapters" / name
    folder.mkdir(parents=True)
    facts = {"id": name, "max_length": 64}
    (folder / "flywheel.json").write_text(json.dumps(facts))
    return folder


def client_of(socket: Path) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(socket))
    return httpx.Client(transport=transport, base_url="http://localhost", timeout=CEILING_S)


@contextmanager
def running(state: Path, champion: str | None = "a-1", tcp: str = "", **options):
    routers, log = {}, Lines()

    def load(folder, beside):
        routers[folder.name] = router = WordRouter(folder.name)
        return router

    limits = options.pop("limits", LIMITS)
    tokens = options.pop("tokens", ())
    linger_s = options.pop("linger_s", 0.0)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    adapters = LoadedAdapters(state / "adapters", load)
    service = AnswerService(adapters, limits, Recorder(log, options.pop("share", 1.0)), **options)
    http = server(create_serve_app(service, tokens=tokens), linger_s=linger_s)
    with listening(state / "serve.sock", tcp, key="[serving] tcp") as sockets:
        transport = httpx.HTTPTransport(uds=str(state / "serve.sock"))
        with httpx.Client(
            transport=transport, base_url="http://localhost", timeout=CEILING_S
        ) as client:
            run = Running(service, loop, client, routers, log)
            run.sockets, run.http = sockets, http

            async def start():
                service.engine.start()
                if champion is not None:
                    await adapters.prepare(champion)
                    adapters.switch(champion)
                run.serving = asyncio.create_task(http.serve(sockets))
                await http.listening.wait()

            run.there(start)
            try:
                yield run
            finally:
                for router in routers.values():
                    router.gate.set()
                http.should_exit = True

                async def ended():
                    await run.serving

                run.there(ended)
                service.engine.stop()
                loop.call_soon_threadsafe(loop.stop)
                thread.join(CEILING_S)
                loop.close()
