"""Texts that a model learned or is judged on: none near them is asked about to judge it."""

from __future__ import annotations

from collections.abc import Sequence

from flywheel import curation
from flywheel.label_queue.label_state import held_turns
from flywheel.store import Connection, adapters, health, label_candidates, samples
from flywheel.turn.artifacts import learned_rows
from flywheel.turn.diagnose import held_out
from flywheel.turn.runtime import Runtime


def trained_texts(runtime: Runtime, con: Connection) -> list[str]:
    """Return the texts that the champion or a held one was trained on, or the next may be."""
    texts = {row.text for row in samples.training(con)}
    texts |= {row.text for row in health.labelled_texts(con, ())}
    champion = adapters.champion(con)
    datasets = {adapters.get(con, champion).dataset} if champion else set()
    datasets |= {turn.record.dataset for turn in held_turns(con)}
    for name in datasets - {""}:
        texts |= {row["text"] for row in learned_rows(runtime.datasets_dir / f"{name}.parquet")}
    return sorted(texts)


def without_near_texts(
    runtime: Runtime, con: Connection, candidates: Sequence[label_candidates.SeenPrediction]
) -> list[label_candidates.SeenPrediction]:
    """Return candidates that are near no known text and near no earlier candidate."""
    if not candidates:
        return []
    known = [*trained_texts(runtime, con), *held_out(con)]
    jaccard = runtime.config.gates.hygiene.jaccard
    texts = [prediction.text for prediction in candidates]
    rejected = {pair.i for pair in curation.near_duplicates(texts, known, jaccard)}
    for pair in curation.near_duplicates(texts, texts, jaccard):
        if pair.j < pair.i and pair.j not in rejected:
            rejected.add(pair.i)
    return [prediction for index, prediction in enumerate(candidates) if index not in rejected]
