"""A model that counts words, as an executor in this process or as a worker without torch.

It imports little: tests start it as a process for every job of a turn.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.protocols import Handle, JobPhase, JobState
from flywheel.records import Job


class Memoriser:
    """An executor whose model is: which intent has seen these words most often."""

    kind, pause_s, grace_s = "memoriser", 0.0, 0.0

    def __init__(self, jobs: Path) -> None:
        self.jobs = jobs
        self.runs: list[str] = []

    def find(self, job_id: str) -> Handle:
        return ""

    def submit(self, job: Job, folder: Path) -> Handle:
        self.runs.append(job.id)
        values = getattr(self, f"_{job.kind}")(folder, job.spec)
        result = {"id": job.id, "ok": True, "values": values, "error": "", "seconds": 0.1}
        (folder / "result.json").write_text(json.dumps(result))
        return job.id

    def poll(self, handle: Handle) -> JobState:
        return JobState(phase=JobPhase.DONE)

    def cancel(self, handle: Handle) -> None:
        pass

    def fetch(self, handle: Handle, folder: Path) -> None:
        pass

    def _crossfit(self, folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
        rows = pq.read_table(folder / "rows.parquet").to_pylist()
        scores = [
            {"id": row["id"], "p_label": 0.9, "top": row["intent"], "p_top": 0.9, "odds": 1.0}
            | {"anchor": 1.0}
            for row in rows
        ]
        pq.write_table(pa.Table.from_pylist(scores), folder / "scores.parquet")
        no_pairs = pa.table({"id": [], "other": [], "cosine": []})
        pq.write_table(no_pairs, folder / "pairs.parquet")
        return {}

    def _noise_check(self, folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
        rows = pq.read_table(folder / "rows.parquet").to_pylist()
        dev = sum(row["origin"] == "dev" for row in rows)
        return {"dev": dev, "ruled": 0.5, "given": 0.5, "gained": 0, "lost": 0}

    def _train(self, folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
        seen: dict[str, Counter[str]] = {}
        for row in pq.read_table(spec["dataset"]).to_pylist():
            if row["split"] == "train":
                for word in row["text"].split():
                    seen.setdefault(word, Counter())[row["intent"]] += 1
        model = json.dumps(
            {word: votes.most_common(1)[0][0] for word, votes in seen.items()}, sort_keys=True
        )
        identity = "a-" + hashlib.sha256(model.encode()).hexdigest()[:12]
        (folder / "adapter").mkdir(exist_ok=True)
        (folder / "adapter" / "flywheel.json").write_text(model)
        return {"adapter": identity, "metrics": {"dev_accuracy": 0.5, "chosen_on": "dev"}}

    def _predict(self, folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
        rows = pq.read_table(folder / "rows.parquet").to_pylist()
        found = []
        for name, place in spec["adapters"].items():
            model = json.loads((Path(place) / "flywheel.json").read_text())
            for row in rows:
                votes = Counter(model[word] for word in row["text"].split() if word in model)
                intent = votes.most_common(1)[0][0] if votes else "none"
                found.append(
                    {
                        "id": row["id"],
                        "adapter": name,
                        "intent": intent,
                        "arguments": "{}",
                        "confidence": 0.8,
                        "margin": len(votes) - 0.5,
                    }
                )
        pq.write_table(pa.Table.from_pylist(found), folder / "predictions.parquet")
        return {"hashes": {name: name for name in spec["adapters"]}, "rows": len(rows)}
