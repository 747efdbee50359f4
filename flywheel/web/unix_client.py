"""HTTP over a Unix socket, from the side that asks. Standard library only."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path

_PATH_BYTES = 107  # longest path of a Unix socket address on Linux


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
        if len(os.fsencode(self._path)) <= _PATH_BYTES:
            self.sock.connect(os.fspath(self._path))
            return
        folder = os.open(self._path.parent, os.O_PATH)  # reached by a short name instead
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)
