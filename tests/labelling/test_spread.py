import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import labelling
from flywheel.labelling import lot
from flywheel.labelling.spread import SpreadText, spread

CLINC = Path(__file__).parents[2].parent / "shared" / "data" / "clinc150" / "train.jsonl"
TEXTS = st.lists(
    st.builds(
        SpreadText, text=st.text(max_size=12), intent=st.sampled_from(["", "a", "b", "none"])
    ),
    max_size=12,
    unique_by=lambda one: one.text,
)


def texts(*said):
    return [SpreadText(text=text) for text in said]


@given(TEXTS, TEXTS, st.integers(0, 14))
def test_the_order_has_each_text_once_and_is_always_the_same(asked, known, most):
    order = spread(asked, known)
    assert sorted(order) == list(range(len(asked)))
    assert spread(asked, known, most) == order[:most]


def test_each_of_three_crowds_comes_before_the_second_of_any():
    crowds = [
        [f"play {what} by {who}" for what in ("songs", "music") for who in ("abba", "queen")],
        [f"wake me at {hour} on {day}" for hour in ("six", "nine") for day in ("monday", "friday")],
        [f"我要听{what}{who}" for what in ("歌", "音乐") for who in ("吧", "啊")],
    ]
    asked = texts(*(text for crowd in crowds for text in crowd))
    first = [asked[place].text for place in spread(asked, most=3)]
    assert sorted(sum(text in first for text in crowd) for crowd in crowds) == [1, 1, 1]


def test_what_is_known_already_comes_late():
    asked = texts("play some songs", "wake me at six", "book a table for two")
    known = texts("play a song", "book me a table")
    assert asked[spread(asked, known)[0]].text == "wake me at six"


def test_a_text_that_stands_for_a_crowd_comes_before_one_like_nothing():
    crowd = [f"turn {state} the lamp in the {room}" for state in ("on", "off") for room in "abcdef"]
    asked = texts("qxzj vvkp 0x9f wwq", *crowd)
    assert spread(asked, most=1) != [0]


def test_texts_that_production_answered_otherwise_are_less_alike():
    asked = [
        SpreadText(text="put it on the list", intent="todo"),
        SpreadText(text="put it on my list", intent="todo"),
        SpreadText(text="put it in the list", intent="shopping"),
    ]
    known = [SpreadText(text="put it onto the list", intent="todo")]
    assert spread(asked, known, 1) == [2]


def test_letters_that_are_no_text_and_empty_texts_are_taken_too():
    assert sorted(spread(texts("", " ", "\ud800", "a"))) == [0, 1, 2, 3]
    assert spread([]) == []


def traffic(seed, draws):
    """Different texts with their intents: intents by Zipf's law, one in twenty out of scope."""
    by_intent = {}
    for line in CLINC.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        by_intent.setdefault(row["intent"], []).append(row["text"])
    choose = random.Random(seed)
    names = sorted(by_intent.keys() - {"oos"})
    choose.shuffle(names)
    weights = [1 / rank for rank in range(1, len(names) + 1)]
    drawn = []
    for _ in range(draws):
        name = "oos" if choose.random() < 0.05 else choose.choices(names, weights)[0]
        drawn.append((choose.choice(by_intent[name]), name))
    return drawn, names, choose


def intents_found(order, labels, most):
    return len({labels[place] for place in order[:most]} - {"oos"})


@pytest.mark.skipif(not CLINC.exists(), reason="CLINC150 is not beside this checkout")
@pytest.mark.parametrize("right", [0.0, 0.85])
def test_rare_intents_are_found_sooner_than_by_a_uniform_draw(right):
    """With production answering as good as always wrong, and mostly right."""
    drawn, names, choose = traffic(seed=1, draws=1_500)
    labels = dict(drawn)
    asked = [
        SpreadText(text=text, intent=label if choose.random() < right else choose.choice(names))
        for text, label in labels.items()
    ]
    by_place = [labels[one.text] for one in asked]
    uniform = sorted(range(len(asked)), key=lambda place: lot("uniform", asked[place].text))
    ours = intents_found(spread(asked, most=120), by_place, 120)
    theirs = intents_found(uniform, by_place, 120)
    assert ours >= theirs + (5 if right == 0 else 25), (ours, theirs)


# The lot that deals texts to what is learned, to dev and to the golden set.


def test_the_lot_deals_in_its_shares():
    dealt = Counter(labelling.dealt(f"text {number}") for number in range(10_000))
    for split, share in labelling.SHARES.items():
        assert abs(dealt[split] / 10_000 - share) < 0.015


@given(st.text())
def test_a_text_is_dealt_alike_every_time(text):
    assert labelling.dealt(text) == labelling.dealt(text)
    assert labelling.dealt(text) in labelling.SHARES
