"""What each role may: every route, over tokens and over the socket that only takes events."""

import dataclasses
import json
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from wire_events import prediction

from flywheel import promotion
from flywheel.api import create_app, responses, views
from flywheel.api.personal import figures_of, is_personal
from flywheel.api.routes import ROUTES
from flywheel.store import DiskFull, decisions, golden_set, samples
from flywheel.store import rejected as rejected_lines
from flywheel.web.guard import OPEN_PATHS, bearer
from flywheel.web.peer import (
    EVERY_ROLE,
    HIDDEN,
    INCLUDED,
    LISTENER,
    NO_LOGIN,
    UID,
    Caller,
    listens_at,
    of_token,
    on_socket,
)

MAIN, INGEST = "/var/lib/flywheel/flywheel.sock", "/run/flywheel/ingest.sock"
TAKES = {
    "anyone": "GET /healthz, GET /readyz",
    "ingest": "POST /v1/predictions, POST /v1/feedback, POST /v1/traces, POST /v1/logs",
    "label": "GET /v1/labels, POST /v1/labels, POST /v1/labels/undo, POST /v1/labels/settle, "
    "POST /v1/labels/import",
    "label or decide": "POST /v1/samples",
    "look": "GET /, GET /metrics, GET /v1/status, GET /v1/intents, GET /v1/turns, "
    "GET /v1/turns/{id}, GET /v1/decisions, GET /v1/decisions/{id}, "
    "GET /v1/decisions/{id}/verify, GET /v1/adapters, GET /v1/scores, GET /v1/samples, "
    "GET /v1/traffic, GET /v1/labels/agreement, GET /v1/acts, GET /v1/golden",
    "decide": "POST /v1/decisions/{id}/approve, POST /v1/decisions/{id}/reject, "
    "POST /v1/rollback, POST /v1/turns, POST /v1/turns/{id}/cancel, POST /v1/disputes, "
    "GET /v1/synthesis, GET /v1/turns/{id}/refused",
    "admin": "POST /v1/erase, POST /v1/reload, POST /v1/restore, GET /v1/backup, GET /v1/check, "
    "GET /v1/rejected, GET /v1/rejected/{id}, POST /v1/rejected/drop, POST /v1/rejected/retry",
}
"""What each route takes. A new route is added here by hand: who may call it is a decision."""
GOLDEN = {"text": "wake me", "intent": "set_alarm", "split": "golden"}
DATASET_ITEM = {
    "id": "di-1",
    "input": {"query": "wake me"},
    "expectedOutput": {"name": "set_alarm", "arguments": {}},
    "sourceTraceId": "tr-1",
    "split": "golden",
}
"""An item of a Langfuse dataset, which is a sample whatever it is sent as."""


def secret_of(role):
    return f"{role}-" * 8


@pytest.fixture
def app(runtime, process_status):
    named = [bearer(secret_of(role), role, "", frozenset({role})) for role in EVERY_ROLE]
    return create_app(runtime, process_status=process_status, tokens=named, main_socket=MAIN)


@pytest.fixture
def holder(app):
    """A caller over TCP who has one role."""
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:

        def of(role):
            client.headers["authorization"] = f"Bearer {secret_of(role)}"
            return client

        yield of


@pytest.fixture
def producer(app):
    """A caller on the socket that only takes events."""

    async def asked(scope, receive, send):
        await app({**scope, UID: 0, LISTENER: INGEST}, receive, send)

    with TestClient(asked, raise_server_exceptions=False) as client:
        yield client


def takes(route):
    return f"{route.role} or {route.or_role}" if route.or_role else route.role


def test_every_route_takes_the_role_that_was_decided_for_it():
    found = {}
    for route in ROUTES:
        found.setdefault(takes(route), set()).add(f"{route.method} {route.path}")
    assert found == {role: set(paths.split(", ")) for role, paths in TAKES.items()}


def test_every_path_of_the_application_but_its_description_is_a_route_with_a_role(app):
    paths = {(route.path, method) for route in app.routes for method in route.methods}
    known = {(route.path, route.method) for route in ROUTES}
    known |= {(path, "HEAD") for path, method in known if method == "GET"}
    assert paths - known == {("/openapi.json", "GET"), ("/openapi.json", "HEAD")}


@pytest.mark.parametrize("role", sorted(EVERY_ROLE))
def test_a_role_opens_its_routes_and_those_of_the_roles_it_includes_and_no_other(holder, role):
    client = holder(role)
    for route in ROUTES:
        has = {"anyone", role, *INCLUDED.get(role, ())}
        path = route.path.replace("{id}", "x-1")
        for method in {route.method, "HEAD" if route.method == "GET" else route.method}:
            status = client.request(method, path).status_code
            assert (status == 403) is not bool(has & {route.role, route.or_role}), (method, path)


@pytest.mark.parametrize("path", ["/v1/backup/", "/v1//backup", "//v1/backup", "/v1/%62ackup"])
def test_a_path_written_in_another_way_opens_nothing(holder, path):
    assert holder("ingest").get(path, follow_redirects=True).status_code in (403, 404)


def test_what_is_no_route_is_told_to_every_holder_and_to_no_stranger(app, holder):
    stranger = TestClient(app, base_url="http://127.0.0.1")
    for client, there, elsewhere in ((holder("ingest"), 200, 404), (stranger, 401, 401)):
        assert client.get("/openapi.json").status_code == there
        assert client.get("/v1/nothing").status_code == elsewhere
    assert holder("ingest").get("/v1/predictions").status_code == 405


def test_a_refusal_names_the_role_and_the_way_to_it(holder, producer):
    because = {"because": "mine is better"}
    assert holder("ingest").post("/v1/rollback", json=because).json() == {
        "error": "this takes the role decide; token ingest has ingest",
        "hint": 'who runs the daemon gives it: "decide" in `roles` of [api.tokens.ingest], '
        "and a restart",
    }
    assert producer.post("/v1/samples", json=GOLDEN).json() == {
        "error": "this takes the role label or decide; root (uid 0) has ingest",
        "hint": "this socket only takes events; the other one, flywheel.sock, gives every role",
    }


def test_the_ingest_socket_takes_events_and_gives_nothing_away(producer):
    assert producer.post("/v1/predictions", json=prediction(1)).json()["accepted"] == 1
    for route in ROUTES:
        if route.role not in ("ingest", "anyone"):
            path = route.path.replace("{id}", "x-1")
            assert producer.request(route.method, path).status_code == 403, path


@pytest.mark.parametrize(
    ("listener", "status"),
    [
        (MAIN, 200),
        (INGEST, 403),
        ("", 403),
        ("/run/flywheel.sock", 403),
        ("/proc/self/fd/9/flywheel.sock", 403),
    ],
)
def test_only_the_socket_in_the_state_folder_gives_every_role(app, listener, status):
    async def asked(scope, receive, send):
        await app({**scope, UID: 0, LISTENER: listener}, receive, send)

    assert TestClient(asked).get("/v1/status").status_code == status


def test_a_socket_whose_path_is_long_is_known_by_its_name_in_an_open_folder():
    path = "/" + "x" * 200 + "/flywheel.sock"
    assert listens_at("/proc/self/fd/9/flywheel.sock", path)
    for other in ("/proc/self/fd/9/ingest.sock", "/run/flywheel.sock", "/run/ingest.sock", ""):
        assert not listens_at(other, path)


def test_a_token_says_nothing_on_a_socket(producer):
    headers = {"authorization": f"Bearer {secret_of('admin')}"}
    assert producer.get("/v1/status", headers=headers).status_code == 403


# Samples: who may give which.


def golden_rows(runtime):
    with runtime.store.read() as con:
        return len(samples.golden(con)) if golden_set.current_generation(con) else 0


def test_label_gives_what_is_learned_and_decide_what_judges(holder):
    taken = {
        role: [
            split
            for split in ("seed", "train", "dev", "golden", "fresh")
            if holder(role).post("/v1/samples", json=GOLDEN | {"split": split}).status_code == 200
        ]
        for role in sorted(EVERY_ROLE)
    }
    assert taken == {
        "admin": ["seed", "train", "dev", "golden", "fresh"],
        "ask": [],
        "decide": ["dev", "golden", "fresh"],
        "ingest": [],
        "label": ["seed", "train"],
        "look": [],
        "prove": [],
    }


def test_of_a_batch_with_one_row_that_may_not_be_given_nothing_is_kept(holder, runtime):
    rows = [GOLDEN | {"split": "seed", "text": f"wake me {n}"} for n in range(3)]
    body = "\n".join(map(json.dumps, [*rows, {"text": 3}, GOLDEN]))
    reply = holder("label").post("/v1/samples", content=body)
    assert (reply.status_code, reply.json()["error"]) == (
        403,
        "a golden sample takes the role decide; token label has label",
    )
    with runtime.store.read() as con:
        assert samples.stats(con) == []
        assert rejected_lines.listed(con) == []


def test_what_a_seed_is_near_is_read_by_those_who_decide_alone(holder):
    golden = {"text": "wake me at six", "intent": "set_alarm", "split": "golden"}
    assert holder("decide").post("/v1/samples", json=golden).status_code == 200
    seed = golden | {"split": "seed"}
    told = {
        role: holder(role).post("/v1/samples", json=seed).json()["overlaps"][0]
        for role in ("label", "admin")
    }
    read = {role: (told[role]["text"], told[role]["near_intent"]) for role in told}
    assert read == {"label": ("", ""), "admin": ("wake me at six", "set_alarm")}
    assert told["label"]["near"] == told["admin"]["near"]


def test_a_new_generation_takes_decide_whatever_is_in_it(holder, runtime):
    holder("decide").post("/v1/samples", json=GOLDEN)
    seed = GOLDEN | {"split": "seed"}
    reply = holder("label").post("/v1/samples?new_generation=1", json=seed)
    assert reply.json()["error"] == (
        "a new golden generation takes the role decide; token label has label"
    )
    assert golden_rows(runtime) == 1


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/predictions?wait=1", "/v1/feedback"])
def test_samples_among_the_events_of_other_tools_take_their_role_too(holder, runtime, path):
    reply = holder("ingest").post(path, json=DATASET_ITEM)
    assert (reply.status_code, golden_rows(runtime)) == (403, 0)
    assert reply.json()["error"].startswith("a golden sample takes the role decide")
    assert holder("admin").post(path, json=DATASET_ITEM).status_code == 200
    assert golden_rows(runtime) == 1


def test_a_broken_sample_among_predictions_does_not_become_golden_by_a_retry(holder, runtime):
    broken = {**DATASET_ITEM, "expectedOutput": {"name": "brew_tea", "arguments": {}}}
    reply = holder("ingest").post("/v1/predictions", json=broken)
    assert len(reply.json()["rejected"]) == 1
    tea = dataclasses.replace(runtime.intents[0], name="brew_tea")
    runtime.intents = (*runtime.intents, tea)
    receipt = holder("admin").post("/v1/rejected/retry").json()
    assert (receipt["accepted"], golden_rows(runtime)) == (0, 0)
    assert receipt["rejected"][0]["why"] == (
        "is a sample, yet was sent as predictions; import it with `flywheel samples import`"
    )


# Attempts: counted, logged, and in the chain.


def acts(runtime):
    with runtime.store.read() as con:
        return [(act["what"], act["by"], act["because"]) for act in decisions.acts(con)]


def test_who_may_look_sees_who_did_what(holder):
    holder("decide").post("/v1/samples", json=GOLDEN)
    holder("look").post("/v1/rollback", json={"because": "mine"})
    newest, first = holder("look").get("/v1/acts").json()
    assert (newest["what"], newest["by"]) == ("refused", "token look")
    assert (first["what"], first["by"]) == ("golden.generation.opened", "token decide")
    assert holder("look").get("/v1/acts?limit=1").json() == [newest]
    assert holder("look").get("/v1/acts?limit=many").status_code == 400


def test_attempts_of_a_known_caller_are_in_the_chain_once_a_minute(holder, runtime, client):
    for _ in range(5):
        holder("ingest").post("/v1/rollback", json={"because": "mine"})
    holder("ingest").get("/v1/decisions/d-1")
    holder("look").post("/v1/rollback", json={"because": "mine"})
    assert acts(runtime) == [
        ("refused", "token look", "POST /v1/rollback"),
        ("refused", "token ingest", "GET /v1/decisions/{id}"),
        ("refused", "token ingest", "POST /v1/rollback"),
    ]
    assert 'flywheel_refused_requests_total{reason="role"} 7.0' in client.get("/metrics").text


def test_who_drops_rejected_lines_is_in_the_chain(holder, runtime):
    holder("ingest").post("/v1/predictions", content=b'{"text": 3}\n{"text": 4}\n')
    assert holder("admin").post("/v1/rejected/drop").json() == {"dropped": 2}
    holder("admin").post("/v1/rejected/drop")  # nothing is there any more
    assert acts(runtime) == [("rejected.dropped", "token admin", "2 lines")]


@pytest.mark.parametrize(
    "caller",
    [
        on_socket(0, NO_LOGIN, EVERY_ROLE),
        on_socket(0, HIDDEN, EVERY_ROLE),
        on_socket(4242, NO_LOGIN, EVERY_ROLE),
        on_socket(1, NO_LOGIN, EVERY_ROLE),
        on_socket(0, 1, EVERY_ROLE),
        of_token("", "", EVERY_ROLE),
        of_token("gates", "", EVERY_ROLE),
        of_token("ops", "ada", EVERY_ROLE),
    ],
    ids=str,
)
def test_the_chain_tells_from_the_actor_which_person_it_was(caller):
    assert promotion.person_of(str(caller)) == caller.person


def test_what_a_rule_refuses_at_a_door_to_the_champion_is_in_the_chain_with_its_words(
    holder, runtime
):
    because = {"because": "mine is better"}
    reply = holder("decide").post("/v1/rollback", json=because)
    assert reply.status_code == 409
    holder("admin").post("/v1/restore", content=b"no database")
    holder("decide").post("/v1/turns")  # refused too, and no door
    assert acts(runtime) == [
        ("refused", "token admin", "POST /v1/restore"),
        ("refused", "token decide", f"POST /v1/rollback: {reply.json()['error']}"),
    ]


def test_an_attempt_is_refused_also_where_the_chain_cannot_be_written(holder, runtime, monkeypatch):
    def full(*cells):
        raise DiskFull("no room")

    monkeypatch.setattr(decisions, "record_act", full)
    assert holder("ingest").post("/v1/rollback").status_code == 403


@given(st.sets(st.sampled_from(sorted(EVERY_ROLE))), st.sampled_from(sorted(EVERY_ROLE)))
def test_roles_only_add_up(roles, role):
    caller = Caller(name="ada", roles=frozenset(roles))
    each_alone = [Caller(name="ada", roles=frozenset({one})) for one in roles]
    assert caller.may(role) == any(alone.may(role) for alone in each_alone)
    assert caller.may(role) or role not in roles


def test_the_paths_that_strangers_are_answered_are_those_that_take_no_role():
    assert {route.path for route in ROUTES if route.role == "anyone"} == OPEN_PATHS


# What people wrote: not for who may only look.


def reached(reply):
    """Structs of an answer, and of what is in it."""
    if isinstance(reply, type) and issubclass(reply, responses.View):
        yield reply
        for hint in typing.get_type_hints(reply, include_extras=True).values():
            yield from reached(hint)
    for inner in typing.get_args(reply):
        yield from reached(inner)


WRITTEN = {"text", "texts", "words", "raters", "rater", "prompts", "examples"}
"""Names of fields that hold what people wrote, or who they are."""


def test_what_people_wrote_is_marked_in_every_answer_to_who_may_look():
    for route in ROUTES:
        for view in reached(route.reply) if route.role == "look" else ():
            hints = typing.get_type_hints(view, include_extras=True)
            for name in (name for name in WRITTEN & hints.keys() if hints[name] is not int):
                assert is_personal(hints[name]), f"{view.__name__}.{name}"


@pytest.mark.parametrize(("path", "view"), [("decisions", "decision"), ("turns", "turn")])
def test_who_may_look_sees_figures_and_no_text(holder, monkeypatch, path, view):
    added = responses.AddedSampleView(text="wake me", intent="set_alarm", origin="feedback")
    monkeypatch.setattr(views, f"{view}_view", lambda runtime, id: [added])
    told = {
        role: holder(role).get(f"/v1/{path}/x-1").json()[0] for role in ("admin", "decide", "look")
    }
    assert {role: one["text"] for role, one in told.items()} == {
        "admin": "wake me",
        "decide": "wake me",
        "look": "",
    }
    assert {one["intent"] for one in told.values()} == {"set_alarm"}


def test_samples_are_counted_for_who_may_look_and_listed_for_who_may_decide(holder):
    assert holder("look").get("/v1/samples").status_code == 200
    for role, status in (("look", 403), ("label", 403), ("decide", 200)):
        assert holder(role).get("/v1/samples?format=ndjson").status_code == status


def test_figures_keep_everything_that_is_not_marked():
    added = responses.AddedSampleView(text="wake me", intent="set_alarm", origin="feedback")
    view = responses.TrainingView(
        by_origin={"seed": 3}, added=[added], added_total=1, refused={}, raters={"u-7": 0.5}
    )
    assert msgspec.to_builtins(figures_of(view)) == {
        "by_origin": {"seed": 3},
        "added": [{"text": "", "intent": "set_alarm", "origin": "feedback"}],
        "added_total": 1,
        "refused": {},
        "raters": {},
    }
    unset = responses.TrainingView(by_origin={}, added=[], added_total=0, refused={})
    assert msgspec.to_builtins(figures_of(unset)) == msgspec.to_builtins(unset)
