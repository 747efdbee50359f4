"""`flywheel samples import`: what was read of each file, and what became of every row."""

import json
from pathlib import Path

import pytest

CASES = Path(__file__).parents[1] / "formats" / "training"
MEND = "next: mend these lines and send the file again; what was taken counts once\n"


@pytest.fixture
def taking(daemon):
    def take(body):
        return {"accepted": len(body.splitlines()), "duplicates": 0, "rejected": []}

    return daemon.says("POST /v1/samples", take)


def imported(fake, name, *options):
    return fake.run("samples", "import", CASES / name, *options)


def test_the_answer_says_how_the_file_was_read(taking):
    result = imported(taking, "autointent.json", "--split", "seed")
    assert (result.exit_code, result.stdout) == (
        0,
        f"{CASES}/autointent.json: AutoIntent (train 2), keys utterance and label\n"
        "1 text without a label: none, as AutoIntent means it\n"
        "2 lines sent: 2 new, 0 known already\n",
    )
    assert taking.bodies("/v1/samples") == [
        [
            {"text": "wake me at six", "intent": "set_alarm", "split": "seed"},
            {"text": "how tall is it", "intent": None, "split": "seed"},
        ]
    ]


def test_fresh_samples_say_how_they_were_drawn_and_the_answer_whose_word_it_is(taking, tmp_path):
    rows = [{"text": "wake me", "intent": "set_alarm"}, {"text": "play", "intent": "play_music"}]
    rows[1]["provenance"] = {"lot": "every tenth call"}
    file = tmp_path / "fresh.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    silent = taking.run("samples", "import", file, "--split", "fresh")
    assert silent.stdout == (
        "2 lines sent: 2 new, 0 known already\n"
        "1 fresh sample: drawn as recorded\n"
        "1 fresh sample without a word on how they were drawn (--lot HOW): judging only\n"
        "where [gates.fresh] asks for such, on your word that nobody chose them\n"
    )
    said = taking.run("samples", "import", file, "--split", "fresh", "--lot", "1 % of June")
    assert said.stdout.endswith("2 fresh samples: drawn as recorded\n")
    sent = taking.bodies("/v1/samples")[-1]
    assert [row["provenance"]["lot"] for row in sent] == ["1 % of June", "every tenth call"]


def test_a_rejected_row_is_named_by_its_place_in_the_file(daemon):
    bad = {"line": 2, "field": "intent", "why": "`y` is not known; `x`?"}
    daemon.says("POST /v1/samples", {"accepted": 1, "duplicates": 0, "rejected": [bad]})
    result = imported(daemon, "clinc-full.json", "--split", "seed")
    assert result.exit_code == 1
    place = f"{CASES}/clinc-full.json:2: train[0]"
    assert result.stderr == f"{place}: intent: `y` is not known; `x`?\n" + MEND


def test_golden_texts_with_several_labels_are_not_sent(taking):
    result = imported(taking, "golden-conflict.jsonl", "--split", "golden")
    assert result.exit_code == 1
    path = CASES / "golden-conflict.jsonl"
    assert result.stderr == (
        f"{path}:1: intent: is set_alarm, but set_timer in line 2 for the same text\n"
        f"{path}:2: intent: is set_timer, but set_alarm in line 1 for the same text\n"
        f"{path}:3: intent: is none, but set_alarm in line 1 for the same text\n" + MEND
    )
    assert taking.asked == []


def test_names_of_labels_come_from_a_file(taking, folder):
    (folder / "names.json").write_text('["set_alarm"]')
    (folder / "names.txt").write_text("set_alarm\nset_timer\n")
    for names in ("names.json", "names.txt"):
        result = imported(taking, "hf.jsonl", "--split", "dev", "--labels", folder / names)
        assert result.stdout.splitlines()[-1] == "5 lines sent: 4 new, 0 known already, 1 rejected"


def test_an_encoding_can_be_named_and_a_wrong_one_costs_rows_only(taking, folder):
    path = folder / "seeds.csv"
    path.write_bytes("text,intent\nréveille-moi,set_alarm\nwake me,set_alarm\n".encode("cp1252"))
    result = taking.run("samples", "import", path, "--split", "seed")
    assert result.stderr == f"{path}:2: is not UTF-8; name its encoding with --encoding\n" + MEND
    named = ("samples", "import", path, "--split", "seed", "--encoding")
    assert taking.run(*named, "cp1252").exit_code == 0
    assert taking.bodies("/v1/samples")[-1][0]["text"] == "réveille-moi"
    assert taking.run(*named, "cp-1252-x").exit_code == 2
    assert "is not ascii" in taking.run(*named, "ascii").stderr


def test_json_accounts_for_every_row_of_every_file(taking, folder):
    rasa = CASES / "nlu.yml"
    empty = CASES / "empty-label.jsonl"
    result = taking.run("samples", "import", rasa, empty, "--split", "seed", "--json")
    told = json.loads(result.stdout)
    assert (told["accepted"], len(told["rejected"]), sum(told["skipped"].values())) == (5, 3, 5)
    assert [(each["form"], each["rows"], each["refused"]) for each in told["files"]] == [
        ("Rasa NLU", 4, 2),
        ("JSON lines", 1, 1),
    ]


def test_a_file_without_labels_is_refused_with_the_keys_that_were_looked_for(taking, folder):
    (folder / "a.csv").write_text("frage,antwort\nwie spät,zeit\n")
    result = taking.run("samples", "import", folder / "a.csv", "--split", "seed")
    assert result.exit_code == 1
    assert "looked for text, utterance, query" in result.stderr
    assert "its first line is frage, antwort" in result.stderr
    assert taking.asked == []


def test_a_file_whose_parts_name_its_splits_needs_no_split(taking):
    assert imported(taking, "clinc-full.json").exit_code == 0
    (rows,) = taking.bodies("/v1/samples")
    assert [row["split"] for row in rows] == ["dev", "seed", "seed", "seed"]


def test_a_seed_that_is_held_out_is_named_by_file_and_line_with_what_to_do(daemon):
    pair = {"sample": "s-1", "near": "s-2", "split": "golden", "text": "wake me at six"}
    same = {"line": 2, "near_line": 0, "intent": "set_alarm", "near_intent": "set_alarm"}
    before = {"line": 0, "near_line": 1, "intent": "set_alarm", "near_intent": "set_timer"}
    overlaps = [{**pair, **same, "similarity": 1.0}, {**pair, **before, "similarity": 0.83}]
    daemon.says(
        "POST /v1/samples",
        {"accepted": 2, "duplicates": 0, "rejected": [], "overlaps": overlaps},
    )
    result = imported(daemon, "clinc-full.json", "--split", "seed")
    assert result.exit_code == 0
    file = CASES / "clinc-full.json"
    lines = result.stderr.splitlines()
    assert lines[:2] == [
        f"{file}:2: is not learned: is golden sample s-2 “wake me at six”",
        f"sample s-1: is not learned: is 0.83 near golden sample {file}:1 “wake me at six”, "
        "which is set_timer and here set_alarm",
    ]
    assert lines[2].startswith("next: nothing, where the intent has other seeds")
    told = json.loads(imported(daemon, "clinc-full.json", "--split", "seed", "--json").stdout)
    assert [(each["file"], each["line"]) for each in told["overlaps"]] == [
        (str(file), 2),
        (str(file), 0),
    ]
