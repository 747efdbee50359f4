"""Addresses of Unix sockets, however long their paths, and HTTP from the side that asks.

Standard library only: the command line starts with it.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_PATH = 107
"""Bytes of a Unix socket's address in Linux, less its end."""
BY_FOLDER = "/proc/self/fd/"
"""What a longer address begins with: it is the file in an open folder."""


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """The path as a socket address; one that is too long is reached through its open folder."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"{BY_FOLDER}{folder}/{path.name}"
    finally:
        os.close(folder)


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to the socket at `path`; each operation takes at most `timeout_s`."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Connect.

        Raises:
            OSError: nothing answers there, or it may not be used.
        """
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        with address_of(self._path) as address:
            self.sock.connect(address)
