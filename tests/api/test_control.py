import base64
import getpass
import hashlib
import os
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from socket_caller import through_socket
from starlette.testclient import TestClient
from wire_events import ndjson, prediction

from flywheel import files, turn
from flywheel.api import create_app
from flywheel.api.page import render
from flywheel.config import load
from flywheel.records import Adapter, Decision, GateResult
from flywheel.store import adapters, decisions, turns

ME = f"{getpass.getuser()} (uid {os.getuid()})"
BECAUSE = {"because": "读过例子"}


def adapter(name, runtime, state):
    folder = runtime.adapters_dir / name
    folder.mkdir(parents=True)
    (folder / "flywheel.json").write_text("{}")
    return Adapter(
        id=name,
        base="b",
        recipe="flywheel",
        dataset="ds-1",
        parent=None,
        created_at=runtime.clock(),
        state=state,
        files=files.hashes(folder),
    )


@pytest.fixture
def waiting(runtime):
    """Champion a-1 in service, and decision d-1: a-2 passed the gates and waits."""
    with runtime.store.write() as con:
        adapters.add(con, adapter("a-1", runtime, "champion"))
        adapters.add(con, adapter("a-2", runtime, "challenger"))
        adapters.set_champion(con, "a-1", "d-0", runtime.clock())
        decisions.add(
            con,
            Decision(
                id="d-1",
                turn=None,
                challenger="a-2",
                champion="a-1",
                verdict="promote",
                status="pending",
                by="gates",
                because="every gate passed <b>",
                at=runtime.clock(),
                gates=(GateResult(gate="hygiene", verdict="PASS"),),
            ),
        )
    runtime.serving.promote("a-1")
    return "d-1"


def test_status_has_the_fields_of_the_contract(client):
    said = client.get("/v1/status").json()
    fields = [
        "version",
        "uptime_s",
        "champion",
        "turn",
        "next_turn",
        "backlog",
        "sources",
        "golden",
        "problems",
    ]
    assert set(fields) <= set(said)
    assert said["champion"] is None
    assert said["golden"]["generation"] is None


def test_status_sums_what_answers_stand_for_and_what_they_cost(client):
    sent = [
        prediction(1, adapter="upstream:x", answers=4, cost_usd=0.5),
        prediction(2, adapter="upstream:x", cost_usd=0.25),
        prediction(3, adapter="a-1"),
    ]
    client.post("/v1/predictions", content=ndjson(*sent))
    said = client.get("/v1/status").json()
    assert said["costs"] == [{"adapter": "upstream:x", "usd": 0.75, "answers": 5}]
    assert said["backlog"]["predictions"] == 6
    (row,) = [one for one in client.get("/v1/intents").json() if one["intent"] == "play_music"]
    assert row["predictions"] == 6


def test_status_names_the_variables_that_go_before_the_file(runtime, client, monkeypatch):
    assert client.get("/v1/status").json()["overrides"] == []
    monkeypatch.setenv("FLYWHEEL_TRAINING__SEED", "7")
    runtime.config = load(runtime.config.path)
    assert client.get("/v1/status").json()["overrides"] == ["FLYWHEEL_TRAINING__SEED"]


def make_ready(client):
    for split in ("seed", "golden"):
        row = {"text": f"wake me at seven {split}", "intent": "set_alarm", "split": split}
        assert client.post("/v1/samples", json=row).json()["accepted"] == 1


def test_a_turn_is_opened_by_its_caller_and_there_is_one_at_a_time(client, runtime):
    make_ready(client)
    reply = client.post("/v1/turns")
    assert reply.status_code == 202
    assert (reply.json()["id"], reply.json()["trigger"]) == ("t-1", f"asked by {ME}")
    assert runtime.wake.is_set()
    again = client.post("/v1/turns", json={})
    assert again.status_code == 409
    assert "t-1 is open" in again.json()["error"]
    assert again.json()["hint"]
    assert [one["id"] for one in client.get("/v1/turns").json()] == ["t-1"]


def test_a_turn_is_refused_at_once_while_there_is_nothing_to_learn_or_judge_by(client):
    refused = client.post("/v1/turns")
    assert (refused.status_code, refused.json()) == (
        409,
        {
            "error": "no turn can be opened: there is nothing to learn from and there is no golden "
            "set to judge by",
            "hint": "`flywheel samples import FILE --split seed`; "
            "`flywheel samples import FILE --split golden`",
        },
    )
    assert client.get("/v1/turns").json() == []
    assert [each for each in client.get("/v1/status").json()["problems"] if "no turn" in each] == [
        "no turn can be opened: there is nothing to learn from: "
        "`flywheel samples import FILE --split seed`",
        "no turn can be opened: there is no golden set to judge by: "
        "`flywheel samples import FILE --split golden`",
    ]
    make_ready(client)
    assert client.post("/v1/turns").status_code == 202


def test_what_people_do_is_in_the_log_with_who_and_why(client, waiting, caplog):
    caplog.set_level("INFO", logger="flywheel.web.peer")
    make_ready(client)
    client.post("/v1/turns")
    client.post("/v1/turns/t-1/cancel")
    client.post("/v1/decisions/d-1/approve", json={"because": "read\n the examples\x1b[2J"})
    client.post("/v1/rollback", json={"because": "complaints"})
    told = [line.getMessage() for line in caplog.records if line.name == "flywheel.web.peer"]
    assert told == [
        f"1 samples imported by {ME}",
        f"1 samples imported by {ME}",
        f"t-1 opened by {ME}",
        f"t-1 cancelled by {ME}",
        f"d-1 approved by {ME}: read the examples [2J",
        f"d-2: rolled back to a-1 by {ME}: complaints",
    ]


def test_a_turn_is_cancelled_once(client):
    make_ready(client)
    client.post("/v1/turns")
    assert client.post("/v1/turns/t-1/cancel").json()["state"] == "cancelled"
    assert client.get("/v1/turns/t-1").json()["error"] == f"cancelled by {ME}"
    assert client.post("/v1/turns/t-1/cancel").status_code == 409


def test_approving_promotes_and_keeps_who_and_why(client, runtime, waiting):
    said = client.post("/v1/decisions/d-1/approve", json=BECAUSE).json()
    assert (said["status"], said["challenger"]) == ("applied", "a-2")
    assert (said["events"][-1]["by"], said["events"][-1]["because"]) == (ME, "读过例子")
    assert client.get("/v1/status").json()["champion"] == "a-2"
    assert runtime.serving.serving() == "a-2"
    again = client.post("/v1/decisions/d-1/approve", json=BECAUSE)
    assert again.status_code == 409
    assert f"applied already, by {ME}: 读过例子" in again.text


def test_rejecting_leaves_the_champion_and_forbids_approval(client, waiting):
    assert client.post("/v1/decisions/d-1/reject", json=BECAUSE).json()["status"] == "rejected"
    assert client.get("/v1/status").json()["champion"] == "a-1"
    assert client.post("/v1/decisions/d-1/approve", json=BECAUSE).status_code == 409


def test_rollback_goes_back_and_says_who(client, runtime, waiting):
    client.post("/v1/decisions/d-1/approve", json=BECAUSE)
    said = client.post("/v1/rollback", json=BECAUSE).json()
    assert (said["verdict"], said["challenger"], said["by"]) == ("rollback", "a-1", ME)
    assert runtime.serving.serving() == "a-1"
    assert {one["id"]: one["state"] for one in client.get("/v1/adapters").json()}[
        "a-1"
    ] == "champion"


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"because": "  "}', b'{"because": 1}', b'{"because": "x", "why": 1}', b"["],
)
def test_a_decision_needs_a_reason(client, waiting, body):
    for path in ("/v1/decisions/d-1/approve", "/v1/decisions/d-1/reject", "/v1/rollback"):
        reply = client.post(path, content=body)
        assert reply.status_code == 400
        assert reply.json()["error"]
    assert client.get("/v1/decisions/d-1").json()["status"] == "pending"


@pytest.mark.parametrize(
    "path", ["/v1/turns/t-9", "/v1/decisions/d-9", "/v1/nothing", "/v1/turns/../turns"]
)
def test_what_is_not_there_is_404_with_what_to_do(client, path):
    reply = client.get(path)
    assert reply.status_code == 404 or path.endswith("../turns")
    if reply.status_code == 404:
        assert reply.json()["error"]
        assert reply.json()["hint"]


def test_a_wrong_method_is_405_as_json(client):
    reply = client.post("/v1/status")
    assert reply.status_code == 405
    assert "GET" in reply.headers["allow"]
    assert "status" in reply.json()["error"]


def test_a_control_body_over_its_limit_is_413(client, waiting):
    body = b'{"because": "' + b"x" * 70_000 + b'"}'
    assert client.post("/v1/decisions/d-1/approve", content=body).status_code == 413


def test_intents_are_listed_worst_first(client):
    assert {one["intent"] for one in client.get("/v1/intents").json()} >= {"set_alarm"}
    assert client.get("/v1/intents?failing=1").json() == []


def test_a_daemon_whose_database_is_lost_says_so(client, runtime):
    runtime.store.close()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    reply = client.get("/v1/status")
    assert reply.status_code == 503
    assert "database" in reply.json()["error"]


def test_a_defect_is_500_without_a_word_of_what_was_said(client, runtime, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise ValueError("我要听音乐")

    monkeypatch.setattr(turns, "list_turns", broken)
    reply = client.get("/v1/turns")
    assert reply.status_code == 500
    assert reply.json()["error"] == "the daemon failed on this request"
    assert "音乐" not in reply.text
    assert [record.message for record in caplog.records] == ["GET /v1/turns broke"]


def test_readiness_tells_what_is_wrong_with_the_turns(runtime):
    from starlette.testclient import TestClient

    from flywheel.api import ProcessStatus, create_app

    app = create_app(
        runtime,
        process_status=ProcessStatus(problems=lambda: ("the thread that runs turns is dead",)),
    )
    reply = TestClient(app).get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["error"] == "the thread that runs turns is dead"


def test_the_page_shows_what_waits_escaped_and_without_script(client, waiting):
    reply = client.get("/")
    assert reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "d-1" in reply.text
    assert "Every gate passed &lt;b&gt;" in reply.text
    assert "<b>" not in reply.text
    assert "<script" not in reply.text
    assert "http" not in reply.text


def test_the_policy_of_the_page_admits_its_own_style_and_no_other(client):
    reply = client.get("/")
    style = reply.text.partition("<style>")[2].partition("</style>")[0]
    seal = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{seal}'" in reply.headers["content-security-policy"]


@given(st.text(alphabet="<>\"'&{}%音 a", min_size=1))
def test_whatever_a_text_says_the_page_shows_it_as_text(hostile):
    status = {"turn": None, "next_turn": None, "champion": hostile, "version": hostile}
    confused = [{"intent": hostile, "count": 2}]
    intent = {"intent": hostile, "predictions": 1, "feedback": 1, "errors": 1, "failing": True}
    turn = {"id": "t-1", "state": "done", "trigger": hostile, "opened_at": "", "decision": None}
    shown = render(
        status | {"problems": [hostile]},
        [{"id": "d-1", "summary": hostile, "labels_wanted": {hostile: 2}, "at": ""}],
        [intent | {"error_rate": 0.5, "low": 0.1, "high": 0.9, "confused_with": confused}],
        [turn],
    )
    texts = TextOf()
    texts.feed(shown)
    assert texts.tags <= KNOWN_TAGS
    assert "".join(texts.parts).count(hostile) >= 5


KNOWN_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer"),
    *("h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "span", "code"),
}


class TextOf(HTMLParser):
    """The text between the tags of a page, and the names of the tags."""

    def __init__(self):
        super().__init__()
        self.tags, self.parts = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"class", "lang", "charset", "name", "content"}

    def handle_data(self, data):
        self.parts.append(data)


def test_metrics_count_requests_by_route_and_never_by_id(client, waiting):
    client.get("/v1/decisions/d-1")
    client.get("/v1/turns/t-9")
    client.get("/%22%0A")
    page = client.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = page.text.splitlines()
    one = '{method="GET",route="/v1/decisions/{id}",status="200"}'
    assert f"flywheel_http_requests_total{one} 1.0" in lines
    assert 'flywheel_http_requests_total{method="GET",route="other",status="404"} 1.0' in lines
    assert "flywheel_decisions_pending 1.0" in lines
    assert "t-9" not in page.text


def test_metrics_say_how_long_the_answers_of_a_route_took(client, waiting):
    client.get("/v1/decisions/d-1")
    client.get("/v1/decisions/d-1")
    lines = client.get("/metrics").text.splitlines()
    route = 'route="/v1/decisions/{id}"'
    assert f'flywheel_http_request_seconds_bucket{{le="+Inf",{route}}} 2.0' in lines
    assert f"flywheel_http_request_seconds_count{{{route}}} 2.0" in lines


def test_metrics_say_how_long_a_turn_is_open_and_what_room_is_left(client, runtime):
    assert "flywheel_turn_open_seconds 0.0" in client.get("/metrics").text
    with runtime.store.write() as con:
        turns.open_turn(con, "test", runtime.clock() - timedelta(minutes=90), "diagnose")
    lines = client.get("/metrics").text.splitlines()
    assert "flywheel_turn_open_seconds 5400.0" in lines
    free = next(line for line in lines if line.startswith("flywheel_state_free_bytes "))
    assert float(free.split()[1]) > 0


def test_the_names_of_the_metrics_are_a_contract(client):
    client.get("/v1/status")
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    assert {(family.name, family.type) for family in families} == {
        ("flywheel_events_loaded", "gauge"),
        ("flywheel_lines_not_taken", "counter"),
        ("flywheel_refused_requests", "counter"),
        ("flywheel_scores", "gauge"),
        ("flywheel_rejected_lines", "gauge"),
        ("flywheel_sources_stuck", "gauge"),
        ("flywheel_info", "gauge"),
        ("flywheel_uptime_seconds", "gauge"),
        ("flywheel_predictions", "gauge"),
        ("flywheel_feedback", "gauge"),
        ("flywheel_feedback_waiting", "gauge"),
        ("flywheel_decisions_pending", "gauge"),
        ("flywheel_decisions_parity_failed", "gauge"),
        ("flywheel_labels_wanted", "gauge"),
        ("flywheel_golden_queries_left", "gauge"),
        ("flywheel_turn_open", "gauge"),
        ("flywheel_turn_open_seconds", "gauge"),
        ("flywheel_spool_used_ratio", "gauge"),
        ("flywheel_state_free_bytes", "gauge"),
        ("flywheel_champion_unserved", "gauge"),
        ("flywheel_problems", "gauge"),
        ("flywheel_decisions_applying", "gauge"),
        ("flywheel_redo_bytes", "gauge"),
        ("flywheel_redo_lost", "gauge"),
        ("flywheel_redo_replayed", "gauge"),
        ("flywheel_redo_unproved_seconds", "gauge"),
        ("flywheel_parity_asked", "gauge"),
        ("flywheel_parity_differing", "gauge"),
        ("flywheel_serving_waits", "gauge"),
        ("flywheel_watch_open", "gauge"),
        ("flywheel_traffic_alarms", "gauge"),
        ("flywheel_watch_harm", "gauge"),
        ("flywheel_watch_e_value", "gauge"),
        ("flywheel_events", "counter"),
        ("flywheel_http_requests", "counter"),
        ("flywheel_http_request_seconds", "histogram"),
        ("process_cpu_seconds", "counter"),
        ("process_max_fds", "gauge"),
        ("process_open_fds", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_start_time_seconds", "gauge"),
        ("process_virtual_memory_bytes", "gauge"),
    }
    assert all(family.documentation for family in families)


def test_each_application_counts_for_itself(runtime):
    first, second = (TestClient(through_socket(create_app(runtime))) for _ in range(2))
    first.get("/v1/status")
    assert 'route="/v1/status"' in first.get("/metrics").text
    assert 'route="/v1/status"' not in second.get("/metrics").text


def test_the_openapi_document_describes_every_route(client):
    from flywheel.api.routes import ROUTES

    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    described = {(path, m.upper()) for path, ops in document["paths"].items() for m in ops}
    assert described == {(one.path, one.method) for one in ROUTES}
    approve = document["paths"]["/v1/decisions/{id}/approve"]["post"]
    assert approve["parameters"][0]["name"] == "id"
    assert document["components"]["schemas"]["Reason"]["required"] == ["because"]
    ids = [op["operationId"] for ops in document["paths"].values() for op in ops.values()]
    assert len(ids) == len(set(ids))


def test_after_a_restore_to_before_the_first_champion_none_is_served(runtime):
    (runtime.adapters_dir / "a-9").mkdir(parents=True)
    runtime.serving.promote("a-9")
    turn.reconcile(runtime)
    assert runtime.serving.serving() is None
