"""The `flywheel` command: parse, ask the daemon over its socket, print.

At start it imports typer and the standard library only; `run`, `demo`, `doctor` and the commands
that work without a daemon import what they need when they are called.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process.

    Exit codes: 0 done, 1 refused or failed, 2 usage, 130 interrupted by Ctrl-C.
    """
    from flywheel.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that knows no `…` must not end us
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="flywheel")
    return 0
