"""What an adapter is trained on and chosen with, and the seal of what it is judged by.

Pure functions from samples to tables and names. Nothing here reads or writes a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flywheel.content import canonical, content_id, sample_id
from flywheel.records import Dataset, Sample

__all__ = [
    "TrainingSet",
    "assemble",
    "name_row",
    "rows_table",
    "sample_id",
    "seal",
    "unlabelled_row",
]

COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("intent", pa.string()),  # null where nobody gave one
        ("arguments", pa.string()),  # JSON object; null where the arguments were not judged
        ("origin", pa.string()),
        ("split", pa.string()),  # train, dev or unlabelled
        ("weight", pa.float64()),  # of a dev row: 0 where it may only be chosen with
        ("family", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """Samples to learn from, and samples to choose the checkpoint and threshold with.

    Dev samples named in `learned` are learned too, after all is chosen; see `worker.train`.
    """

    train: tuple[Sample, ...]
    dev: tuple[Sample, ...] = ()
    learned: frozenset[str] = frozenset()  # ids of dev samples
    unlabelled: tuple[str, ...] = ()  # production texts, learned by what a model says of them
    names: tuple[tuple[str, str], ...] = ()  # what intents are called, and the intent

    def __post_init__(self) -> None:
        for role, samples in (("train", self.train), ("dev", self.dev)):
            for sample in samples:
                if sample.split != role:
                    raise ValueError(
                        f"sample {sample.id} is of split `{sample.split}`, not `{role}`: "
                        "what judges a model may not teach it"
                    )


def assemble(samples: TrainingSet, balance: float = 0.0) -> tuple[Dataset, pa.Table]:
    """Return the dataset's record and its rows, ordered by split and id.

    The id is a hash of the rows, whatever order the samples came in; a sample given twice counts
    once. The table's columns are `COLUMNS`; its place is `datasets/ID.parquet`.

    Args:
        samples: what to train on and choose with.
        balance: how far training evens out the intents' sample counts, 0..1. At 0 every sample
            weighs what it weighs; at 1 every intent weighs the same in sum. Traffic is skewed,
            and an intent that gets little of it would lose recall to its busier neighbours.
    """
    unique = {(s.split, s.id): s for s in (*samples.train, *samples.dev)}
    rows = [_row(unique[key]) for key in sorted(unique)]
    for row in rows:
        if row["split"] == "dev" and row["id"] not in samples.learned:
            row["weight"] = 0.0
    rows += [name_row(text, intent) for text, intent in sorted(set(samples.names))]
    _even_out(rows, balance)
    rows += [unlabelled_row(text) for text in sorted(set(samples.unlabelled))]
    identity = content_id("ds", rows)
    origins = Counter(s.origin for s in unique.values() if s.split == "train")
    dataset = Dataset(
        id=identity,
        path=f"datasets/{identity}.parquet",
        train=origins.total(),
        dev=len(unique) - origins.total(),
        by_origin=dict(sorted(origins.items())),
    )
    return dataset, pa.Table.from_pylist(rows, schema=COLUMNS)


def _even_out(rows: Sequence[dict[str, Any]], balance: float) -> None:
    """Weigh each row by (mean count / its intent's count in training) ** balance."""
    counts = Counter(row["intent"] for row in rows if row["split"] == "train")
    for row in rows:
        if row["intent"] in counts:
            share = counts.total() / len(counts) / counts[row["intent"]]
            row["weight"] *= round(share**balance, 6)


def seal(golden: Iterable[Sample]) -> str:
    """Return the hash of what a golden set holds and how its rows are judged, in any order.

    Raises:
        ValueError: a sample is not of the golden split.
    """
    rows = []
    for sample in golden:
        if sample.split != "golden":
            raise ValueError(f"sample {sample.id} is of split `{sample.split}`, not `golden`")
        judged = [sample.must_pass, sample.family, sample.slices]
        rows.append(canonical([sample.id, sample.text, sample.intent, sample.arguments, *judged]))
    return content_id("golden", sorted(rows))


def rows_table(
    rows: Sequence[tuple[str, str]],
    *,
    intent: Sequence[str] | None = None,
    origin: Sequence[str] | None = None,
) -> pa.Table:
    """Return (id, text) rows as a job reads them, with the label and its origin where needed.

    Raises:
        ValueError: a column has another length than `rows`.
    """
    columns = {"id": [row[0] for row in rows], "text": [row[1] for row in rows]}
    for name, values in (("intent", intent), ("origin", origin)):
        if values is None:
            continue
        if len(values) != len(rows):
            raise ValueError(f"`{name}` has {len(values)} values for {len(rows)} rows")
        columns[name] = list(values)
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def name_row(text: str, intent: str) -> dict[str, Any]:
    """A dataset's row of what an intent is called: it teaches as one sample does."""
    return {
        "id": content_id("n", [text, intent]),
        "text": text,
        "intent": intent,
        "arguments": None,
        "origin": "name",
        "split": "train",
        "weight": 1.0,
        "family": "",
    }


def unlabelled_row(text: str) -> dict[str, Any]:
    """A dataset's row of a text that nobody labelled."""
    return {
        "id": content_id("u", text),
        "text": text,
        "intent": None,
        "arguments": None,
        "origin": "production",
        "split": "unlabelled",
        "weight": 0.0,
        "family": "",
    }


def _row(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "text": sample.text,
        "intent": sample.intent,
        "arguments": None if sample.arguments is None else canonical(sample.arguments),
        "origin": sample.origin,
        "split": sample.split,
        "weight": sample.weight,
        "family": sample.family,
    }
