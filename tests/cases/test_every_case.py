"""Inputs as people send them: what each must leave in the tables, and what is said of the rest."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from flywheel import intake
from flywheel.sources.runner import find

FILES = Path(__file__).parent / "files"
SIX = ("wake me at six", "set_alarm", '{"time":"six"}')
BARE = ("wake me at six", "set_alarm", "{}")
PREDICTIONS = {  # file: its lines, counted as (accepted, skipped, rejected), what stands
    "calls-shapes.jsonl": ((20, 0, 1), [SIX] * 19 + [BARE]),
    "wrong-key.jsonl": ((0, 0, 2), []),
    "toxicity.jsonl": (
        (60, 0, 0),
        [(f"put on some jazz number {i}", "play_music", "{}") for i in range(30)],
    ),
    "source-lone-surrogate.jsonl": ((2, 0, 1), [BARE] * 2),
    "deep-nesting.jsonl": ((2, 0, 1), [BARE] * 2),
    "q-bom-each.jsonl": ((2, 0, 0), [BARE] * 2),
    "q-gz.jsonl.gz": ((2, 0, 0), [BARE] * 2),
    "q-utf16.jsonl": ((2, 0, 0), [BARE] * 2),
    "q-trailing-comma.jsonl": ((2, 0, 0), [BARE] * 2),
    "q-latin1.jsonl": ((0, 0, 1), []),
    "q-gbk.jsonl": ((0, 0, 1), []),
    "csv-gbk.csv": ((0, 0, 1), []),
    "agent-loop.jsonl": ((2, 1, 0), [("ok then " + SIX[0], *SIX[1:]), SIX]),
    "rasa.jsonl": (
        (5, 6, 0),
        [
            ("hmm", "none", "{}"),
            ("wake me at 6", "set_alarm", None),
            ("wake me at 7", "set_alarm", "{}"),
            ("wake me at 8", "set_alarm", "{}"),
            ("which python", "faq/python_version", "{}"),
        ],
    ),
    "rasa-tracker.json": (None, [("wake me", "set_alarm", "{}")]),
    "nvidia-flywheel-no-id.jsonl": (
        (2, 0, 0),
        [("put jazz on", "play_music", "{}"), ("wake me at six tomorrow", *SIX[1:])],
    ),
    "litellm-aresponses.jsonl": (None, []),
    "langfuse-types.jsonl": ((2, 1, 0), [BARE]),
    "array-pretty-120.json": (
        (120, 0, 0),
        [(f"wake me at p{i}", "set_alarm", "{}") for i in range(120)],
    ),
    "unknown-names.jsonl": (
        (2, 0, 0),
        [("wake me", "SetAlarm", "{}"), ("wake me up", "SetAlarm", "{}")],
    ),
    "openai-responses.jsonl": ((3, 0, 0), [SIX] * 3),
    "otel-flat.json": (None, [SIX]),
    "otel-agent-trace.json": (None, [SIX]),
    "otel-no-content-2.json": (None, []),
    "erase-slices.jsonl": (
        (2, 0, 1),
        [(f"my card ends in 4242 {w}", "set_alarm", "{}") for w in ("again", "please")],
    ),
}
SPANS = {"otel-agent-trace.json": 4, "otel-no-content-2.json": 2}  # of one document each


def standing(case):
    return sorted(case.rows("SELECT text, intent, arguments FROM standing_predictions()"))


@pytest.mark.parametrize("name", PREDICTIONS)
def test_what_was_meant_stands_and_every_line_is_accounted_for(case, name):
    counts, meant = PREDICTIONS[name]
    said = case.ingest(name)
    rejected = len(said["rejected"])
    if counts is not None:
        assert (said["accepted"], said["skipped"], rejected) == counts, said
    records = SPANS.get(name, said["sent"])
    assert records == said["accepted"] + said["duplicates"] + said["skipped"] + rejected
    assert said["exit"] == (1 if rejected else 0)
    assert all(skip["why"] for skip in said["skips"])
    assert all(line["why"] for line in said["rejected"])
    known = [arguments is not None for _, _, arguments in sorted(meant, key=lambda row: row[:2])]
    stand = [
        (text, intent, arguments if is_known else None)
        for (text, intent, arguments), is_known in zip(standing(case), known, strict=True)
    ]
    assert stand == sorted(meant, key=lambda row: row[:2])


def test_any_spelling_of_the_input_gives_what_the_person_said(case):
    said = case.ingest("input-shapes.jsonl")
    assert (said["accepted"], said["rejected"], said["exit"]) == (9, [], 0)
    router = "You are a router. Pick a tool.\nUSER: wake me at six"
    assert standing(case) == sorted([SIX] * 8 + [(router, *SIX[1:])])


@pytest.mark.parametrize(
    ("name", "scores", "counted"),
    [
        ("toxicity.jsonl", 30, {}),
        ("langfuse-text-score.jsonl", 5, {}),
        ("langfuse-trace-score.jsonl", 2, {"ts-1": "correct", "ts-2": "incorrect"}),
        ("langfuse-blob-scores-without-source.jsonl", 4, {"sc-1": "correct"}),
    ],
)
def test_only_scores_that_somebody_named_are_verdicts(case, name, scores, counted):
    said = case.ingest(name)
    assert (said["rejected"], said["exit"]) == ([], 0)
    assert case.rows("SELECT count(*) FROM scores") == [(scores,)]
    found = dict(case.rows("SELECT id, verdict FROM feedback"))
    assert {key.split(":")[-1]: verdict for key, verdict in found.items()} == counted


@pytest.mark.parametrize("name", ["phoenix.jsonl", "mlflow.jsonl"])
def test_what_a_judge_or_a_revoked_assessment_says_makes_no_answer_wrong(case, name):
    said = case.ingest(name)
    assert (said["rejected"], said["exit"]) == ([], 0)
    assert {verdict for (verdict,) in case.rows("SELECT verdict FROM feedback")} <= {"correct"}
    assert case.rows("SELECT count(*) FROM feedback WHERE intent = 'Sure'") == [(0,)]


def test_costs_and_latencies_are_no_verdicts_and_a_broken_call_is_malformed(case):
    said = case.ingest("tensorzero.jsonl")
    assert said["sent"] == 9
    counted = " ".join(score for (score,) in case.rows("SELECT score FROM feedback"))
    assert not any(word in counted for word in ("latency", "steps", "edit_distance"))
    rows = case.rows(
        "SELECT text, intent, arguments, malformed FROM standing_predictions() ORDER BY id"
    )
    assert rows[0] == (*SIX, False)
    assert rows[1][:2] + rows[1][3:] == ("wake me at six", "set_alrm", True)
    assert rows[2][:2] == ("wake me", "none")


def test_an_evaluation_meets_its_span_and_only_what_counts_is_a_verdict(case):
    for route, name in (("traces", "otel-agent-trace.json"), ("logs", "otel-eval-logs.json")):
        said = case.http.post(
            f"/v1/{route}?wait=1",
            content=(FILES / name).read_bytes(),
            headers={"Content-Type": "application/json"},
        )
        assert said.status_code == 200, said.text
    case.http.get("/v1/status")
    assert standing(case) == [SIX]
    aliases = {alias for (alias,) in case.rows("SELECT alias FROM aliases")}
    assert {"11", "ab"} <= aliases
    assert case.rows("SELECT id FROM standing_predictions()") == [("chatcmpl-20",)]
    named = case.rows("SELECT name FROM scores ORDER BY name")
    assert named == [("Hallucination",), ("IntentResolution",), ("Relevance",)]
    assert case.rows("SELECT verdict FROM feedback") == []


def post_each(case, name):
    for line in (FILES / name).read_bytes().splitlines():
        assert case.http.post("/v1/feedback?wait=1", content=line).json()["accepted"] == 1
    return case.rows("SELECT verdict, rater FROM feedback ORDER BY ts, id")


def test_a_verdict_given_again_counts_again(case):
    assert Counter(v for v, _ in post_each(case, "toggle.jsonl")) == {"correct": 2, "incorrect": 1}


def test_three_users_are_three_raters(case):
    rows = post_each(case, "tz-two-users.jsonl")
    assert (len(rows), len({rater for _, rater in rows})) == (3, 3)


@pytest.mark.parametrize(
    ("name", "encoding"), [("q-latin1.jsonl", "cp1252"), ("q-gbk.jsonl", "gbk")]
)
def test_a_line_in_another_encoding_is_never_taken_destroyed(case, name, encoding):
    case.ingest(name)
    assert case.http.post("/v1/rejected/retry", json={}).json()["accepted"] == 0
    said = case.http.post("/v1/rejected/retry", json={"encoding": encoding}).json()
    assert (said["accepted"], said["rejected"]) == (1, [])


def test_a_csv_in_gbk_is_read_where_its_encoding_is_named(case):
    assert case.ingest("csv-gbk.csv", "--encoding", "gbk")["accepted"] == 1
    assert standing(case) == [("六点叫我起床", "set_alarm", "{}")]


def test_a_large_cell_costs_at_most_its_own_row(case):
    said = case.ingest("csv-bigfield.csv")
    assert said["accepted"] + len(said["rejected"]) == 2
    assert ("wake me", "set_alarm", "{}") in standing(case)


@pytest.mark.parametrize("name", ["csv-semicolon.csv", "csv-times.csv"])
def test_a_csv_keeps_texts_with_its_marks_and_times_in_any_form(case, name):
    said = case.ingest(name)
    assert (said["accepted"], said["rejected"]) == (5, [])
    texts = ["6点叫我", "réveille-moi", 'wake me "now"', "wake\nme", "wake me, please"]
    assert [text for text, _, _ in standing(case)] == sorted(texts)


def test_a_confidence_that_cannot_be_read_costs_the_confidence_alone(case):
    case.ingest("float-over-one.jsonl")
    found = dict(case.rows("SELECT id, confidence FROM predictions"))
    read = {f"fo-{i}": found.get(f"fo-{i}", "lost") for i in range(1, 11)}
    assert read == {
        "fo-1": 1.0,
        "fo-2": 0.0,
        "fo-3": None,
        "fo-4": None,
        "fo-5": pytest.approx(0.93),
        **{f"fo-{i}": None for i in range(6, 11)},
    }
    assert not {"fo-16", "fo-18", "fo-19"} & set(found)


def test_numbers_that_json_does_not_know_cost_only_themselves(case):
    said = case.ingest("q-nan.jsonl")
    assert said["accepted"] + len(said["rejected"]) == 5
    assert {"q-hugeint"} <= {key for (key,) in case.rows("SELECT id FROM predictions")}


def test_integer_ids_are_text_and_other_ids_are_told(case):
    said = case.ingest("ids.jsonl")
    found = {key for (key,) in case.rows("SELECT id FROM predictions")}
    assert {"a", "1", "A", "9007199254740993", "6", "null", "-1"} <= found
    assert said["sent"] == 22 == said["accepted"] + said["duplicates"] + len(said["rejected"])


def test_times_of_every_kind_are_read_and_the_far_future_is_refused(case):
    case.ingest("times.jsonl")
    found = {key for (key,) in case.rows("SELECT id FROM predictions")}
    assert {f"t-{i}" for i in [*range(8), *range(10, 19), 34, 40, 43]} <= found
    assert not {f"t-{i}" for i in (20, 33, 37, 41, 42)} & found


def test_broken_arguments_keep_the_prediction_as_malformed(case):
    case.ingest("tool-args-edge.jsonl")
    query = "SELECT text, intent, arguments, malformed FROM standing_predictions()"
    found = {text: rest for text, *rest in case.rows(query)}
    assert found["args truncated"][::2] == ["get_weather", True]
    assert found["args double encoded"] == ["get_weather", '{"place":"Paris"}', False]
    assert found["legacy call"] == ["get_weather", '{"place":"Oslo"}', False]
    assert found["both old and new"] == ["get_weather", "{}", False]
    assert "content filter empties choices" not in found


def test_odd_verdicts_are_read_or_refused_in_words(case):
    case.ingest("fb-preds.jsonl")
    said = case.ingest("fb.jsonl")
    assert said["sent"] == 26 == said["accepted"] + said["duplicates"] + len(said["rejected"])
    found = dict(case.rows("SELECT id, verdict FROM feedback"))
    assert {f"fb-{i}" for i in range(1, 9)} <= set(found)
    assert not {"fb-16", "fb-17", "fb-19"} & set(found)


def test_erasing_a_session_reaches_its_rejected_lines(case):
    case.ingest("erase-slices.jsonl")
    said = case.http.post("/v1/erase", json={"session": "s-9"})
    assert said.status_code == 200, said.text
    assert standing(case) == []
    assert case.rows("SELECT count(*) FROM rejected") == [(0,)]


@pytest.mark.parametrize(
    ("name", "split", "labels"),
    [
        ("golden-array.json", "seed", ["set_alarm"] * 8),
        ("seeds.csv", "seed", ["set_alarm"]),
        ("rasa-nlu.json", "seed", ["set_alarm"]),
        ("empty-label.jsonl", "golden", None),
        ("golden-conflict.jsonl", "golden", None),
    ],
)
def test_training_files_are_read_and_a_label_is_never_made_up(case, name, split, labels):
    said = case.run("samples", "import", FILES / name, "--split", split)
    found = [intent for (intent,) in case.rows("SELECT intent FROM samples")]
    if labels is None:
        assert found in ([], ["none"] if name.startswith("empty") else [])
        assert said.exit_code == 1
    else:
        assert (found, said.exit_code) == (labels, 0), said.output


@pytest.mark.parametrize("name", ["broken.parquet", "int-ids.parquet"])
def test_a_parquet_file_is_refused_with_the_word_for_what_it_is(case, name):
    said = case.run("ingest", FILES / name)
    assert said.exit_code == 1
    assert "arquet" in said.output


def test_chinese_traffic_is_stored_whole(case):
    assert case.ingest("zh.jsonl")["accepted"] == 100
    lines = (FILES / "zh.jsonl").read_text().splitlines()
    meant = sorted((json.loads(line)["text"], "set_alarm", "{}") for line in lines)
    assert standing(case) == meant


@pytest.mark.parametrize("name", ["clinc-full.json", "autointent.json", "hf.jsonl"])
def test_other_training_files_end_in_words(case, name):
    said = case.run("samples", "import", FILES / name, "--split", "seed")
    assert said.output
    assert case.rows("SELECT count(*) FROM samples WHERE intent IS NULL OR intent = ''") == [(0,)]


@pytest.mark.parametrize(
    ("plugin", "names", "texts"),
    [
        ("jsonl", ["source-lone-surrogate.jsonl"], ["wake me at six"] * 2),
        ("jsonl", ["deep-nesting.jsonl"], ["wake me at six"] * 2),
        ("jsonl", ["q-gz.jsonl.gz", "q-utf16.jsonl"], ["wake me at six"] * 4),
        ("csv", ["csv-gbk.csv", "csv-semicolon.csv"], None),
        ("csv", ["csv-bigfield.csv"], None),
        ("parquet", ["broken.parquet", "int-ids.parquet"], ["ring me", "wake me"]),
    ],
)
def test_no_source_stops_at_a_line_a_cell_or_a_file(case, tmp_path, plugin, names, texts):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in names:
        shutil.copy(FILES / name, folder / name)
        os.utime(folder / name, (1, 1))  # written long ago: a young file may still grow
    source = find(plugin, tmp_path)()
    source.open({"path": f"{folder}/*"}, None)
    for _ in range(12):
        if batch := source.poll(100, 0.01):
            intake.accept_from_source(case.runtime, "app", batch.events, batch.cursor)
            source.ack(batch.cursor)
    source.close()
    found = [text for text, _, _ in standing(case)]
    if texts is None:
        assert any(text.startswith("wake me") for text in found)
        assert not any("\ufffd" in text for text in found)
    else:
        assert found == texts
