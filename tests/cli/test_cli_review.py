"""`flywheel review`: what a person reads before a decision, to the letter."""

import base64
import hashlib
import json
import unicodedata
from xml.etree import ElementTree

import pytest

from flywheel.gates import measures

SHOWN = """\
d-7: held, waits for a person
a-5b1e09c2d3f4 is held: the evidence does not decide yet. 播放音乐 is undecided
after 30 examples

challenger  a-5b1e09c2d3f4
champion    a-3f2c41d09b7e
turn        t-3
decided     2026-11-22 05:17 UTC by gates

Gates
  gate     verdict        effect  at least    value  limit    n  labels
  hygiene  PASS                -         -        -      -    -       -
      no golden text reached training
  overall  PASS          +4.2 pt   +1.1 pt  0.00123   0.05  620       -
      31 won, 5 lost; the smallest gain this set would show is 2.1 points
  intents  INCONCLUSIVE        -         -     1.24     20    8      21
      播放音乐 is undecided
  The value of overall is a p-value, which passes at or below its limit.
  The value of intents is an e-value (the lowest of its parts), which passes at
  or above its limit: where the margin was lost, chance reaches 20 at most once
  in 20 times.

Intents
  intent                              before   after   n  lost/won  verdict
  播放音乐                            93.3 %  83.3 %  30       4/1  INCONCLUSIVE
  set_alarm                           80.0 %  97.5 %  40       1/8  PASS
  set_timer_with_a_name_that_is_rea…  90.0 %  95.0 %  40       0/2  PASS
  2 more intents passed and did not move; --all lists every one

Examples fixed (1)
  text              before     after
  wake me at seven  set_timer  set_alarm

Examples broken (1)
  text                                                    right     after
  我要听音乐\\x1b[2J，来一首轻松的歌，适合下雨的晚上一个   播放音乐  play_podcast
  人听，不要太吵

Training data
  by origin  feedback 212, teacher 60, seed 40
  added      set_alarm 60, 播放音乐 38
  refused    near duplicate 12, leak 1

  added                  intent     origin
  get me up at half six  set_alarm  teacher
  放点爵士               播放音乐   feedback
  96 more samples; not shown

Rests on
  golden   7d1f
  dataset  ds-90ab

Labels wanted
  播放音乐 21

What happened
  2026-11-22 05:17 UTC  hold by gates: 播放音乐 is undecided after 30 examples

Next
  flywheel samples label
  flywheel samples import FILE --split golden
  flywheel review approve d-7 --because "…"
  flywheel review reject d-7 --because "…"
"""

GATES = [
    {
        "gate": "hygiene",
        "verdict": "PASS",
        "effect": None,
        "low": None,
        "value": None,
        "threshold": None,
        "n": 0,
        "labels_needed": 0,
        "measures": measures("hygiene"),
        "detail": "no golden text reached training",
    },
    {
        "gate": "overall",
        "verdict": "PASS",
        "effect": 0.0421,
        "low": 0.0113,
        "value": 0.00123456,
        "threshold": 0.05,
        "n": 620,
        "labels_needed": 0,
        "measures": measures("overall"),
        "detail": "31 won, 5 lost; the smallest gain this set would show is 2.1 points",
    },
    {
        "gate": "intents",
        "verdict": "INCONCLUSIVE",
        "effect": None,
        "low": None,
        "value": 1.24,
        "threshold": 20.0,
        "n": 8,
        "labels_needed": 21,
        "measures": measures("intents"),
        "detail": "播放音乐 is undecided",
    },
]
INTENTS = [
    {
        "intent": name,
        "n": n,
        "champion_recall": before,
        "challenger_recall": after,
        "losses": losses,
        "gains": gains,
        "e_value": 30.0,
        "f_value": 0.1,
        "verdict": verdict,
        "labels_needed": labels,
    }
    for name, n, before, after, losses, gains, verdict, labels in [
        ("call_contact", 40, 1.0, 1.0, 0, 0, "PASS", 0),
        ("get_weather", 40, 0.95, 0.95, 0, 0, "PASS", 0),
        ("set_alarm", 40, 0.8, 0.975, 1, 8, "PASS", 0),
        ("set_timer_with_a_name_that_is_really_long", 40, 0.9, 0.95, 0, 2, "PASS", 0),
        ("播放音乐", 30, 0.9333333, 0.8333333, 4, 1, "INCONCLUSIVE", 21),
    ]
]
DECISION = {
    "id": "d-7",
    "turn": "t-3",
    "challenger": "a-5b1e09c2d3f4",
    "champion": "a-3f2c41d09b7e",
    "verdict": "hold",
    "status": "pending",
    "by": "gates",
    "because": "播放音乐 is undecided after 30 examples",
    "at": "2026-11-22T05:17:42+00:00",
    "gates": GATES,
    "intents": INTENTS,
    "summary": "a-5b1e09c2d3f4 is held: the evidence does not decide yet. "
    "播放音乐 is undecided after 30 examples",
    "fixed": [
        {
            "text": "wake me at seven",
            "intent": "set_alarm",
            "before": "set_timer",
            "after": "set_alarm",
        }
    ],
    "broken": [
        {
            "text": "我要听音乐\x1b[2J，来一首轻松的歌，适合下雨的晚上一个人听，不要太吵",
            "intent": "播放音乐",
            "before": "播放音乐",
            "after": "play_podcast",
        }
    ],
    "training": {
        "by_origin": {"seed": 40, "feedback": 212, "teacher": 60},
        "added": [
            {"text": "get me up at half six", "intent": "set_alarm", "origin": "teacher"},
            {"text": "放点爵士", "intent": "播放音乐", "origin": "feedback"},
        ],
        "added_total": 98,
        "added_by_intent": {"set_alarm": 60, "播放音乐": 38},
        "refused": {"near_duplicate": 12, "leak": 1},
    },
    "labels_wanted": {"播放音乐": 21},
    "offers": [{"do": "label"}, {"do": "approve", "override": []}, {"do": "reject"}],
    "rests_on": {"golden": "7d1f", "dataset": "ds-90ab"},
    "events": [
        {
            "at": "2026-11-22T05:17:42+00:00",
            "by": "gates",
            "what": "hold",
            "because": "播放音乐 is undecided after 30 examples",
        }
    ],
}


@pytest.fixture
def reviewed(daemon):
    other = {
        **DECISION,
        "id": "d-6",
        "verdict": "promote",
        "status": "applied",
        "at": "2026-11-21T05:17:42+00:00",
        "because": "all gates passed",
    }
    listed = [{**DECISION, "id": "d-8", "at": "2026-11-23T03:01:00Z"}, DECISION, other]
    daemon.says("GET /v1/decisions", listed)
    daemon.says("GET /v1/decisions/d-7", DECISION)
    return daemon


def test_show_says_the_verdict_then_why_then_what_to_look_at_then_what_to_do(reviewed):
    result = reviewed.run("review", "show", "d-7")
    assert (result.exit_code, result.stdout) == (0, SHOWN)


def columns(line):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def test_no_line_is_wider_than_the_terminal(reviewed):
    for command in (["review", "show", "d-7", "--all"], ["review", "list"]):
        result = reviewed.run(*command)
        assert max(columns(line) for line in result.stdout.splitlines()) <= 80


def test_all_lists_the_intents_that_did_not_move_too(reviewed):
    shown = reviewed.run("review", "show", "d-7", "--all").stdout
    assert "call_contact" in shown
    assert "did not move" not in shown


def test_without_an_id_the_one_that_waits_longest_is_shown(reviewed):
    assert reviewed.run("review", "show").stdout == SHOWN


def test_without_any_decision_show_says_how_to_get_one(daemon):
    daemon.says("GET /v1/decisions", [])
    result = daemon.run("review", "show")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: no decision yet\nnext: a turn ends in one: `flywheel turn start --wait`\n",
    )


def test_list_puts_what_waits_longest_first(reviewed):
    result = reviewed.run("review", "list")
    assert (
        result.stdout
        == """\
decision  status            made                  challenger      champion
d-7       held, waits for   2026-11-22 05:17 UTC  a-5b1e09c2d3f4  a-3f2c41d09b7e
          a person
    播放音乐 is undecided after 30 examples
d-8       held, waits for   2026-11-23 03:01 UTC  a-5b1e09c2d3f4  a-3f2c41d09b7e
          a person
    播放音乐 is undecided after 30 examples
d-6       promoted by       2026-11-21 05:17 UTC  a-5b1e09c2d3f4  a-3f2c41d09b7e
          gates
    all gates passed

next: flywheel review show d-7
"""
    )


def test_list_of_what_is_pending_leaves_the_rest_out(reviewed):
    rows = json.loads(reviewed.run("review", "list", "--pending", "--json").stdout)
    assert [row["id"] for row in rows] == ["d-8", "d-7"]


def test_list_says_when_nothing_waits(daemon):
    daemon.says("GET /v1/decisions", [])
    assert daemon.run("review", "list").stdout == "nothing waits for you\n"


def test_json_is_the_daemons_own(reviewed):
    result = reviewed.run("review", "show", "d-7", "--json")
    assert result.stdout == json.dumps(DECISION, ensure_ascii=False) + "\n"


def test_approve_sends_the_reason_and_names_both_adapters(reviewed):
    applied = {**DECISION, "status": "applied", "verdict": "promote"}
    reviewed.says("POST /v1/decisions/d-7/approve", applied)
    result = reviewed.run("review", "approve", "d-7", "--because", " checked ")
    assert (result.exit_code, result.stdout) == (
        0,
        "d-7 approved: a-5b1e09c2d3f4 replaces a-3f2c41d09b7e\n",
    )
    assert json.loads(reviewed.asked[-1][2]) == {"because": "checked"}


def test_reject_says_who_stays(reviewed):
    reviewed.says("POST /v1/decisions/d-7/reject", {**DECISION, "status": "rejected"})
    result = reviewed.run("review", "reject", "d-7", "--because", "refunds got worse")
    assert result.stdout == "d-7 rejected: a-3f2c41d09b7e stays\n"


def test_the_first_champion_replaces_nobody(reviewed):
    first = {**DECISION, "status": "applied", "verdict": "promote", "champion": None}
    reviewed.says("POST /v1/decisions/d-7/approve", first)
    result = reviewed.run("review", "approve", "d-7", "--because", "a start")
    assert result.stdout == "d-7 approved: a-5b1e09c2d3f4 is the first champion\n"


def test_a_superseded_decision_is_refused_with_the_daemons_reason(reviewed):
    refused = {"error": "d-7 is superseded: a-9 became champion", "hint": "start a turn"}
    reviewed.says("POST /v1/decisions/d-7/approve", refused, status=409)
    result = reviewed.run("review", "approve", "d-7", "--because", "x")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "",
        "error: d-7 is superseded: a-9 became champion\nnext: start a turn\n",
    )


@pytest.mark.parametrize("word", ["approve", "reject"])
@pytest.mark.parametrize("because", [[], ["--because", "  "]])
def test_a_word_without_a_reason_is_a_usage_error_and_is_not_sent(reviewed, word, because):
    result = reviewed.run("review", word, "d-7", *because)
    assert result.exit_code == 2
    assert "--because" in result.stderr
    assert reviewed.asked == []


@pytest.mark.parametrize(
    ("offer", "command"),
    [
        ({"do": "rollback"}, 'flywheel adapters rollback --because "…"'),
        ({"do": "turn"}, "flywheel turn start --wait"),
        (
            {"do": "approve", "override": ["intents", "slices"]},
            'flywheel review approve d-7 --override intents --override slices --because "…"',
        ),
    ],
)
def test_what_to_do_next_is_what_the_daemon_offers(reviewed, offer, command):
    decided = {**DECISION, "offers": [offer], "labels_wanted": {}}
    reviewed.says("GET /v1/decisions/d-7", decided)
    shown = reviewed.run("review", "show", "d-7").stdout
    assert shown.endswith(f"Next\n  {command}\n")


def test_a_bare_decision_is_shown_too(reviewed):
    bare = {key: DECISION[key] for key in ("id", "verdict", "status", "because")}
    reviewed.says("GET /v1/decisions/d-7", bare)
    result = reviewed.run("review", "show", "d-7")
    assert result.exit_code == 0
    assert result.stdout.startswith("d-7: held, waits for a person\n播放音乐 is undecided")


def test_an_id_cannot_leave_its_path(reviewed):
    reviewed.run("review", "show", "../status")
    assert reviewed.asked[-1][1] == "/v1/decisions/..%2Fstatus"


def first_champion():
    alone = {"champion_recall": None, "n": 0, "losses": 0, "gains": 0, "verdict": "INCONCLUSIVE"}
    rows = [{**row, **alone, "rows": row["n"]} for row in INTENTS]
    nobody, itself = {"n": 0, "right": None}, {"n": 190, "right": 0.934}
    golden = {"champion": nobody, "challenger": itself}
    return {**DECISION, "champion": None, "intents": rows, "golden": golden}


def test_for_the_first_champion_there_is_no_before(reviewed):
    reviewed.says("GET /v1/decisions/d-7", first_champion())
    shown = reviewed.run("review", "show", "d-7").stdout
    assert (
        """
Intents
  intent                                       right  of
  播放音乐                                    83.3 %  30
  get_weather                                 95.0 %  40
  set_timer_with_a_name_that_is_really_long   95.0 %  40
  set_alarm                                   97.5 %  40
  call_contact                               100.0 %  40
"""
        in shown
    )
    assert "\non golden   93.4 % right of 190 rows\n" in shown


@pytest.mark.parametrize("form", ["--md", "--html"])
def test_a_report_of_the_first_champion_compares_it_with_nothing(reviewed, form):
    reviewed.says("GET /v1/decisions/d-7", first_champion())
    text = reviewed.run("review", "show", "d-7", form).stdout.replace("\\_", "_")
    cells = {"--md": "| set_alarm | 97.5 % | 40 |", "--html": "<td>97.5 %</td><td>40</td>"}
    assert cells[form] in text
    assert "on golden" in text
    assert "lost/won" not in text


@pytest.mark.parametrize(
    ("verdict", "status", "told"),
    [
        ("hold", "pending", "held, waits for labels"),
        ("hold", "applied", "held, then approved by mira"),
        ("hold", "rejected", "held, then rejected by mira"),
        ("promote", "applied", "promoted by mira"),
        ("rollback", "applied", "rolled back by mira"),
    ],
)
def test_a_decision_says_what_became_of_it_and_by_whom(reviewed, verdict, status, told):
    decided = {**DECISION, "verdict": verdict, "status": status, "by": "mira"}
    reviewed.says("GET /v1/decisions/d-7", {**decided, "waits_for": "labels"})
    assert reviewed.run("review", "show", "d-7").stdout.startswith(f"d-7: {told}\n")


COMPARED = {
    **DECISION,
    "intents": [{**row, "change": 0.1, "low": -0.05, "high": 0.25} for row in INTENTS],
    "slices": [
        {"slice": "渠道=<b>", "n": 40, "before": 0.9, "after": 0.8, "change": -0.1}
        | {"low": -0.2, "high": 0.0}
    ],
    "calibration": {
        "champion": [{"confidence": 0.5, "accuracy": 0.6, "n": 9}],
        "challenger": [{"confidence": 0.9, "accuracy": 0.8, "n": 9}],
    },
    "confusions": [{"intent": "a<script>", "answer": "none", "before": 3, "after": 1}],
    "would": "The link adapters/champion moves to a-5b1e09c2d3f4.",
}


def test_show_draws_intervals_slices_and_what_approving_would_do(reviewed):
    shown = reviewed.says("GET /v1/decisions/d-7", COMPARED).run("review", "show", "d-7").stdout
    assert "├" in shown
    assert "ends are a loss and a gain of 25 points" in shown
    assert "渠道=<b>" in shown
    assert "If approved\n  The link adapters/champion moves" in shown
    assert max(columns(line) for line in shown.splitlines()) <= 80


def test_the_html_report_is_self_contained_escaped_and_has_its_plots(reviewed):
    made = reviewed.says("GET /v1/decisions/d-7", COMPARED).run("review", "show", "d-7", "--html")
    text = made.stdout
    assert made.exit_code == 0
    assert text.count("<svg") == 3
    assert "default-src &#39;none&#39;" in text
    style = text.partition("<style>")[2].partition("</style>")[0]
    seal = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src &#39;sha256-{seal}&#39;" in text
    for forbidden in ("<script", "<b>", "style=", "src=", "href=", "\x1b"):
        assert forbidden not in text
    assert "&lt;script&gt;" in text
    for svg in text.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + svg.split("</svg>")[0] + "</svg>")


def test_the_markdown_report_says_the_same(reviewed):
    text = reviewed.says("GET /v1/decisions/d-7", COMPARED).run("review", "show", "--md").stdout
    assert text.startswith("# d-7: held, waits for a person")
    assert "\n| set\\_alarm | 80.0 % | 97.5 % | +10.0 pt | -5.0 pt to +25.0 pt |" in text
    assert "<b>" not in text


TAUGHT = {
    "recent": 120,
    "moved": {"set_timer": 4},
    "wordings": [
        {"wording": "芒果|<b>", "intent": "set_timer", "voices": 1, "texts": 9}
        | {"asked": 40, "turned": 31, "learned": [], "examples": ["play <i>jazz</i>", "天气"]}
    ],
    "taught": {"set_timer": {"texts": 9, "voices": 1, "largest": 1.0}},
}


@pytest.mark.parametrize(
    ("form", "row"),
    [
        (
            "--html",
            "<td>芒果|&lt;b&gt;</td><td>set_timer</td><td>1</td><td>9</td><td>31/40</td>"
            "<td>play &lt;i&gt;jazz&lt;/i&gt;; 天气</td>",
        ),
        (
            "--md",
            r"| 芒果\|&lt;b&gt; | set\_timer | 1 | 9 | 31/40 | play &lt;i&gt;jazz&lt;/i&gt;; 天气",
        ),
    ],
)
def test_both_reports_show_what_few_raters_taught_and_what_it_turned(reviewed, form, row):
    decision = {**COMPARED, "changed": TAUGHT}
    text = reviewed.says("GET /v1/decisions/d-7", decision).run("review", "show", form).stdout
    assert row in text
    assert "9 new texts by 1 rater, 100.0 % by one of them" in text


def test_an_override_is_sent_with_its_reason(reviewed):
    applied = {**DECISION, "status": "applied", "verdict": "promote"}
    reviewed.says("POST /v1/decisions/d-7/approve", applied)
    told = ["--override", "intents", "--because", "checked"]
    assert reviewed.run("review", "approve", "d-7", *told).exit_code == 0
    ((sent,),) = reviewed.bodies("/v1/decisions/d-7/approve")
    assert sent == {"because": "checked", "override": ["intents"]}


def test_verify_fails_where_the_bytes_differ(reviewed):
    checks = [{"what": "gates", "ok": False, "detail": "differs: 1 now 2"}]
    found = {"id": "d-7", "same": False, "evidence": "e", "checks": checks}
    made = reviewed.says("GET /v1/decisions/d-7/verify", found).run("review", "verify", "d-7")
    assert (made.exit_code, made.stdout) == (1, "FAIL  gates: differs: 1 now 2\n")


def test_acts_says_who_did_what_and_why(daemon):
    daemon.says(
        "GET /v1/acts",
        [
            {
                "number": 9,
                "at": "2026-11-22T05:17:00Z",
                "by": "token shop\x1b[2J",
                "what": "refused",
                "because": "POST /v1/rollback",
            },
            {
                "number": 8,
                "at": "2026-11-21T23:00:00Z",
                "by": "ada (uid 0)",
                "what": "golden.imported",
                "because": "387 rows",
            },
        ],
    )
    result = daemon.run("review", "acts", "--limit", "2")
    assert result.exit_code == 0
    assert result.stdout == (
        "at                    what             by\n"
        "2026-11-22 05:17 UTC  refused          token shop\\x1b[2J\n"
        "    POST /v1/rollback\n"
        "2026-11-21 23:00 UTC  golden.imported  ada (uid 0)\n"
        "    387 rows\n"
    )
    assert daemon.asked[0][1] == "/v1/acts?limit=2"


def test_acts_of_nobody(daemon):
    daemon.says("GET /v1/acts", [])
    assert daemon.run("review", "acts").stdout == "nobody did anything besides deciding\n"
