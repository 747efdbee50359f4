"""A model behind the server: asked while there is no champion, and recorded as at ingest."""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import httpx2
import openai
import pytest
from other_model import calling, completion, other_model, streamed
from word_service import running

from flywheel.config import UpstreamTable
from flywheel.errors import ConfigError
from flywheel.inference.exchanges import Exchanges
from flywheel.inference.upstream import Upstream
from flywheel.records import Intent
from flywheel.unix_socket import UnixConnection
from tests.waiting import CEILING_S, until

KEY = "sk-secret-of-ours-0123456789"
TOOLS = [{"type": "function", "function": {"name": "my_own", "parameters": {"type": "object"}}}]
CHAT = {"model": "big-1", "messages": [{"role": "user", "content": "wake me"}]}
INTENTS = [Intent(name="set_alarm", description="Wake the user"), Intent(name="play_music")]


@pytest.fixture
def model():
    with other_model() as made:
        yield made


def behind(served, model, **options):
    """Put the model behind the server."""
    options = {
        "base_url": model.url,
        "model": "big-1",
        "api_key_env": "UP_KEY",
        "usd_per_million_input": 2.0,
        "usd_per_million_output": 10.0,
    } | options
    service, table = served.service, UpstreamTable(**options)
    exchanges = Exchanges(service.recorder, service.metrics, table, INTENTS, 0)
    service.upstream = served.there(lambda: Upstream(table, exchanges, service.metrics, INTENTS))


@pytest.fixture
def served(state, model, monkeypatch):
    monkeypatch.setenv("UP_KEY", KEY)
    with running(state, champion=None) as run:
        behind(run, model)
        yield run
        run.there(run.service.upstream.close)


@pytest.fixture
def client(served):
    transport = httpx2.HTTPTransport(uds=served.sockets[0].getsockname())
    with (
        httpx2.Client(transport=transport) as http,
        openai.OpenAI(
            base_url="http://localhost/v1", api_key="callers-own", http_client=http, max_retries=0
        ) as made,
    ):
        yield made


def ask(client, text="wake me", **options):
    options = {"model": "big-1", "tools": TOOLS, "user": "u-7"} | options
    return client.chat.completions.create(messages=[{"role": "user", "content": text}], **options)


def test_a_request_goes_to_the_model_as_it_is_and_its_answer_comes_back(served, client, model):
    model.says.append(completion(calling(("my_own", '{"at": 6}'))))
    said = ask(client, model="champion", temperature=0.3, metadata={"channel": "voice"})
    assert said.choices[0].message.tool_calls[0].function.arguments == '{"at": 6}'
    [(path, headers, body)] = model.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "big-1",
        "messages": [{"role": "user", "content": "wake me"}],
        "tools": TOOLS,
        "user": "u-7",
        "temperature": 0.3,
        "metadata": {"channel": "voice"},
    }
    [line] = served.log.lines
    wanted = {
        "id": "chatcmpl-up",
        "text": "wake me",
        "intent": "my_own",
        "arguments": {"at": 6},
        "adapter": "upstream:big-1",
        "rater": "u-7",
        "slices": {"channel": "voice"},
        "cost_usd": (100 * 2 + 10 * 10) / 1e6,
    }
    assert {key: line.get(key) for key in wanted} == wanted
    assert line["latency_ms"] > 0
    assert "call-0" in line["aliases"]


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"role": "assistant", "content": "Good morning!"}, {"intent": "none"}),
        ({"role": "assistant", "content": None, "refusal": "I will not."}, {"intent": "none"}),
        (
            calling(("my_own", '{"at": ')),
            {"intent": "my_own", "malformed": True},
        ),
        (
            calling(("my_own", "{}"), ("set_alarm", "{}")),
            {
                "intent": "my_own",
                "calls": [
                    {"intent": "my_own", "arguments": {}},
                    {"intent": "set_alarm", "arguments": {}},
                ],
            },
        ),
    ],
)
def test_an_answer_is_read_as_at_ingest(served, client, model, message, says):
    model.says.append(completion(message))
    ask(client)
    [line] = served.log.lines
    assert {key: line.get(key) for key in says} == says


def test_an_answer_that_cannot_be_read_passes_and_is_counted(served, client, model):
    model.says.append({**completion({}), "choices": []})
    assert ask(client).choices == []
    assert served.log.lines == []
    assert "flywheel_serve_upstream_unread_total 1.0" in served.client.get("/metrics").text


def test_a_stream_passes_through_and_is_read_at_its_end(served, client, model):
    model.says.append(streamed("my_own", '{"at":6}'))
    chunks = list(ask(client, stream=True))
    given = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert "".join(call.function.arguments for call in given) == '{"at":6}'
    [line] = served.log.lines
    assert (line["id"], line["intent"], line["arguments"]) == ("chatcmpl-up", "my_own", {"at": 6})
    assert line["cost_usd"] > 0  # estimated: the stream tells no tokens


def test_a_stream_that_is_cut_is_not_taken_for_an_answer(served, client, model):
    model.says.append(streamed("my_own", "{}", ends=False))
    list(ask(client, stream=True))
    assert served.log.lines == []


def test_the_responses_api_passes_through_too(served, client, model):
    item = {
        "type": "function_call",
        "id": "fc-1",
        "call_id": "call-9",
        "name": "my_own",
        "arguments": "{}",
        "status": "completed",
    }
    model.says.append(
        {
            "id": "resp-1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": "big-1",
            "output": [item],
            "usage": {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6},
        }
    )
    said = client.responses.create(model="big-1", input="wake me")
    assert said.output[0].name == "my_own"
    assert model.asked[0][0] == "/v1/responses"
    [line] = served.log.lines
    assert (line["id"], line["intent"], line["text"]) == ("resp-1", "my_own", "wake me")


def test_errors_of_the_model_are_passed_on_with_their_status(client, model, served):
    error = {"error": {"message": f"no {KEY}", "type": "x", "param": "tools", "code": "bad"}}
    model.says.append((400, error))
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client)
    assert (refused.value.code, refused.value.param) == ("bad", "tools")
    assert refused.value.body["message"] == "no ***"
    model.says.append((429, error))
    with pytest.raises(openai.RateLimitError) as late:
        ask(client)
    assert late.value.response.headers["retry-after"] == "7"
    assert served.log.lines == []


def test_a_refused_key_is_said_to_be_the_servers(client, model):
    model.says.append((401, {"error": {"message": f"Incorrect API key: {KEY}"}}))
    with pytest.raises(openai.AuthenticationError) as refused:
        ask(client)
    assert refused.value.code == "upstream_key"
    assert KEY not in refused.value.response.text


def test_a_model_that_cannot_be_reached_is_a_502(served, client, model):
    behind(served, model, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client)
    assert (refused.value.status_code, refused.value.code) == (502, "upstream_unreachable")


def test_another_model_than_the_configured_one_is_refused(client, model):
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, model="big-2")
    assert refused.value.code == "model_not_found"
    assert model.asked == []
    assert [each.id for each in client.models.list()] == ["champion", "big-1"]


def test_a_text_is_asked_with_the_routers_own_functions(served, model):
    model.says.append(completion(calling(("set_alarm", '{"time":"six"}'))))
    asked = {"text": "wake me at six", "id": "p-7", "session": "s-1"}
    said = served.client.post("/v1/predict", json=asked).json()
    assert said == {
        "id": "p-7",
        "intent": "set_alarm",
        "arguments": {"time": "six"},
        "confidence": None,
        "adapter": "upstream:big-1",
    }
    [(_, _, body)] = model.asked
    assert [tool["function"]["name"] for tool in body["tools"]] == ["set_alarm", "play_music"]
    [line] = served.log.lines
    assert (line["id"], line["session"], line["text"]) == ("p-7", "s-1", "wake me at six")
    assert "chatcmpl-up" in line["aliases"]


def test_the_first_champion_takes_over_at_the_same_address(served, client, model):
    model.says.append(completion(calling(("my_own", "{}"))))
    ask(client)
    served.client.post("/v1/serving/prepare", json={"adapter": "a-1"})
    served.client.post("/v1/serving/switch", json={"adapter": "a-1"})
    said = ask(client, "wake me at six", tools=openai.omit)  # the model's name as before
    assert said.model == "a-1"
    assert [line["adapter"] for line in served.log.lines] == ["upstream:big-1", "a-1"]


def test_where_it_is_said_so_the_model_answers_beside_a_champion(served, client, model):
    behind(served, model, when="always")
    served.client.post("/v1/serving/prepare", json={"adapter": "a-1"})
    served.client.post("/v1/serving/switch", json={"adapter": "a-1"})
    model.says.append(completion(calling(("my_own", "{}"))))
    ask(client)
    assert served.log.lines[0]["adapter"] == "upstream:big-1"
    assert served.client.get("/v1/serving").json()["upstream"] == "upstream:big-1"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_key_env": "GONE"}, "[serving.upstream] api_key_env names GONE, which is not set"),
        (
            {"base_url": "host/v1"},
            '[serving.upstream] base_url = "host/v1" is no http address',
        ),
    ],
)
def test_a_model_that_cannot_be_asked_as_configured_is_refused(served, model, options, says):
    with pytest.raises(ConfigError) as refused:
        behind(served, model, **options)
    assert refused.value.message == says


def test_an_address_without_a_model_is_refused():
    with pytest.raises(ValueError, match="`base_url` is set, and `model` is not"):
        UpstreamTable(base_url="http://host/v1")


# Bounds.


def sent(served, text="wake me", path="/v1/chat/completions", **body):
    body = {"model": "big-1", "messages": [{"role": "user", "content": text}]} | body
    transport = httpx.HTTPTransport(uds=served.sockets[0].getsockname())
    with httpx.Client(
        transport=transport, base_url="http://localhost", timeout=CEILING_S
    ) as client:
        return client.post(path, json=body)


def hello(name):
    return completion({"role": "assistant", "content": "hello"}, name)


def test_so_many_ask_at_once_so_many_wait_and_the_next_are_told_to_come_again(served, model):
    behind(served, model, max_requests=2, queue=1)
    model.says.extend(hello(f"c-{n}") for n in range(3))
    model.gate.clear()
    with ThreadPoolExecutor(3) as pool:
        under_way = [pool.submit(sent, served) for _ in range(2)]
        for _ in under_way:
            assert model.arrived.acquire(timeout=CEILING_S)
        waiting = pool.submit(sent, served)
        until(lambda: served.service.upstream._places._waiting == 1)
        refused = sent(served)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert refused.json()["error"]["message"] == (
            "2 requests are under way to the model behind this server, and 1 wait: "
            "send it again in a second"
        )
        assert len(model.asked) == 2
        model.gate.set()
        assert [each.result().status_code for each in (*under_way, waiting)] == [200, 200, 200]
    assert len(served.log.lines) == 3


def test_an_answer_and_the_wait_for_it_have_one_deadline(served, model):
    behind(served, model, timeout_s=0.05, max_requests=1)
    model.says.extend([hello("c-1"), hello("c-2")])
    model.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: sent(served), range(2)))
    assert [answer.status_code for answer in answers] == [504, 504]
    assert answers[0].json()["error"]["message"] == (
        "the model behind this server did not answer within 0.05 s: send it again later"
    )
    assert model.left.acquire(timeout=CEILING_S)  # its connection was closed


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/predict"])
def test_who_goes_away_is_not_asked_for_any_more(served, model, path):
    behind(served, model, max_requests=1)
    model.says.extend([hello("c-1"), hello("c-2")])
    model.gate.clear()
    body = json.dumps({"text": "wake me"} if "predict" in path else CHAT).encode()
    with contextlib.closing(UnixConnection(served.sockets[0].getsockname(), CEILING_S)) as left:
        left.request("POST", path, body)
        assert model.arrived.acquire(timeout=CEILING_S)
    assert model.left.acquire(timeout=CEILING_S)
    model.gate.set()
    assert sent(served).status_code == 200  # the one place is free again
    assert len(served.log.lines) == 1


def test_a_stream_keeps_its_place_to_its_end_and_gives_it_back_when_its_caller_leaves(
    served, client, model
):
    behind(served, model, max_requests=1, queue=0)
    events = streamed("my_own", "{}")
    model.says.append([*events[:2], None, *events[2:]])
    stream = ask(client, stream=True)
    next(stream)
    assert sent(served).status_code == 429
    stream.close()
    assert model.left.acquire(timeout=CEILING_S)
    model.gate.set()
    model.says.append(hello("c-2"))
    until(lambda: not served.service.upstream._places._free.locked())
    assert sent(served).status_code == 200
    model.says.append(events)
    assert len(list(ask(client, stream=True))) == 4
    model.says.append(hello("c-3"))
    assert sent(served).status_code == 200


def test_of_a_batch_that_cannot_be_answered_nothing_more_is_asked(served, model):
    model.says.extend([(500, {"error": {"message": "no"}})] * 40)
    answer = served.client.post("/v1/predict", json={"inputs": ["wake me"] * 40})
    assert answer.status_code == 500
    assert len(model.asked) <= 8


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_requests": 0}, "`max_requests` is 0, not 1 or more"),
        ({"queue": -1}, "`queue` is -1, not 0 or more"),
        ({"timeout_s": 0}, "`timeout_s` is 0, not above 0"),
    ],
)
def test_a_bound_that_lets_nobody_through_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        UpstreamTable(**options)


def test_what_is_asked_never_stands_in_the_log_of_the_process(served, client, model, caplog):
    model.says.append({**completion({}), "choices": []})
    ask(client, "my secret word")
    assert "secret" not in json.dumps([record.getMessage() for record in caplog.records])
