"""Which texts prove a server, and when an answer is the evaluated one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.promotion import parity
from flywheel.records import EvaluatedAnswer, ServedAnswer

BEFORE = EvaluatedAnswer(
    sample="s-1", intent="set_alarm", arguments={"time": "seven"}, confidence=0.7
)
NOW = ServedAnswer(adapter="a-2", intent="set_alarm", arguments={"time": "seven"}, confidence=0.7)
NAMES = st.sampled_from([f"s-{n}" for n in range(40)])
INTENTS = st.sampled_from(["play", "set_alarm", "set_timer", "none"])


def answers(names, confidences=None):
    return {
        name: EvaluatedAnswer(sample=name, intent="play", confidence=(confidences or {}).get(name))
        for name in names
    }


@pytest.mark.parametrize(
    ("served", "what"),
    [
        (NOW, ""),
        (replace(NOW, confidence=0.7009), ""),
        (replace(NOW, confidence=0.7011), "confidence"),
        (replace(NOW, confidence=float("nan")), "confidence"),
        (replace(NOW, confidence=None), "confidence"),
        (replace(NOW, arguments={"time": "Seven"}), "arguments"),
        (replace(NOW, arguments={}), "arguments"),
        (replace(NOW, intent="none"), "intent"),
        (replace(NOW, adapter="a-1"), "adapter"),
        (None, "missing"),
    ],
)
def test_an_answer_is_the_evaluated_one_in_every_part(served, what):
    assert parity.differing("a-2", BEFORE, served) == what
    result = parity.compared("a-2", [BEFORE, BEFORE], [NOW, served])
    assert (result.asked, result.passed) == (2, not what)
    assert [one.what for one in result.differences] == ([what] if what else [])


def test_where_nothing_was_asked_nothing_is_proved():
    assert not parity.compared("a-2", [], []).passed


def test_every_question_has_an_answer_or_none():
    with pytest.raises(ValueError, match="zip"):
        parity.compared("a-2", [BEFORE], [])


@given(st.dictionaries(NAMES, INTENTS), st.sets(NAMES), st.integers(0, 50), st.text(max_size=3))
def test_all_must_pass_samples_are_asked_and_so_many_others(candidates, must_pass, count, seed):
    evaluated = answers(candidates)
    found = parity.chosen(candidates, evaluated, sorted(must_pass), count, seed)
    asked_always = must_pass & set(candidates)
    assert len(found) == len(set(found))
    assert asked_always <= set(found)
    assert len(found) - len(asked_always) == min(count, len(set(candidates) - must_pass))
    assert found == parity.chosen(dict(reversed(candidates.items())), evaluated, [*must_pass],
                                  count, seed)  # fmt: skip


@given(st.dictionaries(NAMES, INTENTS, min_size=1), st.integers(1, 40))
def test_the_others_are_spread_over_the_intents(candidates, count):
    """But for the quarter of the least confident, no intent is asked twice before each was once."""
    evaluated = answers(candidates)
    found = parity.chosen(candidates, evaluated, [], count, "a-1")
    dealt = [candidates[name] for name in found[min(count, len(candidates)) // 4 :]]
    left = set(candidates) - set(found[: len(found) - len(dealt)])
    intents = {candidates[name] for name in left}
    assert len(set(dealt)) == min(len(dealt), len(intents))


def test_where_no_threshold_is_known_a_quarter_is_asked_where_the_model_was_least_sure():
    names = [f"s-{n}" for n in range(100)]
    evaluated = answers(names, {name: number / 100 for number, name in enumerate(names)})
    found = parity.chosen(dict.fromkeys(names, "play"), evaluated, [], 20, "a-1")
    assert set(names[:5]) <= set(found)
    assert not set(names[:20]) <= set(found)


def lying_at(margins):
    return {
        name: EvaluatedAnswer(
            sample=name, intent="none" if margin < 0 else "play", confidence=0.9, margin=margin
        )
        for name, margin in margins.items()
    }


def test_a_quarter_lies_nearest_the_threshold_on_both_sides_and_an_eighth_is_least_sure():
    margins = {f"s-{n}": n - 10.5 for n in range(100)}
    evaluated = lying_at(margins) | {
        f"s-{n}": replace(lying_at(margins)[f"s-{n}"], confidence=0.1) for n in (97, 98, 99)
    }
    found = parity.chosen(dict.fromkeys(margins, "play"), evaluated, [], 24, "a-1")
    assert {f"s-{n}" for n in (8, 9, 10, 11, 12, 13)} <= set(found)
    assert {"s-97", "s-98", "s-99"} <= set(found)
    assert "s-0" in parity.chosen(dict.fromkeys(margins, "play"), evaluated, [], 100, "a-1")


@given(
    st.dictionaries(NAMES, st.floats(-5, 5), min_size=2),
    st.floats(-5, 5),
    st.integers(2, 50),
    st.text(max_size=3),
)
def test_no_other_threshold_changes_an_answer_and_no_asked_one(margins, shift, count, seed):
    """Of texts that do not lie on the threshold itself, where rounding decides."""
    turned = {
        name
        for name, margin in margins.items()
        if abs(margin) >= parity.INDISTINCT and (margin < 0) != (margin - shift < 0)
    }
    asked = parity.chosen(dict.fromkeys(margins, "play"), lying_at(margins), [], count, seed)
    assert bool(turned) == bool(turned & set(asked))


def test_a_text_that_lies_on_the_threshold_is_asked_only_where_it_must_pass():
    margins = {"s-1": 0.0005, "s-2": -0.0005, "s-3": 0.2, "s-4": -0.2}
    candidates = dict.fromkeys(margins, "play")
    asked = parity.chosen(candidates, lying_at(margins), ["s-2"], 4, "a-1")
    assert sorted(asked) == ["s-2", "s-3", "s-4"]


def test_another_adapter_is_asked_other_texts():
    names = [f"s-{n}" for n in range(100)]
    candidates, evaluated = dict.fromkeys(names, "play"), answers(names)
    one, other = (set(parity.chosen(candidates, evaluated, [], 20, a)) for a in ("a-1", "a-2"))
    assert one != other
