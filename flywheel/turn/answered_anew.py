"""Labelled texts that today's champion did not answer itself are put to it, where it has not
learned them: `diagnose` judges the champion, and not those before it.

A text is learned where it, or one near it, is in the champion's dataset. One whose label curation
refused when the champion was trained says as little: what is unlearned of that time is a choice of
labels that the champion contradicts. The texts of the window
are looked at, the newest labels first; what was compared once stays (`store.champion_answers`).
`follow` does it as soon as the champion has changed, without a turn; what waits until then is
counted (`waiting`), and no figure shows it as the champion's.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flywheel import curation, datasets, lineage
from flywheel.content import content_id
from flywheel.errors import FlywheelError, Refused
from flywheel.records import Adapter
from flywheel.store import Connection, adapters, champion_answers, health
from flywheel.store.champion_answers import ChampionAnswer, LabelledAnswer
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import arguments_of, learned_rows, run_job, run_loose_job
from flywheel.turn.runtime import Runtime

log = logging.getLogger(__name__)

_LOOKED_AT = 20_000  # labelled texts compared with the champion's dataset at a time
_LOOSE = "anew"  # how the job's name begins that belongs to no turn
_ASKED = 2_000  # texts put to the champion in one turn, about a minute on two cores


def asked_champion(con: Connection) -> Adapter | None:
    """Return the champion where it can be asked; None without one, or where only answers of
    production's own model are known."""
    name = adapters.champion(con)
    adapter = adapters.get(con, name) if name else None
    return None if adapter is None or adapter.state == "external" else adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Labelled texts that today's champion was not asked yet: nothing is known of it by them."""

    champion: str | None = None  # None: there is none that could be asked
    texts: int = 0
    by_intent: Mapping[str, int] = field(default_factory=dict)  # a text counts with both its names
    compared: int = 0  # labelled texts of which it is known what it answers, or that it learned


def window_start(runtime: Runtime, con: Connection, now: datetime) -> datetime:
    """The health window ends at the newest label, so an imported archive is evaluated as of its own
    dates.
    """
    newest = min(now, health.newest_label(con) or now)
    return newest - timedelta(days=runtime.config.intents.window_days)


def waiting(runtime: Runtime, con: Connection) -> Waiting:
    """Return what is still to be put to today's champion."""
    champion, reign = asked_champion(con), adapters.champion_since(con)
    if champion is None or reign is None:
        return Waiting()
    since = window_start(runtime, con, runtime.clock())
    today = lineage.current_names(runtime.intents)
    found = champion_answers.waiting(con, champion.id, reign, since)
    counts: Counter[str] = Counter()
    for texts in found:
        names = {today.get(name, name) for name in (texts.predicted, texts.truth) if name}
        counts.update(dict.fromkeys(names, texts.count))
    return Waiting(
        champion=champion.id,
        texts=sum(texts.count for texts in found),
        by_intent=dict(counts),
        compared=champion_answers.compared(con, champion.id),
    )


def follow(runtime: Runtime) -> bool:
    """Put labelled texts to today's champion now, outside of turns; those of one turn at most.

    Called once the champion may have changed, by the thread of the turns. What comes of it is in
    `waiting`, and `Runtime.unasked` says why it could not be asked.

    Returns:
        Whether more of them wait that can be asked at once.
    """
    with runtime.store.read() as con:
        before = waiting(runtime, con)
        since = window_start(runtime, con, runtime.clock())
    if not before.texts:
        runtime.unasked = ""
        return False
    try:
        told = refresh(runtime, None, since)
    except OSError as error:  # what it needs of the disk is not there; the turns go on
        runtime.unasked = told = f"{before.champion} could not be asked anew: {error}"
        log.warning("%s", told, extra={"event": "champion.not_asked"})
    with runtime.store.read() as con:
        after = waiting(runtime, con)
    log.info(
        "health follows %s: %s", after.champion, told or "no labelled text is new to it",
        extra={"event": "health.followed", "waiting": after.texts},
    )  # fmt: skip
    moved = (after.champion, after.compared) != (before.champion, before.compared)
    return bool(after.texts) and moved


def end_jobs(runtime: Runtime) -> None:
    """End the job that `follow` waits for: the daemon stops."""
    for job_id in [*runtime.cancelled_jobs]:
        if job_id.startswith(f"{_LOOSE}-"):
            runtime.jobs.cancel(job_id)


def refresh(runtime: Runtime, turn: Turn | None, since: datetime) -> str:
    """Compare labelled texts with the champion, and ask it those that it has neither learned nor
    answered.

    Args:
        runtime: the loop.
        turn: whose step this is, and whose own the job of the worker is; None: outside of turns.
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
        rows = champion_answers.to_answer(con, champion.id, since, _LOOKED_AT)
        refused = champion_answers.refused_labels(con, champion.id)
        known = _told(champion_answers.answered_anew(con, champion.id), champion)
    if not rows:
        return known
    learned = _learned(runtime, champion, rows) | {
        row.prediction_id
        for row in rows
        if not row.by_lot and (row.prediction_id, row.truth) in refused
    }
    settled = [
        ChampionAnswer(prediction_id=row.prediction_id, learned=True)
        for row in rows
        if row.prediction_id in learned
    ]
    unlearned = [row for row in rows if row.prediction_id not in learned]
    settled += [_as_given(row) for row in unlearned if row.own]
    asked = [row for row in unlearned if not row.own][:_ASKED]
    runtime.unasked = ""
    try:
        settled += _answers(runtime, turn, champion, asked)
    except FlywheelError as error:
        runtime.unasked = f"{champion.id} could not be asked anew: {error.message}"
        extra = {"event": "champion.not_asked", "turn": turn.id if turn else None}
        log.warning("%s", runtime.unasked, extra=extra)
    with runtime.store.write() as con:
        if adapters.champion(con) != champion.id:
            return ""  # another one meanwhile, whose own answers are to be asked
        champion_answers.add(con, champion.id, settled)
        return runtime.unasked or _told(champion_answers.answered_anew(con, champion.id), champion)


def _told(count: int, champion: Adapter) -> str:
    return f"{count} labelled texts answered anew by {champion.id}" if count else ""


def _learned(runtime: Runtime, champion: Adapter, rows: Sequence[LabelledAnswer]) -> set[str]:
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
    runtime: Runtime, turn: Turn | None, champion: Adapter, asked: Sequence[LabelledAnswer]
) -> list[ChampionAnswer]:
    """What the worker answers to these texts; equal texts are asked once."""
    if not asked:
        return []
    texts = {row.text: row.prediction_id for row in asked}
    rows = datasets.rows_table([(name, text) for text, name in texts.items()])
    spec = {"adapters": {champion.id: str(runtime.adapters_dir / champion.id)}, "timed": 0}
    if turn is not None:
        job = run_job(runtime, turn, f"anew-{champion.id}", "predict", spec, rows)
        answered = _read(champion, runtime.job_dir(job.id), job.values)
    else:
        job_id = content_id(_LOOSE, [champion.id, *texts.values()])
        with run_loose_job(runtime, job_id, "predict", spec, rows) as job:
            answered = _read(champion, runtime.job_dir(job_id), job.values)
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


def _read(
    champion: Adapter, folder: Path, values: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """The champion's answers in a job's folder, by id.

    Raises:
        Refused: the worker read another adapter.
    """
    if (answered_as := values.get("hashes", {}).get(champion.id)) != champion.id:
        raise Refused(f"{champion.id} answered as {answered_as}: its files were changed")
    table = pq.read_table(folder / "predictions.parquet").to_pylist()
    return {row["id"]: row for row in table if row["adapter"] == champion.id}
