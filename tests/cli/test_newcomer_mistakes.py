"""What a newcomer gets wrong in the first hour: each is told what it was and what to do next.

`python -m pytest tests/cli/test_newcomer_mistakes.py -q -s` prints every one with its answer.
"""

import asyncio
import contextlib
import gzip
import json
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flywheel.api import ProcessStatus
from flywheel.cli.app import app
from flywheel.config import load, load_intents
from flywheel.daemon.http_server import server_of
from flywheel.executors.local import LocalExecutor
from flywheel.loader import Loader
from flywheel.records import Adapter, Decision
from flywheel.serving.link import ChampionLink
from flywheel.spool import Spool
from flywheel.store import adapters, decisions, open_store
from flywheel.turn import Runtime
from flywheel.web.sockets import listening

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
INTENTS = """
[[intent]]
name = "set_alarm"
description = "Wake the user at a time"

[[intent]]
name = "play_music"
description = "Play a song"
"""
CONFIG = '[schedule]\ncron = ""\n'
HELP = "flywheel --help"
SEEDS = "flywheel samples import"


@dataclass(frozen=True)
class Mistake:
    """A command, what makes it wrong, and what its answer must say."""

    name: str
    command: str
    cause: str
    todo: str
    code: int = 1
    config: str | bytes | None = CONFIG
    files: dict = field(default_factory=dict)  # name → text or bytes; None is a folder


def lines(*values):
    return "".join(json.dumps(value) + "\n" for value in values)


SEED = {"text": "wake me", "intent": "set_alarm"}
PREDICTION = {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "hi", "intent": "set_alarm"}
FEEDBACK = {"id": "f-1", "prediction_id": "p-1", "ts": "2026-11-22T05:17:00Z", "verdict": "correct"}

ALONE = [
    Mistake("no config here", "status", "no config.toml here", "flywheel init", config=None),
    Mistake("a config that is not there", "--config nope.toml status", "no such file", "init"),
    Mistake("no daemon", "status", "no daemon answers on", "start it with `flywheel run`"),
    Mistake(
        "a misspelt key",
        "run",
        "config.toml:2: unknown key flywheel.state_dri",
        "did you mean `state_dir`?",
        config="[flywheel]\nstate_dri = 'x'\n",
    ),
    Mistake(
        "a text where a number belongs",
        "run",
        "config.toml:2: api.max_body_mb: input should be a valid integer",
        "mend that line",
        config='[api]\nmax_body_mb = "many"\n',
    ),
    Mistake(
        "a negative number",
        "run",
        "config.toml:2: api.max_body_mb is negative (-1)",
        "write 0 or more",
        config="[api]\nmax_body_mb = -1\n",
    ),
    Mistake("no TOML", "run", "is not TOML", "mend that line", config="[flywheel\n"),
    Mistake(
        "a config that is not UTF-8",
        "run",
        "is not UTF-8",
        "save it as UTF-8",
        config="# héllo\n".encode("latin-1"),
    ),
    Mistake(
        "a byte order mark, which is no mistake",
        "status",
        "no daemon answers on",
        "start it with `flywheel run`",
        config=b"\xef\xbb\xbf" + CONFIG.encode(),
    ),
    Mistake(
        "a cron line of four fields",
        "run",
        "has 4 fields, not 5",
        "minute hour day month weekday",
        config='[schedule]\ncron = "0 3 * *"\n',
    ),
    Mistake(
        "TCP without a token",
        "run",
        "needs a token",
        "name an environment variable",
        config='[api]\ntcp = "127.0.0.1:0"\n',
    ),
    Mistake(
        "a port that is taken",
        "run",
        "cannot listen on [api] tcp",
        "choose a free port",
        config='[api]\ntcp = "127.0.0.1:{port}"\ntoken_env = "NEWCOMER_TOKEN"\n',
    ),
    Mistake(
        "a hook that is not there",
        "run",
        "[promotion.hooks] command: ./tell.sh is not there",
        "write its whole path",
        config='[promotion.hooks]\ncommand = ["./tell.sh"]\n',
    ),
    Mistake(
        "a hook that may not be executed",
        "run",
        "./tell.sh is not executable",
        "chmod +x ./tell.sh",
        config='[promotion.hooks]\ncommand = ["./tell.sh"]\n',
        files={"tell.sh": "#!/bin/sh\n"},
    ),
    Mistake(
        "a folder that cannot be made",
        "run",
        "cannot write",
        "[flywheel] state_dir",
        config='[flywheel]\nstate_dir = "/proc/none/var"\n',
    ),
    Mistake(
        "a state folder on a path that is a file",
        "run",
        "cannot write",
        "[flywheel] state_dir",
        config='[flywheel]\nstate_dir = "notes/var"\n',
        files={"notes": "mine\n"},
    ),
    Mistake(
        "no intents.toml",
        "run",
        "cannot read",
        "list your functions",
        config='[intents]\nfile = "none.toml"\n',
    ),
    Mistake(
        "a base model that is not there",
        "doctor",
        "bundled:nothing",
        "→",
        config='[model]\nbase = "bundled:nothing"\n',
    ),
    Mistake(
        "a plug-in with a syntax error",
        "plugins check mine",
        "SyntaxError",
        "mend it",
        files={"plugins/mine.py": "def source(:\n"},
    ),
    Mistake(
        "a plug-in without source()",
        "plugins check mine",
        "offers no `source()`",
        "define `def source() -> Source` in it",
        files={"plugins/mine.py": "x = 1\n"},
    ),
    Mistake("a plug-in that is not there", "plugins check crm", "no source is called", "or write"),
    Mistake("a typo in a command", "statsu", "No such command 'statsu'", "status", code=2),
    Mistake(
        "restoring a file that is no backup",
        "db restore notes.txt",
        "the backup cannot be used",
        "next:",
        files={"notes.txt": "my notes\n"},
    ),
    Mistake(
        "init in a folder that has one", "init", "config.toml exists already", "name another folder"
    ),
    Mistake(
        "no reason given", "review approve d-1", "Missing option '--because'", "--help", code=2
    ),
    Mistake("a slice without =", "intents --slice voice", "is not NAME=VALUE", "--help", code=2),
]

ASKING = [
    Mistake("a file that is not there", "ingest nope.jsonl", "no such file", "`ls"),
    Mistake(
        "a folder for a file", "ingest data", "is a folder", "data/*.jsonl", files={"data": None}
    ),
    Mistake("an empty file", "ingest a.jsonl", "is empty", "right file?", files={"a.jsonl": ""}),
    Mistake(
        "a binary file",
        "samples import a.bin --split seed",
        "is binary",
        "right file?",
        files={"a.bin": b"\x7fELF\x00\x01"},
    ),
    Mistake(
        "a CSV of something else",
        "ingest a.csv",
        "looks like CSV with the columns question, answer",
        "the columns text and id or intent",
        files={"a.csv": "question,answer\nwake me,set_alarm\n"},
    ),
    Mistake(
        "a CSV of samples to ingest",
        "ingest a.csv",
        "these look like samples",
        "flywheel samples import a.csv --split seed",
        files={"a.csv": "text;intent\nwake me;set_alarm\n"},
    ),
    Mistake(
        "a spreadsheet",
        "ingest a.xlsx",
        "is a spreadsheet",
        "save it as CSV",
        files={"a.xlsx": b"PK\x03\x04....xl/workbook.xml"},
    ),
    Mistake(
        "a page to log in, downloaded for an export",
        "ingest a.json",
        "is a web page",
        "to log in?",
        files={"a.json": "<!DOCTYPE html><html><body>sign in"},
    ),
    Mistake(
        "an encoding that nobody knows",
        "ingest a.jsonl --encoding klingon",
        "no encoding is called `klingon`",
        "for example cp1252",
        files={"a.jsonl": lines(PREDICTION)},
    ),
    Mistake(
        "Parquet for JSON lines",
        "ingest a.parquet",
        "is Parquet",
        "the source `parquet`",
        files={"a.parquet": b"PAR1\x00"},
    ),
    Mistake(
        "samples to ingest",
        "ingest a.jsonl",
        "these look like samples",
        "flywheel samples import a.jsonl --split seed",
        files={"a.jsonl": lines(SEED)},
    ),
    Mistake(
        "zipped samples to ingest",
        "ingest a.jsonl.gz",
        "these look like samples",
        "flywheel samples import a.jsonl.gz --split seed",
        files={"a.jsonl.gz": gzip.compress(lines(SEED).encode())},
    ),
    Mistake(
        "feedback to samples import",
        "samples import a.jsonl --split seed",
        "these look like feedback",
        "flywheel ingest a.jsonl",
        files={"a.jsonl": lines(FEEDBACK)},
    ),
    Mistake(
        "a typo in an intent",
        "samples import a.jsonl --split seed",
        "a.jsonl:1: intent:",
        "set_alarm",
        files={"a.jsonl": lines({**SEED, "intent": "set_alrm"})},
    ),
    Mistake(
        "a line that is not JSON",
        "ingest a.jsonl",
        "a.jsonl:2:",
        "next: mend these lines and send the file again",
        files={"a.jsonl": lines(PREDICTION) + '{"id": "p-2",}\n'},
    ),
    Mistake(
        "a split that does not exist",
        "samples import a.jsonl --split train",
        "'train' is not one of",
        "'seed', 'dev', 'golden', 'fresh'",
        code=2,
        files={"a.jsonl": lines(SEED)},
    ),
    Mistake(
        "golden lines imported as seeds",
        "samples import a.jsonl --split seed",
        "the line says golden, --split says seed",
        "next: mend these lines and send the file again",
        files={"a.jsonl": lines({**SEED, "split": "golden"})},
    ),
    Mistake("a turn while one is open", "turn start", "t-1 is open", "flywheel turn cancel t-1"),
    Mistake("a turn that does not exist", "turn show t-99", "no turn t-99", "flywheel turn list"),
    Mistake(
        "a decision that does not exist",
        "review show d-99",
        "there is no decision d-99",
        "flywheel review list",
    ),
    Mistake(
        "approving what was rejected",
        "review approve d-1 --because ok",
        "d-1 is rejected",
        "new turn",
    ),
    Mistake(
        "a rollback before there was anything else",
        "adapters rollback --because bad",
        "no earlier champion",
        "flywheel adapters list",
    ),
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Puts a mistake's config and files into a folder, and stands in it."""
    for name in ("COLUMNS", "FLYWHEEL_CONFIG", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEWCOMER_TOKEN", "sesame")
    monkeypatch.chdir(tmp_path)

    def put(mistake, folder=tmp_path, **values):
        if mistake.config is not None and not (folder / "config.toml").exists():
            (folder / "intents.toml").write_text(INTENTS)
            text = mistake.config
            raw = text if isinstance(text, bytes) else text.replace("{port}", values["port"])
            (folder / "config.toml").write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        for name, content in mistake.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return put


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


def answered(mistake):
    """Run the command line as a shell would; returns what it printed, and checks the promises."""
    result = CliRunner().invoke(app, mistake.command.split(), prog_name="flywheel")
    said = result.stdout + result.stderr
    print(f"\n{mistake.name}\n  $ flywheel {mistake.command}   → {result.exit_code}")
    print("".join(f"  {line}\n" for line in said.splitlines()), end="")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in said
    assert result.exit_code == mistake.code, said
    told = " ".join(said.split())
    assert mistake.cause in told
    assert mistake.todo in told
    return said


@pytest.mark.parametrize("mistake", ALONE, ids=lambda each: each.name)
def test_a_mistake_without_a_daemon_is_told_with_what_to_do(mistake, place, taken_port):
    place(mistake, port=taken_port)
    answered(mistake)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A folder whose interface answers: a turn is open, and a decision was rejected."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "intents.toml").write_text(INTENTS)
    (folder / "config.toml").write_text(CONFIG)
    config = load(folder / "config.toml")
    config.state_dir.mkdir()
    with contextlib.closing(open_store(config.state_dir / "flywheel.duckdb")) as store:
        runtime = Runtime(
            config=config,
            intents=load_intents(folder / "intents.toml"),
            store=store,
            executor=LocalExecutor(config.state_dir / "jobs"),
            serving=ChampionLink(config.state_dir / "adapters"),
            teacher=None,
            clock=lambda: NOW,
        )
        begun(runtime)
        with answering(runtime):
            yield folder


def begun(runtime):
    """One champion, one rejected challenger, and an open turn that nobody runs."""
    from flywheel.store import turns

    with runtime.store.write() as con:
        for name in ("a-1", "a-2"):
            adapters.add(
                con,
                Adapter(
                    id=name,
                    base="b",
                    recipe="frozen",
                    dataset="ds",
                    parent=None,
                    created_at=NOW,
                    state="challenger",
                    metrics={},
                ),
            )
        decisions.add(
            con,
            Decision(
                id="d-1",
                turn=None,
                challenger="a-2",
                champion="a-1",
                verdict="hold",
                status="pending",
                by="gates",
                because="undecided",
                at=NOW,
            ),
        )
        decisions.set_status(con, "d-1", "rejected", "mira", "refunds got worse", NOW)
        turns.open_turn(con, "asked by mira", NOW, "diagnose")


@contextlib.contextmanager
def answering(runtime):
    """The daemon's own server on the folder's socket, in a thread."""
    loader = Loader(runtime.store, Spool(runtime.config.state_dir / "spool", 1 << 20))
    loader.start()
    server = server_of(runtime, loader, ProcessStatus())
    with listening(runtime.config.socket_path, "") as sockets:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets)))
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()
            loader.stop()


@pytest.mark.parametrize("mistake", ASKING, ids=lambda each: each.name)
def test_a_mistake_that_the_daemon_hears_of_is_told_with_what_to_do(
    mistake, live, place, monkeypatch
):
    for name in ("a.jsonl", "a.json", "a.csv"):
        (live / name).unlink(missing_ok=True)
    monkeypatch.chdir(live)
    place(mistake, live)
    answered(mistake)


def test_a_second_daemon_on_a_folder_is_told_who_has_it(live):
    done = subprocess.run(
        [sys.executable, "-m", "flywheel", "--config", str(live / "config.toml"), "run"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"\na daemon started twice\n  $ flywheel run   → {done.returncode}\n  {done.stderr}")
    assert done.returncode == 1
    assert "holds it" in done.stderr
    assert "status`" in done.stderr
    assert "Traceback" not in done.stderr


def test_there_are_more_than_thirty_mistakes():
    assert len(ALONE) + len(ASKING) + 1 >= 34
    assert len({each.name for each in [*ALONE, *ASKING]}) == len(ALONE) + len(ASKING)


def test_every_path_of_the_table_is_relative():
    assert not [
        name for each in [*ALONE, *ASKING] for name in each.files if Path(name).is_absolute()
    ]
