"""`flywheel status` and `flywheel intents`, to the letter."""

import json

import pytest

from flywheel.cli.text import width

STATUS = {
    "version": "0.1.0",
    "uptime_s": 11520.4,
    "champion": "a-3f2c41d09b7e",
    "turn": {
        "id": "t-4",
        "state": "train",
        "trigger": "schedule",
        "opened_at": "2026-11-22T03:00:00+00:00",
    },
    "next_turn": "2026-11-23T03:00:00+00:00",
    "backlog": {
        "predictions": 12045,
        "feedback": 604,
        "labelled": 600,
        "waiting_feedback": 4,
        "rejected": 3,
        "labels_wanted": {"set_alarm": 11, "播放音乐": 21},
        "held": ["d-7"],
    },
    "sources": [{"name": "crm", "state": "reading"}],
    "golden": {"generation": 2, "rows": 320, "queries_left": 28},
    "audit": {
        "n": 412,
        "errors": 28,
        "accuracy": 0.932,
        "low": 0.9035,
        "high": 0.9526,
        "skipped": 3,
        "disputed": 0,
    },
    "problems": ["t-3 failed: the disk is full"],
}
INTENTS = [
    {
        "intent": intent,
        "predictions": predictions,
        "feedback": feedback,
        "errors": errors,
        "error_rate": rate,
        "low": low,
        "high": high,
        "failing": failing,
        "confused_with": [{"intent": name, "count": count} for name, count in confused],
        "trend": trend,
        "dev_n": 10,
        "dev_errors": 0,
    }
    for intent, predictions, feedback, errors, rate, low, high, failing, confused, trend in [
        ("set_alarm", 1204, 80, 4, 0.05, 0.02, 0.122, False, [("set_timer", 4)], "flat"),
        ("播放音乐", 411, 52, 19, 0.365, 0.249, 0.501, True, [("播客", 12), ("闹钟", 7)], "worse"),
        ("get_weather", 0, 0, 0, None, 0.0, 1.0, False, [], "unknown"),
        ("set_timer", 98, 31, 8, 0.258, 0.137, 0.432, True, [("set_alarm", 8)], "unknown"),
    ]
]


def test_status_says_what_is_done_what_is_next_and_what_waits(daemon):
    daemon.says("GET /v1/status", STATUS)
    result = daemon.run("status")
    assert (result.exit_code, result.stdout) == (
        0,
        """\
flywheel 0.1.0, up 3 h 12 min

champion       a-3f2c41d09b7e
turn           t-4 is in train (schedule, since 2026-11-22 03:00 UTC)
next turn      2026-11-23 03:00 UTC
events         12,045 predictions, 604 feedback
               4 feedback wait for a prediction
               3 were rejected
               see: flywheel rejected list
labels wanted  播放音乐 21, set_alarm 11
held           d-7
golden         generation 2, 320 rows, 28 queries left
audit          93.2 % right (90–95 %) of 412 audited predictions; 3 skipped
sources        crm reading

1 problem
  t-3 failed: the disk is full

next:
  flywheel review show d-7
  flywheel samples label
""",
    )


def test_status_says_what_answers_cost_where_that_is_known(daemon):
    costs = [
        {"adapter": "upstream:gpt-5-mini", "usd": 1234.5, "answers": 82310},
        {"adapter": "", "usd": 0.004, "answers": 1},
    ]
    said = daemon.says("GET /v1/status", STATUS | {"costs": costs}).run("status").stdout
    assert [line for line in said.splitlines() if "$" in line] == [
        "cost           upstream:gpt-5-mini: $1,234.50 for 82,310 answers in the window",
        "               no adapter named: $0.00 for 1 answer in the window",
    ]


FIRST = {
    "seeds": {"have": 31, "need": 120},
    "dev": {"have": 9, "need": 40},
    "golden": {"have": 12, "need": 40},
    "intents": {"have": 14, "need": 2},
    "traffic": True,
    "ready": False,
}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {},
            "for the first one: 31 of 120 seeds, 9 of 40 dev, 12 of 40 golden",
        ),
        ({"ready": True}, ""),
        ({"traffic": False}, ""),
        (
            {"dev": {"have": 0, "need": 0}, "seeds": {"have": 3, "need": 1}},
            "for the first one: 12 of 40 golden",
        ),
        (
            {"dev": {"have": 40, "need": 40}, "intents": {"have": 1, "need": 2}},
            "for the first one: 31 of 120 seeds, 40 of 40 dev, 12 of 40",
        ),
    ],
)
def test_status_says_how_far_it_is_to_a_first_champion(daemon, changes, line):
    daemon.says("GET /v1/status", STATUS | {"champion": None, "first_champion": FIRST | changes})
    said = daemon.run("status").stdout.splitlines()
    at = said.index("champion       none yet")
    assert said[at + 1].strip() == line or (not line and said[at + 1].startswith("turn "))


def test_status_of_a_new_daemon_says_what_is_missing(daemon):
    empty = {
        "version": "0.1.0",
        "uptime_s": 2.24,
        "champion": None,
        "turn": None,
        "next_turn": None,
        "backlog": {"predictions": 1, "feedback": 0, "waiting_feedback": 0, "held": []},
        "sources": [],
        "golden": {"generation": None, "queries_left": 0},
        "problems": [],
    }
    assert (
        daemon.says("GET /v1/status", empty).run("status").stdout
        == """\
flywheel 0.1.0, up 2.2 s

champion   none yet
turn       none open
next turn  -
events     1 prediction, 0 feedback
golden     none; no challenger can be judged before one is imported
sources    none configured

no problems
"""
    )


def test_status_names_the_variables_that_the_daemon_was_started_with(daemon):
    started = {"overrides": ["FLYWHEEL_API__TCP", "FLYWHEEL_TRAINING__SEED"], "backlog": {}}
    shown = daemon.says("GET /v1/status", started).run("status").stdout
    assert "\nenvironment  sets FLYWHEEL_API__TCP, FLYWHEEL_TRAINING__SEED\n" in shown


def test_status_shows_control_characters_and_never_sends_them(daemon):
    evil = {**STATUS, "problems": ["\x1b]0;pwned\x07\u202egnihton\r\n\x9b2J"]}
    shown = daemon.says("GET /v1/status", evil).run("status").stdout
    assert r"\x1b]0;pwned\x07\u202egnihton\r\n\x9b2J" in shown
    assert not set(shown) & set("\x1b\x07\u202e\r\x9b")


def test_intents_put_the_failing_ones_first_and_align_wide_names(daemon):
    result = daemon.says("GET /v1/intents", INTENTS).run("intents")
    assert (result.exit_code, result.stdout) == (
        0,
        """\
intent       served  judged  errors    rate  interval           confused with
播放音乐        411      52      19  36.5 %   25–50 %  FAILING  播客 12, 闹钟 7
set_timer        98      31       8  25.8 %   14–43 %  FAILING  set_alarm 8
set_alarm     1,204      80       4   5.0 %    2–12 %           set_timer 4
get_weather       0       0       0       -         -

no room for trend: a wider terminal shows it, and --json

4 intents, 2 failing
""",
    )


def test_names_of_intents_are_never_broken(daemon):
    long = [{**row, "intent": f"transfer_between_own_{row['intent']}"} for row in INTENTS]
    shown = daemon.says("GET /v1/intents", long).run("intents").stdout
    for row in long:
        assert row["intent"] in shown
    endless = [{**row, "intent": f"{'very_' * 12}{row['intent']}"} for row in INTENTS]
    shown = daemon.says("GET /v1/intents", endless).run("intents").stdout
    named = [line for line in shown.splitlines() if line.startswith("very_")]
    assert len(named) == len(INTENTS) == shown.count("…")
    assert max(map(width, shown.splitlines())) <= 80


def test_failing_shows_only_those_that_fail(daemon):
    daemon.says("GET /v1/intents", INTENTS)
    rows = json.loads(daemon.run("intents", "--failing", "--json").stdout)
    assert [row["intent"] for row in rows] == ["播放音乐", "set_timer"]
    assert "get_weather" not in daemon.run("intents", "--failing").stdout


def test_failing_says_so_when_none_does(daemon):
    daemon.says("GET /v1/intents", [INTENTS[0]])
    assert daemon.run("intents", "--failing").stdout == "no intent is failing\n"


def test_an_intent_that_fails_on_dev_alone_says_so(daemon):
    silent = {**INTENTS[2], "failing": True, "dev_n": 10, "dev_errors": 6}
    shown = daemon.says("GET /v1/intents", [silent]).run("intents").stdout
    assert "FAILING  dev 6/10" in shown


@pytest.mark.parametrize("command", ["status", "intents"])
def test_json_is_the_daemons_own_bytes(daemon, command):
    value = {"status": STATUS, "intents": INTENTS}[command]
    daemon.says(f"GET /v1/{command}", value)
    result = daemon.run(command, "--json")
    assert result.stdout == json.dumps(value, ensure_ascii=False) + "\n"


def test_a_wide_terminal_gets_wide_tables(daemon):
    daemon.says("GET /v1/intents", INTENTS)
    shown = daemon.run("intents", env={"COLUMNS": "120"}).stdout
    assert "播客 12, 闹钟 7" in shown


def test_intents_can_be_narrowed_to_a_slice_and_an_adapter(daemon):
    daemon.says("GET /v1/intents", [])
    daemon.run("intents", "--slice", "channel=voice", "--adapter", "a-1")
    assert daemon.asked[-1][1] == "/v1/intents?adapter=a-1&slice.channel=voice"
    assert daemon.run("intents", "--slice", "voice").exit_code == 2


def test_intents_tell_what_the_audit_sample_says_of_them(daemon):
    audit = {"n": 41, "errors": 3, "low": 0.025, "high": 0.194}
    rows = [INTENTS[0] | {"audit": audit}, INTENTS[1] | {"audit": None}]
    shown = daemon.says("GET /v1/intents", rows).run("intents").stdout
    assert (
        """
by the audit sample:
intent     audited  errors  interval
set_alarm       41       3    2–19 %
"""
        in shown
    )


def test_intents_say_what_failing_and_suspected_ones_rest_on_and_what_would_tell(daemon):
    shown = INTENTS[1] | {"shown_by": ["audit", "feedback"]}
    doubted = INTENTS[3] | {
        "failing": False,
        "suspect": True,
        "stream": "complaints",
        "audit_wanted": 12,
    }
    told = daemon.says("GET /v1/intents", [doubted, shown]).run("intents").stdout
    assert told.index("FAILING") < told.index("suspect ")
    assert told.endswith(
        """\
what this rests on:
  播放音乐: shown by labels drawn by lot and feedback, read with its bias
  set_timer: suspected, complaints alone are no rate; about 12 labels drawn by lot would tell

to label what tells more: flywheel samples label

2 intents, 1 failing, 1 suspected
"""
    )


def test_a_label_that_is_no_intent_is_listed_with_what_adds_it(daemon):
    step = 'add it to the intents (intents.toml: [[intent]] name = "qa_factoid")'
    name = INTENTS[2] | {
        "intent": "qa_factoid",
        "feedback": 32,
        "unknown": True,
        "labels": 32,
        "next_step": step,
    }
    told = daemon.says("GET /v1/intents", [name]).run("intents").stdout
    assert f"  qa_factoid (0 predictions, 32 judged): {step}\n" in told


PENDING = [
    {**INTENTS[0], "adapter": "a-2", "pending": 12, "feedback": 0, "errors": 0, "error_rate": None},
    {**INTENTS[2], "adapter": "a-2", "pending": 0},
    {**INTENTS[3], "adapter": "a-2", "pending": 30, "failing": False},
]


def test_what_a_new_champion_was_not_asked_yet_is_told_and_is_no_good_news(daemon):
    daemon.says("GET /v1/intents", PENDING)
    told = """\
pending: labelled texts that a-2 was not asked yet, in no figure: set_timer 30,
set_alarm 12
"""
    result = daemon.run("intents", "--failing")
    assert (result.exit_code, result.stdout) == (0, f"no intent is failing\n\n{told}")
    assert told in daemon.run("intents").stdout


def test_status_says_whose_answers_the_health_lacks(daemon):
    waits = "42 labelled texts wait for the answer of a-2: the daemon asks it by itself"
    health = {"champion": "a-2", "pending": 42, "waiting": waits}
    daemon.says("GET /v1/status", {**STATUS, "health": health})
    told = " ".join(daemon.run("status").stdout.split())
    assert f" health {waits} " in told
    daemon.says("GET /v1/status", {**STATUS, "health": {**health, "pending": 0, "waiting": ""}})
    assert "health" not in daemon.run("status").stdout
