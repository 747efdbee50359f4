import json

from flywheel.inference.answer_log import AnswerLog
from flywheel.inference.recording import Recorder


def answers(*ids):
    return [{"id": name, "intent": "set_alarm", "cost_usd": 0.5} for name in ids]


def logged(log):
    lines = b"".join(segment.path.read_bytes() for segment in log.segments()).splitlines()
    return [
        (event["id"], event.get("answers", 1), event["cost_usd"])
        for event in map(json.loads, lines)
    ]


def test_what_was_left_out_before_a_stop_is_stood_for_after_it(tmp_path):
    kept = tmp_path / "left_out.json"
    log = AnswerLog(tmp_path / "answers", 1 << 20)
    before = Recorder(log, 0.0, kept)
    before.record(answers("p-1", "p-2"))
    before.close()
    after = Recorder(log, 1.0, kept)
    after.record(answers("p-3", "p-4"))
    assert logged(log) == [("p-3", 3, 1.5), ("p-4", 1, 0.5)]
    log.close()


def test_after_a_crash_nothing_is_stood_for_twice(tmp_path):
    kept = tmp_path / "left_out.json"
    log = AnswerLog(tmp_path / "answers", 1 << 20)
    first = Recorder(log, 0.0, kept)
    first.record(answers("p-1"))
    first.close()
    Recorder(log, 1.0, kept).record(answers("p-2"))  # and it is killed
    Recorder(log, 1.0, kept).record(answers("p-3"))
    assert logged(log) == [("p-2", 2, 1.0), ("p-3", 1, 0.5)]
    log.close()


def test_what_a_full_log_did_not_take_is_stood_for_by_the_next(tmp_path):
    log = AnswerLog(tmp_path / "answers", 400, segment_bytes=10)
    recorder = Recorder(log, 1.0)
    recorder.record([{**answers("p-1")[0], "text": "x" * 500}])
    recorder.record(answers("p-2"))
    assert logged(log) == [("p-2", 2, 1.0)]
    assert log.state()["not_logged"] == 1
    log.close()
