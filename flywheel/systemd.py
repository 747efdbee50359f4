"""Tells systemd how a process does: ready, alive, stopping. Silent without systemd.

One datagram a message, to the socket that `NOTIFY_SOCKET` names (sd_notify(3)).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time


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

    def stopping(self) -> None:
        """The daemon ends by itself; no restart is needed."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A manager that went away is its own concern; the daemon goes on.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.sendto(message.encode(), self._address)


def watchdog_seconds() -> float | None:
    """How long systemd waits for a sign of life; None when it does not watch this process."""
    pid = os.environ.get("WATCHDOG_PID")
    if pid and int(pid) != os.getpid():
        return None
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    return microseconds / 1e6 or None
