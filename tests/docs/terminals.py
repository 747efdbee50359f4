"""A terminal that a reader pastes the blocks of a page into, from a fresh folder."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

DAEMON = re.compile(r"^flywheel run\b(?!.*--once)", re.MULTILINE)
_READY_S = 60.0
_STOP_S = 30.0
_REPORT = 9  # the descriptor by which the shell tells how a block ended


class BlockFailed(AssertionError):
    """A block did not do what the page says."""


class Terminal:
    """One bash: its folder and its environment last from block to block.

    Nothing of the tests' own environment is there: no virtual environment, no configuration.
    """

    def __init__(self, folder, log):
        self._log = log.open("ab")
        self._log_path, self._block = log, log.with_suffix(".sh")
        self.taken = False  # by a daemon in the foreground
        self._told, report = os.pipe()
        keep = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-c", f"exec {_REPORT}>&{report}; exec bash"],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd=folder,
            env={"PATH": _path_without_the_tests_own(), "HOME": str(folder), "LANG": "C.UTF-8"}
            | keep,
            pass_fds=(report,),
            start_new_session=True,
        )
        os.close(report)

    @property
    def folder(self):
        """Where the shell is now."""
        return Path(f"/proc/{self._shell.pid}/cwd").resolve()

    def paste(self, text, seconds):
        """Run a block; the first command that fails fails it. Waits for the daemon it starts."""
        found = DAEMON.search(text)
        if found and found.start():  # another daemon may serve until what is before has ended
            self.paste(text[: found.start()], seconds)
            text = text[found.start() :]
        self._block.write_text(text, encoding="utf-8")
        line = f"set -e; . '{self._block}' </dev/null; set +e; echo ended >&{_REPORT}\n"
        self._shell.stdin.write(line.encode())
        self._shell.stdin.flush()
        if found:
            self._wait_for_the_daemon(text)
            self.taken = not select.select([self._told], [], [], 0)[0]
        if not self.taken:
            self._wait_for_the_end(text, seconds)

    def close(self):
        """End the shell and whatever it started."""
        self._shell.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGTERM)
        until = time.monotonic() + _STOP_S
        while _group_lives(self._shell.pid) and time.monotonic() < until:
            self._shell.poll()
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        os.close(self._told)
        self._log.close()

    def _wait_for_the_end(self, text, seconds):
        if not select.select([self._told], [], [], seconds)[0]:
            raise BlockFailed(f"{text}\nhas not ended after {seconds} s:\n{self._tail()}")
        if not os.read(self._told, 100):  # `set -e` has ended the shell
            raise BlockFailed(f"{text}\nfailed:\n{self._tail()}")

    def _wait_for_the_daemon(self, text):
        until = time.monotonic() + _READY_S
        while not _ready(self.folder / "var" / "flywheel.sock"):
            if self._shell.poll() is not None or time.monotonic() > until:
                raise BlockFailed(f"{text}\nstarted no daemon:\n{self._tail()}")
            time.sleep(0.05)

    def _tail(self):
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-30:])


def _ready(path):
    """Whether a daemon serves on this socket."""
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(10)
        try:
            door.connect(str(path))
            door.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return b" 200 " in door.recv(100)
        except OSError:
            return False


def _group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _path_without_the_tests_own():
    own = {str(Path(sys.prefix) / "bin"), str(Path(sys.executable).parent)}
    return os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if folder not in own
    )
