"""Programs that flywheel starts: what they inherit, and a command of the operator within bounds.

The daemon's environment holds keys and tokens. A program gets what any program needs to run, and
what the configuration names for it; nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|VIRTUAL_ENV"
    r"|PYTHON\w*|XDG_\w+|HF_\w+|SSL_CERT_(?:FILE|DIR)|FLYWHEEL_\w+|(?i:https?_proxy|no_proxy)"
)
_SECRET = re.compile(r".*(?:TOKEN|SECRET|PASSWORD|KEY)", re.IGNORECASE)
_TAIL = 4096  # bytes of a program's error output that are kept
_DRAIN_S = 0.5  # for the rest of them, where a grandchild holds the pipe open


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    code: int  # its exit status; -N where signal N ended it
    said: str  # the end of its error output


def inherited(environment: Mapping[str, str], also: Sequence[str] = ()) -> dict[str, str]:
    """The variables that a program is given.

    Args:
        environment: of this process.
        also: names of further ones, secrets among them: the operator named them for it.

    >>> inherited({"PATH": "/bin", "LC_ALL": "C", "OPENAI_API_KEY": "k", "CHAT_TOKEN": "t"})
    {'PATH': '/bin', 'LC_ALL': 'C'}
    """
    return {
        name: value
        for name, value in environment.items()
        if name in also or (_KEPT.fullmatch(name) and not _SECRET.fullmatch(name))
    }


def run(
    command: Sequence[str], *, timeout_s: float, body: bytes = b"", also: Sequence[str] = ()
) -> Finished:
    """Run a command of the operator to its end, and everything that it started with it.

    Its standard output is thrown away, and of its error output the end is kept, so that no
    command fills the memory. What is still running after the time is killed: its session is its
    own.

    Args:
        command: program and arguments.
        timeout_s: after which it is killed.
        body: its standard input.
        also: variables that it gets beside the usual ones.

    Raises:
        OSError: it cannot be started; as a TimeoutError, it did not end in time.
    """
    child = subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=inherited(os.environ, also),
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stderr is not None
    tail = bytearray()
    reader = threading.Thread(target=_keep_end, args=(child.stderr, tail), daemon=True)
    writer = threading.Thread(target=_write, args=(child.stdin, body), daemon=True)
    reader.start()
    writer.start()
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"no end after {timeout_s:g} s; killed") from error
    finally:
        if child.poll() is None:
            _kill(child.pid)
            child.wait()
        writer.join(_DRAIN_S)
        reader.join(_DRAIN_S)
    return Finished(child.returncode, bytes(tail).decode("utf-8", "replace").strip())


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _write(stdin: IO[bytes], body: bytes) -> None:
    with contextlib.suppress(OSError), stdin:  # it need not read
        stdin.write(body)


def _keep_end(stderr: IO[bytes], tail: bytearray) -> None:
    with contextlib.suppress(OSError), stderr:
        while some := os.read(stderr.fileno(), 65_536):
            tail += some
            del tail[:-_TAIL]
