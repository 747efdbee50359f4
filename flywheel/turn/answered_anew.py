"""Labelled texts that today's champion did not answer itself are put to it, where it has not
learned them: `diagnose` judges the champion, and not those before it.

A text is learned where it, or one near it, is in the champion's dataset. The texts of the window
are looked at, the newest labels first; what was compared once stays (`store.champion_answers`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

import pyarrow.parquet as pq

from flywheel import curation, datasets
from flywheel.errors import FlywheelError, Refused
from flywheel.records import Adapter
from flywheel.store import Connection, adapters, champion_answers
from flywheel.store.champion_answers import ChampionAnswer, LabelledAnswer
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import arguments_of, learned_rows, run_job
from flywheel.turn.runtime import Runtime

log = logging.getLogger(__name__)

_LOOKED_AT = 20_000  # labelled texts compared with the champion's dataset at a time
_ASKED = 2_000  # texts put to the champion in one turn, about a minute on two cores


def asked_champion(con: Connection) -> Adapter | None:
    """Return the champion where it can be asked; None without one, or where only answers of
    production's own model are known."""
    name = adapters.champion(con)
    adapter = adapters.get(con, name) if name else None
    return None if adapter is None or adapter.state == "external" else adapter


def refresh(runtime: Runtime, turn: Turn, since: datetime) -> str:
    """Compare labelled texts with the champion, and ask it those that it has neither learned nor
    answered.

    Args:
        runtime: the loop.
        turn: whose step this is; the job of the worker is its own.
        since: labels given before are left.

    Returns:
        What to tell of it, the same where a crash came between; "" where it was asked nothing so
        far. A champion that could not be asked stops no turn: its diagnosis rests on what is known
        of it then.
    """
    with runtime.store.read() as con:
        champion = asked_champion(con)
        if champion is None:
            return ""
        waiting = champion_answers.to_answer(con, champion.id, since, _LOOKED_AT)
        known = _told(champion_answers.answered_anew(con, champion.id), champion)
    if not waiting:
        return known
    learned = _learned(runtime, champion, waiting)
    settled = [
        ChampionAnswer(prediction_id=row.prediction_id, learned=True)
        for row in waiting
        if row.prediction_id in learned
    ]
    unlearned = [row for row in waiting if row.prediction_id not in learned]
    settled += [_as_given(row) for row in unlearned if row.own]
    asked = [row for row in unlearned if not row.own][:_ASKED]
    told = ""
    try:
        settled += _answers(runtime, turn, champion, asked)
    except FlywheelError as error:
        told = f"{champion.id} could not be asked anew: {error.message}"
        log.warning("%s", told, extra={"event": "champion.not_asked", "turn": turn.id})
    with runtime.store.write() as con:
        champion_answers.add(con, champion.id, settled)
        return told or _told(champion_answers.answered_anew(con, champion.id), champion)


def _told(count: int, champion: Adapter) -> str:
    return f"{count} labelled texts answered anew by {champion.id}" if count else ""


def _learned(
    runtime: Runtime, champion: Adapter, rows: Sequence[LabelledAnswer]
) -> Collection[str]:
    """Predictions whose text the champion learned, or one near it."""
    path = runtime.datasets_dir / f"{champion.dataset}.parquet"
    texts = sorted({row["text"] for row in learned_rows(path)}) if champion.dataset else []
    asked = sorted({row.text for row in rows})
    near = curation.near_duplicates(asked, texts, runtime.config.gates.hygiene.jaccard)
    learned = {asked[pair.i] for pair in near}
    return {row.prediction_id for row in rows if row.text in learned}


def _as_given(row: LabelledAnswer) -> ChampionAnswer:
    return ChampionAnswer(
        prediction_id=row.prediction_id,
        learned=False,
        intent=row.intent,
        arguments=row.arguments,
    )


def _answers(
    runtime: Runtime, turn: Turn, champion: Adapter, asked: Sequence[LabelledAnswer]
) -> list[ChampionAnswer]:
    """What the worker answers to these texts; equal texts are asked once."""
    if not asked:
        return []
    texts = {row.text: row.prediction_id for row in asked}
    rows = datasets.rows_table([(name, text) for text, name in texts.items()])
    spec = {"adapters": {champion.id: str(runtime.adapters_dir / champion.id)}, "timed": 0}
    job = run_job(runtime, turn, f"anew-{champion.id}", "predict", spec, rows)
    if (answered_as := job.values.get("hashes", {}).get(champion.id)) != champion.id:
        raise Refused(f"{champion.id} answered as {answered_as}: its files were changed")
    table = pq.read_table(runtime.job_dir(job.id) / "predictions.parquet").to_pylist()
    answered = {row["id"]: row for row in table if row["adapter"] == champion.id}
    return [
        ChampionAnswer(
            prediction_id=row.prediction_id,
            learned=False,
            intent=answered[texts[row.text]]["intent"],
            arguments=arguments_of(answered[texts[row.text]]["arguments"]),
        )
        for row in asked
        if texts[row.text] in answered
    ]
