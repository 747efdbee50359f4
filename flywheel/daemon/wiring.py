"""Builds the runtime from a configuration, refuses an unfit one, and takes on a changed one."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from flywheel import gates, logs
from flywheel.api.operations import OUTGOING
from flywheel.config import Config, HooksTable, changed, live, load, load_intents, needs_restart
from flywheel.daemon import http_server
from flywheel.daemon.schedule import trigger_of
from flywheel.errors import ConfigError, FlywheelError
from flywheel.executors import EXECUTORS
from flywheel.loader import Loader
from flywheel.protocols import Teacher
from flywheel.records import Intent
from flywheel.serving import SERVING
from flywheel.spool import Spool
from flywheel.store import DiskFull, Store, decisions, open_store, redo, restoring, turns
from flywheel.turn import Runtime, proof
from flywheel.turn.control import record_act
from flywheel.turn.integrity import OF_ITS_TURNS, forged
from flywheel.turn.jobs import Jobs
from flywheel.web.tokens import tokens_of

# A staged backup takes the place of the database, while no daemon has it open.

_NO_LIMIT = 0  # nothing is appended


def finish(
    database: Path, lock: int, survives: Callable[[Path], bool] = proof.survives
) -> list[Path]:
    """Put the staged backup, if there is one, in the place of the database; returns what was kept.

    Workers of the old database's turns end first: a turn of the new one may have the same number.

    Args:
        database: in the state folder.
        lock: of `restoring.held`.
        survives: whether a process that opens the database lives on, where that is known.

    Raises:
        DiskFull: there is no room for what the old database is owed; nothing was moved.
        FlywheelError: the spool cannot be emptied into the old database; nothing was moved.
    """
    if restoring.staged(database) is None:
        return []
    folder = database.parent / "jobs"
    for executor in EXECUTORS.values():  # the old database's turns may have had another kind
        jobs = Jobs(executor(folder), folder)
        for job in folder.glob("*"):
            jobs.cancel(job.name)
    return restoring.put_in_place(database, lock, _load_all, beside=OF_ITS_TURNS, survives=survives)


def _load_all(store: Store) -> None:
    folder = store.path.parent / "spool"
    if not folder.is_dir():
        return
    spool = Spool(folder, _NO_LIMIT)
    try:
        if not Loader(store, spool).empty():
            raise FlywheelError(
                f"the events in {folder} cannot be put into {store.path}",
                hint="start it again; `flywheel log` says why",
            )
    finally:
        spool.close()


log = logging.getLogger(__name__)

DATABASE = "flywheel.duckdb"
_FOLDERS = ("adapters", "datasets", "jobs")


@contextmanager
def built(config: Config) -> Iterator[Runtime]:
    """The runtime of this configuration; its database is let go of at the end of the block.

    A staged backup takes the database's place before.

    Raises:
        ConfigError: a file that the configuration names cannot be used.
        DatabaseHeld: another daemon owns the state folder; the message names its pid.
        FlywheelError: the state folder cannot be written.
    """
    executor_in = _of_kind("executor", config.executor.kind, EXECUTORS)
    serving_in = _of_kind("serving", config.serving.kind, SERVING)
    gates.check(config.gates)
    own_gates = gates.custom_gates(config.gates, config.root / "plugins")
    intents = load_intents(config.root / config.intents.file)
    database = config.state_dir / DATABASE
    _make_folders(config.state_dir)
    with restoring.held(database) as lock:
        restoring.discard(database)  # of a daemon that was killed
        kept = ", ".join(path.name for path in finish(database, lock))
    if kept:
        said = {"event": "database.restored", "kept": kept}
        log.warning("a backup took the place of the database; kept: %s", kept, extra=said)
    _make_folders(config.state_dir)  # those that went with the old database
    store = open_store(database, redo_folder=config.state_dir / redo.FOLDER)
    try:
        _tell_recovered(store)
        yield Runtime(
            config=config,
            intents=intents,
            store=store,
            executor=executor_in(config.state_dir / "jobs"),
            serving=serving_in(config),
            teacher=teacher_of(config, intents),
            clock=_now,
            custom_gates=own_gates,
            forged=_forged(store),
        )
    finally:
        store.close()


def _tell_recovered(store: Store) -> None:
    """Tell, and keep among what happened, what the database lacked at the start."""
    found = store.recovered
    words = []
    if found.wal:
        words.append(f"the write-ahead log could not be read and is kept as {found.wal}")
    if found.replayed or found.lost:
        words.append(f"{found.replayed} transactions repeated from the redo log, {found.lost} lost")
    words += found.problems
    if not words:
        return
    log.warning("%s", "; ".join(words), extra={"event": "database.recovered"})
    with contextlib.suppress(DiskFull), store.write() as con:
        decisions.record_act(con, "database.recovered", "start", "; ".join(words), _now())


def _forged(store: Store) -> str:
    """What of the champion nobody decided; the daemon answers, and makes nothing of it."""
    with store.read() as con:
        found = forged(con)
    if found:
        log.error("%s", found, extra={"event": "champion.forged"})
    return found


def teacher_of(config: Config, intents: tuple[Intent, ...]) -> Teacher | None:
    """The teacher of this configuration; None while `[teacher] base_url` is empty."""
    if not config.teacher.base_url:
        return None
    from flywheel.teacher.openai import OpenAITeacher  # a third of the start's time

    return OpenAITeacher(config.teacher, config.synthesis, intents)


def _make_folders(state_dir: Path) -> None:
    """Make the state folder, for the daemon's user and its group only."""
    hint = "the daemon keeps its state there: give it the folder, or set [flywheel] state_dir"
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        for name in _FOLDERS:
            (state_dir / name).mkdir(mode=0o750, exist_ok=True)
        shutil.rmtree(state_dir / OUTGOING, ignore_errors=True)  # of a daemon that was killed
    except OSError as error:
        raise FlywheelError(f"cannot write {state_dir}: {error.strerror}", hint=hint) from error
    if not os.access(state_dir, os.W_OK | os.X_OK):
        raise FlywheelError(f"cannot write {state_dir}: permission denied", hint=hint)


def _now() -> datetime:
    return datetime.now(UTC)


# What a daemon does not start with; asked by `run`, by a reload, and by `flywheel doctor`.
#
# One list for all of them, so that a green doctor is a daemon that starts.

_TOLD_OF = HooksTable().events


def _hooks(config: Config) -> None:
    """Refuse hooks that cannot be told anything.

    Raises:
        ConfigError: the command is missing or not executable, the webhook is no http address, or
            an event has another name.
    """
    table, where = config.promotion.hooks, "[promotion.hooks]"
    if table.command and shutil.which(table.command[0]) is None:
        program = table.command[0]
        why = "is not executable" if os.path.isfile(program) else "is not there"  # noqa: PTH113
        raise ConfigError(
            f"{where} command: {program} {why}",
            hint=f"chmod +x {program}" if why.endswith("executable") else "write its whole path",
        )
    if table.webhook and not table.webhook.startswith(("http://", "https://")):
        raise ConfigError(
            f"{where} webhook: {table.webhook} is no http or https address",
            hint='for example webhook = "https://example.org/flywheel"',
        )
    unknown = [name for name in table.events if name not in _TOLD_OF]
    if unknown:
        raise ConfigError(
            f"{where} events: there is no event {unknown[0]!r}",
            hint=f"known are {', '.join(_TOLD_OF)}",
        )


_Built = TypeVar("_Built")


def _of_kind(table: str, kind: str, known: Mapping[str, _Built]) -> _Built:
    """The row of a registry that `[TABLE] kind` names.

    Raises:
        ConfigError: there is none of this name.
    """
    if kind not in known:
        raise ConfigError(
            f"[{table}] kind: there is no {kind!r}", hint=f"known are {', '.join(sorted(known))}"
        )
    return known[kind]


_CONFIGURED: Mapping[str, Callable[[Config], object]] = {
    "intents": lambda config: load_intents(config.root / config.intents.file),
    "gates": lambda config: gates.check(config.gates),
    "own gates": lambda config: gates.custom_gates(config.gates, config.root / "plugins"),
    "schedule": lambda config: trigger_of(config.schedule.cron),
    "hooks": _hooks,
    "executor": lambda config: _of_kind("executor", config.executor.kind, EXECUTORS),
    "serving": lambda config: _of_kind("serving", config.serving.kind, SERVING)(config),
    "teacher": lambda config: teacher_of(config, ()),
}
_AT_START: Mapping[str, Callable[[Config], object]] = {
    "logs": lambda config: (
        logs.writable(config.root / config.flywheel.log_dir) if config.flywheel.log_dir else None
    ),
    "token": lambda config: tokens_of(config.api),
    "listen": http_server.can_listen,
}


def refuse(config: Config) -> None:
    """Refuse a configuration that a running daemon could not go by.

    Raises:
        FlywheelError: what is wrong, and what to do.
    """
    for check in _CONFIGURED.values():
        check(config)


def refuse_start(config: Config) -> None:
    """Refuse what a daemon could not start with here; raises as `refuse`."""
    refuse(config)
    for check in _AT_START.values():
        check(config)


def found(config: Config, *, running: bool) -> Iterator[tuple[str, FlywheelError | None]]:
    """Each check by name, and what it refuses; of a running daemon only what a reload refuses."""
    checks = _CONFIGURED if running else {**_CONFIGURED, **_AT_START}
    for name, check in checks.items():
        try:
            check(config)
        except FlywheelError as error:
            yield name, error
        else:
            yield name, None


# Reload of the configuration by a running daemon.
#
# The files are read and validated completely first; on any error the daemon continues unchanged.
# Changes apply as soon as no turn is open, so that every turn runs with one configuration. Keys
# that are read only at the start are reported and need a restart.

_AT_ONCE = "promotion."
"""Prefix of keys that apply at once, to open turns too: a person who requires approval gets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The parts of the runtime that a reload replaces."""

    config: Config
    intents: tuple[Intent, ...]
    teacher: Teacher | None
    custom_gates: tuple[gates.CustomGate, ...]


class Reload:
    """Reloads config.toml and intents.toml into a runtime.

    Args:
        runtime: the runtime to change.
        applied: called after every change, with the new configuration in the runtime.
    """

    def __init__(self, runtime: Runtime, applied: Callable[[], None]) -> None:
        self._runtime = runtime
        self._applied = applied
        self._lock = threading.RLock()  # serialises reloads: the last one wins
        self._waiting: _Parts | None = None

    def ask(self) -> Mapping[str, Any]:
        """Read the files again, and apply the changes or queue them behind the open turn.

        Returns:
            `changed`: differing keys that are applied or queued; `waits_for`: the turn that the
            queued ones wait for, None when all are applied; `at_once`: those of `changed` that
            wait for no turn; `restart`: keys that need a restart.

        Raises:
            ConfigError: the files are invalid; nothing was changed.
        """
        with self._lock:
            return self._take_on()

    def _take_on(self) -> Mapping[str, Any]:
        old = self._runtime.config
        new = load(old.path)
        refuse(new)
        effective = live(old, new)
        intents = load_intents(effective.root / effective.intents.file)
        own_gates = gates.custom_gates(effective.gates, effective.root / "plugins")
        names = changed(old, new)
        differing = [name for name in names if not needs_restart(name)]
        if intents != self._runtime.intents:
            differing.append(effective.intents.file)
        self._waiting = _Parts(
            config=effective,
            intents=intents,
            teacher=teacher_of(effective, intents),
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
        """Reload on SIGHUP, which does not say who sent it; errors are logged."""
        try:
            told = self.ask()
            if keys := ", ".join((*told["changed"], *told["restart"])):
                record_act(self._runtime, "config.reloaded", "SIGHUP", f"changed: {keys}")
        except FlywheelError as error:
            log.error(  # noqa: TRY400
                "the configuration stays as it was: %s", error.message, extra={"hint": error.hint}
            )

    def settle(self) -> str | None:
        """Apply the queued changes, unless a turn is open; return that turn's id."""
        with self._lock:
            parts = self._waiting
            if parts is None:
                return None
            with self._runtime.store.write() as con:  # no turn opens meanwhile
                running = turns.open_turns(con)
                if running:  # [promotion] is read again at every promotion
                    updated = replace(self._runtime.config, promotion=parts.config.promotion)
                    self._runtime.config = updated
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
