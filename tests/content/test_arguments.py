"""When the arguments of two calls are the same: an equivalence, and what it passes over."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.content import arguments_key, fold, same_arguments

texts = st.text(max_size=4) | st.sampled_from(
    ["Seven", "ＳＥＶＥＮ ", "7", "7.0", "true", "null", ""]
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(7.0)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def respelt(value, draw):
    """The same value, written in another way that does not matter."""
    if isinstance(value, str):
        cased = draw(st.sampled_from([value.lower(), value.swapcase(), value]))
        spelt = unicodedata.normalize(draw(st.sampled_from(["NFC", "NFD", "NFKC"])), cased)
        if fold(spelt) != fold(value):  # where Unicode has no way back, as from a capital İ
            spelt = value
        return draw(st.sampled_from([" ", "", "\u3000"])) + spelt.replace(" ", "\n ") + " "
    if isinstance(value, bool):
        return draw(st.sampled_from([value, str(value)]))
    if isinstance(value, int):
        return draw(st.sampled_from([value, str(value)]))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        spelt = {name: respelt(value[name], draw) for name in names}
        return spelt | draw(st.sampled_from([{}, {"not there": None}]))
    if isinstance(value, list):
        return [respelt(item, draw) for item in value]
    return value


@given(arguments)
def test_arguments_are_the_same_as_themselves(one):
    assert same_arguments(one, json.loads(json.dumps(one)))


@given(arguments, st.data())
def test_what_is_written_otherwise_is_the_same_both_ways(one, data):
    other = respelt(one, data.draw)
    assert same_arguments(one, other)
    assert same_arguments(other, one)
    assert same_arguments(respelt(other, data.draw), one)


@given(arguments, arguments, arguments)
def test_sameness_is_passed_on(one, two, three):
    if same_arguments(one, two):
        assert same_arguments(two, one)
        assert same_arguments(one, three) == same_arguments(two, three)


@given(arguments)
def test_a_key_read_back_has_that_key(one):
    key = arguments_key(one)
    assert arguments_key(json.loads(key)) == key


@given(arguments, st.sampled_from("abc"), values)
def test_one_other_value_makes_other_arguments(one, name, value):
    changed = {**one, name: value}
    same = arguments_key({name: one.get(name)}) == arguments_key({name: value})
    assert same_arguments(one, changed) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"time": " Seven  AM"}, {"time": "seven am"}),
        ({"time": "７：３０"}, {"time": "7:30"}),
        ({"song": "Hey Jude!"}, {"song": "hey jude"}),
        ({"song": "夜曲。"}, {"song": "夜曲"}),
        ({"street": "STRASSE"}, {"street": "straße"}),
        ({"n": 7}, {"n": "7"}),
        ({"n": 7.0}, {"n": 7}),
        ({"n": 0.5}, {"n": "0.5"}),
        ({"on": True}, {"on": "True"}),
        ({"label": None}, {}),
        ({"at": {"hour": 7, "zone": None}}, {"at": {"hour": 7}}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"days": ("Mon",)}, {"days": ["mon"]}),
    ],
)
def test_the_same(one, other):
    assert same_arguments(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"time": "seven"}, {"time": "eight"}),
        ({"time": "7:30"}, {"time": "730"}),
        ({"name": "..."}, {"name": ""}),
        ({"n": -5}, {"n": 5}),
        ({"pin": "007"}, {"pin": 7}),
        ({"version": "7.0"}, {"version": 7}),
        ({"on": True}, {"on": 1}),
        ({"on": False}, {}),
        ({"label": ""}, {}),
        ({"label": None}, {"label": "null"}),
        ({"days": []}, {}),
        ({"days": ["mon"]}, {"days": "mon"}),
        ({"days": ["mon", "tue"]}, {"days": ["tue", "mon"]}),
        ({"days": ["mon", None]}, {"days": ["mon"]}),
        ({"at": {}}, {}),
        ({"time": "seven"}, {"Time": "seven"}),
        ({"time": "seven"}, {"time": "seven", "label": "gym"}),
    ],
)
def test_not_the_same(one, other):
    assert not same_arguments(one, other)
