"""`POST /v1/predict` and the orders of the daemon, over a real Unix socket."""

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from word_service import running


def test_a_text_is_answered_and_logged_before_the_answer_leaves(served):
    answer = served.client.post("/v1/predict", json={"text": "wake me at seven"})
    said = answer.json()
    assert said == {
        "id": said["id"],
        "intent": "set_alarm",
        "arguments": {"time": "seven"},
        "confidence": 0.75,
        "adapter": "a-1",
    }
    assert answer.headers["x-flywheel-adapter"] == "a-1"
    assert answer.headers["x-flywheel-confidence"] == "0.750000"
    [line] = served.log.lines
    assert {key: line[key] for key in said} == said
    assert line["text"] == "wake me at seven"


def test_what_a_request_says_of_itself_stands_in_the_log(served):
    asked = {
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "play jazz"},
        ],
        "id": "p-7",
        "session": "s-1",
        "rater": "u-1",
        "slices": {"channel": "voice"},
    }
    assert served.client.post("/v1/predict", json=asked).json()["id"] == "p-7"
    [line] = served.log.lines
    wanted = {"text": "play jazz", "session": "s-1", "rater": "u-1", "slices": {"channel": "voice"}}
    assert {key: line[key] for key in wanted} == wanted


def test_context_is_put_before_the_last_message_as_at_ingest(state):
    with running(state, context_turns=1) as served:
        messages = [{"role": "user", "content": text} for text in ("one", "two", "three")]
        served.client.post("/v1/predict", json={"messages": messages})
        assert served.log.lines[0]["text"] == "two\nthree"


@given(many=st.integers(1, 11))
def test_a_batch_of_any_size_is_answered_in_its_order(many, big):
    texts = [f"play {number}" for number in range(many)]
    said = big.client.post("/v1/predict", json={"inputs": texts}).json()["predictions"]
    assert [each["arguments"]["title"] for each in said] == [str(n) for n in range(many)]
    assert max(map(len, big.routers["a-1"].batches)) <= 4


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    from word_service import adapter_folder

    state = tmp_path_factory.mktemp("state")
    adapter_folder(state, "a-1")
    with running(state) as run:
        yield run


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "`text` or `messages` must be there, and not both"),
        ({"text": "a", "messages": []}, "`text` or `messages` must be there, and not both"),
        ({"text": " "}, "`text` is empty"),
        ({"text": 3}, "the body cannot be read: Expected `str | null`, got `int` - at `$.text`"),
        (
            {"txt": "a"},
            "the body cannot be read: Object contains unknown field `txt`",
        ),
        ({"messages": [{"role": "system", "content": "a"}]},
         "`messages` has no user message with a text"),
        ({"inputs": []}, "`inputs` is empty"),
        ({"inputs": ["a", " "]}, "`inputs[1].text` is empty"),
        ({"inputs": ["a"], "text": "a"}, "`inputs` stands beside `text` or `messages`"),
        ({"text": "a" * 2049}, "`text` has 2,049 characters, and the adapter reads few of them"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_answered_is_refused_with_the_place(served, body, says):
    answer = served.client.post("/v1/predict", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, says)
    assert served.log.lines == []


def test_without_a_champion_it_says_what_to_do(state):
    with running(state, champion=None) as served:
        answer = served.client.post("/v1/predict", json={"text": "a"})
        assert (answer.status_code, answer.json()["error"]) == (503, "there is no champion yet")
        assert answer.headers["retry-after"] == "5"
        assert served.client.get("/readyz").status_code == 503
        assert served.client.get("/healthz").text == "ok\n"


def test_one_text_on_which_the_model_fails_fails_alone(served):
    router = served.routers["a-1"]
    answer = served.client.post("/v1/predict", json={"text": "break"})
    assert (answer.status_code, answer.json()["error"]) == (500, "the model failed on this text")
    assert served.client.post("/v1/predict", json={"text": "play a"}).status_code == 200
    assert [line["text"] for line in served.log.lines] == ["play a"]
    assert router.batches == [["break"], ["play a"]]


# Orders.


def test_an_adapter_is_prepared_asked_switched_to_and_the_old_one_dropped(served):
    client = served.client
    assert client.post("/v1/serving/prepare", json={"adapter": "a-2"}).json() == {
        "adapter": "a-2",
        "engine": "words",
        "rule": {"max_length": 64},
    }
    asked = client.post(
        "/v1/predict", json={"text": "play a"}, headers={"x-flywheel-adapter": "a-2"}
    )
    assert asked.json()["adapter"] == "a-2"
    assert served.log.lines == []  # what is asked of a named adapter is no traffic
    assert client.post("/v1/predict", json={"text": "play a"}).json()["adapter"] == "a-1"
    said = client.post("/v1/serving/switch", json={"adapter": "a-2"}).json()
    assert (said["adapter"], said["loaded"]) == ("a-2", ["a-1", "a-2"])
    assert client.post("/v1/predict", json={"text": "play a"}).json()["adapter"] == "a-2"
    said = client.post("/v1/serving/drop", json={"adapter": "a-1"}).json()
    assert said["loaded"] == ["a-2"]
    assert client.get("/v1/serving").json()["instance"] == said["instance"]


@pytest.mark.parametrize(
    ("order", "body", "status", "says"),
    [
        ("prepare", {"adapter": "a-9"}, 409, "adapter a-9 has no folder in "),
        ("prepare", {"adapter": "../adapters/a-2"}, 409, "adapter ../adapters/a-2 has no folder"),
        ("switch", {"adapter": "a-2"}, 404, "adapter a-2 is not loaded"),
        ("drop", {"adapter": "a-1"}, 409, "a-1 answers traffic"),
        ("drop", {"adapter": "a-2"}, 404, "adapter a-2 is not loaded"),
        ("drop", {}, 400, "the body cannot be read: Object missing required field `adapter`"),
    ],
)
def test_an_order_that_cannot_be_carried_out_changes_nothing(served, order, body, status, says):
    answer = served.client.post(f"/v1/serving/{order}", json=body)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(says)
    assert served.client.get("/v1/serving").json()["loaded"] == ["a-1"]


def test_the_socket_is_for_its_user_and_a_group(served, state):
    assert stat.S_IMODE((state / "serve.sock").stat().st_mode) == 0o660
