"""Makes docs/captures/: what commands and tests printed, from real runs.

python docs/captures.py                the two below, a quarter of an hour
python docs/captures.py review-show    plays `flywheel demo`, then asks `flywheel review show`
python docs/captures.py crash-table    kills daemons and workers at every moment of a turn
python docs/captures.py systemd        needs root: installs the service in a container

Tests compare at once what can be: review-show.txt with what the command prints of
review-show.json, and the crash table with the cases that the kill tests have.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
CAPTURES = ROOT / "docs" / "captures"
FLYWHEEL = Path(sys.executable).with_name("flywheel")
WIDTH = 80

Fate = tuple[str, str, str]  # ("daemon", "train", "before"): who is killed, in what, when

_CRASHES = """\
# What a crash changes: nothing

Made by `make captures` from the tests in `tests/faults/test_killed.py`; do not edit. In each case a
real daemon, or a real worker of it, is ended by SIGKILL at that moment and started again. The end
is compared with that of an undisturbed turn. *Same* means the same turn, steps, decisions,
adapters, refused samples, golden queries and health of intents; the same files; the same champion;
and the same purchases from the teacher, each made once.

A worker outlives its daemon: the next daemon adopts it. A worker that was killed before its result
was written is started once more; a result that was written counts.
"""
_MOMENTS = {
    "daemon": {
        "before": "before",
        "in": "in it",
        "committing": "while committing",
        "after": "after",
    },
    "worker": {
        "before": "before its work",
        "in": "its files written, its result not",
        "after": "result written",
    },
}
_STORMS = """
Storms: six daemons in a row, each killed after a random number of operations on files, then one
that is left alone; {storms} seeds: {result}.

The same over the real trainer, which goes on from its checkpoint:
`tests/faults/test_killed_in_training.py`. Other faults (a full disk, a read-only folder, a second
daemon, a hung worker, a clock set back, missed slots) are in `tests/faults/`, `tests/daemon/` and
`tests/executors/`.
"""


def crash_table(same: Mapping[Fate, bool], storms: int, *, calm: bool) -> str:
    """The page of what a kill changed.

    Args:
        same: by case, whether the end was that of an undisturbed turn.
        storms: how many storms there were.
        calm: whether the end of each was the same, too.
    """
    parts = [_CRASHES]
    for who, moments in _MOMENTS.items():
        step = "step" if who == "daemon" else "job"
        parts += [f"The {who} is killed:", "", f"| {step} | {' | '.join(moments.values())} |"]
        parts += ["| --- " * (len(moments) + 1) + "|"]
        for what in dict.fromkeys(what for one, what, _ in same if one == who):
            cells = ["same" if same[who, what, moment] else "DIFFERS" for moment in moments]
            parts.append(f"| {what} | {' | '.join(cells)} |")
        parts.append("")
    result = "same" if calm else "DIFFERS"
    return "\n".join(parts).rstrip() + "\n" + _STORMS.format(storms=storms, result=result)


def make_crash_table() -> None:
    """Run the kill tests and write what they found."""
    same: dict[Fate, bool] = {}
    storms: list[bool] = []
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.xml"
        tests = ["-m", "slow", "tests/faults/test_killed.py", f"--junitxml={found}"]
        _python("-m", "pytest", "-q", "-p", "no:randomly", *tests, check=False)
        for case in ElementTree.parse(found).iter("testcase"):  # noqa: S314  pytest wrote it
            passed = case.find("failure") is None and case.find("error") is None
            name, _, fate = case.attrib["name"].rstrip("]").partition("[")
            if name.startswith("test_no_kill"):
                who, what, moment = fate.split()
                same[who, what, moment] = passed
            elif name.startswith("test_kills_at_any_time"):
                storms.append(passed)
    text = crash_table(same, len(storms), calm=all(storms))
    (CAPTURES / "crash-table.md").write_text(text, encoding="utf-8")


def make_review_show() -> None:
    """Play the demo and write its promotion, as JSON and as a person sees it."""
    with tempfile.TemporaryDirectory() as folder:
        router = Path(folder) / "demo"
        subprocess.run([FLYWHEEL, "demo", router, "--keep"], check=True)
        with _serving(router):
            for name, options in (("review-show.txt", []), ("review-show.json", ["--json"])):
                text = _said(router, "review", "show", "d-2", *options)
                (CAPTURES / name).write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _serving(router: Path) -> Iterator[None]:
    """A daemon in this folder."""
    daemon = subprocess.Popen([FLYWHEEL, "run"], cwd=router, stderr=subprocess.DEVNULL)
    try:
        while daemon.poll() is None and not _is_ready(router):
            time.sleep(0.2)
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def _is_ready(router: Path) -> bool:
    status = [FLYWHEEL, "status"]
    return subprocess.run(status, cwd=router, capture_output=True, check=False).returncode == 0


def _said(router: Path, *command: str) -> str:
    """What a command prints on a terminal of the usual width, called as on a page."""
    path = f"{FLYWHEEL.parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "PATH": path}
    done = subprocess.run(
        ["flywheel", *command],
        cwd=router,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def make_systemd() -> None:
    """Run the test of the service and keep what was typed and answered."""
    with tempfile.TemporaryDirectory() as folder:
        _python("-m", "pytest", "-m", "systemd", "tests/systemd", f"--basetemp={folder}/pytest")
        (transcript,) = Path(folder).rglob("transcript.txt")
        shutil.copy(transcript, CAPTURES / "systemd.txt")


def _python(*arguments: str, check: bool = True) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=check)


MAKERS = {
    "review-show": make_review_show,
    "crash-table": make_crash_table,
    "systemd": make_systemd,
}


def main() -> None:
    """Make what is named; by default what needs no root."""
    for name in sys.argv[1:] or ["review-show", "crash-table"]:
        if name not in MAKERS:
            sys.exit(f"no capture is called {name}: {', '.join(MAKERS)}")
        MAKERS[name]()


if __name__ == "__main__":
    main()
