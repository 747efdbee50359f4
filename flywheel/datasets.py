"""Training datasets as tables with a content id, and the seal (content hash) of a golden set.

Pure functions from samples to tables and ids. Nothing here reads or writes a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

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
        ("intent", pa.string()),  # null in a row without a label
        ("arguments", pa.string()),  # JSON object; null where the arguments were not labelled
        ("origin", pa.string()),
        ("split", pa.string()),  # train, dev, unlabelled or threshold
        ("weight", pa.float64()),  # 0 in a dev row that is used for selection only
        ("family", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """Samples for training, and dev samples for choosing checkpoint and thresholds.

    Dev samples named in `learned` are trained on too, after the choice is made (`worker.train`).

    Raises:
        ValueError: a sample has another split than its role.
    """

    train: tuple[Sample, ...]
    dev: tuple[Sample, ...] = ()
    learned: frozenset[str] = frozenset()  # ids of dev samples
    unlabelled: tuple[str, ...] = ()  # production texts for self-training
    threshold: tuple[str, ...] = ()  # production texts that carry the out-of-scope threshold
    names: tuple[tuple[str, str], ...] = ()  # (intent name as words, intent)

    def __post_init__(self) -> None:
        for role, samples in (("train", self.train), ("dev", self.dev)):
            for sample in samples:
                if sample.split != role:
                    raise ValueError(
                        f"sample {sample.id} is of split `{sample.split}`, not `{role}`: "
                        "what judges a model may not teach it"
                    )


def assemble(samples: TrainingSet, balance: float = 0.0) -> tuple[Dataset, pa.Table]:
    """Return the dataset's record and its rows (columns `COLUMNS`), ordered by split and id.

    The id is a hash of the rows and does not depend on the order of the samples; repeated samples
    are deduplicated. The table belongs in `datasets/ID.parquet`.

    Args:
        samples: training and dev samples.
        balance: how far weights even out the intents' sample counts, 0..1. 0 keeps the samples'
            weights; 1 gives every intent the same total weight. Traffic is skewed, and a rare
            intent would lose recall to frequent neighbours.
    """
    unique = {(s.split, s.id): s for s in (*samples.train, *samples.dev)}
    rows = [_row(unique[key]) for key in sorted(unique)]
    for row in rows:
        if row["split"] == "dev" and row["id"] not in samples.learned:
            row["weight"] = 0.0
    rows += [name_row(text, intent) for text, intent in sorted(set(samples.names))]
    _even_out(rows, balance)
    rows += [unlabelled_row(text) for text in sorted(set(samples.unlabelled))]
    rows += [unlabelled_row(text, "threshold") for text in sorted(set(samples.threshold))]
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
    """Multiply each weight by (mean count / the intent's count in training) ** balance."""
    counts = Counter(row["intent"] for row in rows if row["split"] == "train")
    for row in rows:
        if row["intent"] in counts:
            share = counts.total() / len(counts) / counts[row["intent"]]
            row["weight"] *= round(share**balance, 6)


def seal(golden: Iterable[Sample]) -> str:
    """Return the content hash of a golden set: texts, labels, must-pass marks, families, slices.

    The order of the samples does not matter.

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
    weights: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> pa.Table:
    """Return the input table of a job.

    Args:
        rows: (id, text).
        intent, origin: optional columns, one value a row.
        weights: further columns of numbers, by name.

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
    texts = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    numbers = {name: pa.array(values, pa.float64()) for name, values in weights.items()}
    return pa.table({**texts, **numbers})


def name_row(text: str, intent: str) -> dict[str, Any]:
    """Return the training row of an intent's name as a text; it weighs as much as one sample."""
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


def unlabelled_row(
    text: str, split: Literal["unlabelled", "threshold"] = "unlabelled"
) -> dict[str, Any]:
    """Return the dataset row of a text without a label; one of `threshold` is never learned."""
    return {
        "id": content_id("u", text),
        "text": text,
        "intent": None,
        "arguments": None,
        "origin": "production",
        "split": split,
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
