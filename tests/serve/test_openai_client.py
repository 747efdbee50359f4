"""The real `openai` client and a real server: what its users ask, and what is refused."""

import asyncio
import json

import httpx2
import openai
import pytest
from word_service import ARGUMENTS, adapter_folder, running

from flywheel.web.guard import bearer

TOKEN = "t" * 32


def tool(name, *arguments):
    properties = {each: {"type": "string"} for each in arguments}
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool(name, *arguments) for name, arguments in ARGUMENTS.items()]
FLAT = [{"type": "function", "strict": False, **each["function"]} for each in TOOLS]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    adapter_folder(state, "a-1")
    tokens = [bearer(TOKEN, "shop", roles=frozenset({"ask"}))]
    with running(state, tcp="127.0.0.1:0", tokens=tokens) as run:
        run.url = f"http://127.0.0.1:{run.sockets[1].getsockname()[1]}/v1"
        yield run


@pytest.fixture
def client(served):
    """Over TCP, with a token."""
    served.log.lines.clear()
    with openai.OpenAI(base_url=served.url, api_key=TOKEN, max_retries=0) as made:
        yield made


def says(text, **options):
    options = {"model": "champion", "tools": TOOLS} | options
    return {"messages": [{"role": "user", "content": text}], **options}


def test_a_message_becomes_a_call(client, served):
    said = client.chat.completions.create(**says("wake me at seven"))
    [choice] = said.choices
    [call] = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "set_alarm",
        {"time": "seven"},
    )
    assert (choice.finish_reason, choice.message.content, said.model) == ("tool_calls", None, "a-1")
    [line] = served.log.lines
    assert (line["id"], line["aliases"]) == (said.id, [call.id])


def test_at_debug_level_the_log_names_request_and_prediction_and_no_text(client, caplog):
    caplog.set_level("DEBUG", "flywheel.inference.service")
    said = client.chat.completions.create(
        **says("wake me at seven", extra_headers={"x-request-id": "req-7"})
    )
    [record] = [each for each in caplog.records if hasattr(each, "prediction")]
    assert (record.prediction, record.request) == (said.id, "req-7")
    assert "seven" not in record.getMessage()


def test_no_call_is_a_plain_refusal(client):
    said = client.chat.completions.create(**says("hello"))
    [choice] = said.choices
    assert choice.message.content == "No function fits this message."
    assert (choice.message.tool_calls, choice.finish_reason) == (None, "stop")


def test_the_usage_is_what_was_read_of_the_text_and_a_token_for_four_bytes_of_the_answer(client):
    """`set_alarm{"time":"seven"}` has 25 bytes, and the judged message six tokens here."""
    earlier = [{"role": "system", "content": "be brief " * 50}, {"role": "user", "content": "hi"}]
    messages = [*earlier, {"role": "user", "content": "wake me at seven"}]
    usage = client.chat.completions.create(model="champion", messages=messages).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (6, 7, 13)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(**says("wake me at seven"), **options))
    assert chunks[-1].usage == usage
    said = client.responses.create(model="champion", input="wake me at seven").usage
    assert (said.input_tokens, said.output_tokens, said.total_tokens) == (6, 7, 13)
    refused = client.chat.completions.create(**says("hello")).usage
    assert (refused.prompt_tokens, refused.completion_tokens) == (3, 8)


def test_the_headers_say_which_adapter_answered_and_how_sure_it_was(client):
    raw = client.chat.completions.with_raw_response.create(**says("play jazz"))
    assert raw.headers["x-flywheel-adapter"] == "a-1"
    assert raw.headers["x-flywheel-confidence"] == "0.750000"
    assert raw.parse().id == raw.headers["x-request-id"]


def test_over_the_unix_socket_no_token_is_needed(served):
    transport = httpx2.HTTPTransport(uds=served.sockets[0].getsockname())
    with (
        httpx2.Client(transport=transport) as http,
        openai.OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http) as client,
    ):
        said = client.chat.completions.create(**says("play jazz"))
        assert said.choices[0].message.tool_calls[0].function.name == "play_music"


def test_the_asynchronous_client_asks_at_once(served):
    async def ask_all():
        async with openai.AsyncOpenAI(base_url=served.url, api_key=TOKEN) as client:
            asked = [client.chat.completions.create(**says(f"play {n}")) for n in range(8)]
            return await asyncio.gather(*asked)

    calls = [said.choices[0].message.tool_calls[0].function for said in asyncio.run(ask_all())]
    assert [json.loads(call.arguments)["title"] for call in calls] == [str(n) for n in range(8)]


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_puts_together_to_the_same_answer(client, include_usage):
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = list(client.chat.completions.create(**says("play jazz", stream=True, **options)))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    calls = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
    assert calls[0].function.name == "play_music"
    assert "".join(call.function.arguments for call in calls) == '{"title":"jazz"}'
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert ends[-1] == "tool_calls"
    assert (chunks[-1].usage is not None) == include_usage


def test_the_clients_own_accumulator_takes_the_stream(client):
    with client.chat.completions.stream(**says("wake me at six")) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls[0].function.arguments == '{"time":"six"}'


def test_a_refusal_is_streamed_as_words(client):
    chunks = client.chat.completions.create(**says("hello", stream=True))
    words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert words == "No function fits this message."


HARMLESS = {
    "temperature": 0.2,
    "top_p": 0.5,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "seed": 1,
    "stop": ["\n"],
    "store": True,
    "user": "u-7",
    "metadata": {"channel": "voice", "session_id": "s-1", "other": "anything"},
    "reasoning_effort": "low",
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
    "service_tier": "auto",
    "parallel_tool_calls": True,
    "n": 1,
    "logprobs": False,
    "response_format": {"type": "text"},
    "extra_body": {"top_k": 4},
}


def test_what_a_client_may_send_without_harm_is_accepted(client, served):
    said = client.chat.completions.create(**says("play jazz", **HARMLESS))
    assert said.choices[0].message.tool_calls[0].function.name == "play_music"
    [line] = served.log.lines
    assert (line["rater"], line["session"], line["slices"]) == ("u-7", "s-1", {"channel": "voice"})


def call_message(text="jazz"):
    function = {"name": "play_music", "arguments": json.dumps({"title": text})}
    return {
        "role": "assistant",
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }


def test_a_conversation_is_judged_on_its_last_user_message(client, served):
    messages = [
        {"role": "developer", "content": "you route"},
        {"role": "system", "content": "you route well"},
        {"role": "user", "content": "play jazz", "name": "ada"},
        call_message(),
        {"role": "tool", "tool_call_id": "c", "content": "playing"},
        {"role": "assistant", "content": "It plays."},
        {"role": "user", "content": [{"type": "text", "text": "wake me at six"}]},
    ]
    said = client.chat.completions.create(model="champion", messages=messages)
    assert said.choices[0].message.tool_calls[0].function.arguments == '{"time":"six"}'
    assert served.log.lines[0]["text"] == "wake me at six"


def test_a_tools_result_is_not_answered_with_the_same_call_again(client, served):
    messages = [
        {"role": "user", "content": "play jazz"},
        call_message(),
        {"role": "tool", "tool_call_id": "c", "content": "playing"},
    ]
    [choice] = client.chat.completions.create(model="champion", messages=messages).choices
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert served.log.lines == []  # as at ingest, this is no answer to what a person said


ONLY_MUSIC = [TOOLS[1]]


@pytest.mark.parametrize(
    ("text", "options", "calls"),
    [
        ("play jazz", {"tool_choice": "auto"}, "play_music"),
        ("play jazz", {"tool_choice": "none"}, None),
        ("play jazz", {"tool_choice": "required"}, "play_music"),
        (
            "play jazz",
            {"tool_choice": {"type": "function", "function": {"name": "play_music"}}},
            "play_music",
        ),
        (
            "play jazz",
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [TOOLS[0]]},
                }
            },
            None,
        ),
        ("play jazz", {"tools": ONLY_MUSIC}, "play_music"),
        ("wake me at six", {"tools": ONLY_MUSIC}, None),
        ("play jazz", {"tools": []}, "play_music"),
        ("play jazz", {"tools": openai.omit}, "play_music"),
    ],
)
def test_only_what_may_be_called_is_called(client, served, text, options, calls):
    [choice] = client.chat.completions.create(**says(text, **options)).choices
    made = choice.message.tool_calls
    assert (made[0].function.name if made else None) == calls
    assert served.log.lines[0]["intent"] != "none"  # the log has what the adapter said itself


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("hello", "required"),
        ("wake me at six", {"type": "function", "function": {"name": "play_music"}}),
    ],
)
def test_a_required_call_that_does_not_fit_is_an_error_and_not_a_guess(
    client, served, text, choice
):
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(**says(text, tool_choice=choice))
    assert (refused.value.code, refused.value.param) == ("no_tool_fits", "tool_choice")
    assert len(served.log.lines) == 1


IMAGE = [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
AUDIO = [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]


@pytest.mark.parametrize(
    ("options", "param", "code", "message"),
    [
        ({"model": "gpt-6"}, "model", "model_not_found", "the model `gpt-6` is not served here"),
        ({"n": 2}, "n", "unsupported_value", "`n` = 2 cannot be served"),
        ({"logprobs": True}, "logprobs", "unsupported_value", "`logprobs` = true cannot"),
        ({"top_logprobs": 3}, "top_logprobs", "unsupported_value", "`top_logprobs` = 3 cannot"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format",
            "unsupported_value",
            '`response_format` = {"type":"json_schema","json_schema":{"name":"x"}} cannot',
        ),
        (
            {"modalities": ["text", "audio"]},
            "modalities",
            "unsupported_value",
            '`modalities` = ["text","audio"] cannot be served',
        ),
        (
            {"tools": [*TOOLS, tool("fly"), tool("set_alarm", "time", "day")]},
            "tools",
            "unknown_tools",
            "a-1 was not trained on these tools: `fly` is not known; "
            "`set_alarm` takes `day`, which it never gives",
        ),
        (
            {"tools": [tool("set_alarm")]},
            "tools",
            "unknown_tools",
            "a-1 was not trained on these tools: `set_alarm` lacks `time`, which it may give",
        ),
        (
            {"tools": [{"type": "web_search"}]},
            "tools[0].type",
            "unknown_tools",
            "`tools[0]` is a tool of type `web_search`: only functions can be called",
        ),
        ({"tool_choice": "always"}, "tool_choice", "invalid_value", "`tool_choice` is not known"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "fly"}}},
            "tool_choice",
            "unknown_tools",
            "`tool_choice` names `fly`, which is not offered",
        ),
        ({"messages": []}, "messages", "invalid_value", "`messages` has no user message"),
        (
            {"messages": [{"role": "system", "content": "a"}]},
            "messages",
            "invalid_value",
            "`messages` has no user message with a text",
        ),
        (
            {"messages": [{"role": "robot", "content": "a"}]},
            "messages[0].role",
            "invalid_value",
            "`messages[0].role` is 'robot'",
        ),
        (
            {"messages": [{"role": "user", "content": IMAGE}]},
            "messages[0].content[0]",
            "unsupported_content",
            "`messages[0].content[0]` is of type `image_url`: only words are read",
        ),
        (
            {"messages": [{"role": "user", "content": AUDIO}]},
            "messages[0].content[0]",
            "unsupported_content",
            "`messages[0].content[0]` is of type `input_audio`: only words are read",
        ),
        (
            {"messages": [{"role": "user", "content": "a" * 5000}]},
            "messages",
            "context_length_exceeded",
            "the message has 5,000 characters, and the adapter reads 64 tokens",
        ),
        (
            {"stream_options": {"include_usage": True}},
            "stream_options",
            "unsupported_value",
            "`stream_options` takes an object, beside `stream`",
        ),
        ({"extra_body": {"stream": "yes"}}, "stream", "unsupported_value", '`stream` is "yes"'),
    ],
)
def test_what_cannot_be_served_as_asked_is_refused_by_name(
    client, served, options, param, code, message
):
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(**says("play jazz") | options)
    error = refused.value
    assert error.status_code == (404 if code == "model_not_found" else 400)
    assert (error.param, error.code, error.type) == (param, code, "invalid_request_error")
    assert error.body["message"].startswith(message)
    assert served.log.lines == []


def test_what_is_no_json_is_refused_with_its_place(served):
    answer = served.client.post("/v1/chat/completions", content=b'{"model": "champion", }')
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_json", None)
    assert "byte 22" in error["message"]


def test_a_wrong_token_is_refused_in_the_form_of_openai(served):
    with (
        openai.OpenAI(base_url=served.url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.models.list()
    assert (refused.value.code, refused.value.type) == ("invalid_api_key", "invalid_request_error")


def test_a_path_that_is_not_there_is_refused_in_the_form_of_openai(client):
    with pytest.raises(openai.NotFoundError) as refused:
        client.responses.retrieve("resp-1")
    assert refused.value.code == "not_found"


def test_the_models_are_the_adapter_and_its_alias(client):
    assert [model.id for model in client.models.list()] == ["a-1", "champion"]
    assert client.models.retrieve("a-1").owned_by == "flywheel"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-6")
    by_id = client.chat.completions.create(**says("play jazz", model="a-1"))
    assert by_id.model == "a-1"


# The Responses API.


def test_a_response_holds_a_call(client, served):
    said = client.responses.create(
        model="champion",
        input="wake me at seven",
        tools=FLAT,
        instructions="route",
        user="u-7",
        previous_response_id="resp-0",
    )
    [item] = said.output
    assert (item.type, item.name, json.loads(item.arguments)) == (
        "function_call",
        "set_alarm",
        {"time": "seven"},
    )
    assert (said.status, said.model, said.output_text) == ("completed", "a-1", "")
    [line] = served.log.lines
    assert (line["id"], line["aliases"], line["rater"], line["session"]) == (
        said.id,
        [item.call_id],
        "u-7",
        "resp-0",
    )


def test_a_response_without_a_call_holds_words(client):
    said = client.responses.create(model="champion", input=[{"role": "user", "content": "hello"}])
    assert said.output_text == "No function fits this message."


def test_a_response_to_a_tools_result_makes_no_call(client):
    asked = [
        {"role": "user", "content": [{"type": "input_text", "text": "play jazz"}]},
        {"type": "function_call", "call_id": "c", "name": "play_music", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "playing"},
    ]
    said = client.responses.create(model="champion", input=asked)
    assert [item.type for item in said.output] == ["message"]


@pytest.mark.parametrize(("text", "kind"), [("play jazz", "function_call"), ("hello", "message")])
def test_a_streamed_response_puts_together_to_the_same(client, text, kind):
    with client.responses.stream(model="champion", input=text) as stream:
        events = [event.type for event in stream]
        said = stream.get_final_response()
    assert [item.type for item in said.output] == [kind]
    assert events[0] == "response.created"
    assert events[-1] == "response.completed"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"background": True}, "background"),
        ({"text": {"format": {"type": "json_object"}}}, "text"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0]",
        ),
    ],
)
def test_a_response_that_cannot_be_given_as_asked_is_refused(client, options, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**{"model": "champion", "input": "play jazz"} | options)
    assert refused.value.param == param
