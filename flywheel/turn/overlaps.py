"""Samples to learn that are near samples held out, found when either of them is imported.

Curation never learns them (`curation.near_held_out`). Whoever imports them is told so at once,
with both places: a seed that is left out in silence is missed only when its intent fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flywheel import curation
from flywheel.records import Sample
from flywheel.store import Connection, retired, samples


def held_out_samples(con: Connection) -> list[Sample]:
    """Return every sample that must not be learned as it is: golden, fresh and dev."""
    golden = [row.sample for row in samples.golden(con)]
    return [*golden, *samples.fresh(con), *samples.dev(con)]


def overlaps(
    con: Connection, added: Sequence[Sample], lines: Mapping[str, int], jaccard: float
) -> list[dict[str, Any]]:
    """Return the pairs of a trusted training sample and a held-out one that an import made.

    Args:
        con: the database, with the import in it.
        added: samples of the import, whether new or known already.
        lines: by sample id: the line of the import that it stood in, from 1.
        jaccard: `[curation] leak`.

    Returns:
        {"line", "sample": id of the training sample, "near_line", "near": id of the held-out one,
        "split": of the held-out one, "intent", "near_intent", "similarity": 0..1, "text": of the
        held-out one}; a line is 0 for a sample that was there before.
    """
    pairs = _pairs(con, added, jaccard)
    return [
        {
            "line": lines.get(pair.sample.id, 0),
            "sample": pair.sample.id,
            "near_line": lines.get(pair.held_out.id, 0),
            "near": pair.held_out.id,
            "split": pair.held_out.split,
            "intent": pair.sample.intent,
            "near_intent": pair.held_out.intent,
            "similarity": round(pair.similarity, 4),
            "text": pair.held_out.text,
        }
        for pair in pairs
    ]


def _pairs(
    con: Connection, added: Sequence[Sample], jaccard: float
) -> Iterable[curation.NearHeldOut]:
    """Pairs of which one sample or both arrived, each once."""
    learned = {s.id: s for s in added if s.split == "train" and s.origin in curation.TRUSTED}
    gone = {row.sample.id for row in retired.listed(con)}
    judging = {s.id: s for s in added if s.split != "train" and s.id not in gone}
    pairs: dict[str, curation.NearHeldOut] = {}
    if judging:
        before = [s for s in samples.training(con) if s.origin in curation.TRUSTED]
        near = curation.near_held_out(before, tuple(judging.values()), jaccard)
        pairs |= {pair.sample.id: pair for pair in near}
    if learned:
        near = curation.near_held_out(tuple(learned.values()), held_out_samples(con), jaccard)
        pairs |= {pair.sample.id: pair for pair in near}
    return pairs.values()
