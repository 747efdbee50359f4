"""Events from objects of JSON in a bucket (S3 or compatible): lines or lists, compressed or not.

An object that is gone, or that may not be read, becomes one unreadable event. Objects are read in
the order of their keys, each once. So the key of a later object must sort after the earlier ones,
as dates do.

Options: `url`, as `s3://bucket/prefix`; `config`, a table of obstore's own (`endpoint`, `region`
…); `client`, another (`allow_http`, `timeout`, `proxy_url` …). Credentials come from AWS's
environment variables, or from the machine.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from flywheel.errors import SourceUnavailable
from flywheel.file_records.layouts import records
from flywheel.protocols import Batch, Source
from flywheel.sources.rows import checked, event_of_line, library, unreadable


def source() -> Source:
    """The built-in source `s3`."""
    return Bucket()


class Bucket:
    """The objects below one prefix; the current object is held in memory."""

    def __init__(self) -> None:
        self._store: Any = None
        self._key = ""
        self._read = 0  # events of it that were read
        self._events: list[Mapping[str, Any]] | None = None  # of `_key`; None: not fetched

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
        self._events = None if self._key else []

    def poll(self, limit: int, timeout: float) -> Batch | None:
        """Return the next lines; None when every object is read."""
        if self._events is None:
            self._events = self._fetched(self._key)
        while self._read >= len(self._events):
            following = self._following()
            if following is None:
                return None
            self._events = self._fetched(following)
            self._key, self._read = following, 0
        events = self._events[self._read : self._read + limit]
        self._read += len(events)
        return Batch(events=events, cursor=json.dumps([self._key, self._read]))

    def ack(self, cursor: str) -> None:
        """Nothing to do: the objects stay as they are."""

    def close(self) -> None:
        """Let go of the object in memory."""
        self._events = []

    def _following(self) -> str | None:
        """The first key after the current one."""
        obstore = library("obstore", "s3")
        try:
            pages = obstore.list(self._store, offset=self._key or None)
            keys = [item["path"] for page in pages for item in page if item["size"]]
        except (OSError, obstore.exceptions.BaseError) as error:
            raise SourceUnavailable(f"the bucket cannot be listed: {error}") from error
        return min((key for key in keys if key > self._key), default=None)

    def _fetched(self, key: str) -> list[Mapping[str, Any]]:
        """The events of one object."""
        obstore = library("obstore", "s3")
        refusals = (
            FileNotFoundError,
            PermissionError,
            obstore.exceptions.NotFoundError,
            obstore.exceptions.PermissionDeniedError,
        )
        try:
            body = bytes(obstore.get(self._store, key).bytes())
        except refusals as error:
            return [unreadable(key.encode(), f"cannot be read: {error}")]
        except (OSError, obstore.exceptions.BaseError) as error:
            raise SourceUnavailable(f"{key} cannot be read: {error}") from error
        return [
            unreadable(f"{key}:{record.line}".encode(), record.why)
            if record.why
            else event_of_line(record.raw)
            for record in records(io.BytesIO(body))
            if not record.skipped
        ]
