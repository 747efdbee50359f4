"""What an adapter answered in evaluation: kept by sample, and made anew where it was not kept.

Parity compares what a server answers with these. They are stored when a turn evaluates; of adapters
of an earlier version, and of samples that came later, one job of the worker gives them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.parquet as pq

from flywheel import datasets
from flywheel.content import content_id
from flywheel.errors import Refused
from flywheel.promotion import parity
from flywheel.records import EvaluatedAnswer, Sample
from flywheel.store import Connection, parity_checks, samples
from flywheel.turn.artifacts import arguments_of, run_loose_job
from flywheel.turn.runtime import Runtime

_AGAIN = 4
"""What serves is asked again by one in so many texts: others each time, and never in the way."""


def needed(con: Connection) -> list[Sample]:
    """Samples by which parity may be asked: must-pass ones of the golden set, and all of dev."""
    must_pass = [row.sample for row in samples.golden(con) if row.sample.must_pass]
    found = [*must_pass, *samples.dev(con)]
    return [sample for sample in found if sample.text.strip()]  # an empty one is no question


def to_ask(
    runtime: Runtime, adapter: str, seed: str, *, complete: bool
) -> list[tuple[str, EvaluatedAnswer]]:
    """Texts to ask a server, each with the evaluated answer.

    Args:
        runtime: the loop.
        adapter: whose answers.
        seed: which dev samples are drawn; `parity.chosen`.
        complete: before an adapter takes over: `parity_texts` dev samples, and a job makes each
            answer that was not stored. Else a quarter as many, of what was stored; where nothing
            was, a job makes it.

    Raises:
        JobFailed: the answers could not be made.
        Refused: the worker read another adapter than this.
    """
    with runtime.store.read() as con:
        candidates = needed(con)
        stored = parity_checks.evaluated(con, adapter)
    missing = [sample for sample in candidates if sample.id not in stored]
    if missing and (complete or not stored):
        answers = _made(runtime, adapter, missing)
        with runtime.store.write() as con:
            parity_checks.add_evaluated(con, adapter, answers)
            stored = parity_checks.evaluated(con, adapter)
    texts = {sample.id: sample.text for sample in candidates}
    count = runtime.config.serving.parity_texts
    names = parity.chosen(
        {sample.id: sample.intent for sample in candidates if sample.split == "dev"},
        stored,
        [sample.id for sample in candidates if sample.split == "golden"],
        count if complete else max(1, count // _AGAIN),
        seed,
    )
    return [(texts[name], stored[name]) for name in names]


def _made(runtime: Runtime, adapter: str, missing: Sequence[Sample]) -> list[EvaluatedAnswer]:
    """What the worker answers for the adapter now; the job's folder goes with it."""
    asked = content_id("parity", [adapter, *(sample.id for sample in missing)])
    job_id = f"{asked}-{adapter}"
    rows = datasets.rows_table([(sample.id, sample.text) for sample in missing])
    spec = {"adapters": {adapter: str(runtime.adapters_dir / adapter)}, "timed": 0}
    with run_loose_job(runtime, job_id, "predict", spec, rows) as result:
        if (answered_as := result.values.get("hashes", {}).get(adapter)) != adapter:
            raise Refused(f"{adapter} answered as {answered_as}: its files were changed")
        return answers_in(runtime.job_dir(job_id) / "predictions.parquet", adapter)


def answers_in(path: object, adapter: str) -> list[EvaluatedAnswer]:
    """One adapter's answers in the table that a predict job wrote."""
    return [
        EvaluatedAnswer(
            sample=row["id"],
            intent=row["intent"],
            arguments=arguments_of(row["arguments"]),
            confidence=row["confidence"],
            margin=row.get("margin"),  # a job of an earlier version may have written the file
        )
        for row in pq.read_table(path).to_pylist()
        if row["adapter"] == adapter
    ]
