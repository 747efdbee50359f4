"""Every route of the server: described, for those who may, and never answered with a defect."""

import copy
import json
import re

import httpx
import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from word_service import adapter_folder, running

from flywheel.config import ApiTable, TokenTable
from flywheel.errors import ConfigError
from flywheel.inference.interface import SERVE_ROUTES
from flywheel.web.guard import bearer
from flywheel.web.tokens import tokens_of

CHAT = {"model": "champion", "messages": [{"role": "user", "content": "play jazz"}]}
VERDICT = {"prediction_id": "p-1", "verdict": "correct"}
CALLS = [
    ("POST", "/v1/predict", None, {"text": "play jazz"}),
    ("POST", "/v1/predict", None, {"inputs": ["play jazz", {"text": "hello"}]}),
    ("POST", "/v1/chat/completions", None, CHAT),
    ("POST", "/v1/chat/completions", None, {**CHAT, "model": "other"}),
    ("POST", "/v1/responses", None, {"model": "champion", "input": "play jazz"}),
    ("GET", "/v1/models", None, None),
    ("GET", "/v1/models/{id}", "/v1/models/champion", None),
    ("GET", "/v1/models/{id}", "/v1/models/other", None),
    ("POST", "/v1/feedback", None, VERDICT),
    ("POST", "/v1/feedback", None, {}),
    ("GET", "/v1/serving", None, None),
    ("POST", "/v1/serving/prepare", None, {"adapter": "a-2"}),
    ("POST", "/v1/serving/prepare", None, {"adapter": "a-9"}),
    ("POST", "/v1/serving/drop", None, {"adapter": "a-2"}),
    ("POST", "/v1/serving/switch", None, {"adapter": "a-1"}),
    ("GET", "/metrics", None, None),
    ("GET", "/healthz", None, None),
    ("GET", "/readyz", None, None),
]
OPEN = {"ChatView", "ResponseView"}  # OpenAI's objects have more fields than are described
ROLES = ("ask", "prove", "look", "ingest", "label", "decide", "admin")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    for name in ("a-1", "a-2"):
        adapter_folder(state, name)
    tokens = [bearer(role * 8, role, roles=frozenset({role})) for role in ROLES]
    with running(state, tcp="127.0.0.1:0", tokens=tokens) as run:
        run.url = f"http://127.0.0.1:{run.sockets[1].getsockname()[1]}"
        yield run


@pytest.fixture(scope="module")
def described(served):
    document = served.client.get("/openapi.json").json()
    for name, schema in document["components"]["schemas"].items():
        schema["additionalProperties"] = name in OPEN
    return document


@pytest.mark.parametrize(("method", "path", "at", "body"), CALLS)
def test_an_answer_is_as_described(served, described, method, path, at, body):
    answer = served.client.request(method, at or path, json=body)
    responses = described["paths"][path][method.lower()]["responses"]
    response = responses.get(str(answer.status_code), responses["default"])
    if not answer.headers["content-type"].startswith("application/json"):
        assert set(response["content"]) == {"text/plain"}
        return
    schema = response["content"]["application/json"]["schema"]
    whole = {**copy.deepcopy(schema), "components": described["components"]}
    errors = jsonschema_rs.validator_for(whole).iter_errors(answer.json())
    assert [str(error) for error in errors] == []


def test_every_route_is_asked_above():
    assert {(one.method, one.path) for one in SERVE_ROUTES} == {call[:2] for call in CALLS}


PROMISED = {
    "flywheel_serve_info",
    "flywheel_serve_queue",
    "flywheel_serve_queue_limit",
    "flywheel_serve_log_limit_bytes",
    "flywheel_serve_problems",
    "flywheel_serve_adapters_loaded",
    "flywheel_serve_log_bytes",
    "flywheel_serve_logged_total",
    "flywheel_serve_not_logged_total",
    "flywheel_serve_answers_total",
    "flywheel_serve_answer_seconds",
    "flywheel_serve_batch_texts",
    "flywheel_serve_refused_total",
    "flywheel_serve_upstream_usd_total",
    "flywheel_serve_upstream_unread_total",
}


def test_the_metrics_are_those_that_were_promised(served):
    for model in ("champion", "other"):
        served.client.post("/v1/chat/completions", json={**CHAT, "model": model})
    page = served.client.get("/metrics").text
    names = re.findall(r"# TYPE (flywheel_serve_\w+)", page)
    assert set(names) == PROMISED
    assert 'flywheel_serve_answers_total{intent="play_music"}' in page
    assert 'flywheel_serve_refused_total{reason="model_not_found"}' in page
    assert 'flywheel_serve_info{adapter="a-1",engine="words"' in page


@pytest.mark.parametrize(("method", "path", "at", "body"), CALLS)
def test_a_route_takes_its_role_and_orders_take_the_socket(served, method, path, at, body):
    one = next(each for each in SERVE_ROUTES if (each.method, each.path) == (method, path))
    steers = path.startswith("/v1/serving")
    for role in (*ROLES, ""):
        headers = {"Authorization": f"Bearer {role * 8}"} if role else {}
        answer = httpx.request(method, served.url + (at or path), json=body, headers=headers)
        may = {one.role, one.or_role, "admin"} | (
            {"label", "decide"} if one.role == "look" else set()
        )
        proves = role == "prove"  # the route is open to it, and here no adapter is named
        wanted = one.role == "anyone" or (role in may and not steers and not proves)
        assert (answer.status_code not in (401, 403)) == wanted, role


def test_an_adapter_by_name_takes_prove_and_the_champion_takes_ask(served):
    """What is asked by name is not logged, and need not be approved by anybody."""
    may = {}
    for role in ROLES:
        for named in ({}, {"x-flywheel-adapter": "a-1"}):
            headers = {"Authorization": f"Bearer {role * 8}", **named}
            answer = httpx.post(
                f"{served.url}/v1/predict", json={"text": "play a"}, headers=headers
            )
            may[role, bool(named)] = answer.status_code == 200
    assert {pair for pair, taken in may.items() if taken} == {
        ("ask", False),
        ("prove", True),
        ("admin", False),
        ("admin", True),
    }
    headers = {"Authorization": f"Bearer {'ask' * 8}", "x-flywheel-adapter": "a-1"}
    answer = httpx.post(f"{served.url}/v1/predict", json={"text": "play a"}, headers=headers)
    assert answer.json()["error"] == (
        "asking the adapter that x-flywheel-adapter names takes the role prove; token ask has ask"
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "name", "function", "tools"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
FIELDS = (
    "model",
    "messages",
    "input",
    "text",
    "tools",
    "tool_choice",
    "stream",
    "stream_options",
    "metadata",
    "user",
    "n",
    "inputs",
    "id",
    "slices",
    "session",
    "conversation",
    "response_format",
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/v1/predict", "/v1/chat/completions", "/v1/responses"]),
    body=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5),
    usual=st.booleans(),
)
def test_whatever_is_sent_is_answered_or_refused_and_never_a_defect(served, path, body, usual):
    sent = {**(CHAT if "chat" in path else {"model": "champion", "input": "a"}), **body}
    whole = json.dumps(sent if usual else body)  # with Infinity, which is no JSON
    answer = served.client.post(path, content=whole.encode())
    assert answer.status_code in (200, 400, 404, 422, 429)
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error["message"] if path != "/v1/predict" else error


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=60))
def test_bytes_of_any_kind_are_refused(served, body):
    assert served.client.post("/v1/responses", content=body).status_code == 400


def test_a_server_asks_only_for_the_tokens_that_open_it(monkeypatch):
    monkeypatch.setenv("SHOP", "s" * 32)
    table = ApiTable(
        tokens={
            "shop": TokenTable(env="SHOP", role="ask"),
            "ada": TokenTable(env="NOT_SET", role="label"),
        }
    )
    asked = tokens_of(table, "127.0.0.1:0", "[serving] tcp", ("ask",))
    assert [token.caller.token for token in asked] == ["shop"]
    with pytest.raises(ConfigError) as refused:
        tokens_of(ApiTable(), "127.0.0.1:0", "[serving] tcp", ("ask",))
    assert refused.value.message.startswith('[serving] tcp = "127.0.0.1:0" needs a token')
