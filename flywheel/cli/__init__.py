"""The `flywheel` command: parse, ask the daemon over its socket, print.

At start it imports typer and the standard library only; `run`, `demo`, `doctor` and the commands
that work without a daemon import what they need when they are called.
"""

from __future__ import annotations

import sys

_ELSEWHERE = """\
error: flywheel runs on Linux only, and this is {platform}: it needs Linux's file locks and /proc
next: run it in a Linux container or virtual machine
"""


def main() -> int:
    """Run the command line of this process.

    Exit codes: 0 done, 1 refused or failed (also: not on Linux), 2 usage, 130 interrupted by
    Ctrl-C.
    """
    if sys.platform != "linux":
        sys.stderr.write(_ELSEWHERE.format(platform=sys.platform))
        return 1
    from flywheel.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that knows no `…` must not end us
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="flywheel")
    return 0
