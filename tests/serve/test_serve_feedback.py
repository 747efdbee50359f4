"""Feedback to the server: kept for the daemon, and nothing else by this way."""

import json

VERDICT = {
    "id": "f-1",
    "prediction_id": "p-1",
    "ts": "2026-11-22T05:17:00Z",
    "verdict": "corrected",
    "intent": "set_timer",
}


def test_a_verdict_is_kept_for_the_daemon(served):
    reply = served.client.post("/v1/feedback", json=VERDICT)
    assert (reply.status_code, reply.json()) == (
        202,
        {"accepted": 1, "duplicates": 0, "rejected": []},
    )
    assert served.log.feedback == [VERDICT]


def test_of_a_batch_the_good_lines_are_kept_and_the_bad_ones_named(served):
    lines = [VERDICT, {"prediction_id": "p-2", "verdict": "fine"}, VERDICT]
    body = "\n".join(json.dumps(line) for line in lines)
    reply = served.client.post("/v1/feedback", content=body)
    said = reply.json()
    assert (reply.status_code, said["accepted"], said["duplicates"]) == (202, 1, 1)
    assert [(bad["line"], bad["field"]) for bad in said["rejected"]] == [(2, "verdict")]


def test_a_sample_does_not_pass_as_feedback(served):
    sample = {"text": "a", "intent": "set_alarm", "split": "golden"}
    reply = served.client.post("/v1/feedback", json=sample)
    assert (reply.status_code, reply.json()["accepted"]) == (422, 0)
    assert served.log.feedback == []


def test_feedback_that_cannot_be_kept_is_to_be_sent_again(served):
    served.log.full = True
    reply = served.client.post("/v1/feedback", json=VERDICT)
    assert (reply.status_code, reply.json()["error"]) == (503, "feedback cannot be kept now")
    assert reply.headers["retry-after"] == "5"


def test_an_answer_that_cannot_be_logged_is_given_all_the_same(served):
    served.log.full = True
    assert served.client.post("/v1/predict", json={"text": "play a"}).status_code == 200
    assert served.log.lines == []
    served.log.full = False
    served.client.post("/v1/predict", json={"text": "play b"})
    assert [(line["text"], line["answers"]) for line in served.log.lines] == [("play b", 2)]
