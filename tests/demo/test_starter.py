"""The starter set and the grammar: whole, disjoint, and enough for the gates."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from flywheel.config import load_intents
from flywheel.curation import near_duplicates
from flywheel.demo import production
from flywheel.demo.grammar import STARTERS, grammar
from flywheel.records import NONE

SPLITS = ("seed", "dev", "golden")
LEAK = 0.8  # word-set Jaccard


@pytest.fixture(params=STARTERS)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rows(language: str, split: str) -> list[dict[str, Any]]:
    lines = (STARTERS[language] / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def names(language: str) -> list[str]:
    return [intent.name for intent in load_intents(STARTERS[language] / "intents.toml")]


@pytest.mark.parametrize(
    ("split", "least", "none"), [("seed", 5, 0), ("dev", 12, 12), ("golden", 42, 42)]
)
def test_every_intent_has_its_sentences(language: str, split: str, least: int, none: int) -> None:
    counts = Counter(row["intent"] for row in rows(language, split))
    assert set(counts) <= {*names(language), NONE}
    assert all(counts[name] >= least for name in names(language))
    assert counts[NONE] >= none
    assert {row["split"] for row in rows(language, split)} == {split}


def test_no_two_hand_written_sentences_are_near_duplicates(language: str) -> None:
    texts = [row["text"] for split in SPLITS for row in rows(language, split)]
    near = near_duplicates(texts, texts, LEAK)
    assert [(texts[pair.i], texts[pair.j]) for pair in near if pair.i < pair.j] == []


def test_no_sentence_of_the_grammar_is_near_a_hand_written_one(language: str) -> None:
    said = [
        one.text
        for name in grammar(language).intents()
        for one in grammar(language).utterances(name)
    ]
    held_out = [row["text"] for split in SPLITS for row in rows(language, split)]
    near = near_duplicates(said, held_out, LEAK)
    assert [(said[pair.i], held_out[pair.j]) for pair in near] == []


def test_no_sentence_of_the_grammar_has_two_labels(language: str) -> None:
    said = [
        one.text
        for name in grammar(language).intents()
        for one in grammar(language).utterances(name)
    ]
    assert len(said) == len(set(said))


def test_arguments_are_known_and_said_in_the_text(language: str) -> None:
    known = {i.name: i.argument_names() for i in load_intents(STARTERS[language] / "intents.toml")}
    given = [(r["text"], r["intent"], r["arguments"]) for r in rows(language, "seed")]
    given += [
        (u.text, u.intent, u.arguments)
        for n in names(language)
        for u in grammar(language).utterances(n)
    ]
    for text, intent, arguments in given:
        assert set(arguments) <= known[intent]
        assert all(value in text for value in arguments.values())


def test_dev_and_golden_are_judged_on_the_intent_alone(language: str) -> None:
    assert not any(
        "arguments" in row for split in ("dev", "golden") for row in rows(language, split)
    )


def test_the_grammar_knows_every_intent_and_some_hundred_sentences_of_each(language: str) -> None:
    assert {*names(language), NONE} == set(grammar(language).intents())
    assert all(
        len(grammar(language).utterances(name)) >= 300 for name in grammar(language).intents()
    )
    assert grammar(language).utterances("fly_to_the_moon") == ()


def test_hard_wording_names_another_intent_it_resembles(language: str) -> None:
    for name in grammar(language).intents():
        near = {pattern.near for pattern in grammar(language).patterns(name)}
        assert near >= {None}
        assert near - {None} <= {*names(language), NONE} - {name}
        assert len(near) > 2


def test_no_bracket_or_slot_is_left_in_a_sentence(language: str) -> None:
    said = [
        one.text
        for name in grammar(language).intents()
        for one in grammar(language).utterances(name)
    ]
    assert not [text for text in said if set("[]{}|") & set(text) or text != text.strip()]


def test_the_same_seed_gives_the_same_traffic(language: str) -> None:
    assert production.stream(50, seed=3, language=language) == production.stream(
        50, seed=3, language=language
    )
    assert all(
        a != b
        for a, b in pairwise(production.stream(50, seed=n, language=language) for n in range(3))
    )


def test_traffic_is_varied_and_of_every_intent(language: str) -> None:
    said = production.stream(1000, seed=0, language=language)
    assert len({one.text for one in said}) > 700
    counts = Counter(one.intent for one in said)
    assert set(counts) == set(grammar(language).intents())
    assert min(counts.values()) >= 20


def test_traffic_can_be_of_one_intent_alone() -> None:
    said = production.stream(30, seed=0, weights={"set_timer": 1.0})
    assert {one.intent for one in said} == {"set_timer"}


def test_the_sentence_that_the_idea_came_from_is_a_seed() -> None:
    (row,) = [row for row in rows("zh", "seed") if row["text"] == "我要听音乐"]
    assert row["intent"] == "play_music"


def test_the_starters_of_all_languages_have_the_same_functions() -> None:
    lists = [
        [(i.name, i.argument_names()) for i in load_intents(folder / "intents.toml")]
        for folder in STARTERS.values()
    ]
    assert all(each == lists[0] for each in lists)
