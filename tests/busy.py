"""Run a command beside four busy processes: `python tests/busy.py COMMAND…`; exits as it does.

`stress-ng` keeps the processors busy where it is installed, loops in Python elsewhere.
"""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

COUNT = 4
LOOP = [sys.executable, "-c", "while True: pass"]


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Four processes that compute, until the block ends."""
    stress = shutil.which("stress-ng")
    commands = [[stress, "--cpu", str(COUNT), "--quiet"]] if stress else [LOOP] * COUNT
    started = [subprocess.Popen(command) for command in commands]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


if __name__ == "__main__":
    with busy():
        done = subprocess.run(sys.argv[1:], check=False)
    sys.exit(done.returncode)
