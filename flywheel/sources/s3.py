"""Events from JSON Lines objects in a bucket (S3 or compatible), optionally gzipped.

Objects are read in the order of their keys, each once. So the key of a later object must sort
after the earlier ones, as dates do.

Options: `url`, as `s3://bucket/prefix`; `config`, a table of obstore's own (`endpoint`, `region`
…); `client`, another (`allow_http`, `timeout`, `proxy_url` …). Credentials come from AWS's
environment variables, or from the machine.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

from flywheel.errors import SourceUnavailable
from flywheel.protocols import Batch, Source
from flywheel.sources.rows import checked, event_of_line, library


def source() -> Source:
    """The built-in source `s3`."""
    return Bucket()


class Bucket:
    """The objects below one prefix; the current object is held in memory."""

    def __init__(self) -> None:
        self._store: Any = None
        self._key = ""
        self._read = 0  # lines of it that were read
        self._lines: list[bytes] | None = None  # of the object `_key`; None: not fetched

    def open(self, options: Mapping[str, Any], cursor: str | None) -> None:
        """Take the options and the object and line of the last commit."""
        checked("s3", options, ["url"], ["config", "client"])
        stores = library("obstore.store", "s3")
        settings = {**options.get("config", {}), "client_options": dict(options.get("client", {}))}
        try:
            self._store = stores.from_url(str(options["url"]), **settings)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # obstore's, of a key it does not know
                raise
            raise SourceUnavailable(
                f"config cannot be used: {error}", hint="allow_http, timeout … stand in client"
            ) from error
        self._key, self._read = json.loads(cursor) if cursor else ("", 0)
        self._lines = None if self._key else []

    def poll(self, limit: int, timeout: float) -> Batch | None:
        """Return the next lines; None when every object is read."""
        if self._lines is None:
            self._lines = self._fetched(self._key)
        while self._read >= len(self._lines):
            following = self._following()
            if following is None:
                return None
            self._lines = self._fetched(following)
            self._key, self._read = following, 0
        lines = self._lines[self._read : self._read + limit]
        self._read += len(lines)
        events = [event_of_line(line) for line in lines]
        return Batch(events=events, cursor=json.dumps([self._key, self._read]))

    def ack(self, cursor: str) -> None:
        """Nothing to do: the objects stay as they are."""

    def close(self) -> None:
        """Let go of the object in memory."""
        self._lines = []

    def _following(self) -> str | None:
        """The first key after the current one."""
        obstore = library("obstore", "s3")
        try:
            pages = obstore.list(self._store, offset=self._key or None)
            keys = [item["path"] for page in pages for item in page if item["size"]]
        except (OSError, obstore.exceptions.BaseError) as error:
            raise SourceUnavailable(f"the bucket cannot be listed: {error}") from error
        return min((key for key in keys if key > self._key), default=None)

    def _fetched(self, key: str) -> list[bytes]:
        """The lines of one object that are not blank."""
        obstore = library("obstore", "s3")
        try:
            body = bytes(obstore.get(self._store, key).bytes())
        except (OSError, obstore.exceptions.BaseError) as error:
            raise SourceUnavailable(f"{key} cannot be read: {error}") from error
        if body.startswith(b"\x1f\x8b"):
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError, zlib.error):
                return [f"{key} is no whole gzip".encode()]
        return [line for line in body.split(b"\n") if line.strip()]
