"""What the demo says on the terminal: plain lines that fit 80 columns, and what is under way."""

from __future__ import annotations

import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from flywheel.diagnosis import SUSPECTED

_WIDTH = 80
_PLAIN_S = 10.0  # between two lines where there is no terminal
_BORDER = "border"  # kind of a brief for an intent that stands beside a failing one


class Teller:
    """Prints the story, with the seconds since it began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._live = sys.stdout.isatty()

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self.line()
        self.line(f"── {title} ".ljust(_WIDTH, "─"))

    def line(self, text: str = "") -> None:
        """One line."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def timed(self, text: str) -> None:
        """One line with the time."""
        self.line(f"[{time.monotonic() - self._began:4.0f} s] {text}")

    def busy(self, text: str) -> AbstractContextManager[Callable[[str], None]]:
        """Show that something is under way until the block ends; yields what changes the text.

        A terminal gets one line that lives, anything else a line every `_PLAIN_S` seconds.
        """
        return _living_line(text) if self._live else self._now_and_then(text)

    @contextmanager
    def _now_and_then(self, text: str) -> Iterator[Callable[[str], None]]:
        current = text
        over = threading.Event()

        def change(now: str) -> None:
            nonlocal current
            current = now

        def tick() -> None:
            while not over.wait(_PLAIN_S):
                self.timed(f"… {current}")

        thread = threading.Thread(target=tick, name="demo-progress", daemon=True)
        thread.start()
        try:
            yield change
        finally:
            over.set()
            thread.join()


@contextmanager
def _living_line(text: str) -> Iterator[Callable[[str], None]]:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda now: progress.update(task, description=now)


def tell_turn(teller: Teller, turn: Mapping[str, Any]) -> None:
    """What failed, and what was written for it."""
    for why, briefs in _by_reason(turn["briefs"]).items():
        beside = all(brief["failure"] == _BORDER for brief in briefs)
        title = "  suspect: " if why.endswith(SUSPECTED) else "  failing: "
        _wrapped(teller, "  beside:  " if beside else title, why)
        for intent in dict.fromkeys(brief["intent"] for brief in briefs):
            written = turn["written"].get(intent, 0)
            _wrapped(teller, " " * 11, f"the teacher wrote {written} samples of {intent}")
    for step in turn["steps"]:
        if step["name"] == "curate":
            _wrapped(teller, "  curated: ", step["detail"])


def _by_reason(briefs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """An intent that fails in several ways has a brief for each, all with the same reason."""
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for brief in briefs:
        by_reason.setdefault(brief["why"], []).append(brief)
    return by_reason


def tell_decision(teller: Teller, decision: Mapping[str, Any]) -> None:
    """The per-intent table, the gates with their reasons, and the verdict in one line."""
    teller.line()
    _table(teller, decision["intents"])
    teller.line()
    for gate in decision["gates"]:
        _wrapped(teller, f"  {gate['gate']:<16}{gate['verdict']:<13}", gate["detail"])
    teller.line()
    _wrapped(teller, "  => ", _verdict(decision))


def _table(teller: Teller, intents: Sequence[Mapping[str, Any]]) -> None:
    """One row an intent: rows of the golden set, recall before and after, answers lost and won."""
    table = Table.grid(padding=(0, 0, 0, 2), pad_edge=True, collapse_padding=False)
    for least in (16, 2, 7, 6, 4, 3, 0):
        table.add_column(min_width=least, justify="right" if 0 < least < 16 else "left")
    table.add_row("intent", "n", "before", "after", "lost", "won", "verdict")
    for line in intents:
        before, after = _percent(line["champion_recall"]), _percent(line["challenger_recall"])
        counts = (str(line[name]) for name in ("losses", "gains"))
        cells = (line["intent"], str(line["n"]), before, after, *counts, line["verdict"])
        table.add_row(*map(Text, cells))
    console = Console(file=StringIO(), width=_WIDTH, color_system=None)
    with console.capture() as capture:
        console.print(table)
    for row in capture.get().splitlines():
        teller.line(row.rstrip())


def _verdict(decision: Mapping[str, Any]) -> str:
    """What became of the challenger; the gates' own lines, which stand above, say why."""
    challenger, champion = decision["challenger"], decision["champion"]
    if decision["status"] == "applied":
        return f"{decision['id']}: {challenger} is promoted and replaces {champion}"
    return f"{decision['id']}: {in_short(decision)}; {champion} serves on, {challenger} does not"


def in_short(decision: Mapping[str, Any]) -> str:
    """`reject: overall FAIL, intents FAIL`, and of a promotion what the gates passed."""
    verdicts = [f"{gate['gate']} {gate['verdict']}" for gate in decision["gates"]]
    against = [each for each in verdicts if not each.endswith(" PASS")]
    return f"{decision['verdict']}: {', '.join(against or verdicts)}"


def tell_examples(teller: Teller, examples: Sequence[Mapping[str, Any]], label: str) -> None:
    """A few golden sentences that changed sides."""
    for example in examples[:3]:
        line = f'"{example["text"]}": {example["before"]} -> {example["after"]}'
        _wrapped(teller, f"  {label}: ", line)


def tell_parity(teller: Teller, decision: Mapping[str, Any]) -> None:
    """What the server was asked before the challenger became champion; nothing where it was not."""
    parity = decision.get("parity")
    if not parity:
        return
    equal = f"all as evaluated, by {parity['engine']}"
    if parity["differing"] or not parity["asked"]:
        equal = f"{parity['differing']} differ"
    _wrapped(teller, "  parity: ", f"the server was asked {parity['asked']} texts; {equal}")


def tell_answer(teller: Teller, text: str, call: str, adapter: str) -> None:
    """A question to the server, and what it would call."""
    _wrapped(teller, "  asked:    ", f'"{text}"')
    _wrapped(teller, "  answered: ", f"{call}, by {adapter}")


def tell_commands(teller: Teller, config: Path) -> None:
    """Commands that go on with a kept demo, as they can be pasted."""
    at = shlex.join([*_program(), "--config", str(config)])
    teller.line("Start the daemon again, and the server that answers:")
    teller.line(f"  {at} run")
    teller.line(f"  {at} serve")
    teller.line("and ask from another terminal:")
    for command in (
        "status",
        "intents",
        "turn show t-2",
        "review show d-2",
        "review show d-3",
        "adapters list",
    ):
        teller.line(f"  {at} {command}")


def tell_keeping(teller: Teller) -> None:
    """How to keep the folder of a demo, where nobody could look at it now."""
    teller.line("This folder is deleted now. To keep one and look around in it:")
    teller.line(f"  {shlex.join([*_program(), 'demo', 'my-demo'])}")


def _program() -> list[str]:
    """How the shell finds this very program."""
    own = Path(sys.executable).with_name("flywheel")
    on_path = shutil.which("flywheel")
    if on_path and own.exists() and Path(on_path).samefile(own):
        return ["flywheel"]
    return [str(own)] if own.exists() else [sys.executable, "-m", "flywheel"]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _wrapped(teller: Teller, head: str, text: str) -> None:
    """One paragraph in lines that fit, counted in cells: a Chinese character takes two."""
    room = _WIDTH - cell_len(head)
    plain = Text(" ".join(text.split()))
    for line in plain.wrap(Console(width=room, file=StringIO()), room):
        teller.line(f"{head}{line.plain.rstrip()}")
        head = " " * cell_len(head)
