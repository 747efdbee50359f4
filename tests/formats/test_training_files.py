"""Training files of other tools: every row is a labelled sample, refused, or skipped by kind."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.formats.training_files import read_training_file, refuse_contradictions
from flywheel.formats.training_rows import BadRow, label_names, sample_row
from flywheel.formats.training_shapes import NotTraining

FILES = Path(__file__).parent / "training"


def read(text, name="rows.jsonl", split="seed", names=None):
    text = text if isinstance(text, str) else json.dumps(text)
    return read_training_file(text, name, split, *([label_names(names)] if names else []))


def read_file(name, split="seed"):
    return read((FILES / name).read_text(encoding="utf-8"), name, split)


def labels(found):
    return [(row.event["text"], row.event["intent"]) for row in found.rows]


def refusals(found):
    return [(row.line, row.why) for row in found.refused]


def test_clinc150_is_read_whole_and_its_oos_is_none():
    found = read_file("clinc-full.json")
    assert (found.form, found.refused) == ("CLINC150", [])
    assert dict(found.parts) == {"val": 1, "train": 2, "oos_train": 1}
    assert labels(found) == [
        ("wake me at six", "alarm"),
        ("ring me at ten", "alarm"),
        ("what can you do", "what_can_i_ask_you"),
        ("how tall is it", "none"),
    ]
    assert {row.event["split"] for row in found.rows} == {"seed"}


def test_the_parts_of_a_file_name_its_splits_where_nothing_else_does():
    rows = {name: [["a", "x"]] for name in ("train", "oos_val", "test", "validation_1")}
    found = read(rows, split=None)
    assert [row.event["split"] for row in found.rows] == ["seed", "dev", "golden", "dev"]


def test_a_file_that_names_no_split_asks_for_one():
    found = read(
        '{"text": "a", "intent": "x"}\n{"text": "b", "intent": "x", "split": "odd"}', split=None
    )
    assert refusals(found) == [
        (1, "split: is missing; say --split seed, dev, golden or fresh"),
        (2, "split: `odd` is no split that is known here; say --split seed, dev, golden or fresh"),
    ]


def test_a_row_of_another_split_is_refused_and_one_of_another_name_is_not():
    rows = [{"text": "a", "intent": "x", "split": split} for split in ("train", "test", "seed")]
    found = read(rows)
    assert len(found.rows) == 2
    assert refusals(found) == [(2, "split: the line says test, --split says seed")]


def test_exported_samples_are_read_with_the_split_they_have():
    row = {"text": "a", "intent": "x", "split": "train", "origin": "teacher", "answer": None}
    (line,) = read([row], split=None).rows
    assert line.event == row


def test_autointent_says_none_by_leaving_the_label_out():
    found = read_file("autointent.json")
    assert (found.form, found.unlabelled) == ("AutoIntent", 1)
    assert labels(found) == [("wake me at six", "set_alarm"), ("how tall is it", None)]
    assert found.used() == ["utterance and label"]


def test_rows_of_hugging_face_are_read_under_their_own_keys():
    found = read_file("hf.jsonl")
    assert labels(found) == [("wake me at six", "set_alarm")] * 3
    assert refusals(found) == [
        (1, "label: 0 is a number without a name; give --labels NAMES"),
        (5, "intent: says set_alarm, but label says set_timer"),
    ]
    assert sorted(found.used()) == ["text and label", "text and labels", "utterance and intent"]


def test_rasa_json_has_its_entities_as_arguments():
    (row,) = read_file("rasa-nlu.json").rows
    assert row.event == {
        "text": "wake me at six",
        "intent": "set_alarm",
        "arguments": {"time": "six"},
        "split": "seed",
    }


def test_rasa_yaml_has_its_markup_as_arguments_and_counts_what_is_no_text():
    found = read_file("nlu.yml")
    assert [(row.line, row.event["text"], row.event.get("arguments")) for row in found.rows] == [
        (5, "wake me at six", {"time": "six"}),
        (6, "wake me at 6 am", {"time": "06:00"}),
        (7, "move it from six to seven", {"time": ["six", "seven"]}),
        (11, "no thanks", None),
    ]
    assert found.rows[3].event["intent"] == "no"
    assert dict(found.skipped) == {
        "synonym": 2,
        "lookup table": 1,
        "regular expression": 1,
        "stories: no labelled texts": 1,
    }
    assert refusals(found) == [
        (8, "an example begins with `- `"),
        (25, "has no intent; it has examples"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version: '3.1'\nstories: []\n", "has no `nlu:`; it has version, stories"),
        ("nlu:\n- intent: [a\n", "line 3: did not find expected ',' or ']'"),
    ],
)
def test_yaml_without_examples_is_refused_with_what_it_holds(text, why):
    with pytest.raises(NotTraining) as caught:
        read(text, "domain.yml")
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("text,intent\nwake me at six,set_alarm\n", "seeds.csv"),
        ("\ufeffText;Intent;note\nwake me at six;set_alarm;\n", "seeds.csv"),
        ("utterance\tlabel\nwake me at six\tset_alarm\n", "seeds.tsv"),
        ("id|category|query\n7|set_alarm|wake me at six\n", "-"),
        ('text,intent\n"wake me at six",set_alarm\r\n\r\n', "no-ending"),
        ('[{"text": "wake me at six", "intent": "set_alarm"}]', "a.json"),
        ('[["wake me at six", "set_alarm"]]', "a.json"),
        ('["wake me at six", "set_alarm"]\n["wake me at six", "set_alarm"]', "pairs.jsonl"),
        ('{\n "text": "wake me at six",\n "intent": "set_alarm"\n}', "a.json"),
        ('{"data": [{"sentence": "wake me at six", "label": "set_alarm"}]}', "a.json"),
        ('{"rows": [{"row": {"input": "wake me at six", "label": "set_alarm"}}]}', "-"),
        ('{"text": ["wake me at six"], "label": ["set_alarm"]}', "columns.json"),
        ('{"text": {"0": "wake me at six"}, "label": {"0": "set_alarm"}}', "pandas.json"),
        ('{"train": {"text": ["wake me at six"], "label": ["set_alarm"]}}', "columns.json"),
        ('{"label_names": ["set_alarm"], "train": [["wake me at six", 0]]}', "names.json"),
        ('{"set_alarm": ["wake me at six"]}', "by-intent.json"),
        ('{"intents": [{"tag": "set_alarm", "patterns": ["wake me at six"]}]}', "intents.json"),
        ('{"text": "wake me at six", "label": 1, "label_text": "set_alarm"}', "mteb.jsonl"),
        ('{"category": "CLOCK", "text": "wake me at six", "intent": "set_alarm"}', ""),
        ('\ufeff{"text": "wake me at six", "intent": {"name": "set_alarm"}},\n', ""),
    ],
)  # fmt: skip
def test_one_labelled_text_is_read_from_every_shape(text, name):
    found = read(text, name)
    assert {*labels(found)} == {("wake me at six", "set_alarm")}
    assert found.refused == []


@pytest.mark.parametrize(
    "names",
    [
        ["play_music", "set_alarm"],
        {"0": "play_music", "1": "set_alarm"},
        [{"id": 1, "name": "set_alarm"}, {"id": 0, "name": "play_music"}],
        {"id2label": {"0": "play_music", "1": "set_alarm"}},
        {"features": {"label": {"names": ["play_music", "set_alarm"], "_type": "ClassLabel"}}},
        {"features": [{"name": "label", "type": {"names": ["play_music", "set_alarm"]}}]},
        {"default": {"features": {"label": {"names": ["play_music", "set_alarm"]}}}},
    ],
)
@pytest.mark.parametrize("label", [1, 1.0, "1", [1], [0, 1]])
def test_a_number_is_the_name_that_a_list_of_names_has_for_it(names, label):
    assert (
        sample_row({"text": "a", "label": label}, label_names(names)).event["intent"] == "set_alarm"
    )


def test_names_in_the_file_are_used_and_names_given_go_first():
    rows = {"features": {"label": {"names": ["a", "b"]}}, "rows": [{"text": "t", "label": 1}]}
    assert labels(read(rows)) == [("t", "b")]
    assert labels(read(rows, names={"1": "mine"})) == [("t", "mine")]
    assert labels(read([["t", "alarm"]], names={"alarm": "set_alarm"})) == [("t", "set_alarm")]


@pytest.mark.parametrize(
    "value", [{}, [], [1, 2], "text", {"features": {"text": {"dtype": "string"}}}]
)
def test_what_names_no_label_is_refused_as_a_list_of_names(value):
    with pytest.raises(BadRow, match="holds no names"):
        label_names(value)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": "a", "intent": ""}, "intent: is empty; no call at all is written null or none"),
        ({"text": "a", "label": " "}, "label: is empty; no call at all is written null or none"),
        (
            {"text": "a", "labels": []},
            "labels: is an empty list; no call at all is written null or none",
        ),
        ({"text": "a", "labels": ["x", "y"]}, "labels: holds 2 labels, and a sample has one"),
        ({"text": "a", "label": True}, "label: is no intent's name"),
        ({"text": " ", "label": "x"}, "text: is empty"),
        ({"text": 3, "label": "x"}, "text: is no text"),
        ({"text": "a", "intent": None, "label": "x"}, "intent: says none, but label says x"),
        ({"txt": "a", "label": "x"}, "has no text: looked for text, utterance, query, sentence, "
         "input; it has txt, label; is text meant?"),
        ({"text": "a", "intnet": "x"}, "has no label: looked for intent, label, labels, "
         "intent_name, label_text, label_name, category; it has text, intnet; is intent meant?"),
        (["a", "b", "c"], "is neither an object nor a pair [text, label]"),
        ({"text": "a", "intent": "x", "entities": [{"value": 6}]}, "entities[0]: has no `entity`"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_say_text_and_label_is_refused_with_the_field(row, why):
    assert refusals(read([row])) == [(1, why)]


def test_null_and_none_say_no_call_and_an_empty_label_says_nothing():
    found = read_file("empty-label.jsonl", "golden")
    assert labels(found) == [("not yet labelled either", None)]
    assert refusals(found) == [(1, "intent: is empty; no call at all is written null or none")]


def test_fields_of_a_sample_are_kept_and_cells_are_what_they_stand_for():
    text = 'text,intent,must_pass,weight,arguments,family\na,x,TRUE,0.5,"{""time"": ""six""}",\n'
    (row,) = read(text, "a.csv", "golden").rows
    assert row.event == {
        "text": "a",
        "intent": "x",
        "arguments": '{"time": "six"}',
        "must_pass": True,
        "weight": 0.5,
        "split": "golden",
    }


def test_lines_of_other_formats_go_to_their_readers():
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x"}]}
    rasa = {"event": "user", "timestamp": 1.0, "text": "a", "parse_data": {}}
    found = read(json.dumps(chat) + "\n" + json.dumps(rasa), split="dev")
    assert [row.event for row in found.rows] == [{**chat, "split": "dev"}, {**rasa, "split": "dev"}]


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("set_alarm,wake me\n", "a.csv", "has no header that names text and label: "
         "looked for text, utterance, query, sentence, input and intent, label, labels, "
         "intent_name, label_text, label_name, category; its first line is set_alarm, wake me"),
        ("[]", "a.json", "holds no labelled texts"),
        ("text,intent\n", "a.csv", "holds no labelled texts"),
        ("3", "a.json", None),
        ('[\n{"text": "a"\n', "a.json", "is JSON over several lines with a mistake in it: "
         "Input data was truncated"),
    ],
)  # fmt: skip
def test_a_file_without_labelled_texts_says_what_it_holds(text, name, why):
    with pytest.raises(NotTraining) as caught:
        read(text, name)
    assert why is None or str(caught.value) == why


def test_a_bad_line_costs_that_line_only():
    lines = [
        '{"text": "a", "intent": "x"}',
        "{not json",
        "",
        '{"text": "caf\udce9", "intent": "x"}',
        "[" * 5000,
        '{"text": "\\ud83d", "intent": "x"}',
        '{"text": "b", "intent": "x", "weight": NaN}',
        '{"text": "c", "intent": "x"},',
    ]
    found = read("\n".join(lines))
    assert [(row.line, row.event["text"]) for row in found.rows] == [(1, "a"), (8, "c")]
    assert refusals(found) == [
        (2, "is not JSON"),
        (4, "is not UTF-8; name its encoding with --encoding"),
        (5, "is nested too deeply"),
        (6, "is not JSON"),
        (7, "is not JSON"),
    ]


def test_a_row_of_csv_keeps_its_line_and_a_bad_one_costs_itself():
    long = "x" * 200_000
    text = f'text,intent\n"two\nlines",x\na,b,c\n{long},x\ncaf\udce9,x\n'
    found = read(text, "a.csv")
    assert [(row.line, len(row.event["text"])) for row in found.rows] == [(2, 9), (5, 200_000)]
    assert refusals(found) == [
        (4, "has 3 cells, and the header has 2; quote a text with commas"),
        (6, "is not UTF-8; name its encoding with --encoding"),
    ]


def test_a_quote_that_is_never_closed_is_told():
    found = read('text,intent\na,x\n"b,x\nc,x\n', "a.csv")
    assert labels(found) == [("a", "x")]
    assert refusals(found) == [(3, "a quote that opens here is not closed, lines on are lost")]


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufeff"), min_size=1
).filter(str.strip)


@given(
    st.lists(st.tuples(TEXTS, st.sampled_from(["set_alarm", "none"])), min_size=1), st.booleans()
)
def test_the_same_rows_are_read_from_json_lines_a_list_csv_and_tsv(rows, capital):
    keys = ("Utterance", "Label") if capital else ("text", "intent")
    objects = [dict(zip(keys, row, strict=True)) for row in rows]
    tables = {}
    for delimiter in ",\t;":
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([keys, *rows])
        tables[delimiter] = out.getvalue()
    shapes = ["\n".join(map(json.dumps, objects)), json.dumps(objects), *tables.values()]
    expected = [(text.strip(), intent) for text, intent in rows]
    for shape in shapes:
        found = read(shape, "a.tsv" if shape is tables["\t"] else "a")
        assert (labels(found), found.refused) == (expected, [])


KEYS = "text intent label train data intents features names rasa_nlu_data common_examples entities"
SCALARS = st.none() | st.booleans() | st.integers() | st.text()
JSON = st.recursive(
    SCALARS, lambda v: st.lists(v) | st.dictionaries(st.sampled_from(KEYS.split()) | st.text(), v)
)


@given(JSON)
def test_any_json_is_read_or_refused_and_never_breaks(value):
    try:
        found = read(value)
    except NotTraining:
        return
    assert found.rows or found.refused


def test_golden_texts_with_several_labels_are_refused_with_both_lines():
    found = read_file("golden-conflict.jsonl", "golden")
    other = read([["a", "x"], ["GET me the thing  going at six", "y"]], split="golden")
    refuse_contradictions([("a.jsonl", found), ("b.jsonl", other)])
    assert (labels(found), labels(other)) == ([], [("a", "x")])
    assert refusals(found) == [
        (1, "intent: is set_alarm, but set_timer in line 2 for the same text"),
        (2, "intent: is set_timer, but set_alarm in line 1 for the same text"),
        (3, "intent: is none, but set_alarm in line 1 for the same text"),
    ]
    assert refusals(other) == [(2, "intent: is y, but set_alarm in a.jsonl:1 for the same text")]


def test_seeds_may_say_one_text_twice():
    found = read_file("golden-conflict.jsonl", "seed")
    refuse_contradictions([("a.jsonl", found)])
    assert len(found.rows) == 3
