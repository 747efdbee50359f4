import json
import logging
import stat

import pytest

from flywheel import logs
from flywheel.errors import FlywheelError

log = logging.getLogger("flywheel.test")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    root = logging.getLogger()
    before = root.level
    yield tmp_path / "logs"
    logs.stop()
    root.setLevel(before)


def lines(folder):
    text = (folder / "flywheel.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def broken():
    text = "我要听音乐"
    raise ValueError(f"cannot read {text}")


def test_a_line_is_json_in_the_file_and_plain_on_stderr(folder, capsys):
    logs.start(folder)
    log.info("trained %s in %.0f s", "a-1", 3.2, extra={"event": "adapter.trained", "seconds": 3.2})
    (line,) = lines(folder)
    assert line.pop("ts").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "flywheel.test",
        "message": "trained a-1 in 3 s",
        "event": "adapter.trained",
        "seconds": 3.2,
    }
    assert capsys.readouterr().err.partition(" ")[2] == "trained a-1 in 3 s\n"


def test_an_unforeseen_exception_leaves_its_places_but_not_what_a_user_said(folder, capsys):
    logs.start(folder)
    try:
        broken()
    except ValueError:
        log.exception("step broke")
    (line,) = lines(folder)
    assert line["error"] == "ValueError"
    assert line["frames"][-1].startswith("test_logs.py:")
    seen = json.dumps(line, ensure_ascii=False) + capsys.readouterr().err
    assert "ValueError" in seen
    assert "in broken" in seen
    assert "音乐" not in seen


def test_at_debug_level_the_exception_is_told_whole(folder):
    logs.start(folder, "debug")
    try:
        broken()
    except ValueError:
        log.exception("step broke")
    assert lines(folder)[0]["error"] == "ValueError: cannot read 我要听音乐"


def test_an_error_for_people_is_shown_with_what_to_do(folder, capsys):
    logs.start(folder)
    try:
        raise FlywheelError("no room on /x", hint="make some")
    except FlywheelError:
        log.exception("stopped")
    assert lines(folder)[0]["error"] == "no room on /x (make some)"
    assert capsys.readouterr().err.endswith("error: stopped: no room on /x (make some)\n")


def test_the_journal_gets_priorities_and_no_time(folder, capsys, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    logs.start(None)
    log.warning("late")
    assert capsys.readouterr().err == "<4>late\n"


def test_starting_again_writes_each_line_once(folder):
    logs.start(folder)
    logs.start(folder)
    log.info("once")
    assert len(lines(folder)) == 1


def test_other_peoples_chatter_is_left_out(folder, monkeypatch):
    for name in ("uvicorn", "uvicorn.error"):  # a server of another test may have changed them
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        logging.getLogger(name).setLevel(logging.NOTSET)
    logs.start(folder)
    logging.getLogger("apscheduler.scheduler").info("added job")
    logging.getLogger("uvicorn.error").warning("odd request")
    assert [line["message"] for line in lines(folder)] == ["odd request"]


def test_a_log_file_is_rotated_and_the_oldest_forgotten(folder, monkeypatch):
    monkeypatch.setattr(logs, "FILE_BYTES", 2000)
    monkeypatch.setattr(logs, "FILES_KEPT", 2)
    logs.start(folder)
    for number in range(100):
        log.info("line %d", number)
    assert sorted(path.name for path in folder.iterdir()) == [
        "flywheel.jsonl",
        "flywheel.jsonl.1",
        "flywheel.jsonl.2",
    ]
    assert lines(folder)[-1]["message"] == "line 99"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(FlywheelError, match="cannot write the log"):
        logs.start(tmp_path / "logs")
    assert stat.S_ISREG((tmp_path / "logs").stat().st_mode)
