"""The labelling queue over HTTP: who is asked what, in whose name, and in the tools' forms."""

import getpass
import json
import os
from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree

import pytest

from flywheel.records import Feedback, Prediction
from flywheel.store import events, labels

ME = f"{getpass.getuser()} (uid {os.getuid()})"


@pytest.fixture
def traffic(runtime):
    """Predictions the model was unsure of, one of them hostile, and one on which raters differ."""
    labelling = replace(runtime.config.labelling, first=0)
    runtime.config = replace(runtime.config, labelling=labelling)
    texts = ["wake me", "我要听音乐", 'say "<b>" & \x1b[2J']
    with runtime.store.write() as con:
        events.add_predictions(
            con,
            [
                Prediction(
                    id=f"p-{n}",
                    ts=runtime.clock(),
                    text=text,
                    intent="set_alarm",
                    confidence=0.1 * n,
                )
                for n, text in enumerate(texts, 1)
            ]
            + [
                Prediction(id=f"q-{n}", ts=runtime.clock(), text="quiet", intent="set_alarm")
                for n in range(2)
            ],
        )
        events.add_feedback(
            con,
            [
                Feedback(
                    id=f"f-{n}",
                    prediction_id=f"q-{n}",
                    ts=runtime.clock() - timedelta(hours=1),
                    verdict="corrected",
                    intent=("set_alarm", "play_music")[n],
                    rater=f"u-{n}",
                )
                for n in range(2)
            ],
        )
    return texts


def test_the_queue_names_its_caller_and_what_waits(client, traffic):
    said = client.get("/v1/labels").json()
    assert said["person"] == ME
    assert said["waiting"] == {
        "gate": 0,
        "first": 0,
        "health": 0,
        "audit": 0,
        "conflict": 1,
        "doubted": 0,
        "uncertain": 3,
    }
    assert [item["text"] for item in said["items"]] == ["quiet", *traffic]
    assert said["items"][1] == {
        "item": "uncertain:p-1",
        "kind": "uncertain",
        "text": "wake me",
        "guesses": ["set_alarm", "play_music"],
        "said": [],
        "again": False,
    }
    assert [intent["name"] for intent in said["intents"]] == ["set_alarm", "play_music"]
    assert len(client.get("/v1/labels?limit=2").json()["items"]) == 2
    kinds = {item["kind"] for item in client.get("/v1/labels?kind=uncertain").json()["items"]}
    assert kinds == {"uncertain"}


def test_an_answer_is_its_callers_and_no_field_can_say_otherwise(client, runtime, traffic):
    body = {"item": "uncertain:p-1", "intent": "play_music"}
    assert client.post("/v1/labels", json=body | {"person": "boss"}).status_code == 400
    assert client.post("/v1/labels", json=body).json() == {
        "item": "uncertain:p-1",
        "state": "kept",
        "settled": None,
    }
    with runtime.store.read() as con:
        (said,) = labels.standing(con)
    assert (said.person, said.intent, said.predicted) == (ME, "play_music", "set_alarm")


def test_a_token_is_one_person_beside_those_of_the_socket(client, over_tcp, runtime, traffic):
    assert over_tcp.get("/v1/labels").status_code == 401
    ok = {"Authorization": "Bearer s3cret"}
    assert over_tcp.get("/v1/labels", headers=ok).json()["person"] == "token"
    client.post("/v1/labels", json={"item": "uncertain:p-1", "intent": "set_alarm"})
    assert over_tcp.post("/v1/labels/undo", headers=ok).status_code == 404  # not theirs
    assert client.post("/v1/labels/undo").json()["was"] == "set_alarm"


def test_answers_take_effect_when_their_giver_is_done(client, runtime, traffic):
    client.post("/v1/labels", json={"item": "uncertain:p-2", "intent": "play_music"})
    client.post("/v1/labels", json={"item": "uncertain:p-1"})
    conflict = client.get("/v1/labels?kind=conflict").json()["items"][0]
    client.post("/v1/labels", json={"item": conflict["item"], "intent": "none"})
    told = client.post("/v1/labels/settle").json()
    assert (told["feedback"], told["train"], told["golden"]) == (0, 2, 0)
    assert client.post("/v1/labels/settle").json()["train"] == 0
    counts = client.get("/v1/samples").json()  # what feedback labelled is counted there too
    assert [row for row in counts if row["origin"] == "person"] == [
        {"split": "train", "origin": "person", "intent": name, "count": 1}
        for name in ("none", "play_music")
    ]
    assert client.get("/v1/labels/agreement").json()["people"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"item": "uncertain:p-9", "intent": "none"}, 404),
        ({"item": "uncertain:p-1", "intent": "set_alram"}, 409),
        ({"item": "uncertain:p-1", "intent": "none", "arguments": {"time": 1}}, 409),
        ({"intent": "none"}, 400),
        ({"item": 7}, 400),
    ],
)
def test_what_cannot_be_kept_is_refused_with_what_to_do(client, traffic, body, status):
    reply = client.post("/v1/labels", json=body)
    assert reply.status_code == status
    assert reply.json()["error"]
    assert reply.json()["hint"]


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "kind=golden", "format=prodigy"])
def test_a_wrong_question_is_400(client, query):
    assert client.get(f"/v1/labels?{query}").status_code == 400


# The tools' forms, as their servers give them back


def annotated(task, label, **more):
    """A task as Label Studio exports it: with fields of its own around what it was given."""
    result = {
        "id": "Dx_aB91ISN",
        "from_name": "intent",
        "to_name": "text",
        "type": "choices",
        "origin": "manual",
        "value": {"choices": [label]},
    }
    return {
        **task,
        "id": 7,
        "project": 1,
        "annotations": [
            {"id": 9, "completed_by": 3, "was_cancelled": False, "result": [result], **more}
        ],
    }


def responded(record, label):
    """A record as Argilla's `to_json` writes it back."""
    answers = {"intent": [{"value": label, "user_id": "5f0c…"}]}
    return {**record, "responses": answers, "status": "completed", "_server_id": "8e1f…"}


def test_label_studio_gets_tasks_and_gives_annotations_back(client, runtime, traffic):
    tasks = client.get("/v1/labels?format=labelstudio&kind=uncertain").json()
    assert [task["data"]["text"] for task in tasks] == traffic
    assert tasks[0]["data"] == {"text": "wake me", "item": "uncertain:p-1", "kind": "uncertain"}
    assert tasks[0]["predictions"][0]["result"][0]["value"] == {"choices": ["set_alarm"]}
    back = [annotated(tasks[0], "play_music"), annotated(tasks[1], "none"), tasks[2]]
    told = client.post("/v1/labels/import?format=labelstudio", json=back).json()
    assert told == {"accepted": 2, "duplicates": 0, "unanswered": 1, "rejected": []}
    again = client.post("/v1/labels/import?format=labelstudio", json=back).json()
    assert (again["accepted"], again["duplicates"]) == (0, 2)
    with runtime.store.read() as con:
        said = {word.text: (word.intent, word.person) for word in labels.standing(con)}
    assert said == {"wake me": ("play_music", ME), "我要听音乐": ("none", ME)}
    assert client.post("/v1/labels/settle").json()["train"] == 0  # they did at once


def test_label_studios_short_form_is_read_too(client, traffic):
    row = {"id": 1, "text": "wake me", "item": "uncertain:p-1", "intent": "set_alarm"}
    told = client.post("/v1/labels/import?format=labelstudio", json=[row]).json()
    assert told["accepted"] == 1


def test_the_labelling_interface_offers_every_intent_and_none(client):
    reply = client.get("/v1/labels?format=labelstudio.xml")
    view = ElementTree.fromstring(reply.text)
    assert [one.get("value") for one in view.iter("Choice")] == ["set_alarm", "play_music", "none"]
    assert view.find("Text").get("value") == "$text"


def test_argilla_gets_records_and_gives_responses_back(client, traffic):
    records = client.get("/v1/labels?format=argilla&kind=uncertain").json()
    assert set(records[0]) == {
        "id",
        "fields",
        "metadata",
        "suggestions",
        "responses",
        "vectors",
        "_server_id",
    }
    assert records[0]["suggestions"]["intent"]["value"] == "set_alarm"
    back = [responded(records[0], "set_alarm"), records[1], responded(records[2], "play_music")]
    told = client.post("/v1/labels/import?format=argilla", content=json.dumps(back)).json()
    assert told == {"accepted": 2, "duplicates": 0, "unanswered": 1, "rejected": []}


def test_what_judges_models_leaves_without_any_models_answer(client, runtime):
    from flywheel import labelling

    audited = [f"p-{n}" for n in range(900) if labelling.drawn("audit", f"p-{n}", 0.01)]
    with runtime.store.write() as con:
        events.add_predictions(
            con,
            [
                Prediction(id=key, ts=runtime.clock(), text=f"text {key}", intent="set_alarm")
                for key in audited
            ],
        )
    for form in ("", "argilla", "labelstudio"):
        said = client.get(f"/v1/labels?kind=audit&format={form}").json()
        listed = said if form else said["items"]
        assert len(listed) == len(audited) > 0
        assert "set_alarm" not in json.dumps(listed)


@pytest.mark.parametrize("form", ["argilla", "labelstudio"])
@pytest.mark.parametrize(
    "body", [b"", b"[", b"{", b"[" * 100_000, b"\xff\xfe", b'"text"', b"[1, null, []]"]
)
def test_a_file_that_is_none_is_refused_and_nothing_breaks(client, traffic, form, body):
    reply = client.post(f"/v1/labels/import?format={form}", content=body)
    told = reply.json()
    assert reply.status_code == 400 or told["accepted"] == 0
    assert reply.status_code < 500


def test_an_import_says_of_each_line_why_it_is_not_used(client, runtime, traffic):
    tasks = client.get("/v1/labels?format=labelstudio&kind=uncertain").json()
    edited = {**tasks[1], "data": {**tasks[1]["data"], "text": "another text"}}
    two = annotated(tasks[0], "none")
    two["annotations"] += annotated(tasks[0], "set_alarm")["annotations"]
    back = [
        two,
        annotated(edited, "none"),
        annotated(tasks[2], "stop"),
        annotated({"data": {"text": "x", "item": "audit:gone"}}, "none"),
        annotated({"data": {"text": "x"}}, "none"),
        annotated(tasks[2], "none", was_cancelled=True),
    ]
    told = client.post("/v1/labels/import?format=labelstudio", json=back).json()
    assert (told["accepted"], told["unanswered"]) == (0, 1)
    why = {each["line"]: each["why"] for each in told["rejected"]}
    assert "different labels for it: none, set_alarm" in why[1]
    assert "text of uncertain:p-2 is another one" in why[2]
    assert "there is no intent `stop`" in why[3]
    assert "nobody is asked about audit:gone" in why[4]
    assert "no item or no text" in why[5]
    assert client.post("/v1/labels/import?format=prodigy", json=[]).status_code == 400


def test_who_is_erased_is_gone_from_the_labels_too(client, runtime, traffic):
    client.post("/v1/labels", json={"item": "uncertain:p-1", "intent": "set_alarm"})
    client.post("/v1/labels/settle")
    said = client.post("/v1/erase", json={"prediction": "p-1"}).json()
    assert said["left"] == {}
    assert said["removed"]["labels"] == said["removed"]["label_effects"] == 1
    with runtime.store.read() as con:
        assert labels.standing(con) == []
        assert labels.effects(con) == {}
    assert "wake me" not in client.get("/v1/labels").text
