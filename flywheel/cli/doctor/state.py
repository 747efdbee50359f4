"""The state folder, its socket, and the database: may we write, and who holds it?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flywheel.cli.client import DaemonClient
from flywheel.cli.doctor.environment import Finding, fail, nearest, ok, warn
from flywheel.errors import DaemonUnreachable, FlywheelError

if TYPE_CHECKING:
    from flywheel.config import Config

_DATABASE = "flywheel.duckdb"
_MAGIC = b"DUCK"
_MAGIC_AT = 8  # bytes into the file
_TIMEOUT_S = 10.0


class Running:
    """What a running daemon says; nothing of it when there is none."""

    def __init__(
        self, daemon: DaemonClient | None, status: Mapping[str, Any], trouble: str
    ) -> None:
        self.daemon = daemon
        self.status = status
        self.trouble = trouble  # why a daemon that is there did not answer well

    def close(self) -> None:
        """Let go of the connection."""
        if self.daemon is not None:
            self.daemon.close()


def ask(config: Config) -> Running:
    """Ask the daemon of this config for its status."""
    daemon = DaemonClient(config.socket_path, timeout_s=_TIMEOUT_S)
    try:
        return Running(daemon, daemon.get("status").value, "")
    except DaemonUnreachable as error:
        daemon.close()
        there = config.socket_path.is_socket() and not isinstance(
            error.__cause__, ConnectionRefusedError
        )
        return Running(None, {}, error.message if there else "")
    except FlywheelError as error:
        daemon.close()
        return Running(None, {}, error.message)


def startable(config: Config, running: Running) -> Iterator[Finding]:
    """Whether `flywheel run` takes the configuration, and can listen and log here."""
    from flywheel.daemon import wiring

    refused, taken = [], []
    for name, error in wiring.found(config, running=running.daemon is not None):
        if error is None:
            taken.append(name)
        else:
            refused.append(fail(name, error.message, error.hint))
    yield from refused
    if taken:
        yield ok("start", f"{', '.join(taken)}: as `flywheel run` wants them")


def folder(config: Config) -> Iterator[Finding]:
    """Whether the state folder can be written, and is closed to strangers."""
    path = config.state_dir
    there = nearest(path)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        me = f"uid {os.geteuid()}"
        yield fail(
            "state", f"{me} may not write to {there}", f"run as its owner, or: chown -R {me} {path}"
        )
        return
    if not path.exists():
        yield ok("state", f"{path} will be made")
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & stat.S_IWOTH:
        yield warn("state", f"{path} is writable by everybody", f"chmod o-w {path}")
    else:
        yield ok("state", f"{path} is writable")
    yield from _socket(config.socket_path)


def _socket(path: Path) -> Iterator[Finding]:
    if not path.is_socket():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        yield warn("socket", f"{path} is open to everybody (mode {mode:04o})", f"chmod 0660 {path}")


def database(config: Config, running: Running) -> Iterator[Finding]:
    """Whether the daemon works with the database, or one could."""
    path = config.state_dir / _DATABASE
    if running.daemon is not None:
        yield from _held(running)
    elif running.trouble:
        yield fail("daemon", running.trouble, "look at `flywheel log`, or restart it")
    elif not path.exists():
        yield ok("database", f"{path} will be made; no daemon runs")
    elif not os.access(path, os.R_OK | os.W_OK):
        yield fail("database", f"uid {os.geteuid()} may not write {path}", "run as its owner")
    else:
        yield _file(path)


def _held(running: Running) -> Iterator[Finding]:
    """The daemon's own word on its database, and the problems it names."""
    version = running.status.get("version", "?")
    try:
        assert running.daemon is not None
        running.daemon.ready()
    except FlywheelError as error:
        yield fail("daemon", error.message, error.hint)
    else:
        yield ok("database", f"the running daemon ({version}) reads and writes it")
    for problem in running.status.get("problems") or []:
        yield warn("daemon", str(problem))


def _file(path: Path) -> Finding:
    """A look at the file from outside: opening it would migrate it."""
    with path.open("rb") as file:
        head = file.read(_MAGIC_AT + len(_MAGIC))
    if head[_MAGIC_AT:] != _MAGIC:
        return fail(
            "database", f"{path} is no DuckDB file", "restore one: `flywheel db restore FILE`"
        )
    size = path.stat().st_size / 1_000_000
    return ok("database", f"{path}, {size:.0f} MB; no daemon runs (`flywheel db check` opens it)")
