"""Imported samples that are never learned since they are near what judges, by file and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flywheel.cli.screen import remark
from flywheel.cli.text import clean, cut, plural

Overlap = Mapping[str, Any]
"""As `POST /v1/samples` answers it, with the name of the file."""

_TOLD = 10
_QUOTED = 60  # characters of a text
_LINES = ("line", "near_line")


def of(answer: Mapping[str, Any], file: str, lines: Sequence[int]) -> list[Overlap]:
    """Return the overlaps of an answer by the lines of the file.

    Args:
        answer: to a batch.
        file: its name.
        lines: of the file, one for each line of the batch.
    """
    return at_lines([{**pair, "file": file} for pair in answer.get("overlaps") or []], lines)


def at_lines(overlaps: Sequence[Overlap], lines: Sequence[int]) -> list[Overlap]:
    """Return the overlaps with the lines that stand at their places, from 1; 0 stays 0."""
    return [
        {**pair, **{key: lines[pair[key] - 1] if pair[key] else 0 for key in _LINES}}
        for pair in overlaps
    ]


def tell(overlaps: Sequence[Overlap]) -> None:
    """Say on standard error which samples are never learned, why, and what to do."""
    for pair in overlaps[:_TOLD]:
        remark(clean(_sentence(pair)))
    if (more := len(overlaps) - _TOLD) > 0:
        remark(f"{plural(more, 'more sample')} will not be learned; --json lists every one")
    if overlaps:
        remark(
            "next: nothing, where the intent has other seeds, since what judges is never learned; "
            "otherwise write other seeds, or take the text out of what judges and import that "
            "with --new-generation"
        )


def _sentence(pair: Overlap) -> str:
    place = f"{pair['file']}:{pair['line']}" if pair["line"] else f"sample {pair['sample']}"
    near = f"{pair['file']}:{pair['near_line']}" if pair["near_line"] else pair["near"]
    alike = "is" if pair["similarity"] == 1 else f"is {pair['similarity']:.2f} near"
    quoted = f" “{cut(pair['text'], _QUOTED)}”" if pair["text"] else ""
    differs = pair["near_intent"] not in ("", pair["intent"])
    labels = f", which is {pair['near_intent']} and here {pair['intent']}" if differs else ""
    return f"{place}: is not learned: {alike} {pair['split']} sample {near}{quoted}{labels}"
