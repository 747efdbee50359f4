"""OTLP over HTTP: spans of the GenAI conventions, as any OpenTelemetry exporter sends them.

Protobuf or JSON, gzip or not. Spans that have nothing to do with GenAI are passed over without a
word; a GenAI span that cannot be read is a partial success that says why, as OTLP has it.
"""

from __future__ import annotations

import base64
import importlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel.api import ingest
from flywheel.api.http import BadRequest, TooLarge, answer, read_body
from flywheel.api.responses import View
from flywheel.formats import otel
from flywheel.intake import Rejection
from flywheel.turn import Runtime

_PROTOBUF = "application/x-protobuf"
_IDS = ("traceId", "spanId", "parentSpanId")  # bytes in protobuf, hexadecimal in OTLP's JSON
_LEVELS = (
    ("resourceSpans", "scopeSpans", "spans"),
    ("resourceLogs", "scopeLogs", "logRecords"),
)


class PartialSuccessView(View):
    """Spans that were rejected, as OTLP names them."""

    rejectedSpans: str  # noqa: N815  OTLP's name
    errorMessage: str  # noqa: N815  OTLP's name


class ExportedTracesView(View):
    """An ExportTraceServiceResponse of OTLP."""

    partialSuccess: PartialSuccessView | UnsetType = UNSET  # noqa: N815  OTLP's name


async def traces(request: Request) -> Response:
    """Take spans in OTLP, protobuf or JSON."""
    runtime: Runtime = request.app.state.runtime
    limit = runtime.config.api.max_body_mb * 2**20
    body = _inflated(await read_body(request, limit), request, limit)
    binary = request.headers.get("content-type", "").startswith(_PROTOBUF)
    lines = await run_in_threadpool(_lines, body, binary=binary)
    rejected: Sequence[Rejection] = ()
    if lines:
        receipt = await ingest.accept(request, "predictions", b"\n".join(lines), otel.NAME)
        rejected = receipt.rejected
    why = "; ".join(f"{bad.field} {bad.why}" for bad in rejected[:5])
    return _said(len(rejected), why, binary=binary)


def _inflated(body: bytes, request: Request, limit: int) -> bytes:
    """The body without its gzip, which may not be a bomb."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise BadRequest(f"the encoding {encoding} is not known", hint="send gzip, or none")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is no gzip: {error}") from error
    if len(plain) > limit:
        raise TooLarge(f"the body is over {limit / 2**20:g} MiB", hint="send smaller batches")
    return plain


def _lines(body: bytes, *, binary: bool) -> list[bytes]:
    """One line a span that speaks of GenAI."""
    envelope = _from_protobuf(body) if binary else _from_json(body)
    return [msgspec.json.encode(span) for span in _spans(envelope) if otel.recognises(span)]


def _from_json(body: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"the body is no OTLP JSON: {error}") from error


def _from_protobuf(body: bytes) -> Mapping[str, Any]:
    service, json_format, message = _protobuf()
    try:
        said = service.ExportTraceServiceRequest.FromString(body)
    except message.DecodeError as error:
        raise BadRequest("the body is no OTLP protobuf") from error
    envelope: dict[str, Any] = json_format.MessageToDict(said)
    for span in _spans(envelope):
        for name in _IDS:
            if name in span:
                span[name] = base64.b64decode(span[name]).hex()
    return envelope


def _spans(envelope: Mapping[str, Any]) -> Iterator[Any]:
    """The innermost objects; what has not the envelope's shape is passed over."""
    for outer, middle, inner in _LEVELS:
        for resource in _objects(envelope, outer):
            for scope in _objects(resource, middle):
                yield from _objects(scope, inner)


def _objects(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    listed = value.get(name)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _said(rejected: int, why: str, *, binary: bool) -> Response:
    if not binary:
        told = {"rejectedSpans": str(rejected), "errorMessage": why}
        return answer({"partialSuccess": told} if rejected else {})
    service, _, _ = _protobuf()
    reply = service.ExportTraceServiceResponse()
    if rejected:
        reply.partial_success.rejected_spans = rejected
        reply.partial_success.error_message = why
    return Response(reply.SerializeToString(), media_type=_PROTOBUF)


def _protobuf() -> tuple[Any, Any, Any]:
    """OTLP's messages; the packages are an extra."""
    try:
        return (
            importlib.import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2"),
            importlib.import_module("google.protobuf.json_format"),
            importlib.import_module("google.protobuf.message"),
        )
    except ImportError as error:
        raise BadRequest(
            "OTLP protobuf cannot be read: opentelemetry-proto is not installed",
            hint="pip install 'flywheel[otlp]', or have the exporter send JSON",
        ) from error
