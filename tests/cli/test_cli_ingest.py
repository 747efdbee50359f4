"""`flywheel ingest` and `flywheel samples import`: files in batches, told by file and line."""

import gzip
import json

import pytest

from flywheel.cli import sending
from flywheel.cli.client import DaemonClient
from flywheel.cli.sending import BATCH_BYTES, BATCH_LINES

PREDICTION = {
    "id": "p-1",
    "ts": "2026-11-22T05:17:00Z",
    "text": "我要听音乐",
    "intent": "play_music",
}
FEEDBACK = {"id": "f-1", "prediction_id": "p-1", "ts": "2026-11-22T05:18:00Z", "verdict": "correct"}
SAMPLE = {"text": "wake me at seven", "intent": "set_alarm", "split": "golden"}


MEND = "next: mend these lines and send the file again; what was taken counts once\n"
LATER = "an id that is stored already counts once: that is seen when they are loaded\n"


def taken(body):
    lines = body.splitlines()
    return {"accepted": len(lines), "duplicates": 0, "rejected": []}


@pytest.fixture
def taking(daemon):
    for route in ("predictions", "feedback", "samples"):
        daemon.says(f"POST /v1/{route}", taken)
    return daemon


def write(folder, name, *events):
    path = folder / name
    path.write_text("".join(json.dumps(e, ensure_ascii=False) + "\n" for e in events))
    return path


def test_each_line_goes_where_its_fields_say(taking, folder):
    path = write(folder, "mixed.jsonl", FEEDBACK, PREDICTION, SAMPLE)
    result = taking.run("ingest", path)
    assert (result.exit_code, result.stdout) == (0, "3 lines sent: 3 accepted\n" + LATER)
    assert taking.bodies("/v1/predictions") == [[PREDICTION]]
    assert taking.bodies("/v1/feedback") == [[FEEDBACK]]
    assert taking.bodies("/v1/samples") == [[SAMPLE]]


def test_a_named_kind_is_not_second_guessed(taking, folder):
    taking.run("ingest", "--kind", "predictions", write(folder, "odd.jsonl", FEEDBACK))
    assert taking.bodies("/v1/predictions") == [[FEEDBACK]]


def test_batches_hold_at_most_500_lines_and_4_mb(taking, folder):
    many = [{**PREDICTION, "id": f"p-{i}"} for i in range(BATCH_LINES + 1)]
    taking.run("ingest", write(folder, "many.jsonl", *many))
    assert [len(batch) for batch in taking.bodies("/v1/predictions")] == [BATCH_LINES, 1]

    taking.asked.clear()
    large = [{**PREDICTION, "id": f"q-{i}", "text": "长" * 700_000} for i in range(3)]
    taking.run("ingest", write(folder, "large.jsonl", *large))
    assert [len(batch) for batch in taking.bodies("/v1/predictions")] == [1, 1, 1]
    assert all(len(body) <= BATCH_BYTES for _, _, body, _ in taking.asked)


def test_a_rejected_line_is_told_by_its_place_in_the_file(daemon, folder):
    def answer(body):
        rejected = [{"line": 2, "field": "intent", "why": "is missing"}]
        return {"accepted": 0, "duplicates": 1, "rejected": rejected}

    daemon.says("POST /v1/predictions", answer)
    path = folder / "gaps.jsonl"
    path.write_text("\n".join(["", json.dumps(PREDICTION), "", '{"id": "p-2"}', ""]))
    result = daemon.run("ingest", path)
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "2 lines sent: 0 accepted, 1 repeated, 1 rejected\n",
        f"{path}:4: intent: is missing\n{MEND}",
    )


def test_a_batch_with_nothing_good_in_it_is_an_answer_not_an_error(daemon, folder):
    answer = {"accepted": 0, "duplicates": 0, "rejected": [{"line": 1, "why": "not JSON"}]}
    daemon.says("POST /v1/predictions", answer, status=422)
    path = folder / "bad.jsonl"
    path.write_text("{,\n")
    result = daemon.run("ingest", path)
    assert (result.exit_code, result.stderr) == (1, f"{path}:1: not JSON\n{MEND}")


def test_many_rejected_lines_are_counted_and_listed_as_json(daemon, folder):
    rejected = [{"line": i, "field": "ts", "why": "has no timezone"} for i in range(1, 21)]
    daemon.says("POST /v1/predictions", {"accepted": 0, "duplicates": 0, "rejected": rejected})
    path = write(folder, "many.jsonl", *[PREDICTION] * 20)
    result = daemon.run("ingest", path)
    assert result.stderr.count("\n") == 12
    assert result.stderr.endswith(f"10 more lines rejected; --json lists every one\n{MEND}")
    assert len(json.loads(daemon.run("ingest", path, "--json").stdout)["rejected"]) == 20


def test_a_byte_order_mark_and_a_missing_last_newline_do_no_harm(taking, folder):
    path = folder / "dos.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(PREDICTION).encode() + b"\r\n" + b'{"id": 2}')
    taking.run("ingest", path)
    assert taking.bodies("/v1/predictions") == [[PREDICTION, {"id": 2}]]


def test_a_line_that_is_too_long_is_refused_and_the_next_is_sent(taking, folder, monkeypatch):
    monkeypatch.setattr(sending, "LINE_BYTES", 200)
    path = folder / "long.jsonl"
    path.write_text("x" * 1000 + "\n" + json.dumps(PREDICTION) + "\n")
    result = taking.run("ingest", path)
    assert result.exit_code == 1
    assert result.stderr == f"{path}:1: longer than 200 bytes\n{MEND}"
    assert taking.bodies("/v1/predictions") == [[PREDICTION]]


def test_every_record_is_accounted_for_and_what_was_skipped_says_why(daemon, folder):
    why = "does not speak of GenAI"
    answer = {
        "accepted": 1,
        "duplicates": 0,
        "skipped": 2,
        "skips": [{"why": why, "count": 2, "line": 2}],
        "rejected": [],
    }
    daemon.says("POST /v1/predictions", answer)
    path = folder / "bulk.ndjson"
    action = '{"index": {"_id": "1"}}\n'
    path.write_text(action + json.dumps(PREDICTION) + "\n" + '{"a": 1}\n{"a": 2}\n')
    result = daemon.run("ingest", path)
    assert (result.exit_code, result.stdout) == (
        0,
        "4 lines sent: 1 accepted, 3 skipped\n"
        f"2 skipped: {why}\n"
        "1 skipped: is an action line of an Elasticsearch bulk file\n" + LATER,
    )
    told = json.loads(daemon.run("ingest", path, "--json").stdout)
    assert (told["sent"], told["accepted"], told["skipped"]) == (4, 1, 3)
    assert told["skips"][0] == {"why": why, "count": 2}


def test_waiting_tells_what_was_new_known_or_in_conflict(daemon, folder):
    answer = {"accepted": 3, "duplicates": 0, "rejected": [], "new": 1, "known": 1, "conflicts": 1}
    daemon.says("POST /v1/predictions", answer)
    path = write(folder, "three.jsonl", *[PREDICTION] * 3)
    result = daemon.run("ingest", "--wait", path)
    assert result.stdout == (
        "3 lines sent: 3 accepted\nloaded: 1 new, 1 known already, 1 with the id of another event\n"
    )
    assert daemon.asked[0][1] == "/v1/predictions?wait=1"
    assert json.loads(daemon.run("ingest", "--wait", path, "--json").stdout)["conflicts"] == 1


def test_a_list_that_is_compressed_in_utf_16_is_sent_record_by_record(taking, folder):
    path = folder / "export.json.gz"
    many = [{**PREDICTION, "id": f"p-{i}"} for i in range(BATCH_LINES + 1)]
    path.write_bytes(gzip.compress(json.dumps({"data": many}, indent=1).encode("utf-16")))
    assert taking.run("ingest", path).exit_code == 0
    batches = taking.bodies("/v1/predictions")
    assert [len(batch) for batch in batches] == [BATCH_LINES, 1]
    assert [event for batch in batches for event in batch] == many


def test_a_file_that_breaks_off_is_one_more_rejected_line(taking, folder):
    path = folder / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(PREDICTION).encode() + b"\n")[:-9])
    result = taking.run("ingest", path)
    assert (result.exit_code, result.stderr) == (
        1,
        f"{path}:1: the gzip data ends early\n{MEND}",
    )
    assert taking.bodies("/v1/predictions") == [[PREDICTION]]


def test_a_csv_with_its_own_marks_is_sent_as_events(taking, folder):
    path = folder / "log.csv"
    path.write_bytes("id;text;intent;confidence\np-1;réveille-moi;set_alarm;0,9\n".encode("cp1252"))
    result = taking.run("ingest", path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{path}:2: is not UTF-8; name its encoding\n")
    assert taking.asked == []
    assert taking.run("ingest", path, "--encoding", "cp1252").exit_code == 0
    event = {"id": "p-1", "text": "réveille-moi", "intent": "set_alarm", "confidence": 0.9}
    assert taking.bodies("/v1/predictions") == [[event]]


def test_what_is_wrong_with_a_line_is_said_in_full(daemon, folder):
    def answer(body):
        rejected = [{"line": i + 1, "why": "is not JSON"} for i in range(len(body.splitlines()))]
        return {"accepted": 0, "duplicates": 0, "rejected": rejected}

    daemon.says("POST /v1/predictions", answer, status=422)
    path = folder / "odd.jsonl"
    path.write_bytes(b'{"a": NaN}\n{"a": "\xe9"}\n' + b"[" * 9_000 + b"\n")
    assert daemon.run("ingest", path).stderr.splitlines() == [
        f"{path}:1: is not JSON: NaN is no JSON value (byte 6)",
        f"{path}:2: is not UTF-8: name its encoding, for example --encoding cp1252 or gbk",
        f"{path}:3: is nested too deeply",
        MEND.strip(),
    ]


def test_standard_input_can_be_sent(taking):
    result = taking.run("ingest", "-", input=json.dumps(PREDICTION) + "\n")
    assert result.exit_code == 0
    assert taking.bodies("/v1/predictions") == [[PREDICTION]]


def test_a_busy_daemon_is_asked_again(daemon, folder, monkeypatch):
    monkeypatch.setattr("flywheel.cli.client.time.sleep", lambda seconds: None)
    busy = {"error": "too much is waiting", "hint": "try again later"}
    daemon.answers["POST /v1/predictions"] = [(503, busy), (429, busy), (200, taken)]
    result = daemon.run("ingest", write(folder, "one.jsonl", PREDICTION))
    assert (result.exit_code, len(daemon.asked)) == (0, 3)


def test_ctrl_c_says_what_was_sent(taking, folder, monkeypatch):
    real = DaemonClient.post_lines
    sent = []

    def second_time_interrupted(self, *segments, lines, query=None):
        if sent:
            raise KeyboardInterrupt
        sent.append(lines)
        return real(self, *segments, lines=lines, query=query)

    monkeypatch.setattr(DaemonClient, "post_lines", second_time_interrupted)
    many = [{**PREDICTION, "id": f"p-{i}"} for i in range(1200)]
    result = taking.run("ingest", write(folder, "many.jsonl", *many))
    assert (result.exit_code, result.stdout, result.stderr) == (
        130,
        "",
        "stopped: 500 lines sent, the rest was not\n"
        "next: send the file again; what is known already is not counted twice\n",
    )


def test_a_missing_file_is_two_words_not_a_trace(taking):
    result = taking.run("ingest", "nowhere.jsonl")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: nowhere.jsonl: no such file\nnext: `ls .` shows what is there\n"
    )


def test_import_marks_lines_with_their_split_and_opens_a_generation_once(daemon, folder):
    def answer(body):
        return {**taken(body), "generation": 2}

    daemon.says("POST /v1/samples", answer)
    rows = [{"text": f"文本 {i}", "intent": "play_music"} for i in range(BATCH_LINES + 1)]
    path = write(folder, "golden.jsonl", *rows)
    result = daemon.run("samples", "import", path, "--split", "golden", "--new-generation")
    assert result.stdout == "501 lines sent: 501 new, 0 known already (golden generation 2)\n"
    assert [target for _, target, _, _ in daemon.asked] == [
        "/v1/samples?new_generation=1",
        "/v1/samples",
    ]
    assert daemon.bodies("/v1/samples")[0][0] == {**rows[0], "split": "golden"}


def test_a_golden_line_in_a_file_of_seeds_is_never_trained_on(taking, folder):
    path = write(folder, "seeds.jsonl", SAMPLE, {**SAMPLE, "split": "seed"})
    result = taking.run("samples", "import", path, "--split", "seed")
    assert result.exit_code == 1
    told = f"{path}:1: split: the line says golden, --split says seed\n"
    assert result.stderr == told + MEND
    assert taking.bodies("/v1/samples") == [[{**SAMPLE, "split": "seed"}]]


def test_only_golden_samples_have_generations(taking, folder):
    path = write(folder, "seeds.jsonl", SAMPLE)
    result = taking.run("samples", "import", path, "--split", "dev", "--new-generation")
    assert result.exit_code == 2
    assert taking.asked == []


def test_stats_count_training_samples_by_origin_and_the_rest_by_split(daemon):
    rows = [
        {"split": "train", "origin": "seed", "intent": "set_alarm", "count": 12},
        {"split": "train", "origin": "teacher", "intent": "播放音乐", "count": 1200},
        {"split": "golden", "origin": "person", "intent": "播放音乐", "count": 40},
    ]
    assert (
        daemon.says("GET /v1/samples", rows)
        .says("GET /v1/labels/agreement", {"n": 0})
        .run("samples", "stats")
        .stdout
        == """\
intent     seed  feedback  teacher  person  dev  golden  fresh
set_alarm    12         -        -       -    -       -      -
播放音乐      -         -    1,200       -    -      40      -
all          12         -    1,200       -    -      40      -
"""
    )


def test_export_writes_what_the_daemon_gives_and_overwrites_nothing(daemon, folder):
    body = json.dumps(SAMPLE).encode() + b"\n"
    daemon.says("GET /v1/samples?format=ndjson&split=golden", body)
    out = folder / "golden.jsonl"
    command = ("samples", "export", "--split", "golden")
    assert daemon.run(*command).stdout == body.decode()
    assert daemon.run(*command, "--out", out).stdout == f"wrote {out}: 1 samples\n"
    assert out.read_bytes() == body
    assert daemon.run(*command, "--out", out).exit_code == 1


def test_every_format_of_the_daemon_can_be_named():
    from flywheel import formats
    from flywheel.cli.ingest import Format

    assert [one.value for one in Format] == ["auto", *formats.FORMATS]


def test_a_named_format_goes_along(taking, folder):
    taking.run("ingest", "--format", "rasa", write(folder, "rasa.jsonl", {"event": "user"}))
    assert taking.asked[0][1] == "/v1/predictions?format=rasa"


def test_what_was_rejected_is_read_again(daemon):
    rejected = [{"kind": "samples", "line": 1, "field": "intent", "why": "is not known"}]
    daemon.says("POST /v1/rejected/retry", {"accepted": 2, "duplicates": 0, "rejected": rejected})
    result = daemon.run("ingest", "--retry-rejected")
    assert (result.exit_code, result.stdout) == (
        1,
        "2 new, 0 known already, 1 still rejected\n",
    )
    assert "samples: intent: is not known" in result.stderr
    assert daemon.run("ingest").exit_code == 2


def test_a_producer_sends_over_a_socket_and_needs_no_configuration(daemon, tmp_path):
    daemon.says("POST /v1/predictions", {"accepted": 1, "duplicates": 0, "rejected": []})
    event = {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "wake me", "intent": "set_alarm"}
    (tmp_path / "events.jsonl").write_text(json.dumps(event))
    (tmp_path / "config.toml").unlink()
    arguments = ("ingest", "events.jsonl", "--socket", "var/flywheel.sock")
    result = daemon.run(*arguments, env={"FLYWHEEL_CONFIG": ""})
    assert result.exit_code == 0, result.stderr
    assert daemon.bodies("/v1/predictions") == [[event]]


def test_what_the_role_does_not_cover_is_told_with_the_way_to_it(daemon, tmp_path):
    refusal = {"error": "a golden sample takes the role decide; token x has label", "hint": "ask"}
    daemon.says("POST /v1/samples", refusal, status=403)
    (tmp_path / "golden.jsonl").write_text('{"text": "a", "intent": "b", "split": "golden"}')
    result = daemon.run("ingest", "golden.jsonl", "--kind", "samples")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: a golden sample takes the role decide; token x has label\nnext: ask\n",
    )
