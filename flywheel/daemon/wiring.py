"""Builds the runtime from the configuration, and refuses a configuration it cannot start with."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from flywheel import gates, logs
from flywheel.api.operations import OUTGOING
from flywheel.config import Config, HooksTable, load_intents
from flywheel.daemon import sockets
from flywheel.daemon.schedule import trigger_of
from flywheel.daemon.sockets import token_of
from flywheel.errors import ConfigError, FlywheelError
from flywheel.executors import EXECUTORS
from flywheel.loader import Loader
from flywheel.protocols import Teacher
from flywheel.records import Intent
from flywheel.serving import SERVING
from flywheel.spool import Spool
from flywheel.store import Store, open_store, restoring
from flywheel.turn import Runtime
from flywheel.turn.integrity import OF_ITS_TURNS
from flywheel.turn.jobs import Jobs

# A staged backup takes the place of the database, while no daemon has it open.

_NO_LIMIT = 0  # nothing is appended


def finish(database: Path, lock: int) -> list[Path]:
    """Put the staged backup, if there is one, in the place of the database; returns what was kept.

    Workers of the old database's turns end first: a turn of the new one may have the same number.

    Args:
        database: in the state folder.
        lock: of `restoring.held`.

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
    return restoring.put_in_place(database, lock, _load_all, beside=OF_ITS_TURNS)


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
    store = open_store(database)
    try:
        yield Runtime(
            config=config,
            intents=intents,
            store=store,
            executor=executor_in(config.state_dir / "jobs"),
            serving=serving_in(config.state_dir / "adapters"),
            teacher=teacher_of(config, intents),
            clock=_now,
            custom_gates=own_gates,
        )
    finally:
        store.close()


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
    "serving": lambda config: _of_kind("serving", config.serving.kind, SERVING),
    "teacher": lambda config: teacher_of(config, ()),
}
_AT_START: Mapping[str, Callable[[Config], object]] = {
    "logs": lambda config: (
        logs.writable(config.root / config.flywheel.log_dir) if config.flywheel.log_dir else None
    ),
    "token": lambda config: token_of(config.api),
    "listen": lambda config: sockets.can_listen(config.socket_path, config.api.tcp),
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
