"""`flywheel turn`: start, watch, list, show, cancel."""

import json

import pytest

from flywheel.cli import turns
from flywheel.store import turns as stored
from flywheel.turn import table


def step(name, state="done", seconds=1.0, detail=""):
    return {"name": name, "state": state, "seconds": seconds, "detail": detail}


TURN = {
    "id": "t-3",
    "state": "held",
    "trigger": "asked by uid 1000",
    "opened_at": "2026-11-22T05:10:00+00:00",
    "closed_at": "2026-11-22T05:17:42+00:00",
    "cost_usd": 0.1234,
    "decision": "d-7",
    "error": None,
    "progress": None,
    "steps": [
        step("diagnose", seconds=0.21, detail="2 of 8 intents fail"),
        step("train", seconds=94.4, detail="3 epochs over 312 samples"),
    ],
    "briefs": [
        {
            "intent": "播放音乐",
            "neighbour": "播客",
            "failure": "wrong_intent",
            "ask": 20,
            "expected": 4.6,
            "usd": 0.02,
            "why": "19 of 52 wrong",
        },
    ],
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(turns, "_POLL_S", 0.0)


def test_start_opens_a_turn_and_says_how_to_follow_it(daemon):
    daemon.says("POST /v1/turns", {**TURN, "state": "diagnose"}, status=202)
    result = daemon.run("turn", "start")
    assert (result.exit_code, result.stdout) == (
        0,
        "t-3 is open\nnext: flywheel turn show t-3\n",
    )


def test_start_while_one_is_open_is_refused_with_the_daemons_words(daemon):
    refusal = {"error": "t-2 is open, in step train", "hint": "wait for it"}
    daemon.says("POST /v1/turns", refusal, status=409)
    result = daemon.run("turn", "start")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "",
        "error: t-2 is open, in step train\nnext: wait for it\n",
    )


def test_wait_tells_each_step_once_and_ends_with_the_turn(daemon):
    daemon.says("POST /v1/turns", {**TURN, "state": "diagnose"}, status=202)
    daemon.says("GET /v1/turns", [TURN])
    running = {**TURN, "state": "train", "decision": None}
    daemon.says_in_turn(
        "GET /v1/turns/t-3",
        {**running, "state": "diagnose", "steps": [step("diagnose", "running", None)]},
        {**running, "steps": [TURN["steps"][0], step("train", "running", None)]},
        {**running, "steps": [TURN["steps"][0], step("train", "running", None)]},
        TURN,
    )
    result = daemon.run("turn", "start", "--wait")
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "diagnose          0.2 s  2 of 8 intents fail\n"
        "train        1 min 34 s  3 epochs over 312 samples\n"
        "\n"
        "t-3 waits for a person\n"
        "next: flywheel review show d-7\n",
        "",
    )


def test_wait_exits_1_when_the_turn_fails(daemon):
    daemon.says("POST /v1/turns", TURN, status=202)
    daemon.says("GET /v1/turns", [])
    failed = {**TURN, "state": "failed", "decision": None, "error": "the disk is full"}
    daemon.says("GET /v1/turns/t-3", failed)
    result = daemon.run("turn", "start", "--wait")
    assert result.exit_code == 1
    assert result.stdout.endswith("t-3 failed: the disk is full\nnext: flywheel log --turn t-3\n")


def test_wait_with_json_prints_the_finished_turn_and_nothing_else(daemon):
    daemon.says("POST /v1/turns", TURN, status=202)
    daemon.says("GET /v1/turns", [])
    daemon.says("GET /v1/turns/t-3", TURN)
    assert json.loads(daemon.run("turn", "start", "--wait", "--json").stdout) == TURN


def test_ctrl_c_stops_the_watching_only(daemon, monkeypatch):
    daemon.says("POST /v1/turns", TURN, status=202)
    daemon.says("GET /v1/turns", [])
    daemon.says("GET /v1/turns/t-3", {**TURN, "state": "train"})

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(turns.time, "sleep", interrupt)
    result = daemon.run("turn", "start", "--wait")
    assert result.exit_code == 130
    assert result.stderr == "stopped watching; t-3 goes on\nnext: flywheel turn show t-3\n"


def test_what_is_left_is_the_jobs_estimate_and_the_usual_time_of_the_later_steps():
    running = {**TURN, "state": "train", "progress": {"detail": "epoch 1 of 3", "eta_s": 40.0}}
    usual = {"train": 90.0, "evaluate": 15.0, "gate": 5.0}
    assert turns.running(running, usual) == "4/9 train: epoch 1 of 3; about 1 min left"
    assert turns.running({**running, "progress": None}, usual) == "4/9 train; about 1 min 50 s left"
    assert turns.running({**running, "progress": None}, {}) == "4/9 train"


def test_list_says_who_opened_a_turn_and_what_it_came_to(daemon):
    daemon.says("GET /v1/turns", [TURN, {**TURN, "id": "t-2", "decision": None, "steps": []}])
    assert (
        daemon.run("turn", "list").stdout
        == """\
turn  state  opened                trigger                 took   cost  decision
t-3   held   2026-11-22 05:10 UTC  asked by uid      1 min 35 s  $0.12  d-7
                                   1000
t-2   held   2026-11-22 05:10 UTC  asked by uid           0.0 s  $0.12  -
                                   1000
"""
    )


def test_show_lists_the_steps_and_what_the_turn_set_out_to_mend(daemon):
    assert (
        daemon.says("GET /v1/turns/t-3", TURN).run("turn", "show", "t-3").stdout
        == """\
turn t-3: held

opened    2026-11-22 05:10 UTC, asked by uid 1000
closed    2026-11-22 05:17 UTC
cost      $0.12
decision  d-7

step      state        took  what happened
diagnose  done        0.2 s  2 of 8 intents fail
train     done   1 min 34 s  3 epochs over 312 samples

to mend   failure       samples  mends  per $  why
播放音乐  wrong intent       20    4.6    230  19 of 52 wrong

next: flywheel review show d-7
"""
    )


def test_cancel_says_what_the_turn_is_now(daemon):
    daemon.says("POST /v1/turns/t-3/cancel", {**TURN, "state": "cancelled"})
    assert daemon.run("turn", "cancel", "t-3").stdout == "t-3 is cancelled\n"


def test_without_turns_list_says_how_to_start_one(daemon):
    assert "flywheel turn start" in daemon.says("GET /v1/turns", []).run("turn", "list").stdout


def test_a_dry_run_shows_what_would_be_asked_and_its_price_and_opens_no_turn(daemon):
    brief = {
        "intent": "set_alarm",
        "neighbour": "set_timer",
        "failure": "unseen_wording",
        "ask": 10,
        "expected": 3.2,
        "usd": 0.004,
        "why": "set_alarm is wrong in 12 of 40.",
        "prompts": ["<data>\n我要听音乐\n</data>"],
    }
    found = {"requests": 1, "samples": 10, "usd": 0.004, "max_usd": 5.0, "briefs": [brief]}
    daemon.says("GET /v1/synthesis", found)
    result = daemon.run("turn", "start", "--dry-run")
    assert result.exit_code == 0
    assert "1 requests for 10 samples, about $0.0040 of at most $5.00" in result.stdout
    for shown in ("unseen wording", "3.2", "800", "我要听音乐"):
        assert shown in result.stdout
    assert all(method == "GET" for method, *_ in daemon.asked)


def test_show_without_a_turn_shows_the_newest(daemon):
    daemon.says("GET /v1/turns", [{"id": "t-9"}, {"id": "t-8"}])
    daemon.says("GET /v1/turns/t-9", {"id": "t-9", "state": "done"})
    result = daemon.run("turn", "show")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "turn t-9: done")


def test_show_without_any_turn_says_how_to_start_one(daemon):
    daemon.says("GET /v1/turns", [])
    result = daemon.run("turn", "show")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: no turn yet\nnext: start one with `flywheel turn start --wait`\n"
    )


def test_the_steps_that_are_shown_are_those_of_the_turn():
    assert tuple(table.STEPS) == turns.STEPS  # the command knows them without importing the turn
    assert turns.ENDED == stored.ENDED


def test_refused_lists_rows_with_why_and_lets_no_text_reach_the_terminal_raw(daemon):
    row = {
        "sample": "s-1",
        "text": "evil \x1b]0;title\x07 text",
        "intent": "set_timer",
        "origin": "feedback",
        "reason": "label_noise",
        "detail": "wrong with probability 0.97: \x1b[31mset_alarm fits 40 times better",
        "near": None,
    }
    daemon.says("GET /v1/turns/t-3/refused", [row])
    result = daemon.run("turn", "refused", "t-3")
    assert result.exit_code == 0
    assert "label_noise" in result.stdout
    assert "set_alarm fits 40" in result.stdout
    assert not {"\x1b", "\x07"} & set(result.stdout)
    daemon.says("GET /v1/turns/t-3/refused", [])
    assert daemon.run("turn", "refused", "t-3").stdout == "nothing was refused\n"
