"""OTLP over HTTP: spans and log records of GenAI, as any OpenTelemetry exporter sends them.

Protobuf or JSON, compressed or not. Records that have nothing to do with GenAI are passed over
without a word; one of GenAI that cannot be read is a partial success that says why, as OTLP has it.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel.api import ingest
from flywheel.api.personal import View
from flywheel.formats import BadEvent, otel
from flywheel.intake import Rejection
from flywheel.turn import Runtime
from flywheel.web.http import BadRequest, answer, read_plain_body

_PROTOBUF = "application/x-protobuf"
_IDS = ("traceId", "spanId", "parentSpanId")  # bytes in protobuf, hexadecimal in OTLP's JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signal:
    """What OTLP exports, and the names it has for that."""

    module: str  # of the protobuf messages
    message: str  # Export…ServiceRequest and …Response
    rejected: str  # field of a partial success, in protobuf
    json_rejected: str  # the same in JSON


_TRACES = _Signal(
    module="opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    message="ExportTraceService",
    rejected="rejected_spans",
    json_rejected="rejectedSpans",
)
_LOGS = _Signal(
    module="opentelemetry.proto.collector.logs.v1.logs_service_pb2",
    message="ExportLogsService",
    rejected="rejected_log_records",
    json_rejected="rejectedLogRecords",
)


class PartialSuccessView(View):
    """Spans that were rejected, as OTLP names them."""

    rejectedSpans: str  # noqa: N815  OTLP's name
    errorMessage: str  # noqa: N815  OTLP's name


class ExportedTracesView(View):
    """An ExportTraceServiceResponse of OTLP."""

    partialSuccess: PartialSuccessView | UnsetType = UNSET  # noqa: N815  OTLP's name


class PartialLogsView(View):
    """Log records that were rejected, as OTLP names them."""

    rejectedLogRecords: str  # noqa: N815  OTLP's name
    errorMessage: str  # noqa: N815  OTLP's name


class ExportedLogsView(View):
    """An ExportLogsServiceResponse of OTLP."""

    partialSuccess: PartialLogsView | UnsetType = UNSET  # noqa: N815  OTLP's name


async def traces(request: Request) -> Response:
    """Take spans in OTLP, protobuf or JSON."""
    return await _export(request, _TRACES)


async def logs(request: Request) -> Response:
    """Take log records and events in OTLP, protobuf or JSON."""
    return await _export(request, _LOGS)


async def _export(request: Request, signal: _Signal) -> Response:
    runtime: Runtime = request.app.state.runtime
    limit = runtime.config.api.max_body_mb * 2**20
    binary = request.headers.get("content-type", "").startswith(_PROTOBUF)
    body = await read_plain_body(request, limit, text=not binary)
    lines = await run_in_threadpool(_lines, body, signal, binary=binary)
    rejected: Sequence[Rejection] = ()
    if lines:
        receipt = await ingest.accept(request, "predictions", b"\n".join(lines), otel.NAME)
        rejected = receipt.rejected
    why = "; ".join(f"{bad.field} {bad.why}" for bad in rejected[:5])
    return _said(len(rejected), why, signal, binary=binary)


def _lines(body: bytes, signal: _Signal, *, binary: bool) -> list[bytes]:
    """One line a record that speaks of GenAI."""
    envelope = _from_protobuf(body, signal) if binary else _from_json(body)
    try:
        records = otel.unfolded(envelope)
    except BadEvent as error:
        raise BadRequest(f"the body is no OTLP JSON: {error.field} {error.why}") from error
    return [msgspec.json.encode(record) for record in records if otel.concerns(record)]


def _from_json(body: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"the body is no OTLP JSON: {error}") from error


def _from_protobuf(body: bytes, signal: _Signal) -> Mapping[str, Any]:
    service, json_format, message = _protobuf(signal)
    try:
        request = getattr(service, f"{signal.message}Request").FromString(body)
    except message.DecodeError as error:
        raise BadRequest("the body is no OTLP protobuf") from error
    envelope: dict[str, Any] = json_format.MessageToDict(request)
    _ids_in_hexadecimal(envelope)
    return envelope


def _ids_in_hexadecimal(value: Any) -> None:
    """Rewrite the ids of spans in place, as OTLP's JSON has them."""
    if isinstance(value, list):
        for item in value:
            _ids_in_hexadecimal(item)
    elif isinstance(value, dict):
        for name in _IDS:
            if isinstance(value.get(name), str):
                value[name] = base64.b64decode(value[name]).hex()
        for name, item in value.items():
            if name != "attributes":
                _ids_in_hexadecimal(item)


def _said(rejected: int, why: str, signal: _Signal, *, binary: bool) -> Response:
    if not binary:
        told = {signal.json_rejected: str(rejected), "errorMessage": why}
        return answer({"partialSuccess": told} if rejected else {})
    service, _, _ = _protobuf(signal)
    reply = getattr(service, f"{signal.message}Response")()
    if rejected:
        setattr(reply.partial_success, signal.rejected, rejected)
        reply.partial_success.error_message = why
    return Response(reply.SerializeToString(), media_type=_PROTOBUF)


def _protobuf(signal: _Signal) -> tuple[Any, Any, Any]:
    """OTLP's messages; the packages are an extra."""
    try:
        return (
            importlib.import_module(signal.module),
            importlib.import_module("google.protobuf.json_format"),
            importlib.import_module("google.protobuf.message"),
        )
    except ImportError as error:
        raise BadRequest(
            "OTLP protobuf cannot be read: opentelemetry-proto is not installed",
            hint="pip install 'flywheel[otlp]', or have the exporter send JSON",
        ) from error
