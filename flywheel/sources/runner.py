"""Discovery of sources, and the runner that polls each in a thread of its own.

Events and cursor are committed in one transaction, then acknowledged: delivery is at-least-once,
the effect exactly-once. An exception stops only the source that raised it: it is closed, and
opened again after a backoff at its last committed cursor. One that fails there again and again is
stuck: it is still tried, and `problems` names it.

A source's name in config.toml is looked up among the built-in sources, then as plugins/NAME.py
beside config.toml, then among the entry points of group `flywheel.sources`; the first wins.
"""

from __future__ import annotations

import importlib
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from flywheel.config.tables import SourceTable
from flywheel.errors import ConfigError, FlywheelError
from flywheel.plugin import entries, find_plugin, plugin_name
from flywheel.protocols import Source

log = logging.getLogger(__name__)

GROUP = "flywheel.sources"
BUILT_IN = ("jsonl", "parquet", "csv", "postgres", "kafka", "s3")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

MakeSource = Callable[[], Source]
Commit = Callable[[str, Sequence[Mapping[str, Any]], str], None]
"""(name, events, cursor): one transaction for both; bad events are kept aside, not raised."""

BATCH = 1_000  # events asked for at a time
POLL_S = 1.0  # that a poll may wait; also the pause after an empty one
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 300.0
STUCK_AFTER = 5  # failures in a row without any progress
STUCK_S = 8.0  # or two of them, and no progress for so long; or in one call of the source


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A source that can be configured; it is listed without importing it."""

    name: str
    kind: str  # "built-in", "plugins/" or "entry point"
    where: str  # module, path, or the entry point's value


def find(plugin: str, plugins_dir: Path) -> MakeSource:
    """Return the function that makes the source named by `plugin`.

    Args:
        plugin: a name, or `plugins/NAME.py`.
        plugins_dir: the folder `plugins/` beside config.toml; it may be missing.

    Raises:
        ConfigError: nothing has that name, it cannot be imported, or it offers no `source()`.
    """
    name = plugin_name(plugin)
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"`{plugin}` is no name of a plug-in", hint="use a-z, 0-9, _ and -, at most 64"
        )
    if name in BUILT_IN:
        return _offered(importlib.import_module(f"flywheel.sources.{name}"), name)
    plugin_module = find_plugin(name, plugins_dir, GROUP)
    if plugin_module is not None:
        return _offered(plugin_module.offered, plugin_module.where)
    raise ConfigError(
        f"no source is called `{name}`",
        hint=f"there is {', '.join(source.name for source in available(plugins_dir))}; "
        f"or write {plugins_dir / f'{name}.py'}",
    )


def available(plugins_dir: Path) -> tuple[Found, ...]:
    """Return every source that can be configured, in look-up order; the first of a name wins."""
    candidates = [
        Found(name=name, kind="built-in", where=f"flywheel.sources.{name}") for name in BUILT_IN
    ]
    candidates += [
        Found(name=path.stem, kind="plugins/", where=str(path))
        for path in sorted(plugins_dir.glob("*.py"))
        if _NAME.fullmatch(path.stem)
    ]
    candidates += [
        Found(name=entry.name, kind="entry point", where=entry.value) for entry in entries(GROUP)
    ]
    return tuple(
        {candidate.name: candidate for candidate in reversed(candidates)}[name]
        for name in _names(candidates)
    )


def _names(candidates: list[Found]) -> list[str]:
    return list(dict.fromkeys(candidate.name for candidate in candidates))


def _offered(offered: object, where: str) -> MakeSource:
    """The function `source`, either given by an entry point or looked up in the module."""
    make = getattr(offered, "source", None) if isinstance(offered, ModuleType) else offered
    if not callable(make):
        raise ConfigError(
            f"{where} offers no `source()`", hint="define `def source() -> Source` in it"
        )
    return cast(MakeSource, make)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """State of one source; replaced as a whole, so that readers see consistent values."""

    name: str
    plugin: str
    state: str = "starting"  # starting, running, backing_off, stopped
    events: int = 0  # committed since the daemon started
    last_event_at: datetime | None = None  # when the last batch was committed
    error: str | None = None
    backoff_s: float | None = None  # until the next try
    failures: int = 0  # in a row, without a poll or a commit that worked
    failing_since: float | None = None  # of the first of them, on the monotonic clock
    call: str = ""  # the source's method that runs now
    called_at: float = 0.0  # on the monotonic clock

    def hangs_s(self, now: float) -> float:
        """Seconds in one call of the source, where it should have come back; 0 where not."""
        return now - self.called_at if self.call and now - self.called_at > STUCK_S else 0.0

    def stuck(self, now: float) -> bool:
        """Whether it fails again and again at the same place, or does not come back."""
        failing = self.failing_since is not None and now - self.failing_since > STUCK_S
        return (
            self.failures >= STUCK_AFTER
            or (self.failures > 1 and failing)
            or self.hangs_s(now) > 0.0
        )


def backoff(failures: int, chance: random.Random) -> float:
    """Return the seconds to wait after the n-th failure in a row.

    Exponential with a limit, and shortened by up to half at random, so that many sources of one
    host do not retry at once.
    """
    longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 30))
    return longest * chance.uniform(0.5, 1.0)


class Runner:
    """The threads of the configured sources.

    Args:
        configured: `[sources.NAME]` by name.
        plugins_dir: the folder `plugins/` beside config.toml.
        commit: see `Commit`; called from the sources' threads, several at once.
        cursor_of: the last committed cursor of a source.
        now: the time, UTC.
        seed: of the backoff's jitter.
    """

    def __init__(
        self,
        configured: Mapping[str, SourceTable],
        plugins_dir: Path,
        *,
        commit: Commit,
        cursor_of: Callable[[str], str | None],
        now: Callable[[], datetime],
        seed: int = 0,
    ) -> None:
        self._configured = dict(configured)
        self._plugins_dir = plugins_dir
        self._commit = commit
        self._cursor_of = cursor_of
        self._now = now
        self._seed = seed
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._states = {
            name: State(name=name, plugin=table.plugin) for name, table in configured.items()
        }

    def start(self) -> None:
        """Start one thread a source; returns at once."""
        for name in self._configured:
            thread = threading.Thread(
                target=self._run, args=(name,), name=f"source-{name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout: float) -> tuple[str, ...]:
        """Ask every source to stop and wait up to `timeout` seconds for all of them together.

        Returns:
            Names of the sources that still run; their threads end with the process.
        """
        self._stop.set()
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return tuple(
            thread.name.removeprefix("source-") for thread in self._threads if thread.is_alive()
        )

    def states(self) -> list[dict[str, Any]]:
        """Return one dictionary a source, as `status` shows it."""
        return [
            {
                "name": state.name,
                "plugin": state.plugin,
                "state": state.state,
                "events": state.events,
                "last_event_at": state.last_event_at and state.last_event_at.isoformat(),
                "error": state.error,
                "backoff_s": state.backoff_s,
                "stuck": state.stuck(time.monotonic()),
            }
            for state in (self._states[name] for name in self._configured)
        ]

    def problems(self) -> tuple[str, ...]:
        """A sentence for each source that is stuck: which, how often it failed, and why."""
        now = time.monotonic()
        found = []
        for name in self._configured:
            state = self._states[name]
            if seconds := state.hangs_s(now):
                found.append(
                    f"the source {name} has not come back from `{state.call}` for {seconds:.0f} s: "
                    "a restart opens it anew"
                )
            elif state.stuck(now):
                found.append(
                    f"the source {name} has failed {state.failures} times at the same place: "
                    f"{state.error}"
                )
        return tuple(found)

    def _set(self, name: str, **changes: Any) -> None:
        self._states[name] = replace(self._states[name], **changes)

    def _run(self, name: str) -> None:
        chance = random.Random(f"{self._seed} {name}")  # noqa: S311  jitter, no secret
        while not self._stop.is_set():
            try:
                self._read(name)
            except Exception as error:  # noqa: BLE001  a stranger's code may raise anything
                failures = self._states[name].failures + 1
                since = self._states[name].failing_since
                now = time.monotonic() if since is None else since
                self._set(name, failures=failures, failing_since=now, call="")
                self._back_off(name, error, backoff(failures, chance))
        self._set(name, state="stopped", backoff_s=None)

    def _back_off(self, name: str, error: Exception, seconds: float) -> None:
        """Show the failure in `states`, log it, and wait."""
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, FlywheelError):
            reason = f"{error.message} ({error.hint})" if error.hint else error.message
        self._set(
            name,
            state="backing_off",
            error=reason,
            backoff_s=round(seconds, 1),
        )
        log.warning(
            "source %s failed with %s; next try in %.1f s",
            name,
            type(error).__name__,
            seconds,
            extra={"event": "source.failed", "source": name, "backoff_s": seconds},
        )
        self._stop.wait(seconds)

    def _read(self, name: str) -> None:
        """Open the source and read it until it fails or the runner stops."""
        table = self._configured[name]
        source = find(table.plugin, self._plugins_dir)()
        try:
            cursor = self._cursor_of(name)
            with self._calling(name, "open"):
                source.open(table.options, cursor)
            while not self._stop.is_set():
                self._turn(name, source)
        finally:
            with self._calling(name, "close"):
                source.close()

    @contextmanager
    def _calling(self, name: str, method: str) -> Iterator[None]:
        """Note which method of the source runs, and since when."""
        self._set(name, call=method, called_at=time.monotonic())
        yield
        self._set(name, call="")

    def _turn(self, name: str, source: Source) -> None:
        """One poll and its commit; waits after an empty poll, so that sources need not."""
        began = time.monotonic()
        with self._calling(name, "poll"):
            batch = source.poll(BATCH, POLL_S)
        if batch is not None:
            self._commit(name, batch.events, batch.cursor)
            with self._calling(name, "ack"):
                source.ack(batch.cursor)
            self._set(
                name,
                events=self._states[name].events + len(batch.events),
                last_event_at=self._now() if batch.events else self._states[name].last_event_at,
            )
            log.debug("source %s: %d events", name, len(batch.events))
        if self._states[name].state != "running":
            self._set(name, state="running", error=None, backoff_s=None, failures=0)
            self._set(name, failing_since=None)
        if batch is None:
            self._stop.wait(max(0.0, POLL_S - (time.monotonic() - began)))
