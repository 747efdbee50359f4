import gzip
import json

import pytest
from wire_events import ndjson, prediction, verdict

from flywheel.records import Intent
from flywheel.store import events
from flywheel.web import http as body_module

NDJSON = {"content-type": "application/x-ndjson"}


def counts(runtime):
    with runtime.store.read() as con:
        return events.counts(con)


def test_one_object_is_stored(client, runtime):
    reply = client.post("/v1/predictions", json=prediction(1))
    assert reply.status_code == 200
    assert reply.json() == {
        "accepted": 1,
        "duplicates": 0,
        "rejected": [],
        "skipped": 0,
        "skips": [],
        "new": 1,
        "known": 0,
        "conflicts": 0,
    }
    assert counts(runtime).predictions == 1


def test_one_object_may_be_written_on_many_lines(client):
    pretty = json.dumps(prediction(1), indent=2, ensure_ascii=False)
    assert client.post("/v1/predictions", content=pretty.encode()).json()["accepted"] == 1


def test_sending_the_same_again_changes_nothing(client, runtime):
    batch = ndjson(prediction(1), prediction(2))
    client.post("/v1/predictions", content=batch, headers=NDJSON)
    reply = client.post("/v1/predictions", content=batch, headers=NDJSON)
    said = reply.json()
    assert (said["accepted"], said["new"], said["known"], said["rejected"]) == (2, 0, 2, [])
    assert reply.status_code == 200
    assert counts(runtime).predictions == 2


def test_feedback_may_come_before_its_prediction(client, runtime):
    assert client.post("/v1/feedback", json=verdict(1)).json()["accepted"] == 1
    assert counts(runtime).waiting_feedback == 1
    client.post("/v1/predictions", json=prediction(1))
    assert counts(runtime).waiting_feedback == 0
    assert counts(runtime).labelled == 1


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/json", ""])
def test_good_lines_are_stored_whatever_the_bad_ones_look_like(client, runtime, content_type):
    batch = ndjson(
        prediction(1), b"{not json", b"", b"[1]", prediction(2, ts="soon"), prediction(3)
    )
    reply = client.post("/v1/predictions", content=batch, headers={"content-type": content_type})
    assert reply.status_code == 200
    said = reply.json()
    assert (said["accepted"], said["duplicates"]) == (2, 0)
    assert [(bad["line"], bad["field"]) for bad in said["rejected"]] == [
        (2, ""),
        (4, ""),
        (5, "ts"),
    ]
    assert all(bad["why"] for bad in said["rejected"])
    assert (counts(runtime).predictions, counts(runtime).rejected) == (2, 3)


def test_a_line_that_is_not_utf_8_is_rejected_alone(client):
    batch = ndjson(prediction(1), b'{"id": "p-2", "text": "\xff"}')
    reply = client.post("/v1/predictions", content=batch, headers=NDJSON)
    assert reply.json()["accepted"] == 1
    assert [bad["line"] for bad in reply.json()["rejected"]] == [2]


def test_a_batch_with_nothing_good_in_it_is_422_with_the_reasons(client):
    reply = client.post("/v1/predictions", content=b"{}\n[]\n", headers=NDJSON)
    assert reply.status_code == 422
    assert reply.json()["accepted"] == 0
    assert [bad["line"] for bad in reply.json()["rejected"]] == [1, 2]


@pytest.mark.parametrize("body", [b"", b" \n\n"])
def test_an_empty_body_is_400(client, body):
    reply = client.post("/v1/predictions", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"] == "the body is empty"


def test_a_line_over_the_limit_is_rejected_and_the_rest_is_stored(client):
    batch = ndjson(prediction(1, text="x" * 2000), prediction(2))
    said = client.post("/v1/predictions", content=batch, headers=NDJSON).json()
    assert said["accepted"] == 1
    assert [(one["line"], one["field"]) for one in said["rejected"]] == [(1, "")]
    assert "above 1024" in said["rejected"][0]["why"]


def test_a_body_over_the_limit_is_413_by_its_declared_length(client, runtime):
    reply = client.post("/v1/predictions", content=b" " * (2**20 + 1))
    assert reply.status_code == 413
    assert reply.json()["hint"] == "send smaller batches, or raise [api] max_body_mb"
    assert reply.headers["connection"] == "close"
    assert counts(runtime).predictions == 0


def test_a_body_over_the_limit_is_413_without_a_declared_length(client):
    chunks = (b" " * 2**18 for _ in range(5))
    assert client.post("/v1/predictions", content=chunks).status_code == 413


def test_too_many_lines_are_413(client, monkeypatch):
    monkeypatch.setattr(body_module, "MAX_LINES", 3)
    batch = ndjson(*(prediction(number) for number in range(5)))
    reply = client.post("/v1/predictions", content=batch, headers=NDJSON)
    assert reply.status_code == 413
    assert "smaller batches" in reply.json()["hint"]


def test_too_many_records_are_413_however_they_are_laid_out(client, runtime, monkeypatch):
    monkeypatch.setattr("flywheel.formats.dispatch.MOST_RECORDS", 3)
    batch = json.dumps([prediction(number) for number in range(4)])
    reply = client.post("/v1/predictions", content=batch)
    assert (reply.status_code, reply.json()["error"]) == (
        413,
        "the batch has more than 3 records",
    )
    assert counts(runtime).predictions == 0
    monkeypatch.setattr("flywheel.formats.dispatch.MOST_RECORDS", 4)
    assert client.post("/v1/predictions", content=batch).json()["accepted"] == 4


def test_a_small_body_of_many_values_is_413_before_it_is_read(client, runtime, monkeypatch):
    monkeypatch.setattr(body_module, "MOST_VALUES", 500)
    packed = gzip.compress(b"[" + b"{}," * 1_000 + b"{}]")
    reply = client.post("/v1/predictions", content=packed, headers={"content-encoding": "gzip"})
    assert (reply.status_code, reply.json()["error"]) == (
        413,
        "the body has up to 2,002 values, over 500",
    )
    prose = json.dumps(prediction(1) | {"text": "wake me, please, at seven " * 20})
    assert client.post("/v1/predictions", content=prose).json()["accepted"] == 1


def test_seeds_and_golden_samples_are_stored_and_counted(client):
    rows = [
        {"text": "我要听音乐", "intent": "play_music", "split": "seed"},
        {"text": "wake me at seven", "intent": "set_alarm", "split": "golden"},
        {"text": "what is love", "intent": "none", "split": "golden"},
    ]
    said = client.post("/v1/samples", content=ndjson(*rows), headers=NDJSON).json()
    assert (said["accepted"], said["duplicates"], said["generation"]) == (3, 0, 1)
    stats = client.get("/v1/samples").json()
    assert sum(row["count"] for row in stats) == 3


def test_texts_that_verdicts_labelled_are_counted_as_feedback(client):
    for number in range(2):
        client.post("/v1/predictions", json=prediction(number, text=f"play song {number}"))
        client.post("/v1/feedback", json=verdict(number))
    (row,) = client.get("/v1/samples").json()
    assert (row["split"], row["origin"], row["count"]) == ("train", "feedback", 2)


def test_a_new_golden_generation_is_opened_when_asked(client):
    first = {"text": "wake me at seven", "intent": "set_alarm", "split": "golden"}
    client.post("/v1/samples", json=first)
    again = client.post("/v1/samples", json=first | {"text": "at eight"})
    assert again.json()["generation"] == 1
    renewed = client.post("/v1/samples?new_generation=1", json=first | {"text": "at nine"})
    assert renewed.json()["generation"] == 2


def test_a_sample_with_an_unknown_intent_is_rejected(client):
    reply = client.post("/v1/samples", json={"text": "x", "intent": "fly", "split": "seed"})
    assert reply.status_code == 422
    assert reply.json()["rejected"][0]["field"] == "intent"


def test_a_sample_whose_arguments_do_not_fit_is_rejected_by_line_argument_and_rule(client, runtime):
    schema = {"properties": {"hour": {"type": "integer", "maximum": 23}}}
    runtime.intents = (Intent(name="set_alarm", parameters=schema),)
    row = {"text": "wake me", "intent": "set_alarm", "split": "golden"}
    rows = [row | {"arguments": {"hour": 99}}, row | {"arguments": {"hour": 7}}]
    said = client.post("/v1/samples", content=ndjson(*rows), headers=NDJSON).json()
    assert said["accepted"] == 1
    assert said["rejected"] == [
        {
            "line": 1,
            "field": "arguments.hour",
            "why": "is greater than the maximum of 23 (parameters of set_alarm)",
            "format": "native",
        }
    ]


def test_samples_come_out_in_the_form_they_went_in(client):
    row = {"text": "wake me at seven", "intent": "set_alarm", "arguments": None, "split": "golden"}
    client.post("/v1/samples", json=row | {"must_pass": True, "family": "seven"})
    reply = client.get("/v1/samples?format=ndjson&split=golden")
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    (line,) = (json.loads(line) for line in reply.text.splitlines())
    assert line | row == line
    assert (line["must_pass"], line["family"]) == (True, "seven")
    assert client.get("/v1/samples?format=ndjson&split=dev").text == ""
    assert client.get("/v1/samples?format=ndjson&split=nothing").status_code == 400


def test_what_was_rejected_is_read_once_more_when_asked(client, runtime):
    early = {"text": "fly", "intent": "not_yet", "split": "seed"}
    client.post("/v1/samples", json=early)
    client.post("/v1/predictions", content=b"{never")
    known = [*runtime.intents, Intent(name="not_yet")]
    object.__setattr__(runtime, "intents", tuple(known))  # as after an edit of intents.toml
    said = client.post("/v1/rejected/retry").json()
    assert (said["accepted"], said["duplicates"]) == (1, 0)
    assert [(one["kind"], one["why"]) for one in said["rejected"]] == [
        ("predictions", "is not JSON: object keys must be strings (byte 1)")
    ]
    assert counts(runtime).rejected == 1


def test_a_named_format_is_not_guessed_and_an_unknown_one_is_refused(client):
    said = client.post("/v1/predictions?format=openai", json=prediction(1))
    assert said.status_code == 422
    assert "native" in client.post("/v1/predictions?format=csv", json={}).json()["hint"]


def test_foreign_events_are_taken_as_they_are(client, runtime):
    foreign = {
        "timestamp": 1_700_000_000,
        "request": {"messages": [{"role": "user", "content": "wake me"}]},
        "response": {
            "id": "r-1",
            "choices": [{"message": {"role": "assistant", "content": "No."}}],
        },
    }
    assert client.post("/v1/predictions", json=foreign).json()["accepted"] == 1
    with runtime.store.read() as con:
        assert con.execute("SELECT text, intent FROM predictions").fetchall() == [
            ("wake me", "none")
        ]
