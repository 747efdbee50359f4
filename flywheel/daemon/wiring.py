"""Builds the parts of the wheel from the configuration, once."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from flywheel import gates
from flywheel.api.upkeep import OUTGOING
from flywheel.config import Config, load_intents
from flywheel.daemon.restoring import finish
from flywheel.errors import FlywheelError
from flywheel.executors.local import LocalExecutor
from flywheel.protocols import Teacher
from flywheel.records import Intent
from flywheel.serving.link import ChampionLink
from flywheel.store import open_store, restoring
from flywheel.turn import Wheel

log = logging.getLogger(__name__)

DATABASE = "flywheel.duckdb"
_FOLDERS = ("adapters", "datasets", "jobs")


@contextmanager
def built(config: Config) -> Iterator[Wheel]:
    """The wheel of this configuration; its database is let go of at the end of the block.

    A staged backup takes the database's place before.

    Raises:
        ConfigError: a file that the configuration names cannot be used.
        DatabaseHeld: another daemon owns the state folder; the message names its pid.
        FlywheelError: the state folder cannot be written.
    """
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
        yield Wheel(
            config=config,
            intents=intents,
            store=store,
            executor=LocalExecutor(config.state_dir / "jobs"),
            serving=ChampionLink(config.state_dir / "adapters"),
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
