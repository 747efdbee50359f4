"""The champion as production runs it: outside the daemon, by the worker's own `predict` job.

Run as a program it tells, for texts and their right intents on standard input, which in-scope
intent the adapter finds likeliest among the wrong ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.records import NONE


class Outside:
    """Runs adapters on texts and remembers their answers; an adapter's id is its content."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._known: dict[str, dict[str, str]] = {}

    def answers(self, adapter: Path, texts: Iterable[str]) -> Mapping[str, str]:
        """The adapter's intent for each text, and for all that it was asked before."""
        self.ask([adapter], texts)
        return self._known[adapter.name]

    def ask(self, adapters: Sequence[Path], texts: Iterable[str]) -> None:
        """Let one worker answer for all the adapters: it starts once and reads the texts once."""
        for adapter in adapters:
            self._known.setdefault(adapter.name, {})
        wanted = set(texts)
        missing = {each.name: wanted - set(self._known[each.name]) for each in adapters}
        asked = [each for each in adapters if missing[each.name]]
        if asked:
            every = sorted(set().union(*missing.values()))
            for name, intents in self._predict(asked, every).items():
                self._known[name].update(zip(every, intents, strict=True))

    def best_wrong(self, adapter: Path, rows: Sequence[tuple[str, str]]) -> list[str]:
        """For each (text, right intent) the likeliest in-scope intent that is not the right one."""
        if not rows:
            return []
        asked = {"adapter": str(adapter), "cache": str(self._cache), "rows": rows}
        child = subprocess.run(
            [sys.executable, __file__],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": str(self._threads)},
        )
        if child.returncode:
            raise RuntimeError(f"best wrong intents: {child.stderr[-2000:]}")
        return json.loads(child.stdout)

    @property
    def _cache(self) -> Path:
        return self._folder / "cache"

    def _predict(self, adapters: Sequence[Path], texts: Sequence[str]) -> dict[str, list[str]]:
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            job = Path(name)
            spec = {
                "adapters": {adapter.name: str(adapter) for adapter in adapters},
                "threads": self._threads,
                "cache_dir": str(self._cache),
                "seed": 0,
            }
            described = {"id": job.name, "kind": "predict", "spec": spec}
            (job / "job.json").write_text(json.dumps(described), encoding="utf-8")
            rows = {"id": [str(number) for number in range(len(texts))], "text": list(texts)}
            pq.write_table(pa.table(rows), job / "rows.parquet")
            child = subprocess.run(
                [sys.executable, "-m", "flywheel.worker", str(job)],
                capture_output=True,
                text=True,
                check=False,
            )
            if not (job / "result.json").exists():
                raise RuntimeError(f"predict job: {child.stderr[-2000:]}")
            result = json.loads((job / "result.json").read_text(encoding="utf-8"))
            if not result["ok"]:
                raise RuntimeError(f"predict job: {result['error']}")
            answered = pq.read_table(job / "predictions.parquet").to_pydict()
        places = zip(answered["adapter"], answered["id"], strict=True)
        said = dict(zip(places, answered["intent"], strict=True))
        return {
            adapter.name: [said[adapter.name, str(number)] for number in range(len(texts))]
            for adapter in adapters
        }


def main() -> None:
    """Answer one question of `Outside.best_wrong`."""
    from flywheel.worker.models import base as bases
    from flywheel.worker.models.encoder import adapter as adapters
    from flywheel.worker.models.encoder import lora
    from flywheel.worker.models.encoder.frozen_states import FrozenStates, run_upper

    asked = json.load(sys.stdin)
    trained = adapters.load(Path(asked["adapter"]))
    base = bases.load(trained.base)
    frozen = FrozenStates(base, trained.depth, trained.max_length, Path(asked["cache"]))
    hidden = frozen.states([text for text, _ in asked["rows"]]).hidden
    upper = lora.merged(frozen.encoder, trained.depth, trained.factors, trained.alpha)
    found = run_upper(upper, base.width, hidden)
    labels = list(trained.labels)
    best = []
    for logits, (_, intent) in zip(
        trained.head.logits(found.embedding), asked["rows"], strict=True
    ):
        for excluded in {intent, NONE} & set(labels):
            logits[labels.index(excluded)] = float("-inf")
        best.append(labels[int(logits.argmax())])
    json.dump(best, sys.stdout)


if __name__ == "__main__":
    main()
