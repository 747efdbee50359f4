"""Adapters in memory: the one that answers traffic, and those that were prepared beside it.

A switch is one assignment in the event loop: requests that came before it end on the adapter they
were bound to, later ones begin on the new one. What was taken out of service goes once its last
request has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flywheel.errors import FlywheelError, NotFound, Refused
from flywheel.inference.batching import TextAnswerer
from flywheel.promotion import EARLIER, NEW, ArmPlan
from flywheel.records import ArmName

log = logging.getLogger(__name__)

MOST = 3
"""Adapters in memory at once: the champion, one before it, one that wants its place."""


class ServedRouter(TextAnswerer, Protocol):
    """A router as the server uses it; `flywheel.router.Router` is one."""

    @property
    def adapter(self) -> str: ...  # noqa: D102
    @property
    def engine(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def arguments(self) -> Mapping[str, tuple[str, ...]]: ...  # noqa: D102
    @property
    def rule(self) -> Mapping[str, Any]: ...  # noqa: D102


Load = Callable[[Path, "ServedRouter | None"], ServedRouter]
"""Folder of an adapter, and a router whose base it may share. Checks its test vector."""


@dataclass(slots=True, eq=False, kw_only=True)
class LoadedAdapter:
    """An adapter that answers, and what is known of it without a question."""

    id: str
    router: ServedRouter
    labels: frozenset[str]
    arguments: Mapping[str, frozenset[str]]  # names of arguments, by intent
    max_length: int  # tokens that it reads of a text
    created: int  # seconds since 1970
    tools_seen: dict[bytes, Any] = field(default_factory=dict)  # see `offered`
    users: int = 0  # requests that are bound to it

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it loaded meanwhile."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1


class LoadedAdapters:
    """All adapters in memory; used in one event loop.

    Args:
        folder: with one subfolder an adapter.
        load: makes a router of such a folder; called in a thread of its own.
    """

    def __init__(self, folder: Path, load: Load) -> None:
        self.folder = folder
        self.current: LoadedAdapter | None = None
        self.since = time.time()  # of the last switch
        self._load = load
        self._by_id: dict[str, LoadedAdapter] = {}
        self._retired: list[LoadedAdapter] = []  # dropped, with requests under way
        self._loading = asyncio.Lock()
        self._plan: ArmPlan | None = None

    def ids(self) -> list[str]:
        """Every loaded adapter, in the order in which they came."""
        return list(self._by_id)

    def get(self, name: str) -> LoadedAdapter:
        """Return a loaded adapter.

        Raises:
            NotFound: it is not loaded.
        """
        if name not in self._by_id:
            raise NotFound(
                f"adapter {name} is not loaded", hint="POST /v1/serving/prepare loads it"
            )
        return self._by_id[name]

    async def prepare(self, name: str) -> LoadedAdapter:
        """Load an adapter beside the others, its content id and test vector checked.

        Raises:
            NotFound: there is no folder of it.
            Refused: it is not what its name says, or too many are loaded.
            FlywheelError: it cannot be read, or answers otherwise than when it was saved.
        """
        async with self._loading:
            if name in self._by_id:
                return self._by_id[name]
            if len(self._by_id) >= MOST:
                raise Refused(
                    f"{len(self._by_id)} adapters are loaded: {', '.join(self._by_id)}",
                    hint="POST /v1/serving/drop one of those that answer no traffic",
                )
            beside = self.current.router if self.current else None
            loaded = await asyncio.to_thread(self._loaded, name, beside)
            self._by_id[name] = loaded
            log.info("loaded %s", name, extra={"event": "serve.loaded", "adapter": name})
            return loaded

    def switch(self, name: str | None) -> None:
        """Answer with a loaded adapter from now on; None: with none.

        Raises:
            NotFound: it is not loaded.
        """
        before = self.current
        self.current = self.get(name) if name is not None else None
        if before is not self.current:
            self.since = time.time()
            was = before.id if before else "none"
            log.info(
                "%s answers in place of %s",
                name or "none",
                was,
                extra={"event": "serve.switched", "adapter": name or "", "before": was},
            )

    @property
    def arms(self) -> ArmPlan | None:
        """The plan by which two adapters answer; None while the current one answers alone."""
        plan, current = self._plan, self.current
        if plan is None or current is None or plan.champion != current.id:
            return None
        return plan if plan.earlier in self._by_id else None

    async def follow_arms(self, plan: ArmPlan | None) -> None:
        """Answer by this plan once its champion is the current adapter; None: by no plan.

        The earlier adapter is loaded first, so that the plan begins in one step; one that no plan
        needs any more is let go.

        Raises:
            NotFound, Refused, FlywheelError: the earlier adapter cannot be loaded; the current one
                goes on alone.
        """
        if plan == self._plan and (plan is None or plan.earlier in self._by_id):
            return
        before, self._plan = self._plan, None
        if (
            before
            and before.earlier in self._by_id
            and (not plan or before.earlier != plan.earlier)
        ):
            self._let_go(before.earlier)
        if plan is not None:
            await self.prepare(plan.earlier)
        self._plan = plan

    def routed(self, key: str) -> tuple[LoadedAdapter, ArmName]:
        """The adapter that answers this key, and its arm.

        Raises:
            NotFound: none answers.
        """
        plan, current = self.arms, self.current
        if current is None:
            raise NotFound("no adapter answers", hint="promote one")
        if plan is None:
            return current, ""
        return (current, NEW) if plan.gives_new(key) else (self.get(plan.earlier), EARLIER)

    def is_arm(self, name: str) -> bool:
        """Whether it answers a part of traffic beside the current adapter."""
        return (plan := self.arms) is not None and name == plan.earlier

    def drop(self, name: str) -> None:
        """Let go of an adapter; of one that is still being asked, after its last request.

        Raises:
            NotFound: it is not loaded.
            Refused: it answers traffic.
        """
        loaded = self.get(name)
        if loaded is self.current or self.is_arm(name):
            raise Refused(f"{name} answers traffic", hint="switch to another one first")
        self._let_go(name)

    def _let_go(self, name: str) -> None:
        if self._by_id[name] is self.current:
            return
        self._retired.append(self._by_id.pop(name))
        self.sweep()

    def sweep(self) -> None:
        """Free dropped adapters that no request is bound to any more."""
        freed = [each for each in self._retired if not each.users]
        if not freed:
            return
        self._retired = [each for each in self._retired if each.users]
        freed.clear()
        gc.collect()  # a model is full of circles: it would stay until the next full collection

    def _loaded(self, name: str, beside: ServedRouter | None) -> LoadedAdapter:
        """In a thread: read, check and warm."""
        folder = self.folder / name
        if Path(name).name != name or name in ("", ".", "..") or not folder.is_dir():
            raise NotFound(
                f"adapter {name} has no folder in {self.folder}",
                hint="see `flywheel adapters list`",
            )
        router = self._load(folder, beside)
        if router.adapter != name:
            raise Refused(
                f"the folder {name} holds the adapter {router.adapter}",
                hint="its files were exchanged; restore them from a backup",
            )
        facts = _facts(folder)
        return LoadedAdapter(
            id=name,
            router=router,
            labels=frozenset(router.labels),
            arguments={name: frozenset(router.arguments[name]) for name in router.arguments},
            max_length=int(facts.get("max_length") or 0),
            created=int((folder / "flywheel.json").stat().st_mtime),
        )


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / "flywheel.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FlywheelError(
            f"adapter {folder.name} cannot be read: {error}",
            hint=f"{folder} is damaged; restore it from a backup",
        ) from error
    return facts if isinstance(facts, dict) else {}


def linked(folder: Path) -> str | None:
    """The adapter that the link `champion` names; None without one."""
    try:
        return (folder / "champion").readlink().name
    except OSError:
        return None
