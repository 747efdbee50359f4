"""What the demo says on the terminal: plain lines that fit 80 columns."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH = 80


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
        self._clear()
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def timed(self, text: str) -> None:
        """One line with the time."""
        self.line(f"[{time.monotonic() - self._began:4.0f} s] {text}")

    def progress(self, text: str) -> None:
        """A line that the next one replaces; nothing where output is not a terminal."""
        if self._live:
            self._clear()
            sys.stdout.write(f"  … {text}"[: _WIDTH - 1])
            sys.stdout.flush()

    def _clear(self) -> None:
        if self._live:
            sys.stdout.write("\r" + " " * (_WIDTH - 1) + "\r")


def tell_turn(teller: Teller, turn: Mapping[str, Any]) -> None:
    """What failed, and what was written for it."""
    for brief in turn["briefs"]:
        _wrapped(teller, "  failing: ", brief["why"])
        written = turn["written"].get(brief["intent"], 0)
        near = f", unlike {brief['neighbour']}" if brief["neighbour"] else ""
        teller.line(f"           the teacher wrote {written} samples{near}")
    curated = [step for step in turn["steps"] if step["name"] == "curate"]
    for step in curated:
        _wrapped(teller, "  curated: ", step["detail"])


def tell_decision(teller: Teller, decision: Mapping[str, Any]) -> None:
    """The per-intent table, the gates, and the verdict."""
    teller.line()
    teller.line(f"  {'intent':<16}{'n':>4}{'before':>9}{'after':>8}{'lost':>6}{'won':>5}  verdict")
    for line in decision["intents"]:
        before, after = line["champion_recall"], line["challenger_recall"]
        teller.line(
            f"  {line['intent']:<16}{line['n']:>4}{_percent(before):>9}{_percent(after):>8}"
            f"{line['losses']:>6}{line['gains']:>5}  {line['verdict']}"
        )
    teller.line()
    for gate in decision["gates"]:
        _wrapped(teller, f"  {gate['gate']:<12}{gate['verdict']:<13}", gate["detail"])
    teller.line()
    _wrapped(teller, "  => ", decision["summary"])


def tell_examples(teller: Teller, examples: Sequence[Mapping[str, Any]], label: str) -> None:
    """A few golden sentences that changed sides."""
    for example in examples[:3]:
        said = f'"{example["text"]}": {example["before"]} -> {example["after"]}'
        _wrapped(teller, f"  {label}: ", said)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _wrapped(teller: Teller, head: str, text: str) -> None:
    room = _WIDTH - len(head)
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > room:
            teller.line(head + line)
            head, line = " " * len(head), ""
        line = f"{line} {word}".strip()
    teller.line(head + line)
