"""A foreign score as a record: how it is named, and the feedback it becomes."""

from datetime import UTC, datetime, timedelta

import pytest

from flywheel.formats.reading import BadEvent, Context
from flywheel.formats.verdicts import Given, correction_score, counted, score, scored
from flywheel.records import Call, Feedback

AT = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)
BY_A_PERSON = Given(id="s-1", prediction_id="p-1", ts=AT, rater="u-7", person=True)


def test_a_score_that_counts_is_feedback_of_the_same_id_and_is_kept_as_seen():
    seen = score(BY_A_PERSON, "tensorzero", "task_success", False)
    parsed = scored(seen, Context())
    assert (seen.kind, seen.value, seen.label) == ("flag", 0.0, "")
    assert parsed.scores == (seen,)
    assert parsed.feedback == (
        Feedback(
            id="s-1",
            prediction_id="p-1",
            ts=AT,
            verdict="incorrect",
            rater="u-7",
            score="tensorzero:task_success",
        ),
    )


def test_a_score_that_does_not_count_is_kept_all_the_same():
    seen = score(BY_A_PERSON, "tensorzero", "latency_seconds", 0.21)
    parsed = scored(seen, Context())
    assert (parsed.scores, parsed.feedback) == ((seen,), ())
    assert (seen.kind, seen.value) == ("number", 0.21)


def test_right_calls_are_one_correction_of_the_whole_answer():
    calls = (Call("set_alarm", {"time": "six"}), Call("play_music", None))
    one = counted(correction_score(BY_A_PERSON, "mlflow", "expected", calls[:1]), {})
    both = counted(correction_score(BY_A_PERSON, "mlflow", "expected", calls), {})
    none = counted(correction_score(BY_A_PERSON, "mlflow", "expected", ()), {})
    assert [(f.verdict, f.intent, f.arguments, f.calls) for f in (one, both, none)] == [
        ("corrected", "set_alarm", {"time": "six"}, ()),
        ("corrected", "set_alarm", {"time": "six"}, calls),
        ("corrected", "none", {}, ()),
    ]


def test_a_text_is_a_correction_where_its_rule_says_so():
    rules = {"expected": "correction"}
    named = counted(score(BY_A_PERSON, "langfuse", "expected", "set_timer"), rules)
    written = counted(
        score(BY_A_PERSON, "langfuse", "expected", '{"name":"a","arguments":{"b":1}}'), rules
    )
    assert [(f.intent, f.arguments) for f in (named, written)] == [
        ("set_timer", None),
        ("a", {"b": 1}),
    ]
    assert counted(score(BY_A_PERSON, "langfuse", "expected", "do it better"), rules) is None


def test_a_verdict_without_an_id_that_is_given_again_later_is_another():
    def given(ts, rater=""):
        return score(Given(id=None, prediction_id="p-1", ts=ts, rater=rater), "tz", "thumbs", True)

    assert given(AT) == given(AT)
    assert len({given(AT).id, given(AT + timedelta(seconds=1)).id, given(AT, "u-2").id}) == 3


@pytest.mark.parametrize("value", [float("nan"), 10**400, [1]])
def test_what_is_no_score_is_refused(value):
    with pytest.raises(BadEvent, match="phoenix: `value` is neither true or false, a finite"):
        score(BY_A_PERSON, "phoenix", "x", value)
