"""Tells systemd how a process does: ready, alive, stopping. Silent without systemd.

One datagram a message, to the socket that `NOTIFY_SOCKET` names (sd_notify(3)). Listening sockets
may be left with systemd over a restart: what connects meanwhile waits, and is not refused.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Sequence


class Notifier:
    """Sends to the service manager that started this process, if one did."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # Linux's abstract namespace
            self._address = "\0" + self._address[1:]

    def ready(self, status: str) -> None:
        """Requests are answered from now on."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """The daemon was seen to work; without this for WatchdogSec it is restarted."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """The configuration is read anew, or everything is; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    @property
    def there(self) -> bool:
        """Whether a service manager listens."""
        return bool(self._address)

    def keep(self, sockets: Sequence[socket.socket]) -> None:
        """Leave duplicates of these with the manager; the next process gets them (`handed_over`).

        It takes as many as `FileDescriptorStoreMax=` of the unit says, none by default.
        """
        self._send("FDSTOREREMOVE=1\nFDNAME=listening")  # of addresses that are no more
        for each in sockets:
            self._send("FDSTORE=1\nFDNAME=listening\nFDPOLL=0", [each.fileno()])

    def stopping(self) -> None:
        """The daemon ends by itself; no restart is needed."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def _send(self, message: str, descriptors: Sequence[int] = ()) -> None:
        if not self._address:
            return
        # A manager that went away is its own concern; the daemon goes on.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.connect(self._address)
            if descriptors:
                socket.send_fds(sender, [message.encode()], list(descriptors))
            else:
                sender.send(message.encode())


_FIRST = 3  # SD_LISTEN_FDS_START


def handed_over() -> list[socket.socket]:
    """The sockets that the manager kept for this process, or made for it; once."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = [socket.socket(fileno=number) for number in range(_FIRST, _FIRST + int(count))]
    for each in found:
        each.set_inheritable(False)
    return found


def watchdog_seconds() -> float | None:
    """How long systemd waits for a sign of life; None when it does not watch this process."""
    pid = os.environ.get("WATCHDOG_PID")
    if pid and int(pid) != os.getpid():
        return None
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    return microseconds / 1e6 or None
