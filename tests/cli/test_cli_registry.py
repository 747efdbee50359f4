"""`flywheel adapters`, `plugins`, `db`, `log`: what is on this machine."""

import errno
import json
import tarfile
from datetime import UTC, datetime

import pytest

from flywheel import files
from flywheel.cli import database
from flywheel.records import Adapter
from flywheel.store import adapters, open_store

ADAPTERS = [
    {
        "id": "a-5b1e09c2d3f4",
        "base": "bundled:all-minilm-l6-v2",
        "recipe": "flywheel",
        "dataset": "ds-90ab",
        "parent": "a-3f2c41d09b7e",
        "created_at": "2026-11-22T05:15:00+00:00",
        "state": "champion",
        "metrics": {"dev_accuracy": 0.9125, "train_rows": 312, "curve": [1, 2]},
    },
    {
        "id": "a-3f2c41d09b7e",
        "base": "bundled:all-minilm-l6-v2",
        "recipe": "frozen",
        "dataset": "ds-11cd",
        "parent": None,
        "created_at": "2026-11-20T05:15:00+00:00",
        "state": "retired",
        "metrics": {},
    },
]


def test_list_shows_the_latest_first(daemon):
    assert (
        daemon.says("GET /v1/adapters", ADAPTERS).run("adapters", "list").stdout
        == """\
adapter         state     created               recipe       dev  parent
a-5b1e09c2d3f4  champion  2026-11-22 05:15 UTC  flywheel  91.2 %  a-3f2c41d09b7e
a-3f2c41d09b7e  retired   2026-11-20 05:15 UTC  frozen         -  -
"""
    )


@pytest.mark.parametrize("wanted", ["a-5b", "a-5b1e09c2d3f4", "champion"])
def test_show_takes_an_id_or_its_beginning(daemon, wanted):
    assert (
        daemon.says("GET /v1/adapters", ADAPTERS).run("adapters", "show", wanted).stdout
        == """\
adapter a-5b1e09c2d3f4: champion

base     bundled:all-minilm-l6-v2
recipe   flywheel
dataset  ds-90ab
parent   a-3f2c41d09b7e
created  2026-11-22 05:15 UTC
folder   not on this machine

Metrics
  dev accuracy  91.2 %
  train rows    312
"""
    )


@pytest.mark.parametrize(("wanted", "said"), [("a-", "could be"), ("b-1", "no adapter")])
def test_an_id_that_is_nobodys_or_several_is_refused(daemon, wanted, said):
    result = daemon.says("GET /v1/adapters", ADAPTERS).run("adapters", "show", wanted)
    assert result.exit_code == 1
    assert said in result.stderr


def test_rollback_sends_where_to_and_why(daemon):
    decision = {
        "id": "d-9",
        "verdict": "rollback",
        "status": "applied",
        "challenger": "a-3f2c41d09b7e",
        "champion": "a-5b1e09c2d3f4",
    }
    daemon.says("GET /v1/adapters", ADAPTERS).says("POST /v1/rollback", decision)
    result = daemon.run("adapters", "rollback", "a-3f", "--because", "complaints")
    assert result.stdout == "d-9 rolled back: a-3f2c41d09b7e replaces a-5b1e09c2d3f4\n"
    assert json.loads(daemon.asked[-1][2]) == {"because": "complaints", "to": "a-3f2c41d09b7e"}
    daemon.run("adapters", "rollback", "--because", "complaints")
    assert json.loads(daemon.asked[-1][2]) == {"because": "complaints"}


@pytest.fixture
def trained(alone):
    folder = alone.folder / "var" / "adapters" / "a-5b1e09c2d3f4"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder.parent / "champion").symlink_to(folder.name)
    return alone


def test_export_copies_the_folder_or_packs_it(trained, tmp_path):
    out, packed = tmp_path / "out", tmp_path / "out.tar.gz"
    assert trained.run("adapters", "export", "champion", out).exit_code == 0
    assert (out / "adapter_model.safetensors").read_bytes() == b"weights"
    assert trained.run("adapters", "export", "a-5b", packed).exit_code == 0
    with tarfile.open(packed) as archive:
        assert "a-5b1e09c2d3f4/adapter_config.json" in archive.getnames()


def test_an_export_that_nobody_can_compare_says_so(trained, tmp_path):
    said = trained.run("adapters", "export", "champion", tmp_path / "out").stdout.splitlines()
    assert said[1].startswith("note: not compared with what was trained: no database at ")


@pytest.mark.parametrize("name", ["out", "out.tar.gz"])
@pytest.mark.parametrize("source", ["database", "daemon"])
def test_an_export_is_of_what_was_trained(trained, request, tmp_path, source, name):
    folder = trained.folder / "var" / "adapters" / "a-5b1e09c2d3f4"
    registered = files.hashes(folder)
    if source == "daemon":
        known = [{**ADAPTERS[0], "files": registered}]
        daemon = request.getfixturevalue("daemon")
        asked = daemon.says("GET /v1/status", {}).says("GET /v1/adapters", known)
    else:
        asked = trained
        store = open_store(trained.folder / "var" / "flywheel.duckdb")
        with store.write() as con:
            created = datetime(2026, 11, 22, tzinfo=UTC)
            known = {"base": "b", "recipe": "r", "dataset": "d", "parent": None}
            adapters.add(
                con,
                Adapter(
                    id=folder.name,
                    created_at=created,
                    state="champion",
                    files=registered,
                    **known,
                ),
            )
        store.close()
    (folder / "more").symlink_to("adapter_model.safetensors")
    (folder / "adapter_model.safetensors").write_bytes(b"others")
    result = asked.run("adapters", "export", "champion", tmp_path / name)
    assert result.exit_code == 1
    assert (
        "the files of a-5b1e09c2d3f4 are not those that were trained: adapter_model.safetensors "
        "changed, more is a link"
    ) in " ".join(result.stderr.split())
    assert not list(tmp_path.glob("*out*"))
    (folder / "more").unlink()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    result = asked.run("adapters", "export", "champion", tmp_path / name)
    assert (result.exit_code, "note" in result.stdout) == (0, False)


def test_export_overwrites_nothing_and_leaves_its_folder_for_nothing(trained, tmp_path):
    (tmp_path / "there").mkdir()
    (trained.folder / "var" / "secret").mkdir()
    (trained.folder / "var" / "secret" / "adapter_config.json").write_text("{}")
    for wanted, to in (("champion", "there"), ("../secret", "new"), ("..", "new"), ("a-9", "new")):
        result = trained.run("adapters", "export", wanted, tmp_path / to)
        assert (result.exit_code, result.stderr[:6]) == (1, "error:")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["copy", "copy.tar.gz"])
def test_an_export_that_breaks_off_leaves_nothing_behind(trained, tmp_path, monkeypatch, name):
    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / name))

    monkeypatch.setattr("shutil.copytree", no_room)
    monkeypatch.setattr("tarfile.TarFile.add", no_room)
    result = trained.run("adapters", "export", "champion", tmp_path / name)
    assert (result.exit_code, "No space left" in result.stderr) == (1, True)
    assert not list(tmp_path.glob("*copy*"))


def test_plugins_lists_what_could_be_configured_and_what_is(alone):
    plugins = alone.folder / "plugins"
    plugins.mkdir()
    (plugins / "crm.py").write_text("raise RuntimeError('not imported to be listed')\n")
    with (alone.folder / "config.toml").open("a") as file:
        file.write('[sources.sales]\nplugin = "crm"\n')
    rows = json.loads(alone.run("plugins", "list", "--json").stdout)
    assert {row["plugin"]: row["configured_as"] for row in rows} == {
        "crm": ["sales"],
        "csv": [],
        "jsonl": [],
        "kafka": [],
        "parquet": [],
        "postgres": [],
        "s3": [],
    }
    assert alone.run("plugins", "list").exit_code == 0
    checked = alone.run("plugins", "check")
    assert checked.exit_code == 1
    assert checked.stdout.startswith("FAIL  sales: ")
    assert "RuntimeError" in checked.stdout


EVENT = {"ts": "2026-11-22T05:17:00Z", "text": "你好", "intent": "greet"}


def test_a_source_that_keeps_its_contract_passes(alone):
    (alone.folder / "events.jsonl").write_text(
        "".join(json.dumps(EVENT | {"id": f"p-{i}"}) + "\n" for i in range(20))
    )
    with (alone.folder / "config.toml").open("a") as file:
        file.write(f'[sources.web]\nplugin = "jsonl"\npath = "{alone.folder}/events.jsonl"\n')
    result = alone.run("plugins", "check", "web")
    assert (result.exit_code, result.stdout) == (
        0,
        "ok    web\n"
        "      20 events read: 20 predictions, 0 feedback, 0 samples\n"
        '      first: {"ts": "2026-11-22T05:17:00Z", "text": "你好", "intent": "greet", …\n',
    )


def test_a_source_none_of_whose_events_can_be_taken_in_is_red(alone):
    bare = [{"id": f"p-{i}", "text": "你好", "intent": "greet"} for i in range(20)]
    (alone.folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in bare))
    with (alone.folder / "config.toml").open("a") as file:
        file.write(f'[sources.web]\nplugin = "jsonl"\npath = "{alone.folder}/events.jsonl"\n')
    result = alone.run("plugins", "check", "web")
    counts = "20 events read: 0 predictions, 0 feedback, 0 samples; 20 rejected, the first because"
    assert result.exit_code == 1
    assert f"FAIL  web: its events can be taken in: {counts} ts: is missing\n" in result.stdout
    assert '      first: {"id": "p-0", "text": "你好"' in result.stdout


NO_JSON = {
    "__import__('numpy').float32(0.5)": "event 1: Encoding objects of type numpy.float32",
    "'\\ud800'": "event 1: 'utf-8' codec can't encode character '\\ud800'",
    "__import__('functools').reduce(lambda inner, _: [inner], range(9000), 1)": "recursion depth",
}


@pytest.mark.parametrize(("value", "told"), NO_JSON.items(), ids=["number", "surrogate", "depth"])
def test_a_plug_in_whose_events_the_daemon_cannot_write_is_red(alone, value, told):
    (alone.folder / "plugins").mkdir()
    (alone.folder / "plugins" / "odd.py").write_text(
        "from flywheel.protocols import Batch\n"
        "class source:\n"
        "    def open(self, options, cursor): self.left = cursor is None\n"
        "    def poll(self, limit, timeout):\n"
        "        if not self.left: return None\n"
        "        self.left = False\n"
        f"        return Batch(events=[{{'id': 'p-1', 'x': {value}}}], cursor='1')\n"
        "    def ack(self, cursor): pass\n"
        "    def close(self): pass\n"
    )
    with (alone.folder / "config.toml").open("a") as file:
        file.write('[sources.odd]\nplugin = "odd"\n')
    result = alone.run("plugins", "check")
    assert (result.exit_code, told in result.stdout) == (1, True)


def test_without_sources_check_says_where_to_look(alone):
    result = alone.run("plugins", "check")
    assert (result.exit_code, result.stdout) == (
        0,
        "no source is configured\nnext: flywheel plugins list\n",
    )


@pytest.fixture
def stored(alone):
    store = open_store(alone.folder / "var" / "flywheel.duckdb")
    with store.write() as con:
        con.execute("UPDATE heartbeat SET beats = 41")
    store.close()
    return alone


def beats(path):
    store = open_store(path)
    try:
        with store.read() as con:
            return con.execute("SELECT beats FROM heartbeat").fetchone()[0]
    finally:
        store.close()


def test_check_opens_the_database_when_no_daemon_runs(stored):
    result = stored.run("db", "check")
    assert result.exit_code == 0
    assert "read and written" in result.stdout


def test_a_backup_can_be_restored_and_what_was_there_is_kept(stored, tmp_path):
    path = stored.folder / "var" / "flywheel.duckdb"
    copy = tmp_path / "copy.duckdb"
    assert stored.run("db", "backup", copy).exit_code == 0
    kept_beats = beats(copy)
    assert kept_beats >= 41
    store = open_store(path)
    with store.write() as con:
        con.execute("UPDATE heartbeat SET beats = 7")
    store.close()
    result = stored.run("db", "restore", copy)
    assert result.exit_code == 0
    assert beats(path) >= kept_beats
    (kept,) = path.parent.glob(f"{path.name}.before-*")
    assert beats(kept) == 7
    assert f"kept what was there: {kept}\n" in result.stdout
    assert "\nnext: start the daemon" in result.stdout
    assert result.stderr == ""
    assert not list(path.parent.glob("*.arriving*"))


def test_a_backup_overwrites_nothing(stored, tmp_path):
    (tmp_path / "copy").write_text("mine")
    result = stored.run("db", "backup", tmp_path / "copy")
    assert result.exit_code == 1
    assert (tmp_path / "copy").read_text() == "mine"


def test_a_damaged_backup_is_not_restored(stored, tmp_path):
    (tmp_path / "copy").write_bytes(b"nonsense" * 1000)
    result = stored.run("db", "restore", tmp_path / "copy")
    assert (result.exit_code, result.stderr[:6]) == (1, "error:")
    assert beats(stored.folder / "var" / "flywheel.duckdb") == 41
    assert not list((stored.folder / "var").glob("*.arriving*"))


RESTORED = {
    "kept": ["/srv/var/flywheel.duckdb.before-20261122T051700"],
    "rows": {"predictions": 1204, "feedback": 0, "adapters": 1},
    "decision_log": {"events": 2, "tip": "ab12"},
    "problems": ["a-1 (challenger) has no whole folder in adapters/"],
}


def test_a_backup_is_handed_to_a_running_daemon_and_waited_for(daemon, tmp_path):
    (tmp_path / "copy").write_bytes(b"a database" * 300_000)
    old, new = {"uptime_s": 1e9, "champion": "a-2"}, {"uptime_s": 0.0, "champion": "a-1"}
    daemon.says_in_turn("GET /v1/status", old, old, new)
    daemon.says("POST /v1/restore", RESTORED, 202).says("GET /readyz", {})
    result = daemon.run("db", "restore", tmp_path / "copy")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"restored {tmp_path / 'copy'}: 1,204 predictions, 1 adapter\n"
        "    decision log: 2 events, the last ab12\n"
        "    kept what was there: /srv/var/flywheel.duckdb.before-20261122T051700\n"
        "    note: a-1 (challenger) has no whole folder in adapters/\n"
        "the daemon is ready; champion: a-1\n"
    )
    ((_, _, sent, kind),) = [one for one in daemon.asked if one[1] == "/v1/restore"]
    assert (sent, kind) == (b"a database" * 300_000, "application/octet-stream")
    daemon.says_in_turn("GET /v1/status", old, new)
    result = daemon.run("db", "restore", tmp_path / "copy", "--json")
    assert json.loads(result.stdout) == {**RESTORED, "champion": "a-1"}


def test_a_daemon_that_is_restored_and_not_ready_is_told(daemon, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_UNWELL_S", 0.0)
    (tmp_path / "copy").write_bytes(b"a database")
    daemon.says("GET /v1/status", {"uptime_s": 0.0, "champion": "a-1"})
    daemon.says("POST /v1/restore", RESTORED, 202)
    unwell = {"error": "adapter a-1 has no folder", "hint": ""}
    daemon.says("GET /readyz", unwell, 503)
    result = daemon.run("db", "restore", tmp_path / "copy")
    assert result.exit_code == 1
    assert result.stdout.startswith("restored ")
    assert "not ready: adapter a-1 has no folder\nnext: look at" in result.stderr


def test_a_daemon_that_does_not_come_back_is_told_with_what_to_do(daemon, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_BACK_S", 0.2)
    (tmp_path / "copy").write_bytes(b"a database")
    daemon.says("GET /v1/status", {"uptime_s": 1e9, "champion": "a-1"})
    daemon.says("POST /v1/restore", RESTORED, 202)
    result = daemon.run("db", "restore", tmp_path / "copy")
    assert result.exit_code == 1
    assert "start it (systemctl start flywheel): it restores then" in result.stderr


def test_ctrl_c_while_waiting_says_that_the_daemon_goes_on(daemon, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(database, "_back", interrupted)
    (tmp_path / "copy").write_bytes(b"a database")
    daemon.says("GET /v1/status", {"uptime_s": 1e9, "champion": "a-1"})
    daemon.says("POST /v1/restore", RESTORED, 202)
    result = daemon.run("db", "restore", tmp_path / "copy")
    assert (result.exit_code != 0, result.stdout) == (True, "")
    assert result.stderr.startswith("the daemon has the backup and goes on by itself")
    assert "Traceback" not in result.stderr


def test_what_a_daemon_refuses_is_told_in_its_words(daemon, tmp_path):
    (tmp_path / "copy").write_bytes(b"a database")
    daemon.says("GET /v1/status", {"uptime_s": 1e9, "champion": None})
    refused = {"error": "the backup is not a database of flywheel's", "hint": "name another"}
    daemon.says("POST /v1/restore", refused, 409)
    result = daemon.run("db", "restore", tmp_path / "copy")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {refused['error']}\nnext: name another\n"


def test_a_file_with_a_log_beside_it_is_not_handed_over_without_it(daemon, tmp_path):
    (tmp_path / "copy").write_bytes(b"a database")
    (tmp_path / "copy.wal").write_bytes(b"what was committed last")
    daemon.says("GET /v1/status", {"uptime_s": 1e9, "champion": None})
    result = daemon.run("db", "restore", tmp_path / "copy")
    assert (result.exit_code, "takes both" in result.stderr) == (1, True)


def test_check_asks_a_running_daemon(daemon):
    daemon.says("GET /v1/status", {})
    daemon.says("GET /v1/check", {"rows": {"turns": 3, "steps": 20}, "problems": []})
    result = daemon.run("db", "check")
    assert result.exit_code == 0
    assert "23 rows in 2 tables read and written" in " ".join(result.stdout.split())
    lost = "the champion a-1 (champion) has no whole folder in adapters/"
    daemon.says("GET /v1/check", {"rows": {"turns": 3}, "problems": [lost]})
    result = daemon.run("db", "check")
    assert (result.exit_code, lost in " ".join(result.stdout.split())) == (1, True)
    assert json.loads(daemon.run("db", "check", "--json").stdout)["problems"] == [lost]


def test_a_backup_of_a_running_daemon_comes_over_its_socket(daemon, stored, tmp_path):
    path = stored.folder / "var" / "flywheel.duckdb"
    daemon.says("GET /v1/status", {}).says("GET /v1/backup", path.read_bytes())
    result = daemon.run("db", "backup", tmp_path / "copy.duckdb")
    assert (result.exit_code, result.stderr) == (0, "")
    assert beats(tmp_path / "copy.duckdb") >= 41


def test_a_backup_that_is_cut_off_leaves_nothing_behind(daemon, tmp_path):
    daemon.says("GET /v1/status", {}).says("GET /v1/backup", b"half of a database")
    result = daemon.run("db", "backup", tmp_path / "copy.duckdb")
    assert result.exit_code == 1
    assert not list(tmp_path.glob("copy*"))


def test_reload_tells_what_changed_what_waits_and_what_needs_a_restart(daemon):
    answer = {"changed": ["schedule.cron"], "waits_for": "t-3", "restart": ["api.tcp"]}
    daemon.says("POST /v1/reload", answer)
    assert daemon.run("reload").stdout == (
        "changes when t-3 has ended:\n  schedule.cron\n"
        "changes only with a restart (systemctl restart flywheel):\n  api.tcp\n"
    )
    daemon.says("POST /v1/reload", {"changed": [], "waits_for": None, "restart": []})
    assert daemon.run("reload").stdout == "nothing has changed\n"


LOG = [
    {"ts": "2026-11-22T05:10:00.000+00:00", "level": "info", "message": "ready", "logger": "x"},
    {"ts": "2026-11-22T05:11:00.000+00:00", "level": "info", "message": "t-3 train", "turn": "t-3"},
    {
        "ts": "2026-11-22T05:12:00.000+00:00",
        "level": "error",
        "message": "t-3 broke \x1b[31m",
        "error": "OSError",
        "turn": "t-3",
    },
]


@pytest.fixture
def logged(alone):
    (alone.folder / "logs").mkdir()
    lines = [json.dumps(line) for line in LOG]
    (alone.folder / "logs" / "flywheel.jsonl.1").write_text(lines[0] + "\n")
    (alone.folder / "logs" / "flywheel.jsonl").write_text("\n".join(lines[1:]) + '\n{"ts": "cut')
    return alone


def test_log_reads_the_rotated_files_too_and_shows_escapes_as_text(logged):
    assert logged.run("log").stdout == (
        "2026-11-22 05:10 UTC  ready\n"
        "2026-11-22 05:11 UTC  t-3 train\n"
        "2026-11-22 05:12 UTC  error: t-3 broke \\x1b[31m (OSError)\n"
    )


def test_log_can_be_narrowed(logged):
    assert logged.run("log", "-n", "1", "--turn", "t-3").stdout.startswith("2026-11-22 05:12 UTC")
    assert logged.run("log", "--problems").stdout.count("\n") == 1
    assert [json.loads(line) for line in logged.run("log", "--json").stdout.splitlines()] == LOG


def test_log_says_where_to_look_when_there_is_none(alone):
    assert "the daemon writes it" in alone.run("log").stderr
    (alone.folder / "config.toml").write_text('[flywheel]\nlog_dir = ""\n')
    assert alone.run("log").stderr.endswith("next: journalctl -u flywheel\n")
