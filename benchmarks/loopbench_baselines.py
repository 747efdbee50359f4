"""What a team would do without the loop, on the same information at the same time.

(0) `labelled`: logistic regression on the frozen base over everything that a person has labelled by
then. (1) `naive`: the same and all feedback as it came, swapped in each turn without a gate.
(2) `recipe`: the loop's own training recipe on all of it, without curation and without gates.
Beside them, where it is asked for, SetFit on what a person had labelled at the start.

The threshold for out of scope is chosen for each of the first two by its own answers out of fold:
most right answers, where a text out of scope that is found counts twice. This weight is the one by
which the daemon chose when the benchmark was written; it is fixed here, so that a change in the
daemon does not change what it is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import jobs
import peer_runs
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from loopbench_answers import BASE, Answers
from partition import Row
from torch import Tensor

from flywheel.records import NONE
from flywheel.worker.logistic import Linear, fit
from flywheel.worker.models import base as bases

FOLDS = 3
OUTSIDE_COUNTS = 2
_BATCH_SEED = 0


def logistic(answers: Answers, rows: Sequence[Row], texts: Sequence[str]) -> Mapping[str, str]:
    """Answers to texts by logistic regression on the frozen base.

    Args:
        answers: embeds texts.
        rows: labelled texts as they are, repeats and contradictions too; `none` is a class where
            two rows have it, and then a threshold is chosen as well.
        texts: to be answered.
    """
    labels = sorted({row.intent for row in rows})
    x = answers.embeddings([row.text for row in rows])  # (n, width)
    y = torch.tensor([labels.index(row.intent) for row in rows])
    head = fit(x, y, len(labels))
    said = head.logits(answers.embeddings(texts))  # (texts, labels)
    inside = [number for number, label in enumerate(labels) if label != NONE]
    cut = float("-inf")
    if NONE in labels and int((y == labels.index(NONE)).sum()) >= 2:
        cut = _threshold(_out_of_fold(x, y, len(labels)), y, labels)
    best = said[:, inside].argmax(1).tolist()
    scores = _margin(said, labels).tolist() if NONE in labels else [float("inf")] * len(texts)
    return {
        text: NONE if score < cut else labels[inside[number]]
        for text, number, score in zip(texts, best, scores, strict=True)
    }


def recipe(
    answers: Answers,
    folder: Path,
    train: Sequence[Row],
    dev: Sequence[Row],
    texts: Sequence[str],
    name: str,
) -> Mapping[str, str]:
    """Answers by the loop's training, dev learned after the choosing as the loop does."""
    spec = jobs.dataset(
        folder / "rows.parquet",
        [(row.text, row.intent) for row in dict.fromkeys(train)],
        [(row.text, row.intent) for row in dev],
    )
    table = pq.read_table(spec["dataset"])
    weights = pa.array([1.0] * len(table), table.schema.field("weight").type)
    place = table.schema.get_field_index("weight")
    pq.write_table(table.set_column(place, table.schema.field(place), weights), spec["dataset"])
    spec |= {"recipe": name, "cache_dir": str(answers.cache)}
    jobs.run(folder / "job", "train", spec)
    return answers.intents(folder / "job" / "adapter", texts)


def peers(
    folder: Path, rows: Sequence[Row], test: Sequence[Row], seed: int, python: str
) -> dict[str, float]:
    """Accuracy of each peer's complete recipe on in-scope test rows, per cent, by its name.

    Args:
        folder: where the rows are written.
        rows: labelled texts; those out of scope are left out, since SetFit has no threshold.
        test: to be answered.
        seed: of the training.
        python: an interpreter that has peers; "" takes only runs that were recorded. A peer that it
            does not have, and of which no run was recorded, is left out.
    """
    train, asked = ([(r.text, r.intent) for r in part if r.intent != NONE] for part in (rows, test))
    found = {}
    for peer in peer_runs.PEERS:
        done = peer_runs.recorded(peer, train, asked, seed)
        if done is None and python and peer_runs.installed(peer, python):
            place, model = folder / f"{peer}.json", bases.load(BASE).folder
            done = peer_runs.run(peer, place, train, asked, seed, model, python)
        if done is not None:
            found[peer] = done.accuracy
    return found


def _margin(logits: Tensor, labels: Sequence[str]) -> Tensor:
    """The best in-scope logit minus that of `none`: float32 (n,)."""
    inside = [number for number, label in enumerate(labels) if label != NONE]
    return logits[:, inside].amax(1) - logits[:, list(labels).index(NONE)]


def _out_of_fold(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """Logits float32 (n, classes) of every row by a model that did not see it."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(_BATCH_SEED))
    logits = torch.zeros(len(y), classes)
    for fold in range(FOLDS):
        apart = order[fold::FOLDS]
        kept = torch.ones(len(y), dtype=torch.bool)
        kept[apart] = False
        head: Linear = fit(x[kept], y[kept], classes)
        logits[apart] = head.logits(x[apart])
    return logits


def _threshold(logits: Tensor, y: Tensor, labels: Sequence[str]) -> float:
    """The margin below which a text is out of scope: the best cut between two rows' margins."""
    outside = y == labels.index(NONE)
    inside = [number for number, label in enumerate(labels) if label != NONE]
    right = torch.tensor(inside)[logits[:, inside].argmax(1)] == y
    margins = _margin(logits, labels)
    order = margins.argsort()
    gain = OUTSIDE_COUNTS * outside[order].long() - right[order].long()
    points = torch.cat([torch.zeros(1, dtype=torch.long), gain.cumsum(0)])  # (n + 1,), rows cut off
    best = int(points.argmax())
    ranked = margins[order]
    if best == 0:
        return float("-inf")
    after = ranked[best] if best < len(ranked) else ranked[-1] + 1
    return float((ranked[best - 1] + after) / 2)
