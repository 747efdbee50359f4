"""OTLP as OpenTelemetry's own exporter sends it, over a real socket."""

import base64
import contextlib
import gzip
import json
import socket
import threading

import pytest
import uvicorn
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from flywheel.api import create_app
from flywheel.store.columns import records
from tests.waiting import until


@pytest.fixture
def address(runtime):
    """Where the application listens, over TCP with a token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = create_app(runtime, token="s3cret")
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{port}/v1/traces"
    server.should_exit = True
    thread.join()


def stored(runtime):
    with runtime.store.read() as con:
        return records(con, "SELECT * FROM predictions ORDER BY id")


STARTED = 1763788620_000000000  # ns; not after the tests' clock

MESSAGES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "router-1",
    "gen_ai.input.messages": json.dumps(
        [{"role": "user", "parts": [{"type": "text", "content": "wake me at seven"}]}]
    ),
    "gen_ai.output.messages": json.dumps(
        [
            {
                "role": "assistant",
                "parts": [
                    {"type": "tool_call", "name": "set_alarm", "arguments": {"time": "seven"}}
                ],
                "finish_reason": "tool_call",
            }
        ]
    ),
}


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_exporter_of_opentelemetry_is_understood(runtime, address, compression):
    headers = {"authorization": "Bearer s3cret"}
    exporter = OTLPSpanExporter(address, headers=headers, compression=compression)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("router")
    with tracer.start_as_current_span("GET /"):  # nothing to do with GenAI
        pass
    with tracer.start_as_current_span("chat router-1", start_time=STARTED) as span:
        span.set_attributes(MESSAGES)
        span_id = f"{span.get_span_context().span_id:016x}"
    provider.shutdown()
    (row,) = stored(runtime)
    assert (row["id"], row["text"], row["intent"]) == (span_id, "wake me at seven", "set_alarm")
    assert (row["arguments"], row["adapter"]) == ('{"time":"seven"}', "router-1")


def span(**changes):
    attributes = [{"key": k, "value": {"stringValue": v}} for k, v in MESSAGES.items()]
    given = {"spanId": "00f067aa0ba902b7", "startTimeUnixNano": "1763788620000000000"}
    return {**given, "attributes": attributes, **changes}


def envelope(*spans):
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def test_json_is_taken_and_a_bad_span_spoils_no_other(client, runtime):
    bad = span(spanId=None)
    reply = client.post("/v1/traces", json=envelope(bad, span(), {"name": "GET /"}, 7))
    assert reply.status_code == 200
    assert reply.json()["partialSuccess"]["rejectedSpans"] == "1"
    assert [row["id"] for row in stored(runtime)] == ["00f067aa0ba902b7"]
    assert client.post("/v1/traces", json=envelope(span())).json() == {}
    assert len(stored(runtime)) == 1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"[]", {}, 400),
        (b"{}", {}, 200),
        (b'{"resourceSpans": 3}', {}, 400),
        (b"\xff\xff", {"content-type": "application/x-protobuf"}, 400),
        (b"", {"content-type": "application/x-protobuf"}, 200),
        (b"no gzip", {"content-encoding": "gzip"}, 400),
        (gzip.compress(b" " * (2**20 + 1)), {"content-encoding": "gzip"}, 413),
        (b"{}", {"content-encoding": "br"}, 400),
    ],
)
def test_what_is_no_otlp_is_told(client, body, headers, status):
    with contextlib.closing(client):
        assert client.post("/v1/traces", content=body, headers=headers).status_code == status


def evaluation(**changes):
    given = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "00f067aa0ba902b7",
        "timeUnixNano": "1763788630000000000",
        "eventName": "gen_ai.evaluation.result",
        "attributes": [
            {"key": "gen_ai.evaluation.name", "value": {"stringValue": "user_feedback"}},
            {"key": "gen_ai.evaluation.score.label", "value": {"stringValue": "thumbs_down"}},
        ],
    }
    return {**given, **changes}


def log_envelope(*log_records):
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": list(log_records)}]}]}


def verdicts(runtime):
    with runtime.store.read() as con:
        return records(con, "SELECT * FROM feedback ORDER BY id")


def test_log_records_are_taken_and_a_bad_one_spoils_no_other(client, runtime):
    nobody = evaluation(spanId="", traceId="")
    other = {"timeUnixNano": "1", "body": {"stringValue": "GET / 200"}}
    reply = client.post("/v1/logs", json=log_envelope(nobody, evaluation(), other))
    assert reply.status_code == 200
    assert reply.json()["partialSuccess"] == {
        "rejectedLogRecords": "1",
        "errorMessage": "gen_ai.response.id is missing",
    }
    (row,) = verdicts(runtime)
    assert (row["prediction_id"], row["verdict"]) == ("00f067aa0ba902b7", "incorrect")
    assert client.post("/v1/logs", json=log_envelope(other)).json() == {}


def test_log_records_in_protobuf_name_spans_as_json_does(client, runtime):
    message = json_format.ParseDict(
        log_envelope(
            evaluation(
                spanId=base64.b64encode(bytes.fromhex("00f067aa0ba902b7")).decode(),
                traceId=base64.b64encode(
                    bytes.fromhex("5b8efff798038103d269b633813fc60c")
                ).decode(),
            )
        ),
        logs_service_pb2.ExportLogsServiceRequest(),
    )
    reply = client.post(
        "/v1/logs",
        content=message.SerializeToString(),
        headers={"content-type": "application/x-protobuf"},
    )
    assert reply.status_code == 200
    answer = logs_service_pb2.ExportLogsServiceResponse.FromString(reply.content)
    assert answer.partial_success.rejected_log_records == 0
    assert [row["prediction_id"] for row in verdicts(runtime)] == ["00f067aa0ba902b7"]


def test_spans_without_messages_are_no_mistake_of_the_exporter(client, runtime):
    bare = span(attributes=[{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}])
    assert client.post("/v1/traces", json=envelope(bare)).json() == {}
    assert stored(runtime) == []
