"""The test vector of an adapter: a few texts with the answers that the evaluated model gave.

Whatever answers with the adapter's files, in whichever process and by whichever engine, can be
held to them without the daemon. The texts are nobody's: seeds of the operator, chosen in
`turn/train.py`, and texts made of the intents' names and descriptions. So no erasure of a person's
data changes the file, whose hash is registered.

Source: docs/adr/0085-an-adapter-carries-its-own-test-vector.md
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flywheel import files
from flywheel.content import same_arguments
from flywheel.worker.models import unreadable
from flywheel.worker.models.protocol import Calls, TrainedModel

FILE = "test_vector.jsonl"

TOLERANCE = 3e-4
"""Of a confidence. Engines in float32 stay within 5e-5 of the evaluated answers. Weights merged in
bfloat16 change confidences by up to 4e-3, a model that also computes in it by up to 1e-2."""

_LINES = 20
_UNSURE = 12  # of them: where the model is least sure, a small change shows first


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


def write(folder: Path, model: TrainedModel, spec: Mapping[str, Any], max_length: int) -> None:
    """Write the test vector of an adapter, durably, into its folder.

    A text that is longer than the model reads is always among them, so that another `max_length`
    shows; of the others, those that the model is least sure of, and then one an intent.

    Args:
        spec: of the train job: `vector_seeds` (texts that may be taken) and `intents` (name,
            description).
        max_length: tokens; a text of so many words has more.
    """
    written = _written(spec["intents"])
    long = " ".join(itertools.islice(itertools.cycle(" ".join(written).split()), 2 * max_length))
    seeds = list(dict.fromkeys(spec.get("vector_seeds", ())))
    more = itertools.islice((text for text in written if text not in seeds), _LINES)
    texts = [*seeds, *(more if len(seeds) < _LINES else ()), long]
    answered = model.answer(texts, lambda _: None)
    rows = zip(answered.intents, answered.arguments, answered.confidence.tolist(), strict=True)
    lines = [
        KnownAnswer(text=text, intent=intent, arguments=dict(values), confidence=round(sure, 6))
        for text, (intent, values, sure) in zip(texts, rows, strict=True)
    ]
    chosen = [*_chosen(lines[:-1]), lines[-1]]
    with files.replacing(folder / FILE) as staged:
        dumped = (json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in chosen)
        staged.write_text("".join(dumped), encoding="utf-8")


def _written(intents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Texts made of the intents' names and descriptions; as many as a test vector has, or more."""
    names = [str(intent["name"]).replace("_", " ") for intent in intents]
    described = [str(intent.get("description") or "") for intent in intents]
    texts = [*filter(None, described), *names]
    pairs = itertools.permutations(texts, 2)
    texts += [f"{one}, {other}" for one, other in itertools.islice(pairs, _LINES)]
    texts += ["please " * count + texts[0] for count in range(1, _LINES)]
    return list(dict.fromkeys(texts))


def _chosen(lines: Sequence[KnownAnswer]) -> list[KnownAnswer]:
    """All lines of the vector but the long one, in the order in which they were asked."""
    unsure = sorted(range(len(lines)), key=lambda row: lines[row].confidence)
    firsts: dict[str, int] = {}
    for row in unsure[_UNSURE:]:
        firsts.setdefault(lines[row].intent, row)
    ranked = dict.fromkeys([*unsure[:_UNSURE], *firsts.values(), *unsure])
    return [lines[row] for row in sorted(itertools.islice(ranked, _LINES - 1))]


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
