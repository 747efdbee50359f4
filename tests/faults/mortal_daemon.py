"""The real daemon, that ends itself by SIGKILL at a moment of a step.

`mortal_daemon.py CONFIG [STEP MOMENT]`, or `CONFIG operation N`: before the N-th of its operations
on files in CONFIG's folder; or `CONFIG rollout FUNCTION before|after` of `turn.rollout`. Its clock
stands still, an hour later by `CONFIG later` (and then it lives); its teacher and its workers are
plain ones; everything else is what `flywheel run` starts.
"""

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from runtimes import NOW, Parrot

from flywheel.daemon import run, wiring
from flywheel.executors import EXECUTORS, LocalExecutor
from flywheel.protocols import AnswerStore, StoredAnswer
from flywheel.turn import rollout, table
from flywheel.turn.jobs import Jobs

WORKER = (sys.executable, str(Path(__file__).with_name("plain_worker.py")))
OPERATIONS = ("open", "os.remove", "os.rename", "os.mkdir")  # told by Python before it does it
JOBS = {"curate", "train", "evaluate"}


class Accountant(Parrot):
    """Notes each purchase in a file, before its answer is stored and again once it is."""

    def __init__(self, ledger: Path) -> None:
        super().__init__()
        self.ledger = ledger

    def write(self, briefs, kept):
        return super().write(briefs, _Noting(kept, self.note))

    def note(self, line: str) -> None:
        with self.ledger.open("a") as file:
            file.write(f"{line}\n")


class _Noting:
    """The store of answers, with a note on both sides of each purchase."""

    def __init__(self, kept: AnswerStore, note: Callable[[str], None]) -> None:
        self.kept, self.note = kept, note
        self.get = kept.get

    def put(self, answers: Sequence[StoredAnswer]) -> None:
        for answer in answers:
            self.note(f"asked {answer.key}")
        self.kept.put(answers)
        for answer in answers:
            self.note(f"stored {answer.key}")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def plant(step: str, moment: str) -> None:
    """End this process at that moment of that step."""
    honest, finish = table.STEPS[step], table._finish

    def mortal(runtime, turn):
        if moment == "before":
            die()
        if moment == "in" and step in JOBS:
            Jobs._wait = lambda *_: die()  # the worker is at work, and lives on
        result = honest(runtime, turn)
        if moment == "in":
            die()
        if moment == "committing":

            def writes(con):
                result.writes(con)
                die()

            return dataclasses.replace(result, writes=writes)
        return result

    def finish_and_die(runtime, turn, result):
        finish(runtime, turn, result)
        if moment == "after" and turn.state == step:
            die()

    table.STEPS[step] = mortal
    table._finish = finish_and_die


def plant_in_rollout(name: str, moment: str) -> None:
    """End this process when that function of the rollout begins, or has returned."""
    honest = getattr(rollout, name)

    def mortal(*arguments, **named):
        if moment == "after":
            honest(*arguments, **named)
        die()

    setattr(rollout, name, mortal)


def count_down(folder: Path, left: int) -> None:
    """End this process before that many more operations on files of the folder."""

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in OPERATIONS and str(folder) in str(arguments[0]):
            left -= 1
            if not left:
                die()

    sys.addaudithook(watch)


def main(config: Path, *fate: str) -> int:
    if fate[:1] == ("operation",):
        count_down(config.parent, int(fate[1]))
    elif fate[:1] == ("rollout",):
        plant_in_rollout(*fate[1:])
    elif fate and fate != ("later",):
        plant(*fate)
    now = NOW + timedelta(hours=fate == ("later",))
    wiring._now = lambda: now
    EXECUTORS["local"] = lambda jobs: LocalExecutor(jobs, command=WORKER)
    wiring.teacher_of = lambda config, *_: Accountant(config.state_dir / "bought")
    return run(config, once=False)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
