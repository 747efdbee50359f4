"""Production, played: the champion answers what users say, and users judge its answers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.demo.daemon import Client
from flywheel.demo.grammar import Utterance
from flywheel.executors.local import LocalExecutor
from flywheel.records import NONE, Job

_USERS = 50


@dataclass(frozen=True, slots=True)
class Answered:
    """What was said, and what the champion made of it."""

    said: Utterance
    intent: str
    confidence: float


class Production:
    """The assistant in service: it answers with whatever `adapters/champion` points at."""

    def __init__(self, client: Client, folder: Path, seed: int) -> None:
        self._client = client
        self._champion = folder / "var" / "adapters" / "champion"
        self._place = folder / "production"
        self._jobs = LocalExecutor(self._place)
        self._chance = Random(seed)  # noqa: S311  reproducible, no secret

    def answer(self, said: Sequence[Utterance], key: str) -> list[Answered]:
        """Let the champion answer, and log its answers with the daemon."""
        champion = self._champion.resolve()
        found = self._predict(said, key, champion)
        answered = [
            Answered(one, found[str(n)]["intent"], found[str(n)]["confidence"])
            for n, one in enumerate(said)
        ]
        stamp = _now()
        rows = [
            {
                "id": f"p-{key}-{number}",
                "ts": stamp,
                "text": row.said.text,
                "intent": row.intent,
                "arguments": {},
                "confidence": row.confidence,
                "adapter": champion.name,
                "slices": {"channel": "voice"},
            }
            for number, row in enumerate(answered)
        ]
        self._client.post("/v1/predictions", rows)
        return answered

    def rate(
        self, answered: Sequence[Answered], key: str, *, share: float, wrong: float
    ) -> tuple[int, int]:
        """Users judge a share of the answers, and some of them wrongly; returns both counts."""
        names = sorted({row.said.intent for row in answered} | {NONE})
        rows: list[dict[str, Any]] = []
        mistaken = 0
        for number, row in enumerate(answered):
            if self._chance.random() > share:
                continue
            claimed = row.said.intent
            if self._chance.random() < wrong:
                claimed = self._chance.choice([name for name in names if name != claimed])
                mistaken += 1
            rater = f"u-{number % _USERS}"
            rows.append(_verdict(f"{key}-{number}", row.intent, claimed, rater))
        self._client.post("/v1/feedback", rows)
        return len(rows), mistaken

    def _predict(
        self, said: Sequence[Utterance], key: str, champion: Path
    ) -> dict[str, dict[str, Any]]:
        spec = {
            "base": "bundled:all-minilm-l6-v2",
            "threads": 2,
            "max_length": 64,
            "cache_dir": str(self._place / "cache"),
            "seed": 0,
            "adapters": {champion.name: str(champion)},
        }
        place = self._place / key
        place.mkdir(parents=True)
        rows = [{"id": str(number), "text": one.text} for number, one in enumerate(said)]
        pq.write_table(pa.Table.from_pylist(rows), place / "rows.parquet")
        job = Job(id=key, kind="predict", spec=spec, timeout_s=600.0)
        with ThreadPoolExecutor(1) as pool:  # Ctrl-C reaches this thread only, and so not the start
            done = pool.submit(self._jobs.run, job)
            try:
                done.result()
            finally:
                self._jobs.cancel(key)  # a worker has a session of its own and would go on
        table = pq.read_table(place / "predictions.parquet")
        return {row["id"]: row for row in table.to_pylist()}


def _verdict(key: str, predicted: str, claimed: str, rater: str) -> dict[str, Any]:
    judged = (
        {"verdict": "correct"}
        if claimed == predicted
        else {"verdict": "corrected", "intent": claimed}
    )
    return {
        "id": f"f-{key}",
        "prediction_id": f"p-{key}",
        "ts": _now(),
        "rater": rater,
        "rater_kind": "user",
        **judged,
    }


def _now() -> str:
    return datetime.now(tz=UTC).isoformat()
