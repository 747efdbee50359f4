"""`kill -9` of real processes at every moment of every step; the end is always the same.

Each case starts the daemon as a process, ends it (or a worker of it) by SIGKILL at one moment,
starts it again, and compares tables, files and purchases with those of an undisturbed turn.
"""

import contextlib
import random
import shutil
import signal
from functools import partial

import pytest
from crash_state import files_of, state_of
from killable_daemon import running, start
from runtimes import WORDS, Parrot, produce_failures, runtime_in, seed_runtime, turn_once

from flywheel.cli.client import DaemonClient
from flywheel.errors import DaemonUnreachable
from flywheel.store import turns
from flywheel.turn import request, table
from tests.waiting import CEILING_S, until

MOMENTS = ("before", "in", "committing", "after")
DAEMON = [("daemon", step, moment) for step in table.STEPS for moment in MOMENTS]
WORKER = [
    ("worker", kind, moment)
    for kind in ("crossfit", "train", "predict")
    for moment in ("before", "in", "after")
]
FATES = [*DAEMON, *WORKER]
SAMPLE = random.Random(20).sample(DAEMON, 1) + random.Random(20).sample(WORKER, 1)
OPERATIONS = 300  # on files, of a daemon from its start to the end of the turn, about
CONFIG = """
[schedule]
cron = ""
[gates.overall]
profile = "fast"
[gates.intents]
margin = 0.30
[promotion]
mode = "auto"
bootstrap = "auto"
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a champion, failures, and an open turn that has done nothing yet."""
    folder = tmp_path_factory.mktemp("prepared")
    intents = [f'[[intent]]\nname = "{name}"\ndescription = "do {name}"\n' for name in WORDS]
    (folder / "intents.toml").write_text("".join(intents), encoding="utf-8")
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    runtime = runtime_in(folder, teacher=Parrot())
    with contextlib.closing(runtime.store):
        seed_runtime(runtime)
        turn_once(runtime)
        produce_failures(runtime)
        request(runtime, "manual")
    return folder


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    """What the turn leaves behind when nothing happens."""
    folder = tmp_path_factory.mktemp("calm") / "folder"
    shutil.copytree(prepared, folder, symlinks=True)
    end_the_turn(folder)
    return crash_state(folder)


@pytest.mark.parametrize("fate", SAMPLE, ids=" ".join)
def test_a_kill_changes_nothing_in_the_end(fate, prepared, undisturbed, tmp_path):
    suffer(fate, prepared, undisturbed, tmp_path / "folder")


@pytest.mark.slow
@pytest.mark.parametrize("fate", FATES, ids=" ".join)
def test_no_kill_at_any_moment_changes_anything_in_the_end(fate, prepared, undisturbed, tmp_path):
    suffer(fate, prepared, undisturbed, tmp_path / "folder")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_kills_at_any_time_change_nothing_in_the_end(seed, prepared, undisturbed, tmp_path):
    folder, chance = tmp_path / "folder", random.Random(seed)
    shutil.copytree(prepared, folder, symlinks=True)
    for _ in range(6):
        daemon = start(folder, "operation", str(chance.randrange(1, OPERATIONS)))
        with contextlib.closing(DaemonClient(folder / "var" / "flywheel.sock")) as client:
            until(partial(is_over, daemon, client))
        daemon.kill()
        daemon.communicate()
    end_the_turn(folder)
    (said, files), (wanted, usual) = crash_state(folder)[:2], undisturbed[:2]
    assert (sorted(files - usual), sorted(usual - files)) == ([], [])
    assert said == wanted
    assert crash_state(folder) == undisturbed


def suffer(fate, prepared, undisturbed, folder):
    shutil.copytree(prepared, folder, symlinks=True)
    who, what, moment = fate
    if who == "daemon":
        doomed = start(folder, what, moment)
        doomed.communicate(timeout=CEILING_S)
        assert doomed.returncode == -signal.SIGKILL
    else:
        (folder / "var" / f"die-{what}-{moment}").touch()
    end_the_turn(folder)
    assert not list((folder / "var").glob("die-*"))
    assert crash_state(folder) == undisturbed


def end_the_turn(folder):
    """Run the daemon until no turn is open, and stop it."""
    with running(folder) as (daemon, client):
        until(partial(is_over, daemon, client))


def is_over(daemon, client):
    """Whether the process has ended, or its turn has."""
    try:
        return daemon.poll() is not None or client.get("turns", "t-2").value["state"] in turns.ENDED
    except DaemonUnreachable:
        return False


def crash_state(folder):
    runtime = runtime_in(folder)
    with contextlib.closing(runtime.store):
        files = {name for name in files_of(folder) if not name.endswith("worker.log")}
        noted = (folder / "var" / "bought").read_text().splitlines()
        return state_of(runtime), files, paid(noted), runtime.serving.serving()


def paid(noted):
    """What was bought, in order of name; twice where it was asked again after it was stored.

    A question that a kill cut off before its answer was stored must be asked again, and counts
    as one with the next.
    """
    bought, last = [], {}
    for what, key in (line.split() for line in noted):
        if what == "asked" and last.get(key) != "asked":
            bought.append(key)
        last[key] = what
    return sorted(bought)
