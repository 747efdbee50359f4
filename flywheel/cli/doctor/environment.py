"""Where the daemon would run: libraries, disk, base model, state folder, database, server.

The ranges of libraries are those of the package's own metadata, and so of pyproject.toml: a version
that is known to fail is excluded there, and thereby here.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from packaging.requirements import Requirement

from flywheel.errors import FlywheelError

if TYPE_CHECKING:
    from flywheel.config import Config
import stat
from typing import TYPE_CHECKING

from flywheel.cli.client import DaemonClient
from flywheel.errors import DaemonUnreachable

Level = Literal["ok", "warn", "FAIL", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: FAIL when the daemon could not work, warn when it would work less well, skip when
    there was nothing to look at.
    """

    level: Level
    check: str
    text: str
    todo: str = ""  # what to do; empty when there is nothing


def ok(check: str, text: str) -> Finding:
    """A check that holds."""
    return Finding(level="ok", check=check, text=text)


def warn(check: str, text: str, todo: str = "") -> Finding:
    """The daemon works, but not as well as it could."""
    return Finding(level="warn", check=check, text=text, todo=todo)


def skip(check: str, text: str) -> Finding:
    """A check that was not made, or had nothing to look at."""
    return Finding(level="skip", check=check, text=text)


def fail(check: str, text: str, todo: str = "") -> Finding:
    """The daemon could not work."""
    return Finding(level="FAIL", check=check, text=text, todo=todo)


# Libraries.

_NAMED = ("duckdb", "torch", "transformers", "peft")  # what an upgrade breaks most


def libraries() -> Iterator[Finding]:
    """Whether each library is there, in a version of its range; extras only where installed."""
    try:
        lines = requires("flywheel") or []
    except PackageNotFoundError:
        todo = "install it: `python -m pip install .` in its checkout"
        yield warn("libraries", "flywheel is not installed, so no version was checked", todo)
        return
    wrong = [problem for line in lines if (problem := _out_of_range(Requirement(line)))]
    if wrong:
        needs = " ".join(shlex.quote(f"{each.name}{each.specifier}") for each, _ in wrong)
        yield fail(
            "libraries",
            "; ".join(text for _, text in wrong),
            f"{shlex.quote(sys.executable)} -m pip install {needs}",
        )
        return
    named = ", ".join(f"{name} {version(name)}" for name in _NAMED)
    yield ok("libraries", f"{named}; every version is in its range")


def _out_of_range(each: Requirement) -> tuple[Requirement, str] | None:
    """What is wrong with an installed library, in words; what only developers need never is."""
    needed = each.marker is None or each.marker.evaluate({"extra": ""})
    if not needed and each.marker and each.marker.evaluate({"extra": "dev"}):
        return None
    try:
        present = version(each.name)
    except PackageNotFoundError:
        return (each, f"{each.name} is not installed") if needed else None
    if each.specifier.contains(present, prereleases=True):
        return None
    return each, f"{each.name} {present} is not in {each.specifier}"


# Disk.

_GB = 1_000_000_000
_LEAST = _GB // 2  # a turn writes a dataset, a worker's cache and an adapter
_ENOUGH = 5 * _GB


def disk(config: Config) -> Iterator[Finding]:
    """Room where the state is kept."""
    there = nearest(config.state_dir)
    free = shutil.disk_usage(there).free
    text = f"{free / _GB:.1f} GB free at {there}"
    if free < _LEAST:
        yield fail("disk", text, "make room, or set [flywheel] state_dir to another disk")
    elif free < _ENOUGH:
        yield warn("disk", text, "datasets, adapters and the database will want more")
    else:
        yield ok("disk", text)


def nearest(path: Path) -> Path:
    """The folder itself, or the closest one above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


# The base model: is it there and whole? What it makes of texts is told by `vocabulary`.

_BUNDLED = "bundled:"
_CHECK_S = 120.0  # the hash of a large model on a slow disk

# The worker's own check, in a process of its own: nothing else may import the worker.
_CHECK = """
import json, pathlib, sys
from flywheel.errors import FlywheelError
from flywheel.worker import models
try:
    found, _ = models.find_base(sys.argv[1], pathlib.Path(sys.argv[2]))
    print(json.dumps({"folder": str(found.folder), "sha256": found.sha256}))
except FlywheelError as error:
    print(json.dumps({"error": error.message, "hint": error.hint}))
"""


def base(config: Config, looked: Mapping[str, str]) -> Finding:
    """Whether the base model is there and whole.

    Args:
        config: names the base.
        looked: as `look_at_base` returns it.
    """
    name = config.model.base
    if "error" not in looked:
        return ok("model", f"{name}, sha256 {looked['sha256'][:12]}…")
    hub = not name.startswith(_BUNDLED) and not Path(name).is_absolute() and name.count("/") < 2
    if hub and "fetched" in looked["error"]:
        todo = "the first turn downloads it from Hugging Face; or name a local folder"
        return warn("model", f"{name} is not on this machine", todo)
    return fail("model", looked["error"], looked.get("hint", ""))


def look_at_base(config: Config) -> dict[str, str]:
    """Folder and sha256 of the base, or error and hint."""
    local = config.root / config.model.base
    name = str(local.resolve()) if local.is_dir() else config.model.base
    return _look(name, config.state_dir)


_DEVICE_CHECK = """
import json, pathlib, sys
from flywheel.errors import FlywheelError
from flywheel.worker import device
try:
    found = device.find(sys.argv[1])
    print(json.dumps({"device": str(found)}))
except FlywheelError as error:
    print(json.dumps({"error": error.message, "hint": error.hint}))
"""


def device(config: Config) -> Iterator[Finding]:
    """Whether a CUDA device that is asked for by name is there; `auto` and `cpu` always work."""
    name = config.model.device
    if not name.startswith("cuda"):
        return
    answer = _ask_worker(_DEVICE_CHECK, name)
    if "error" in answer:
        yield fail("device", answer["error"], answer.get("hint", ""))
    else:
        yield ok("device", f"models are trained and evaluated on {answer['device']}")


def _look(name: str, state_dir: Path) -> dict[str, str]:
    from flywheel.bases.fetching import bases_dir

    return _ask_worker(_CHECK, name, str(bases_dir(state_dir)))


def _ask_worker(code: str, name: str, *more: str) -> dict[str, str]:
    """The answer of a check that runs in the worker, or error and hint."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}  # look, do not download
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, name, *more],
            check=False,
            capture_output=True,
            text=True,
            timeout=_CHECK_S,
            env=environment,
        )
        answer: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"the check of {name} took longer than {_CHECK_S:.0f} s"}
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return {
            "error": f"the worker cannot check {name}: {last}",
            "hint": "is the installation whole? pip check",
        }
    return answer


# The state folder, its socket, and the database: may we write, and who holds it?

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


def server(config: Config, running: Running) -> Iterator[Finding]:
    """Ask what `[serving] kind` names for the adapter that it answers with."""
    kind = config.serving.kind
    if kind == "link":
        return
    from flywheel.protocols import AskedServing
    from flywheel.serving import SERVING

    champion = running.status.get("champion")
    try:
        serving = SERVING[kind](config) if kind in SERVING else None
        if not isinstance(serving, AskedServing):
            yield skip("server", f"servers of kind {kind} are not asked: look at their answers")
            return
        state = serving.state()
    except FlywheelError as error:
        if running.status and champion is None:
            yield skip("server", "not needed yet: there is nothing that it could answer with")
            return
        level = warn if champion is None else fail
        yield level("server", error.message, error.hint)
        return
    engine = f" by {state.engine}" if state.engine else ""
    answers = f"answers with {state.adapter or 'no adapter'}{engine}"
    if running.status and state.adapter != champion:
        waiting = (running.status.get("serving") or {}).get("waiting") or "see `flywheel status`"
        other = f"the champion is {champion}" if champion else "there is no champion"
        yield warn("server", f"{answers}; {other}", waiting)
    else:
        yield ok("server", answers)
