"""Which scores are verdicts: the rules of [feedback.scores], and what counts without one."""

import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.records import Call, Score
from flywheel.score_rules import rule_of, said_by, suggestion

AT = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)
ALARM = (Call("set_alarm", {"time": "six"}),)


def seen(name, kind, value=None, label="", **given):
    fields = {"source": "langfuse", "person": True, "id": "s-1", "prediction_id": "p-1", "ts": AT}
    return Score(name=name, kind=kind, value=value, label=label, **{**fields, **given})


RATED_BY_A_MODEL = {"person": False, "rater_kind": "model"}
FROM_THE_API = {"person": False}


@pytest.mark.parametrize(
    ("score", "says"),
    [
        (seen("task_success", "flag", 1), "correct"),
        (seen("is_correct", "flag", 0), "incorrect"),
        (seen("correctness", "label", 0.0, "Correct"), "correct"),
        (seen("routing", "label", None, "wrong"), "incorrect"),
        (seen("expected", "correction", calls=ALARM), ALARM),
        (seen("expected", "correction"), ()),
        (seen("user-feedback", "flag", 1, **FROM_THE_API), "correct"),
        (seen("User Feedback", "label", 1, "thumbs-down", **FROM_THE_API), "incorrect"),
        (seen("thumbs_up", "number", 0, **FROM_THE_API), "incorrect"),
        (seen("feedback", "label", None, "👍", **FROM_THE_API), "correct"),
    ],
)
def test_what_people_say_of_right_and_wrong_counts_without_a_rule(score, says):
    assert said_by(score, {}) == says


@pytest.mark.parametrize(
    "score",
    [
        seen("task_success", "flag", 1, **FROM_THE_API),
        seen("judge", "flag", 0, **RATED_BY_A_MODEL),
        seen("user_feedback", "flag", 0, **RATED_BY_A_MODEL),
        seen("expected", "correction", calls=ALARM, **FROM_THE_API),
        seen("toxicity", "flag", 0),
        seen("Hallucination", "label", 0.0, "false"),
        seen("latency_ok", "flag", 1),
        seen("costOk", "flag", 1),
        seen("safety", "label", None, "yes"),
        seen("stars", "number", 1),
        seen("feedback", "number", 0.7),
        seen("feedback", "number", 4),
        seen("feedback", "label", 1, "needs work"),
        seen("feedback", "text", 0, "correct"),
        seen("routing", "label", 1, "needs work"),
        seen("mood", "label", None, "positive"),
        seen("rating", "label", None, "1"),
        seen("thumbs_down", "flag", 1),
        seen("is_wrong", "flag", 1),
        seen("edit_distance", "number", 0.0),
        seen("tool_error", "flag", 1, person=False, rater_kind="rule"),
        seen("tool_refused", "flag", 1),
    ],
)
def test_everything_else_is_no_verdict_without_a_rule(score):
    assert said_by(score, {}) is None


@pytest.mark.parametrize(
    ("rule", "score", "says"),
    [
        ("thumbs", seen("x", "flag", 1, **RATED_BY_A_MODEL), "correct"),
        ("Boolean", seen("x", "number", -1, **FROM_THE_API), "incorrect"),
        ("thumbs", seen("x", "number", 0.5), None),
        ("thumbs", seen("x", "label", None, "Thumbs up"), "correct"),
        ("boolean inverted", seen("x", "flag", 1), "incorrect"),
        ("boolean inverted", seen("x", "label", None, "no"), "correct"),
        ("1..5 >= 4", seen("x", "number", 4), "correct"),
        ("1..5 >= 4", seen("x", "number", 3.9), "incorrect"),
        ("1..5 >= 4", seen("x", "number", 0), None),
        ("1..5 >= 4", seen("x", "number", 80), None),
        ("1..5>=4", seen("x", "label", None, "5"), "correct"),
        ("1..5 >= 4", seen("x", "label", None, "nan"), None),
        ("0..1 <= .2", seen("x", "number", 0.1), "correct"),
        ("0 .. 1 < 0.2", seen("x", "number", 0.2), "incorrect"),
        ("-1..1 > 0", seen("x", "number", -0.5), "incorrect"),
        ("labels good, very fine / bad", seen("x", "label", 1, "Very  Fine"), "correct"),
        ("labels good / bad, poor", seen("x", "label", 1, "poor"), "incorrect"),
        ("labels good / bad", seen("x", "label", 1, "so-so"), None),
        ("labels / hallucinated", seen("x", "label", 1, "hallucinated"), "incorrect"),
        ("correction", seen("x", "correction", calls=ALARM, **RATED_BY_A_MODEL), ALARM),
        ("correction", seen("x", "flag", 1), None),
        ("ignore", seen("x", "flag", 1), None),
        ("ignore", seen("x", "correction", calls=ALARM), None),
    ],
)
def test_a_rule_decides_for_its_name(rule, score, says):
    assert said_by(score, {"x": rule}) == says


def test_a_rule_of_one_format_stands_above_that_of_the_name_alone():
    rules = {"Quality": "boolean inverted", "phoenix:quality": "ignore"}
    assert said_by(seen("quality", "flag", 1), rules) == "incorrect"
    assert said_by(seen("quality", "flag", 1, source="phoenix"), rules) is None


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("", "is none of: thumbs, boolean,"),
        ("stars", "is none of: thumbs, boolean,"),
        ("1..5", "is none of: thumbs,"),
        (">= 4", "is none of: thumbs,"),
        ("5..1 >= 4", "has a scale from 5 to 1: write the lower end first"),
        ("1..5 >= 6", "compares with 6, which is not in 1..5"),
        ("1..5 >= 1", "says of every number of 1..5 that it is right"),
        ("1..5 > 5", "says of every number of 1..5 that it is wrong"),
        ("labels good, bad", "needs one `/` between"),
        ("labels /", "names no label"),
        ("labels Good / good", "has `good` on both sides"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule, why):
    with pytest.raises(ValueError, match=rf"^{why}"):
        rule_of(rule)


@pytest.mark.parametrize(
    ("seen_scores", "line"),
    [
        (("stars", "number", 1, 5), 'stars = "1..5 >= 4"'),
        (("score", "number", 0.2, 0.9), 'score = "0..1 >= 0.5"'),
        (("nps", "number", 0, 10), 'nps = "0..10 >= 7"'),
        (("votes", "number", -1, 1), 'votes = "-1..1 > 0"'),
        (("amount", "number", -7, 900), 'amount = "ignore"'),
        (("cost", "number", 0.001, 0.2), 'cost = "ignore"'),
        (("user ok", "flag"), '"user ok" = "boolean"'),
        (("thumbs_down", "flag"), 'thumbs_down = "boolean inverted"'),
        (("tool_error", "flag"), 'tool_error = "boolean inverted"'),
        (("note", "text"), 'note = "ignore"'),
        (("right_call", "correction"), 'right_call = "correction"'),
        (("评价", "label", None, None, ["对", "so-so", "错"]), '"评价" = "labels 对 / 错"'),
        (("routing", "label", None, None, ["a/b"]), 'routing = "labels RIGHT / WRONG"'),
    ],
)
def test_the_line_to_add_fits_what_was_seen(seen_scores, line):
    assert suggestion(*seen_scores) == line


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.sampled_from(["flag", "number", "label", "text", "correction"]),
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2).map(sorted),
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4),
)
def test_every_line_to_add_is_toml_that_config_takes(name, kind, numbers, labels):
    ((key, rule),) = tomllib.loads(suggestion(name, kind, *numbers, labels)).items()
    assert key == name
    rule_of(rule)


@given(st.floats(0, 1), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_stricter_scale_never_finds_more_answers_right(value, first, second):
    loose, strict = sorted((first, second))
    told = [
        said_by(seen("x", "number", value), {"x": f"0..1 >= {at:.6f}"}) for at in (loose, strict)
    ]
    assert told != ["incorrect", "correct"]
