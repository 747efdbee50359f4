"""`flywheel doctor` looks at what comes in: sources, their first lines, recent predictions."""

import json
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flywheel.cli.doctor import environment, incoming
from flywheel.cli.doctor.incoming import SeenTraffic, named
from flywheel.config import load_intents
from flywheel.formats import read_lines
from flywheel.lineage import nearest
from flywheel.records import Intent, Prediction
from flywheel.store import events, open_store, traffic

CASES = Path(__file__).parent / "incoming"
INTENTS = ("set_alarm", "set_timer", "play_music", "get_weather")


@pytest.fixture
def ready(alone, monkeypatch):
    """A folder without a daemon, whose base model knows four letters."""
    text = "".join(f'[[intent]]\nname = "{name}"\ndescription = "a"\n' for name in INTENTS)
    (alone.folder / "intents.toml").write_text(text)
    base = alone.folder / "base"
    base.mkdir()
    vocab = {"wake": 0, "叫": 1}
    (base / "tokenizer.json").write_text(json.dumps({"model": {"type": "W", "vocab": vocab}}))
    look = {"folder": str(base), "sha256": "53aa51172d142c89"}
    monkeypatch.setattr(environment, "_look", lambda name, state: look)
    monkeypatch.chdir(alone.folder)
    return alone


def findings(fake):
    rows = json.loads(fake.run("doctor", "--json").stdout)
    told = {}
    for row in rows:
        told.setdefault(row["check"], []).append((row["level"], row["text"], row["todo"]))
    return told


def with_source(fake, plugin, **options):
    lines = [f'[sources.app]\nplugin = "{plugin}"']
    lines += [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    with (fake.folder / "config.toml").open("a") as file:
        file.write("\n".join(lines) + "\n")
    return findings(fake)


def stored(folder, path):
    """A database with the predictions of a file, which nobody holds."""
    store = open_store(folder / "var" / "flywheel.duckdb")
    with store.write() as con:
        lines = path.read_bytes().splitlines()
        events.add_predictions(con, read_lines("predictions", lines).predictions)
    store.close()


def test_chinese_traffic_on_an_english_base_is_warned_of_without_a_daemon(ready):
    stored(ready.folder, CASES / "zh.jsonl")
    told = findings(ready)
    ((level, text, todo),) = told["script"]
    assert (level, "multilingual" in todo) == ("warn", True)
    assert text.startswith("Chinese: 1 of the 33 characters in use are known")
    assert told["traffic"] == [
        (
            "warn",
            "3 of 4 intents never occur in 100 recent predictions: set_timer, play_music, "
            "get_weather",
            "are all channels sent, under these names?",
        )
    ]


def test_texts_in_the_spool_and_in_a_source_are_looked_at_too(ready):
    spool = ready.folder / "var" / "spool"
    spool.mkdir()
    line = {"kind": "predictions", "id": "p", "text": "放歌", "intent": "play_music"}
    (spool / "000000000001.ndjson").write_text(json.dumps(line) + "\n" + "{torn")
    assert findings(ready)["script"][0][1].startswith("Chinese: 0 of the 2 characters")
    shutil.copy(CASES / "zh.jsonl", ready.folder / "app.jsonl")
    told = with_source(ready, "jsonl", path="app.jsonl")
    assert told["sources"] == [
        ("ok", "[sources.app]: jsonl, 50 events looked at, all can be taken in", "")
    ]
    assert told["script"][0][1].startswith("Chinese: 1 of the 33 characters")


def test_where_there_is_nothing_to_look_at_it_says_so(ready):
    told = findings(ready)
    assert told["traffic"] == [("skip", "not looked at: there are no predictions yet", "")]
    ((level, text, todo),) = told["golden"]
    assert text.startswith("not counted: no daemon runs; a set that pays has 160 texts for 4 ")
    assert (level, todo) == ("skip", "")
    assert ("skip", "not looked at: there are no texts of people yet, only intents", "") in told[
        "script"
    ]


def test_a_running_daemon_is_asked_for_counts_and_its_sources(ready, daemon):
    (ready.folder / "app.jsonl").write_text("")
    source = {"name": "app", "error": "no JSON", "state": "waiting"}
    daemon.says("GET /v1/status", {"version": "1", "sources": [source]})
    daemon.says("GET /readyz", {"ready": True}).says("GET /v1/samples", [])
    counts = {"n": 2, "intents": {"SetAlarm": 2}, "letters": {"歌": 2}, "earlier": {}}
    daemon.says("GET /v1/traffic", counts)
    told = with_source(ready, "jsonl", path="app.jsonl")
    assert told["sources"] == [("warn", "[sources.app]: no JSON", "flywheel status")]
    assert told["traffic"] == [
        (
            "warn",
            "2 predictions of `SetAlarm`, which is no intent; is set_alarm meant?",
            "flywheel intents alias SetAlarm set_alarm",
        )
    ]
    level, text, _ = told["script"][0]
    assert (level, text[:45]) == ("warn", "Chinese: 0 of the 1 characters in use are kno")


@pytest.mark.parametrize(
    ("plugin", "options", "level", "said"),
    [
        ("jsonl", {"path": "no/*.jsonl"}, "warn", "no file matches no/*.jsonl"),
        ("jsonl", {"path": "a.jsonl", "beginning": "x"}, "FAIL", "knows no option `beginning`"),
        ("csv", {}, "FAIL", "needs the option `path`"),
        ("postgres", {"query": "q", "dsn_env": "NOT_SET"}, "warn",
         "no environment variable NOT_SET (`dsn_env`), so not opened"),
        ("jsonl", {"path": "csv-gbk.csv"}, "warn", "csv-gbk.csv:2 is not UTF-8"),
        ("jsonl", {"path": "wrong-key.jsonl"}, "warn", "2 events looked at, 2 of them rejected"),
        ("jsonl", {"path": "empty.jsonl"}, "skip", "jsonl opens; it has no events to look at"),
        ("own", {}, "FAIL", "own raises ZeroDivisionError: division by zero"),
        ("jsonl", {"path": "cut.jsonl.gz"}, "warn", "cut.jsonl.gz: "),
    ],
)  # fmt: skip
def test_a_source_that_will_not_do_is_told_with_its_cause(
    ready, monkeypatch, plugin, options, level, said
):
    for name in ("csv-gbk.csv", "wrong-key.jsonl"):
        shutil.copy(CASES / name, ready.folder / name)
    (ready.folder / "empty.jsonl").write_text("")
    (ready.folder / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00oops")
    (ready.folder / "plugins").mkdir()
    (ready.folder / "plugins" / "own.py").write_text("def source():\n    return 1 / 0\n")
    monkeypatch.delenv("NOT_SET", raising=False)
    told = with_source(ready, plugin, **options)["sources"]
    assert level in {each for each, text, _ in told if said in text}


def test_a_delimiter_that_cuts_nothing_is_told_with_the_one_that_does(ready):
    (ready.folder / "a.csv").write_text("id;ts;text;intent\n")
    told = with_source(ready, "csv", path="a.csv", delimiter=",")["sources"]
    assert (
        "warn",
        "[sources.app]: the header of a.csv is not cut by ','",
        "set delimiter = ';'",
    ) in told


def seen(**intents):
    earlier = Counter(intents.pop("earlier", {}))
    counts = Counter(intents)
    return SeenTraffic(where="here", n=counts.total(), intents=counts, earlier=earlier)


def told(incoming, golden=None):
    listed = [Intent(name=name) for name in INTENTS]
    return [(each.level, each.text) for each in named(listed, incoming, golden or {})]


MANY = dict.fromkeys(INTENTS, 10)


def test_an_unusual_share_of_none_is_told_and_a_usual_one_is_not():
    incoming = seen(none=160, **MANY)
    assert told(incoming) == [("warn", "80% of 200 recent predictions call nothing (`none`)")]
    quiet = [("ok", "200 recent predictions of here; 80.0 % without a call")]
    assert told(incoming, golden={"none": 75, "set_alarm": 25}) == quiet
    assert told(seen(none=160, **MANY, earlier={"none": 75, "set_alarm": 25})) == quiet
    assert told(incoming, golden={"none": 20, "set_alarm": 80}) == [
        ("warn", "80% of 200 recent predictions call nothing (`none`), 20% is usual")
    ]


def test_few_predictions_are_not_told():
    assert told(seen(none=9)) == [("ok", "9 recent predictions of here; 100.0 % without a call")]


@pytest.mark.parametrize("name", ["SetAlarm", "set-alarm", "setalarm", "set_alarms", "SET ALARM"])
def test_the_nearest_name_is_found_without_case_and_signs(name):
    assert nearest(name, INTENTS) == "set_alarm"
    assert nearest("qqq", INTENTS) is None


def test_the_cases_of_unknown_names_are_told(ready):
    stored(ready.folder, CASES / "unknown-names.jsonl")
    assert "is set_alarm meant?" in findings(ready)["traffic"][0][1]
    assert len(load_intents(ready.folder / "intents.toml")) == 4


def test_traffic_counts_the_newest_and_those_before_them(tmp_path):
    store = open_store(tmp_path / "flywheel.duckdb")
    rows = [
        {"id": f"p{n}", "ts": f"2026-11-22T05:00:0{n}Z", "text": "é a歌", "intent": intent}
        for n, intent in enumerate(["none", "none", "x", "none", "x"])
    ]
    lines = [json.dumps(row).encode() for row in rows]
    with store.write() as con:
        events.add_predictions(con, read_lines("predictions", lines).predictions)
    with store.read() as con:
        found = traffic.recent(con, most=2)
    store.close()
    assert found == traffic.Traffic(
        n=2, intents={"none": 1, "x": 1}, letters={"é": 2, "歌": 2}, earlier={"x": 1, "none": 1}
    )
    assert traffic.of_closed(tmp_path / "flywheel.duckdb", most=2) == found


def test_records_of_one_exchange_count_once_in_traffic(tmp_path):
    store = open_store(tmp_path / "flywheel.duckdb")
    logged = {"ts": datetime(2026, 11, 22, 5, tzinfo=UTC), "text": "wake me", "exchange": "x"}
    with store.write() as con:
        events.add_predictions(
            con,
            [
                Prediction(id="outer", intent="none", precedence=10, **logged),
                Prediction(id="inner", intent="set_alarm", precedence=130, **logged),
            ],
        )
    with store.read() as con:
        found = traffic.recent(con)
    store.close()
    assert found == traffic.Traffic(n=1, intents={"set_alarm": 1})


def test_labels_of_a_name_that_is_no_intent_are_told_with_the_line_that_adds_it():
    status = {"input": {"unknown_labels": {"qa factoid": 32, "x": 1}}}
    found = list(incoming.labels(environment.Running(None, status, "")))
    assert [(each.level, each.text) for each in found] == [
        ("warn", "32 labels say `qa factoid`, which is no intent; they count against none"),
        ("warn", "1 label says `x`, which is no intent; they count against none"),
    ]
    assert found[0].todo == (
        'add [[intent]] name = "qa factoid" to the intents, or map it: '
        "flywheel intents alias 'qa factoid' NEW"
    )
    assert list(incoming.labels(environment.Running(None, {}, ""))) == []
