"""Every JSON answer and every `--json` is as the OpenAPI document describes it."""

import contextlib
import copy
import json
import shutil

import jsonschema_rs
import pytest
from runtimes import Parrot, produce_failures, runtime_in, seed_runtime, turn_once
from socket_caller import through_socket
from starlette.testclient import TestClient
from typer.testing import CliRunner

from flywheel.api import ProcessStatus, create_app
from flywheel.api.routes import ROUTES
from flywheel.cli.app import app as command_line
from flywheel.cli.client import DaemonClient, DaemonReply
from flywheel.config import PromotionTable
from flywheel.turn import approve

RELOADED = {"changed": ["gates"], "waits_for": None, "at_once": [], "restart": ["api.tcp"]}
SPAN = {"name": "chat", "attributes": [{"key": "gen_ai.input.messages", "value": "[]"}]}
LOG = {"spanId": "1a", "attributes": [{"key": "gen_ai.evaluation.name", "value": "x"}]}
LOGS = {"resourceLogs": [{"scopeLogs": [{"logRecords": [LOG]}]}]}
SPANS = {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]}
EVENT = {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "wake me", "intent": "set_alarm"}
VERDICT = {"id": "f-1", "prediction_id": "p-1", "ts": "2026-11-22T06:00:00Z", "verdict": "correct"}


REVIEW = PromotionTable(mode="review", bootstrap="review")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder to be copied: a champion that a person approved, and a challenger that waits."""
    folder = tmp_path_factory.mktemp("world")
    runtime = runtime_in(folder, teacher=Parrot(), promotion=REVIEW)
    with contextlib.closing(runtime.store):
        seed_runtime(runtime)
        turn_once(runtime)
        approve(runtime, "d-1", "uid:0", "checked")
        produce_failures(runtime)
        turn_once(runtime)
    return folder


def copy_of(world, folder):
    shutil.copytree(world, folder, symlinks=True, dirs_exist_ok=True)
    return runtime_in(folder, teacher=Parrot(), promotion=REVIEW)


@pytest.fixture(scope="module")
def client(world, tmp_path_factory):
    runtime = copy_of(world, tmp_path_factory.mktemp("copy"))
    process_status = ProcessStatus(
        reload=lambda: RELOADED,
        restart=lambda: None,
        sources=lambda: [
            {
                "name": "log",
                "plugin": "jsonl",
                "state": "running",
                "events": 3,
                "last_event_at": None,
                "error": None,
                "backoff_s": None,
            }
        ],
    )
    yield TestClient(through_socket(create_app(runtime, process_status=process_status)))
    runtime.store.close()


@pytest.fixture(scope="module")
def described(client):
    """The OpenAPI document; an object has no other fields than it names."""
    document = client.get("/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        schema["additionalProperties"] = False
    return document


def held_against(described, schema, value):
    """What of a value is not as its schema says."""
    whole = {**copy.deepcopy(schema), "components": described["components"]}
    return [str(error) for error in jsonschema_rs.validator_for(whole).iter_errors(value)]


def schema_of(described, method, path, status=None):
    responses = described["paths"][path][method.lower()]["responses"]
    response = responses[str(status) if status else next(iter(responses))]
    return response["content"]["application/json"]["schema"]


def item_of(client, place=0):
    return client.get("/v1/labels").json()["items"][place]


SCORE = {"inference_id": "p-1", "metric_name": "thumbs_up", "value": True}


def rejected_line(client):
    return f"/v1/rejected/{client.get('/v1/rejected').json()['lines'][0]['id']}"


def golden_sample(client):
    lines = client.get("/v1/decisions/d-2").json()
    return {"sample": (lines["fixed"] + lines["broken"])[0]["sample"], "because": "doubtful"}


def lines(*events):
    return b"\n".join(
        event if isinstance(event, bytes) else json.dumps(event).encode() for event in events
    )


CALLS = [
    # method, path of the document, path asked, body as a value, bytes, or made by asking
    ("POST", "/v1/predictions", None, lines(EVENT, b"{")),
    ("POST", "/v1/predictions", None, b"{"),
    ("POST", "/v1/feedback", None, lines(VERDICT, VERDICT)),
    ("POST", "/v1/samples", None, {"text": "dawn", "intent": "set_alarm", "split": "golden"}),
    ("POST", "/v1/feedback", None, SCORE),
    ("GET", "/v1/scores", None, None),
    ("GET", "/v1/rejected", None, None),
    ("GET", "/v1/rejected/{id}", rejected_line, None),
    ("POST", "/v1/rejected/retry", None, {}),
    ("POST", "/v1/rejected/drop", None, {}),
    ("POST", "/v1/traces", None, SPANS),
    ("POST", "/v1/traces", None, {}),
    ("POST", "/v1/logs", None, LOGS),
    ("POST", "/v1/logs", None, {}),
    ("GET", "/v1/samples", None, None),
    ("GET", "/v1/traffic", None, None),
    ("GET", "/v1/golden", None, None),
    ("GET", "/v1/status", None, None),
    ("GET", "/v1/acts", "/v1/acts?limit=2", None),
    ("GET", "/v1/intents", None, None),
    ("GET", "/v1/intents", "/v1/intents?failing=1", None),
    ("GET", "/v1/synthesis", None, None),
    ("GET", "/v1/turns", None, None),
    ("GET", "/v1/turns/{id}", "/v1/turns/t-2", None),
    ("GET", "/v1/turns/{id}/refused", "/v1/turns/t-2/refused", None),
    ("GET", "/v1/decisions", None, None),
    ("GET", "/v1/decisions/{id}", "/v1/decisions/d-1", None),
    ("GET", "/v1/decisions/{id}", "/v1/decisions/d-2", None),
    ("GET", "/v1/decisions/{id}/verify", "/v1/decisions/d-2/verify", None),
    ("GET", "/v1/adapters", None, None),
    ("GET", "/v1/labels", None, None),
    ("GET", "/v1/labels", "/v1/labels?format=labelstudio", None),
    ("GET", "/v1/labels/agreement", None, None),
    ("POST", "/v1/labels", None, lambda client: {"item": item_of(client)["item"], "intent": None}),
    ("POST", "/v1/labels/undo", None, {}),
    ("POST", "/v1/labels/settle", None, {}),
    ("POST", "/v1/labels/import", "/v1/labels/import?format=labelstudio", [{"data": {}}]),
    ("POST", "/v1/disputes", None, golden_sample),
    ("GET", "/v1/check", None, None),
    ("POST", "/v1/decisions/{id}/approve", "/v1/decisions/d-2/approve", {"because": "good"}),
    ("POST", "/v1/rollback", None, {"because": "worse"}),
    ("POST", "/v1/turns", None, {}),
    ("POST", "/v1/turns/{id}/cancel", "/v1/turns/t-3/cancel", {}),
    ("POST", "/v1/reload", None, {}),
    ("POST", "/v1/erase", None, {"rater": "nobody"}),
    ("POST", "/v1/restore", None, lambda client: client.get("/v1/backup").content),
]
"""In this order, which is one story; `reject` is a story of its own."""


def ask(client, method, path, body):
    value = body(client) if callable(body) else body
    content = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return client.request(method, path, content=content)


def test_each_answer_of_a_story_is_as_described(client, described):
    wrong = {}
    for method, path, asked, body in CALLS:
        asked = asked(client) if callable(asked) else asked
        reply = ask(client, method, asked or path, body)
        assert reply.status_code in (200, 202, 422), (asked or path, reply.text)
        schema = schema_of(described, method, path, reply.status_code)
        problems = held_against(described, schema, reply.json())
        if problems:
            wrong[f"{method} {asked or path}"] = problems
    assert wrong == {}


def test_a_rejected_decision_is_as_described(world, tmp_path, described):
    runtime = copy_of(world, tmp_path)
    client = TestClient(through_socket(create_app(runtime)))
    reply = client.post("/v1/decisions/d-2/reject", json={"because": "no"})
    schema = schema_of(described, "POST", "/v1/decisions/{id}/reject", 200)
    assert held_against(described, schema, reply.json()) == []
    runtime.store.close()


def test_a_field_too_many_or_too_few_is_found(client, described):
    schema = schema_of(described, "GET", "/v1/status", 200)
    status = client.get("/v1/status").json()
    assert held_against(described, schema, status) == []
    assert held_against(described, schema, status | {"more": 1}) != []
    backlog = {name: count for name, count in status["backlog"].items() if name != "held"}
    assert held_against(described, schema, status | {"backlog": backlog}) != []


def test_the_stories_ask_every_route_that_answers_json():
    answering = {(route.method, route.path) for route in ROUTES if route.reply is not None}
    told = {(method, path) for method, path, _, _ in CALLS}
    assert answering == told | {("POST", "/v1/decisions/{id}/reject")}


COMMANDS = [
    ("status", "/v1/status"),
    ("intents", "/v1/intents"),
    ("turn list", "/v1/turns"),
    ("turn show t-2", "/v1/turns/{id}"),
    ("turn refused t-2", "/v1/turns/{id}/refused"),
    ("turn start --dry-run", "/v1/synthesis"),
    ("review list", "/v1/decisions"),
    ("review show d-2", "/v1/decisions/{id}"),
    ("review verify d-2", "/v1/decisions/{id}/verify"),
    ("adapters list", "/v1/adapters"),
    ("samples stats", "/v1/samples"),
    ("samples label --list", "/v1/labels"),
]


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    """Runs the command line against the application of a world."""
    runtime = copy_of(world, tmp_path)
    client = TestClient(through_socket(create_app(runtime)))

    def send(_, method, target, body, content_type):
        reply = client.request(method, target, content=body)
        return DaemonReply(status=reply.status_code, body=reply.content, content_type="")

    monkeypatch.setattr(DaemonClient, "_send", send)
    (tmp_path / "config.toml").write_text('[flywheel]\nstate_dir = "var"\n')
    env = {"FLYWHEEL_CONFIG": str(tmp_path / "config.toml")}
    yield lambda command: CliRunner().invoke(command_line, [*command.split(), "--json"], env=env)
    runtime.store.close()


def test_the_json_of_each_listing_command_is_as_its_route_describes_it(run, described):
    wrong = {}
    for command, path in COMMANDS:
        result = run(command)
        assert result.exit_code == 0, (command, result.output)
        problems = held_against(
            described, schema_of(described, "GET", path), json.loads(result.stdout)
        )
        if problems:
            wrong[command] = problems
    assert wrong == {}
