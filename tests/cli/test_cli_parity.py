"""What a person sees of a decision that is being applied, and of one whose parity failed."""

import json

import pytest

from flywheel.cli import report, review
from flywheel.cli.decision_page import parity
from flywheel.cli.status import _serving

BECAUSE = "a-2 answers otherwise than evaluated: 1 of 12 texts, first s-1 (intent)"
DECISION = {
    "id": "d-7",
    "verdict": "promote",
    "status": "applying",
    "challenger": "a-2",
    "champion": "a-1",
    "because": "looks right",
    "waits_for": "d-7 waits: no server answers",
}
FAILED = DECISION | {"status": "parity_failed", "because": BECAUSE, "waits_for": None}
ANSWER = {"adapter": "a-2", "intent": "set_alarm", "arguments": '{"time":"7"}', "confidence": 0.9}
FIRST = {
    "sample": "s-1",
    "text": "wake me at 7",
    "what": "intent",
    "evaluated": ANSWER,
    "served": ANSWER | {"intent": "none", "arguments": "{}"},
}
PARITY = {"asked": 12, "differing": 1, "engine": "onnx", "refused": "", "first": FIRST}
SERVING = {
    "kind": "local",
    "adapter": "a-1",
    "engine": "onnx",
    "parity": {"at": "2026-11-22T05:17:00+00:00", "asked": 200, "differing": 0, "adapter": "a-1"},
    "applying": "d-7",
    "waiting": "d-7 waits: no server answers",
}


@pytest.fixture(autouse=True)
def without_a_pause(monkeypatch):
    monkeypatch.setattr(review, "_LOOK_S", 0.0)


def test_an_approval_says_what_happens_next_and_how_to_follow_it(daemon):
    daemon.says("POST /v1/decisions/d-7/approve", DECISION)
    result = daemon.run("review", "approve", "d-7", "--because", "fine")
    assert (result.exit_code, result.stdout) == (
        0,
        "d-7 is being applied: a-2 serves once the server answers as evaluated\n"
        "follow it: flywheel review show d-7\n",
    )


@pytest.mark.parametrize(
    ("command", "route"),
    [
        (("review", "approve", "d-7"), "decisions/d-7/approve"),
        (("adapters", "rollback"), "rollback"),
    ],
)
def test_wait_ends_with_what_became_of_it(daemon, command, route):
    daemon.says(f"POST /v1/{route}", DECISION)
    daemon.says("GET /v1/status", {"serving": SERVING})
    seen = iter([DECISION, DECISION | {"status": "applied"}])
    daemon.says("GET /v1/decisions/d-7", lambda body: next(seen))
    result = daemon.run(*command, "--because", "fine", "--wait")
    assert (result.exit_code, result.stdout) == (0, "d-7 approved: a-2 replaces a-1\n")
    assert result.stderr == "d-7 waits: no server answers\n"


def test_wait_fails_where_the_decision_was_not_applied(daemon):
    daemon.says("POST /v1/decisions/d-7/approve", DECISION)
    daemon.says("GET /v1/status", {"serving": SERVING | {"waiting": ""}})
    daemon.says("GET /v1/decisions/d-7", FAILED)
    result = daemon.run("review", "approve", "d-7", "--because", "fine", "--wait")
    assert (result.exit_code, result.stdout) == (
        1,
        "d-7 was not put into service: a-1 stays\n",
    )
    assert BECAUSE in " ".join(result.stderr.split())
    assert "flywheel review show d-7" in result.stderr
    daemon.says("POST /v1/decisions/d-7/approve", DECISION)
    both = daemon.run("review", "approve", "d-7", "--because", "fine", "--wait", "--json")
    assert json.loads(both.stdout) == FAILED


def test_the_page_has_the_first_text_with_both_answers():
    assert parity(FAILED | {"parity": PARITY}) == [
        "Parity",
        "  asked      12 texts asked of onnx, 1 answered otherwise than evaluated",
        "  first      wake me at 7",
        '  evaluated  set_alarm {"time":"7"}, confidence 0.9000',
        "  served     none {}, confidence 0.9000",
    ]
    silent = PARITY | {"first": FIRST | {"text": "", "served": None}}
    assert parity(FAILED | {"parity": silent})[2:] == [
        "  first      s-1, whose text was erased",
        '  evaluated  set_alarm {"time":"7"}, confidence 0.9000',
        "  served     no answer",
    ]
    refused = PARITY | {"refused": "half there", "first": None}
    assert parity(FAILED | {"parity": refused})[1:] == [
        "  refused  the server could not load it: half there"
    ]
    assert "wake me at 7" in report.html(FAILED | {"parity": PARITY, "gates": []})
    assert "none {}, confidence 0.9000" in report.markdown(FAILED | {"parity": PARITY})


def test_the_page_says_what_a_decision_waits_for_that_is_being_applied():
    assert parity(DECISION) == ["Parity", "  waits  d-7 waits: no server answers"]
    assert parity(DECISION | {"status": "applied"}) == []


def test_status_has_a_line_on_what_serves():
    assert _serving(SERVING) == [
        ("serving", "a-1 by onnx (local); parity 2026-11-22 05:17 UTC: 200 texts, all equal"),
        ("", "d-7 is being applied"),
    ]
    bad = SERVING | {"parity": SERVING["parity"] | {"differing": 3}, "applying": None}
    assert _serving(bad)[0][1].endswith("200 texts, 3 differ")
    assert _serving({"kind": "link", "adapter": "a-1"}) == []
