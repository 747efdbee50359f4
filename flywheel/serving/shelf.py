"""A place from which servers on other machines take the champion: a folder, or a bucket of S3.

An adapter lies there as `ID/FILE`, and `champion.json`, written last, names one: its id and the
SHA-256 of each of its files. Who reads believes no file that has another hash, so that it does not
matter which half of an upload is seen. `champion.json` is replaced only by who saw its last
version: two daemons never overwrite each other in silence.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from flywheel import files
from flywheel.errors import ConfigError, FlywheelError, NotLoaded, Refused, ServingAway

CHAMPION = "champion.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What `champion.json` says."""

    adapter: str | None  # None: no adapter serves
    files: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of each, by relative name
    daemon: str = ""  # who wrote it: `serve/daemon-id` of a state folder
    version: str = ""  # of the file, as the place counts; "" where there is none yet


class Shelf(Protocol):
    """Objects by name in one place. One thread calls it, never two at once.

    Every method raises `ServingAway` where the place cannot be reached now.
    """

    where: str

    def read(self, name: str) -> tuple[bytes, str] | None:
        """An object and its version; None where there is none."""

    def put(self, adapter: Path, names: Mapping[str, str]) -> None:
        """Put these files of an adapter's folder below its id; on disk when it returns.

        Raises:
            NotLoaded: a file has another hash than `names` says.
        """

    def swap(self, name: str, content: bytes, version: str) -> None:
        """Replace an object of this version; "": there is none yet.

        Raises:
            Refused: it has another version meanwhile; nothing was written.
        """


def shelf_at(place: str) -> Shelf:
    """The shelf in a folder, or at `s3://bucket/prefix`.

    Address, region and credentials of a bucket come from AWS's environment variables
    (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` …) or from the machine.

    Raises:
        ConfigError: the address cannot be used, or the library for it is not installed.
    """
    return _Bucket(place) if "://" in place else _Folder(Path(place))


def published(shelf: Shelf) -> Published:
    """What the shelf says of the champion.

    Raises:
        ServingAway: it cannot be reached now.
        NotLoaded: `champion.json` is not one.
    """
    found = shelf.read(CHAMPION)
    if found is None:
        return Published(adapter=None)
    content, version = found
    try:
        told = json.loads(content)
        adapter, hashes = told["adapter"], dict(told.get("files") or {})
        named = [adapter, *(part for name in hashes for part in PurePosixPath(name).parts)]
        sound = all(each is None or _NAME.match(str(each)) for each in named)
    except (ValueError, TypeError, KeyError):
        sound = False
    if not sound:
        raise NotLoaded(
            f"{CHAMPION} in {shelf.where} names no adapter",
            hint="the daemon writes it anew once it is removed",
        )
    return Published(
        adapter=adapter, files=hashes, daemon=str(told.get("daemon") or ""), version=version
    )


def announce(shelf: Shelf, champion: Published) -> None:
    """Name the champion, in the place of the version that `champion` carries; raises as `swap`."""
    told = {"adapter": champion.adapter, "files": champion.files, "daemon": champion.daemon}
    content = json.dumps(told, sort_keys=True, indent=1).encode() + b"\n"
    shelf.swap(CHAMPION, content, champion.version)


def fetch(shelf: Shelf, champion: Published, adapters_dir: Path) -> Path:
    """Bring an adapter into `adapters_dir/ID`, every file with the published hash.

    What is there already with the same hashes is not fetched again. The folder appears whole.

    Returns:
        The folder.

    Raises:
        ServingAway: the shelf cannot be reached now.
        NotLoaded: no adapter is named, or a file is missing or has another hash.
    """
    if champion.adapter is None or not champion.files:
        raise NotLoaded(f"{CHAMPION} in {shelf.where} names no adapter with files")
    folder = adapters_dir / champion.adapter
    if folder.is_dir() and not _differences(folder, champion):
        return folder
    staged = adapters_dir / f".{champion.adapter}.arriving"
    shutil.rmtree(staged, ignore_errors=True)
    for name, wanted in champion.files.items():
        found = shelf.read(f"{champion.adapter}/{name}")
        if found is None or hashlib.sha256(found[0]).hexdigest() != wanted:
            shutil.rmtree(staged, ignore_errors=True)
            what = "is missing" if found is None else f"is another file than {CHAMPION} says"
            raise NotLoaded(
                f"{champion.adapter}/{name} in {shelf.where} {what}",
                hint="remove that folder: the daemon puts it there again",
            )
        path = staged / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(found[0])
    files.sync_tree(staged)
    if folder.exists():
        shutil.rmtree(folder)  # half of a removal, or somebody's change
    files.move(staged, folder)
    return folder


def _differences(folder: Path, champion: Published) -> list[str]:
    try:
        return files.differences(champion.files, files.hashes(folder, champion.files))
    except (OSError, FlywheelError):
        return ["unreadable"]


class _Folder:
    """A folder of this machine, or one that is mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where = str(folder)

    def read(self, name: str) -> tuple[bytes, str] | None:
        try:
            content = (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _folder_away(self._folder, error) from error
        return content, hashlib.sha256(content).hexdigest()

    def put(self, adapter: Path, names: Mapping[str, str]) -> None:
        try:
            self._put(adapter, names)
        except OSError as error:
            raise _folder_away(self._folder, error) from error

    def _put(self, adapter: Path, names: Mapping[str, str]) -> None:
        final, staged = self._folder / adapter.name, self._folder / f".{adapter.name}.arriving"
        shelved = Published(adapter=adapter.name, files=names)
        if final.is_dir() and not _differences(final, shelved):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        for name in names:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(adapter / name, staged / name)
        if _differences(staged, shelved):
            shutil.rmtree(staged, ignore_errors=True)
            raise NotLoaded(f"the files of {adapter.name} are not those that were trained")
        files.sync_tree(staged)
        if final.exists():
            shutil.rmtree(final)
        files.move(staged, final)

    def swap(self, name: str, content: bytes, version: str) -> None:
        try:
            with self._locked():
                standing = self.read(name)
                if (standing[1] if standing else "") != version:
                    raise _changed(name, self.where)
                with files.replacing(self._folder / name) as staged:
                    staged.write_bytes(content)
        except OSError as error:
            raise _folder_away(self._folder, error) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._folder / ".champion.lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


class _Bucket:
    """Objects below one prefix of a bucket, by obstore."""

    def __init__(self, url: str) -> None:
        self.where = url
        try:
            self._obstore = importlib.import_module("obstore")
            self._store: Any = importlib.import_module("obstore.store").from_url(url)
        except ImportError as error:
            raise ConfigError(
                f"{url} takes the library obstore, which is not installed",
                hint="pip install 'flywheel[s3]'",
            ) from error
        except Exception as error:
            raise ConfigError(
                f"{url} cannot be used: {error}", hint="for example s3://bucket/prefix"
            ) from error
        self._errors = self._obstore.exceptions

    def read(self, name: str) -> tuple[bytes, str] | None:
        try:
            found = self._obstore.get(self._store, name)
            return bytes(found.bytes()), str(found.meta["e_tag"] or "")
        except (FileNotFoundError, self._errors.NotFoundError):
            return None
        except (OSError, self._errors.BaseError) as error:
            raise self._away(error) from error

    def put(self, adapter: Path, names: Mapping[str, str]) -> None:
        for name, wanted in names.items():
            content = (adapter / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != wanted:
                raise NotLoaded(f"the files of {adapter.name} are not those that were trained")
            try:
                self._obstore.put(self._store, f"{adapter.name}/{name}", content)
            except (OSError, self._errors.BaseError) as error:
                raise self._away(error) from error

    def swap(self, name: str, content: bytes, version: str) -> None:
        mode: Any = {"e_tag": version} if version else "create"
        try:
            self._obstore.put(self._store, name, content, mode=mode)
        except (self._errors.PreconditionError, self._errors.AlreadyExistsError) as error:
            raise _changed(name, self.where) from error
        except (OSError, self._errors.BaseError) as error:
            raise self._away(error) from error

    def _away(self, error: BaseException) -> ServingAway:
        first = str(error).strip().partition("\n")[0]
        return ServingAway(
            f"{self.where} cannot be used now: {first}",
            hint="address and credentials are AWS's environment variables",
        )


def _folder_away(folder: Path, error: OSError) -> ServingAway:
    return ServingAway(f"{folder} cannot be used now: {error.strerror or error}")


def _changed(name: str, where: str) -> Refused:
    return Refused(
        f"{name} in {where} was written by somebody else meanwhile",
        hint="give each daemon a [serving] directory of its own",
    )
