"""Answers of adapters on rows: the same rows, the same float32 arithmetic, for each of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer
from torch import Tensor

from flywheel import files
from flywheel.errors import FlywheelError
from flywheel.worker import adapter as adapters
from flywheel.worker import base as bases
from flywheel.worker import lora, out_of_scope, slots
from flywheel.worker.adapter import Trained
from flywheel.worker.encoder import pool
from flywheel.worker.frozen_states import FrozenStates, Report, padded_ids
from flywheel.worker.progress import ProgressLog
from flywheel.worker.upper_layers import Finished, finish

# How long one answer takes: one text at a time, the adapters in turn, nothing from a cache.

_WARM_UP = 3  # answers of each adapter that are not counted


def interleaved(
    adapters: Mapping[str, tuple[Trained, FrozenStates]], texts: Sequence[str]
) -> dict[str, list[float]]:
    """Return milliseconds of each answer by adapter, but for the first few.

    Args:
        adapters: by id, with the trunk of their base; its cache is not read.
        texts: each is asked of every adapter before the next one.
    """
    answers = {name: _answering(*each) for name, each in adapters.items()}
    taken: dict[str, list[float]] = {name: [] for name in adapters}
    for number, text in enumerate(texts):
        for name, answer in answers.items():
            start = time.perf_counter()
            answer(text)
            if number >= _WARM_UP:
                taken[name].append(round(1000 * (time.perf_counter() - start), 3))
    return taken


def _answering(trained: Trained, trunk: FrozenStates) -> Callable[[str], None]:
    """All that an answer takes, from the text to intent and arguments."""
    whole = trunk.encoder.upper(0)
    if not trained.unchanged:
        whole = lora.merged(trunk.encoder, 0, trained.factors, trained.alpha)

    @torch.inference_mode()
    def answer(text: str) -> None:
        encodings = bases.encode(trunk.tokenizer, [text])
        ids, mask = padded_ids(encodings)
        states = whole.run(ids, mask)
        logits = trained.head.logits(pool(states, mask))
        found = out_of_scope.answer(logits, trained.labels, trained.scope)
        if trained.tag_head is not None:
            tags = trained.tag_head.logits(states[0, : len(encodings[0].ids)])
            wanted = trained.arguments.get(found.intents[0], ())
            slots.read(encodings[0], text, tags, trained.slots, wanted)

    return answer


@dataclass(frozen=True, slots=True)
class Calls:
    """One answer a row."""

    intents: Sequence[str]
    arguments: Sequence[Mapping[str, str]]
    confidence: Tensor  # float32 (n,)


def run(folder: Path, spec: Mapping[str, Any], progress: ProgressLog) -> dict[str, Any]:
    """Read rows.parquet (id, text), write predictions.parquet.

    Its columns: id, adapter, intent, arguments (a JSON object), confidence; the rows of one
    adapter after those of the other.

    Returns:
        values: hashes (content id by adapter, computed from the files read), rows, and
        latency_ms (by adapter, one answer at a time) where spec asks for `timed` rows.
    """
    rows = pq.read_table(folder / "rows.parquet", columns=["id", "text"]).to_pydict()
    cache = Path(spec["cache_dir"]) if spec.get("cache_dir") else None
    trunks: dict[tuple[str, int, int], FrozenStates] = {}
    hashes, tables = {}, []
    loaded: dict[str, tuple[Trained, FrozenStates]] = {}
    for number, (name, place) in enumerate(spec["adapters"].items()):
        trained = adapters.load(Path(place))
        hashes[name] = adapters.content_id(trained)
        key = (trained.base, trained.depth, trained.max_length)
        if key not in trunks:
            trunks[key] = _trunk(trained, cache)
        loaded[name] = trained, trunks[key]
        share = (number / len(spec["adapters"]), (number + 1) / len(spec["adapters"]))
        calls = answer(trained, trunks[key], rows["text"], progress.part(*share, name))
        tables.append(table(rows["id"], name, calls))
    write(folder / "predictions.parquet", tables)
    values: dict[str, Any] = {"hashes": hashes, "rows": len(rows["id"])}
    if spec.get("timed"):
        values["latency_ms"] = interleaved(loaded, rows["text"][: int(spec["timed"])])
    return values


def answer(
    trained: Trained, trunk: FrozenStates, texts: Sequence[str], report: Report = lambda _: None
) -> Calls:
    """What the adapter answers to each text."""
    return calls(trained, trunk.tokenizer, texts, finished(trained, trunk, texts, report))


def calls(trained: Trained, tokenizer: Tokenizer, texts: Sequence[str], done: Finished) -> Calls:
    """The answers that follow from what the adapted encoder made of the texts."""
    scores = trained.head.logits(done.embedding)
    found = out_of_scope.answer(scores, trained.labels, trained.scope)
    spelled: Sequence[Mapping[str, str]] = [{}] * len(texts)
    if trained.tag_head is not None and texts:
        spelled = [
            slots.read(
                encoding,
                text,
                trained.tag_head.logits(states_of),
                trained.slots,
                trained.arguments.get(intent, ()),
            )
            for encoding, text, states_of, intent in zip(
                bases.encode(tokenizer, texts), texts, done.tokens, found.intents, strict=True
            )
        ]
    return Calls(found.intents, spelled, found.confidence)


def finished(
    trained: Trained, trunk: FrozenStates, texts: Sequence[str], report: Report = lambda _: None
) -> Finished:
    """Embeddings of texts, and token states where the adapter spells arguments."""
    states = trunk.states(texts, lambda done: report(done / 2))
    tagged = trained.tag_head is not None and bool(texts)
    if trained.unchanged and not tagged:
        return Finished(states.embedding, [])
    return finish(
        lora.merged(trunk.encoder, trained.depth, trained.factors, trained.alpha),
        trunk.base.width,
        states.hidden,
        tokens=tagged,
        report=lambda done: report(0.5 + done / 2),
    )


def _trunk(trained: Trained, cache: Path | None) -> FrozenStates:
    base = bases.load(trained.base)
    if base.sha256 != trained.base_sha256:
        raise FlywheelError(
            f"base model {trained.base} is not the one the adapter was trained on",
            hint="put the old base back, or train again",
        )
    return FrozenStates(base, trained.depth, trained.max_length, cache)


def write(path: Path, tables: Sequence[pa.Table]) -> None:
    """Put the tables into one file, whole or not at all; it is on disk when this returns."""
    with files.replacing(path) as staged:
        pq.write_table(pa.concat_tables(tables), staged)


def table(ids: Sequence[str], name: str, calls: Calls) -> pa.Table:
    """The answers of one adapter, as `run` writes them."""
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "adapter": pa.array([name] * len(ids), pa.string()),
            "intent": pa.array(calls.intents, pa.string()),
            "arguments": pa.array(
                [json.dumps(a, ensure_ascii=False) for a in calls.arguments], pa.string()
            ),
            "confidence": pa.array(calls.confidence.double().numpy(), pa.float64()),
        }
    )
