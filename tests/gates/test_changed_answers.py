"""What few raters taught, and what turns other texts, waits for a person and for nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gate_cases import better, evidence
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import ChangedAnswersRule, GatesTable, PromotionTable
from flywheel.errors import ConfigError
from flywheel.gates import (
    ChangedAnswers,
    TaughtWording,
    changed_answers,
    check,
    judge,
    look_code,
    suspicious,
)
from flywheel.promotion import Situation, decide

RULE = ChangedAnswersRule()


def taught(turned, *, asked=24, name="w-1", intent="pay"):
    return TaughtWording(wording=name, intent=intent, texts=3, voices=2, asked=asked, turned=turned)


def shown(*wordings):
    return ChangedAnswers(wordings=wordings, needed=6, recent=200, moved=4)


def test_a_wording_that_turns_most_other_texts_is_for_a_person():
    result = changed_answers(shown(taught(20), taught(2, name="w-2")), RULE)
    assert (result.verdict, result.n) == ("INCONCLUSIVE", 2)
    assert result.detail == (
        "1 new wording that few raters taught turn other texts: into pay 20 of 24 (2 raters, "
        "3 texts); a person has to look at them"
    )


def test_content_words_that_turn_few_texts_pass():
    result = changed_answers(shown(taught(5), taught(0, name="w-2")), RULE)
    assert (result.verdict, result.value, result.threshold) == ("PASS", 5 / 24, 0.5)


def test_a_wording_that_could_be_put_into_no_text_is_not_read_as_safe():
    assert changed_answers(shown(taught(0, asked=0)), RULE).verdict == "INCONCLUSIVE"


def test_a_challenger_that_was_evaluated_before_the_gate_existed_is_not_read_as_safe():
    assert changed_answers(ChangedAnswers(looked=False), RULE).verdict == "INCONCLUSIVE"


def test_where_few_taught_nothing_new_the_gate_has_no_word():
    assert changed_answers(shown(), RULE) is None
    assert changed_answers(None, RULE) is None


def test_all_that_passes_elsewhere_is_held_for_a_person_and_not_rejected():
    seen = replace(evidence(better()), changed=shown(taught(20)))
    ruling = decide(
        judge(seen, GatesTable()), PromotionTable(mode="auto"), Situation(champion="a-1")
    )
    assert (ruling.verdict, ruling.status, ruling.person) == ("hold", "pending", True)
    passed = replace(evidence(better()), changed=shown(taught(2)))
    ruling = decide(
        judge(passed, GatesTable()), PromotionTable(mode="auto"), Situation(champion="a-1")
    )
    assert (ruling.verdict, ruling.person) == ("promote", False)


def test_the_gate_can_be_off_and_says_so():
    table = GatesTable(changed_answers=ChangedAnswersRule(required=False))
    judged = judge(replace(evidence(better()), changed=shown(taught(20))), table)
    assert judged.verdict == "PASS"
    assert "changed_answers was off: nobody looked at what few raters taught" in judged.notes


def test_a_share_that_no_text_could_reach_is_refused_at_start():
    with pytest.raises(ConfigError, match="is no share"):
        check(GatesTable(changed_answers=ChangedAnswersRule(turned=1.5)))


counts = st.lists(st.integers(0, 24), max_size=6)


@given(counts, st.floats(0.05, 1), st.floats(0.05, 1))
def test_a_lower_limit_never_lets_more_through(turned, one, other):
    wordings = shown(*(taught(n, name=f"w-{k}") for k, n in enumerate(turned)))
    low, high = sorted((one, other))
    strict = suspicious(wordings, ChangedAnswersRule(turned=low))
    assert set(strict) >= set(suspicious(wordings, ChangedAnswersRule(turned=high)))


@given(counts)
def test_there_is_a_word_to_repeat_exactly_where_there_is_something_to_look_at(turned):
    wordings = shown(*(taught(n, name=f"w-{k}") for k, n in enumerate(turned)))
    result = changed_answers(wordings, RULE)
    inconclusive = result is not None and result.verdict == "INCONCLUSIVE"
    assert bool(look_code(wordings, RULE)) == inconclusive
