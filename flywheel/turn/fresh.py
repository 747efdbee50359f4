"""The fresh set: verified production texts that no challenger was trained on or judged by before.

They come from `samples import --split fresh` and from feedback by experts. Each is asked once,
by one turn, and written down before its answer is read; afterwards it may be trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

from flywheel import curation
from flywheel.records import Sample
from flywheel.store import Connection, adapters, health, samples
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import learned_rows
from flywheel.turn.curate import from_feedback
from flywheel.turn.wheel import Wheel


def set_aside(wheel: Wheel, con: Connection) -> int:
    """Keep experts' feedback out of training until the fresh set is full; returns how many.

    Only texts that the champion was not trained on count; those above what is needed are left
    to training.
    """
    rule = wheel.config.gates.fresh
    room = rule.min_examples - len(samples.fresh(con))
    if not rule.required or room <= 0:
        return 0
    said = [row for row in health.labelled_texts(con) if row.rater_kind == "expert"]
    known = samples.fresh_ids(con)
    offered = [
        each for each in (from_feedback(row, "fresh") for row in said) if each.id not in known
    ]
    new = _unlearned(wheel, offered, _trained_texts(wheel, adapters.champion(con), con))
    return samples.add(con, new[:room], generation=None, bought_for=None, at=wheel.clock())


def to_ask(wheel: Wheel, con: Connection, turn: Turn) -> list[Sample]:
    """The fresh samples of this turn: those it has asked already, else as many as are needed.

    None while there are too few, so that none is spent on a question that cannot be answered.
    """
    rule = wheel.config.gates.fresh
    if not rule.required or turn.cursor["champion"] is None:
        return []
    if asked := samples.fresh(con, asked_by=turn.id):
        return asked
    challenger = [row["text"] for row in _rows(wheel, turn.cursor["dataset"])]
    champion = _trained_texts(wheel, turn.cursor["champion"], con)
    usable = _unlearned(wheel, samples.fresh(con), [*challenger, *champion])
    return usable[: rule.min_examples] if len(usable) >= rule.min_examples else []


def _unlearned(wheel: Wheel, offered: Sequence[Sample], trained: Sequence[str]) -> list[Sample]:
    """Those that are not near anything an adapter was trained on."""
    jaccard = wheel.config.gates.hygiene.jaccard
    return list(curation.without_leaks(offered, trained, jaccard).kept)


def _trained_texts(wheel: Wheel, adapter: str | None, con: Connection) -> list[str]:
    dataset = adapters.get(con, adapter).dataset if adapter else ""
    return [row["text"] for row in _rows(wheel, dataset)]


def _rows(wheel: Wheel, dataset: str) -> list[dict[str, str]]:
    return learned_rows(wheel.datasets_dir / f"{dataset}.parquet") if dataset else []
