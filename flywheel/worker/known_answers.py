"""The test vector of an adapter: a few texts with the answers that the evaluated model gave.

Whatever answers with the adapter's files, in whichever process and by whichever engine, can be
held to them without the daemon. The texts are nobody's: see `texts_of` for which ones are taken.

Source: docs/adr/0085-an-adapter-carries-its-own-test-vector.md
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flywheel.content import same_arguments
from flywheel.worker.models import unreadable
from flywheel.worker.models.protocol import Calls

FILE = "test_vector.jsonl"

TOLERANCE = 1e-3
"""Of a confidence. Engines in float32 stay within 1e-4 of the evaluated answers; a model merged in
bfloat16 differs by up to 2e-2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAnswer:
    """One line of the file."""

    text: str
    intent: str
    arguments: dict[str, Any]
    confidence: float  # 0..1


def read(folder: Path) -> list[KnownAnswer]:
    """The test vector in an adapter's folder; empty for an adapter of an earlier version.

    Raises:
        FlywheelError: a line is not one of a test vector.
    """
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
        return [KnownAnswer(**json.loads(line)) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise unreadable(folder, f"{FILE}: {error}") from error


def write(folder: Path, texts: Sequence[str], answered: Calls) -> None:
    """Write the test vector of an adapter."""
    confidences = answered.confidence.tolist()
    rows = zip(texts, answered.intents, answered.arguments, confidences, strict=True)
    lines = [
        KnownAnswer(text=text, intent=intent, arguments=dict(values), confidence=round(sure, 6))
        for text, intent, values, sure in rows
    ]
    dumped = [json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in lines]
    (folder / FILE).write_text("".join(dumped), encoding="utf-8")


def first_difference(known: Sequence[KnownAnswer], answered: Calls) -> str:
    """Which known answer is not given; "" when all are."""
    confidences = answered.confidence.tolist()
    for line, intent, values, sure in zip(
        known, answered.intents, answered.arguments, confidences, strict=True
    ):
        now = KnownAnswer(text=line.text, intent=intent, arguments=dict(values), confidence=sure)
        same = intent == line.intent and same_arguments(values, line.arguments)
        if not same or not abs(sure - line.confidence) <= TOLERANCE:
            return f"{line.text!r} is answered {_shown(now)}, and was {_shown(line)}"
    return ""


def _shown(line: KnownAnswer) -> str:
    values = json.dumps(line.arguments, ensure_ascii=False) if line.arguments else ""
    return f"{line.intent}({values}) {line.confidence:.4f}"
