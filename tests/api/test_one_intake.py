"""An HTTP body, a file sent by the command line, and a source go through one intake."""

import dataclasses
import json
from contextlib import contextmanager

import pytest
from socket_caller import through_socket
from starlette.testclient import TestClient
from typer.testing import CliRunner

from flywheel import intake
from flywheel.api import create_app
from flywheel.cli.app import app as command_line
from flywheel.cli.client import DaemonClient, DaemonReply
from flywheel.config import SourceTable
from flywheel.loader import Loader
from flywheel.spool import Spool
from flywheel.store import events, open_store

LINES = [
    {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "我要听音乐", "intent": "play_music"},
    {"id": "p-2", "ts": "2026-11-22T05:18:00Z", "text": "wake me", "intent": None, "slices": {}},
    {"id": "p-3", "ts": "2026-11-22T05:19:00Z", "text": "wake me", "confidence": 2},
    {"id": "f-1", "prediction_id": "p-1", "ts": "2026-11-22T06:00:00Z", "verdict": "correct"},
    {"id": "f-2", "prediction_id": "p-2", "ts": "2026-11-22T06:00:00Z", "verdict": "corrected"},
    {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "我要听音乐", "intent": "play_music"},
    {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "another", "intent": "set_alarm"},
    {"text": "wake me at seven", "intent": "set_alarm", "split": "golden"},
    {"text": "wake me at eight", "intent": "nobody_knows", "split": "train"},
]
TABLES = {
    "predictions": "SELECT * FROM predictions ORDER BY id",
    "feedback": "SELECT * FROM feedback ORDER BY id",
    "judged": "SELECT * FROM judged ORDER BY feedback_id",
    "samples": "SELECT id, text, intent, split, origin, arguments FROM samples ORDER BY id",
    "rejected": "SELECT raw, field, why FROM rejected ORDER BY raw",
}


def kind_of(event):
    if "verdict" in event:
        return "feedback"
    return "samples" if "split" in event else "predictions"


def encoded(event):
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def of_kind(kind):
    return [encoded(event) for event in LINES if kind_of(event) == kind]


def rows(store):
    with store.read() as con:
        return {name: con.execute(sql).fetchall() for name, sql in TABLES.items()}


@contextmanager
def daemon(runtime, folder):
    """A client of an application with a spool; the spool is loaded at the end."""
    spool = Spool(folder / "spool", 1 << 24)
    loader = Loader(runtime.store, spool)
    try:
        yield TestClient(through_socket(create_app(runtime, loader=loader)))
        loader.drain()
    finally:
        spool.close()


def by_http(runtime, folder, monkeypatch):
    with daemon(runtime, folder) as client:
        for kind in ("predictions", "feedback", "samples"):
            client.post(f"/v1/{kind}", content=b"\n".join(of_kind(kind)))


def by_file(runtime, folder, monkeypatch):
    path = folder / "events.jsonl"
    path.write_bytes(b"\n".join(map(encoded, LINES)))
    with daemon(runtime, folder) as client:

        def send(_, method, target, body, content_type):
            reply = client.request(method, target, content=body)
            return DaemonReply(status=reply.status_code, body=reply.content, content_type="")

        monkeypatch.setattr(DaemonClient, "_send", send)
        env = {"FLYWHEEL_CONFIG": str(folder / "config.toml")}
        result = CliRunner().invoke(command_line, ["ingest", str(path)], env=env)
        assert result.exit_code == 1, result.output  # some lines are rejected


def by_source(runtime, folder, monkeypatch):
    sources = {"log": SourceTable(plugin="jsonl", samples=True)}
    config = dataclasses.replace(runtime.config, sources=sources)
    runtime = dataclasses.replace(runtime, config=config)
    intake.accept_from_source(runtime, "log", LINES, "9")
    with runtime.store.read() as con:
        assert events.source_cursor(con, "log") == "9"


@pytest.mark.parametrize("way", [by_file, by_source])
def test_equal_lines_end_in_equal_rows_and_equal_rejections(runtime, tmp_path, monkeypatch, way):
    by_http(runtime, tmp_path, monkeypatch)
    expected = rows(runtime.store)
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("config.toml", "intents.toml"):
        (folder / name).write_bytes((tmp_path / name).read_bytes())
    other = open_store(folder / "flywheel.duckdb")
    try:
        way(dataclasses.replace(runtime, store=other), folder, monkeypatch)
        assert rows(other) == expected
    finally:
        other.close()
    assert [len(expected[name]) for name in TABLES] == [2, 1, 1, 1, 4]
