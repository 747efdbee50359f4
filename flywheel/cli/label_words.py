"""What is said around a session of labelling: before it, when nothing is left, and after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from flywheel.cli.text import number, plural


class Kind(StrEnum):
    """Why a text is asked about."""

    gate = "gate"
    audit = "audit"
    conflict = "conflict"
    uncertain = "uncertain"


def nothing_left(queue: Mapping[str, Any]) -> list[str]:
    """What is said when there is nothing to ask, and what is missing still."""
    lines = ["nothing to label"]
    if queue["wanted"]:
        wanted = plural(queue["wanted"], "more label")
        lines.append(f"the gates want {wanted}; they come with more traffic, or from")
        lines.append("  flywheel samples import FILE --split golden")
    return lines


def summary(given: Counter[str], settled: Mapping[str, int]) -> list[str]:
    """What came of a session."""
    labels = sum(count for kind, count in given.items() if kind != "skipped")
    kinds = [*(kind.value for kind in Kind), "skipped"]
    words = [f"{number(given[kind])} {kind}" for kind in kinds if given[kind]]
    lines = [plural(labels, "label") + (f": {', '.join(words)}" if words else "")]
    if settled.get("judging"):
        lines.append("the held challenger is judged again: flywheel review list")
    if settled.get("unfit"):
        unfit = plural(settled["unfit"], "text was", "texts were")
        lines.append(f"{unfit} trained on meanwhile and cannot judge")
    return lines
