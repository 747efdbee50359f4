"""Samples out: counted, or as NDJSON in the form they are imported in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel.api.personal import View
from flywheel.records import Sample
from flywheel.store import Connection, label_candidates, samples
from flywheel.turn import Runtime
from flywheel.web.guard import demand
from flywheel.web.http import BadRequest, answer


class SampleCountView(View):
    """Samples of a split, an origin and an intent."""

    split: str
    origin: str
    intent: str
    count: int


def _golden(con: Connection) -> list[Sample]:
    return [one.sample for one in samples.golden(con)]


_BY_SPLIT: Mapping[str, Callable[[Connection], Sequence[Sample]]] = {
    "train": samples.training,
    "dev": samples.dev,
    "golden": _golden,
    "fresh": samples.fresh,
}


async def export_samples(request: Request) -> Response:
    """Samples counted by split, origin and intent; with format=ndjson the samples themselves."""
    runtime: Runtime = request.app.state.runtime
    if request.query_params.get("format") != "ndjson":
        return answer(await run_in_threadpool(_stats, runtime))
    demand(request, "decide", "a list of samples")
    split = request.query_params.get("split", "")
    if split and split not in _BY_SPLIT:
        raise BadRequest(f"there is no split {split!r}", hint=f"one of {', '.join(_BY_SPLIT)}")
    lines = await run_in_threadpool(_lines, runtime, [split] if split else list(_BY_SPLIT))
    return Response(lines, media_type="application/x-ndjson")


def _stats(runtime: Runtime) -> list[dict[str, Any]]:
    with runtime.store.read() as con:
        labelled = label_candidates.vote_counts(con)
        stored = samples.stats(con)
    told = [
        {"split": "train", "origin": "feedback", "intent": intent, "count": count}
        for intent, count in labelled.items()
    ]
    return [*stored, *told]


def _lines(runtime: Runtime, splits: Sequence[str]) -> bytes:
    with runtime.store.read() as con:
        return b"".join(
            msgspec.json.encode(_event(one)) + b"\n"
            for split in splits
            for one in _BY_SPLIT[split](con)
        )


def _event(sample: Sample) -> dict[str, Any]:
    """The sample as `POST /v1/samples` takes it: a seed says seed, for its split is train."""
    seed = sample.split == "train" and sample.origin == "seed"
    return {
        "text": sample.text,
        "intent": sample.intent,
        "arguments": sample.arguments,
        "split": "seed" if seed else sample.split,
        "origin": sample.origin,
        "must_pass": sample.must_pass,
        "family": sample.family,
        "slices": sample.slices,
        "provenance": sample.provenance,
    }
