"""A daemon as a process that may be told to kill itself somewhere: `mortal_daemon.py`."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from flywheel.cli.client import DaemonClient
from tests.waiting import CEILING_S

HERE = Path(__file__).parent


def start(folder, *fate):
    path = os.pathsep.join([str(HERE), str(HERE.parent / "turn"), *sys.path])
    return subprocess.Popen(
        [sys.executable, str(HERE / "mortal_daemon.py"), str(folder / "config.toml"), *fate],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def running(folder, *fate):
    """A daemon and its client; it has to be there until the end, and to stop well."""
    daemon = start(folder, *fate)
    client = DaemonClient(folder / "var" / "flywheel.sock")
    try:
        yield daemon, client
        assert daemon.poll() is None, daemon.communicate()[1]
        daemon.terminate()
        _, errors = daemon.communicate(timeout=CEILING_S)
        assert daemon.returncode == 0, errors
    finally:
        client.close()
        if daemon.poll() is None:
            daemon.kill()
            daemon.communicate()
