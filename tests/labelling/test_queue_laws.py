"""Laws of the labelling queue: who is in a sample, what comes first, what words come to."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import labelling
from flywheel.labelling import BLIND, KINDS, Item, Word
from flywheel.metrics import agreement

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
shares = st.floats(0, 1)
labels = st.sampled_from(["set_alarm", "放音乐", "none"])
people = st.sampled_from(["ann (uid 1)", "bo (uid 2)", "chen (uid 3)"])
items = st.builds(
    lambda kind, key, again, rank: Item(
        id=labelling.item_id(kind, key), kind=kind, text=key, again=again, rank=(rank, key)
    ),
    st.sampled_from(KINDS),
    keys,
    st.booleans(),
    st.floats(-9, 9),
)
words = st.lists(st.tuples(people, st.none() | labels, st.booleans()), max_size=8).map(
    lambda said: [
        Word(number=n, item="audit:p", person=person, label=label, resolves=resolves)
        for n, (person, label, resolves) in enumerate(said, 1)
    ]
)


@given(keys, shares, shares)
def test_a_larger_share_holds_the_smaller_one(key, a, b):
    small, large = sorted((a, b))
    assert labelling.drawn("audit", key, large) >= labelling.drawn("audit", key, small)
    assert labelling.drawn("audit", key, 1)
    assert not labelling.drawn("audit", key, 0)


@given(keys)
def test_the_store_draws_the_same_lots(key):
    lots = duckdb.sql("SELECT md5('audit:' || ?)", params=[key]).fetchall()
    assert lots == [(labelling.lot("audit", key),)]


def test_a_sample_has_about_its_share_whatever_the_ids_look_like():
    for form in ("p-{}", "{}", "2026-11-22T05:17:{}Z#7"):
        drawn = sum(labelling.drawn("audit", form.format(n), 0.01) for n in range(50_000))
        assert 420 <= drawn <= 580


def test_what_is_drawn_for_one_purpose_says_nothing_of_another():
    both = [
        (labelling.drawn("audit", f"p-{n}", 0.5), labelling.drawn("second", f"p-{n}", 0.5))
        for n in range(4_000)
    ]
    assert 900 <= both.count((True, True)) <= 1_100


@given(st.lists(items, max_size=12), st.randoms())
def test_the_order_is_by_value_whatever_order_they_came_in(found, chance):
    once = labelling.ordered(found)
    chance.shuffle(found)
    again = labelling.ordered(found)
    assert [KINDS.index(item.kind) for item in once] == sorted(KINDS.index(i.kind) for i in once)
    assert {item.id for item in once} == {item.id for item in again} == {i.id for i in found}
    assert len(once) == len({item.id for item in once})
    if len({item.id for item in found}) == len(found):
        assert once == again


@given(st.sampled_from(sorted(BLIND)), keys)
def test_no_model_speaks_beside_a_text_whose_label_judges_models(kind, key):
    with pytest.raises(ValueError, match="must not be shown"):
        Item(id=labelling.item_id(kind, key), kind=kind, text="x", guesses=("set_alarm",))


@given(st.sampled_from(KINDS), keys)
def test_an_items_name_is_read_back(kind, key):
    assert labelling.kind_and_key(labelling.item_id(kind, key)) == (kind, key)


@pytest.mark.parametrize("name", ["", "audit", "audit:", ":p-1", "golden:p-1"])
def test_what_names_no_item_is_refused(name):
    with pytest.raises(ValueError, match="names no item"):
        labelling.kind_and_key(name)


@given(words)
def test_a_label_is_one_that_somebody_gave_and_a_dispute_has_none(said):
    for standing in labelling.standings(said).values():
        assert standing.label is None or standing.label in standing.labels
        assert not (standing.disputed and standing.label)
        assert standing.disputed <= (len(standing.labels) > 1)
        assert bool(standing.labelled_by) == bool(standing.labels)


@given(words, people)
def test_nobody_is_asked_again_except_to_resolve_a_dispute(said, person):
    standing = labelling.standings(said).get("audit:p")
    spoke = [word for word in said if word.person == person]
    asked = labelling.is_open(standing, person, twice=True)
    if spoke and asked:
        assert standing.disputed
    if spoke and spoke[-1].label is None:
        assert not asked
    assert labelling.is_open(standing, person, twice=True) >= labelling.is_open(
        standing, person, twice=False
    )


def word(number, person, label, resolves=False):
    return Word(number=number, item="gate:p", person=person, label=label, resolves=resolves)


def standing(*said):
    return labelling.standings(said)["gate:p"]


def test_two_who_differ_leave_no_label_and_a_third_decides():
    two = (word(1, "ann", "a"), word(2, "bo", "b"))
    assert (standing(*two).label, standing(*two).disputed) == (None, True)
    third = standing(*two, word(3, "chen", "b", resolves=True))
    assert (third.label, third.disputed) == ("b", False)


def test_who_resolves_may_be_one_of_the_two():
    told = standing(word(1, "ann", "a"), word(2, "bo", "b"), word(3, "ann", "b", resolves=True))
    assert (told.label, told.disputed) == ("b", False)


def test_who_passes_a_dispute_on_keeps_what_they_said():
    told = standing(word(1, "ann", "a"), word(2, "bo", "b"), word(3, "ann", None, resolves=True))
    assert (told.label, told.disputed) == (None, True)
    assert not labelling.is_open(told, "ann", twice=True)
    assert labelling.is_open(told, "bo", twice=True)


def test_agreement_is_of_the_first_two_who_did_not_see_each_other():
    said = [word(1, "ann", "a"), word(2, "bo", "b"), word(3, "ann", "b", resolves=True)]
    assert labelling.judged_twice(said) == [("a", "b")]
    assert labelling.judged_twice(said[:1]) == []


pairs = st.lists(st.tuples(labels, labels), max_size=20)


@given(pairs)
def test_agreement_is_the_same_whoever_is_first(found):
    one, other = agreement(found), agreement([(b, a) for a, b in found])
    assert (one.n, one.agreed, one.raw) == (other.n, other.agreed, other.raw)
    assert one.kappa == pytest.approx(other.kappa) if one.kappa is not None else not other.kappa
    assert one.kappa is None or -1 <= one.kappa <= 1 + 1e-9
    assert one.kappa is None or one.raw is None or one.kappa <= one.raw + 1e-9


def test_kappa_is_cohens():
    found = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    assert (agreement(found).raw, round(agreement(found).kappa, 3)) == (0.7, 0.4)
    assert agreement([("a", "a")] * 3).kappa is None
    assert agreement([("a", "b"), ("b", "a")]).kappa == -1.0
    assert agreement([]).raw is None
