"""What was not taken is listed, read again and deleted; scores are listed and counted anew."""

import base64
import dataclasses
import json

import numpy
import pytest
from wire_events import ndjson, prediction

from flywheel import intake
from flywheel.config import SourceTable
from flywheel.store import events, rejected, samples

CHINESE = '{"id": "z", "ts": "2026-11-20T09:00:00Z", "text": "我要听音乐", "intent": "play_music"}'
LATIN = (
    '{"id": "p-9", "ts": "2026-11-20T09:00:00Z", "text": "réveille-moi", "intent": "play_music"}'
)
SKIPPED = {"sender_id": "u", "event": "action", "timestamp": 1763629200.0, "name": "action_listen"}
CONTINUED = {
    "request": {
        "messages": [
            {"role": "user", "content": "wake me"},
            {"role": "assistant", "content": "When?"},
        ]
    },
    "response": {
        "id": "r-2",
        "created": 1763629200,
        "choices": [{"message": {"role": "assistant", "content": "At six."}}],
    },
}


def of(runtime, question):
    with runtime.store.read() as con:
        return question(con)


def test_every_line_is_accepted_repeated_rejected_or_skipped_with_a_reason(client):
    body = ndjson(prediction(1), prediction(1), b"{never", SKIPPED, CONTINUED, SKIPPED)
    said = client.post("/v1/predictions", content=body).json()
    assert (said["accepted"], said["duplicates"], len(said["rejected"]), said["skipped"]) == (
        1, 1, 1, 3,
    )  # fmt: skip
    assert [(skip["count"], skip["line"]) for skip in said["skips"]] == [(2, 4), (1, 5)]
    assert all(skip["why"] for skip in said["skips"])


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_a_line_in_another_encoding_is_kept_byte_by_byte_and_read_again(client, runtime, encoding):
    raw = LATIN.encode("cp1252")
    client.post("/v1/predictions", content=raw + b"\n" + ndjson(prediction(1)))
    (line,) = client.get("/v1/rejected").json()["lines"]
    assert base64.b64decode(line["raw"]) == raw
    assert line["encoding"] == "base64"
    assert client.get(f"/v1/rejected/{line['id']}").json() == line
    again = client.post("/v1/rejected/retry", json={}).json()
    assert (again["accepted"], len(again["rejected"])) == (0, 1)
    assert client.post("/v1/rejected/retry", json={"encoding": "klingon"}).status_code == 409
    said = client.post("/v1/rejected/retry", json={"ids": [line["id"]], "encoding": encoding})
    assert (said.json()["accepted"], said.json()["rejected"]) == (1, [])
    rows = of(runtime, lambda con: con.execute("SELECT text FROM predictions").fetchall())
    assert ("réveille-moi",) in rows
    assert client.get("/v1/rejected").json()["lines"] == []


def test_lines_of_two_encodings_are_each_read_in_their_own(client, runtime):
    chinese = CHINESE.encode("gbk")
    client.post("/v1/predictions", content=LATIN.encode("cp1252") + b"\n" + chinese)
    said = client.post("/v1/rejected/retry", json={"encoding": "cp1252"}).json()
    assert (said["accepted"], [bad["why"] for bad in said["rejected"]]) == (
        1,
        [
            "may be no cp1252: its bytes come in pairs, as gbk writes them; name its id to read it "
            "so anyway"
        ],
    )
    (line,) = client.get("/v1/rejected").json()["lines"]
    assert base64.b64decode(line["raw"]) == chinese
    assert client.post("/v1/rejected/retry", json={"encoding": "gbk"}).json()["accepted"] == 1
    rows = of(
        runtime, lambda con: con.execute("SELECT text FROM predictions ORDER BY id").fetchall()
    )
    assert rows == [("réveille-moi",), ("我要听音乐",)]


def test_a_line_that_is_refused_again_has_the_reason_of_today_and_its_bytes(client):
    raw = LATIN.replace('"ts": "2026-11-20T09:00:00Z", ', "").encode("cp1252")
    client.post("/v1/predictions", content=raw)
    said = client.post("/v1/rejected/retry", json={"encoding": "cp1252"}).json()
    assert [bad["field"] for bad in said["rejected"]] == ["ts"]
    (line,) = client.get("/v1/rejected").json()["lines"]
    assert (line["field"], base64.b64decode(line["raw"])) == ("ts", raw)


def test_rejected_lines_are_found_by_reason_and_dropped(client):
    client.post("/v1/predictions", content=b'{"id": "a"}\n{never')
    assert client.get("/v1/rejected?why=JSON").json()["lines"][0]["raw"] == "{never"
    listed = client.get("/v1/rejected").json()
    assert (listed["total"], [reason["lines"] for reason in listed["reasons"]]) == (2, [1, 1])
    first = listed["lines"][0]["id"]
    assert client.post("/v1/rejected/drop", json={"ids": ["r-none"]}).status_code == 404
    assert client.post("/v1/rejected/drop", json={"ids": [first]}).json() == {"dropped": 1}
    assert client.post("/v1/rejected/drop", json={}).json() == {"dropped": 1}
    assert client.get("/v1/rejected?limit=x").status_code == 400


def test_rejected_lines_above_a_size_go_the_oldest_first(client, runtime):
    for number in range(4):
        client.post("/v1/predictions", content=f"{number}{'x' * 100}".encode())
    with runtime.store.write() as con:
        assert rejected.trim(con, 250) == 2
        assert sorted(line.raw[0] for line in rejected.listed(con)) == ["2", "3"]
        assert rejected.trim(con, 250) == 0


class Unreadable:
    """A value that no JSON is."""


def test_nothing_that_a_plug_in_hands_on_stops_its_source(runtime):
    deep = {}
    for _ in range(5_000):
        deep = {"a": deep}
    good = prediction(1)
    batch = [
        good,
        {**prediction(2), "confidence": numpy.float32(0.5)},
        {**prediction(3), "text": "\ud83d"},
        {**prediction(4), "arguments": deep},
        {**prediction(5), "slices": {Unreadable(): 1}},
        {"unreadable": "a,b", "why": "wrong cell count"},
        {"unreadable_base64": base64.b64encode(b"\xe9").decode(), "why": "is not UTF-8"},
        7,
        prediction(8),
    ]
    receipt = intake.accept_from_source(runtime, "app", batch, "c-1")
    assert (receipt.accepted, [bad.line for bad in receipt.rejected]) == (2, [2, 3, 4, 5, 6, 7, 8])
    whys = [bad.why for bad in receipt.rejected]
    assert whys[0].startswith("cannot be written as JSON: TypeError")
    assert whys[4:6] == ["wrong cell count", "is not UTF-8"]
    assert of(runtime, lambda con: events.source_cursor(con, "app")) == "c-1"
    kept = {line.why: line.content for line in of(runtime, rejected.listed)}
    assert kept["is not UTF-8"] == b"\xe9"


def test_a_source_gives_no_samples_unless_its_table_says_so(runtime):
    golden = {"text": "wake me", "intent": "set_alarm", "split": "golden"}
    receipt = intake.accept_from_source(runtime, "app", [golden, prediction(1)], "c-1")
    assert (receipt.accepted, [bad.why for bad in receipt.rejected]) == (
        1,
        ["is a sample, and this source gives none: `samples = true` in its table lets it"],
    )
    again = intake.retry(runtime, by="ada (uid 1000)")
    assert (again.accepted, len(again.rejected)) == (0, 1)
    sources = {"app": SourceTable(plugin="jsonl", samples=True)}
    config = dataclasses.replace(runtime.config, sources=sources)
    assert (
        intake.retry(dataclasses.replace(runtime, config=config), by="ada (uid 1000)").accepted == 1
    )
    assert [row.sample.text for row in of(runtime, samples.golden)] == ["wake me"]
    assert of(runtime, rejected.listed) == []


def score(number, value):
    return {
        "id": f"s-{number}",
        "trace_id": "t",
        "observation_id": f"p-{number}",
        "name": "stars",
        "value": value,
        "data_type": "NUMERIC",
        "timestamp": "2026-11-22T11:00:00Z",
    }


def with_rules(runtime, **rules):
    table = dataclasses.replace(runtime.config.feedback, scores=rules)
    object.__setattr__(runtime, "config", dataclasses.replace(runtime.config, feedback=table))
    intake.recount_scores(runtime)


def test_scores_are_seen_and_counted_anew_when_their_rule_changes(client, runtime):
    spoken = [{**prediction(n), "aliases": [f"t:p-{n}"]} for n in (1, 2)]
    client.post("/v1/predictions", content=ndjson(*spoken, score(1, 1), score(2, 5)))

    def verdicts():
        rows = "SELECT prediction_id, verdict FROM judged ORDER BY 1"
        return dict(of(runtime, lambda con: con.execute(rows).fetchall()))

    (seen,) = client.get("/v1/scores").json()
    assert (seen["name"], seen["count"], seen["counted"], seen["low"], seen["high"]) == (
        "stars", 2, 0, 1.0, 5.0,
    )  # fmt: skip
    assert seen["rule"] is None
    assert seen["add"].startswith("stars = ")
    assert verdicts() == {}
    with_rules(runtime, stars="1..5 >= 4")
    assert verdicts() == {"p-1": "incorrect", "p-2": "correct"}
    assert client.get("/v1/scores").json()[0]["counted"] == 2
    with_rules(runtime, stars="ignore")
    assert verdicts() == {}
    assert of(runtime, lambda con: con.execute("SELECT count(*) FROM feedback").fetchone()) == (0,)
    assert of(runtime, lambda con: len(con.execute("SELECT * FROM scores").fetchall())) == 2


def test_names_that_are_no_intent_are_lines_of_intents_and_problems_of_status(client):
    client.post(
        "/v1/predictions",
        content=ndjson(*({**prediction(n), "intent": "SetAlarm"} for n in range(3))),
    )
    unknown = [row for row in client.get("/v1/intents").json() if row["unknown"]]
    assert [(row["intent"], row["predictions"], row["nearest"]) for row in unknown] == [
        ("SetAlarm", 3, "set_alarm")
    ]
    status = client.get("/v1/status").json()
    assert status["input"]["unknown"] == ["SetAlarm"]
    assert any("flywheel intents alias SetAlarm set_alarm" in one for one in status["problems"])
    assert json.dumps(status)
