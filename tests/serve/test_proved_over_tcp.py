"""`[serving] kind = "command"` against the real server on its port, deployed as the how-to does."""

import re
from pathlib import Path

import pytest
from word_service import adapter_folder, running

from flywheel.errors import NotLoaded, ServingAway
from flywheel.records import ServedAnswer
from flywheel.serving import CommandServing
from flywheel.web.guard import bearer

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "serve-the-champion.md"
PROVE, ASK = "p" * 32, "a" * 32
SHIMS = {
    "ssh": 'shift\nexec sh -c "$*"\n',
    "rsync": 'mkdir -p "${3#*:}" && cp -r "$2." "${3#*:}"\n',
}
"""The other machine is a folder here: what runs there, and what is copied there."""


@pytest.fixture
def elsewhere(tmp_path):
    """The server of the other machine, without an adapter."""
    tokens = [
        bearer(PROVE, "daemon", roles=frozenset({"prove"})),
        bearer(ASK, "shop", roles=frozenset({"ask"})),
    ]
    (tmp_path / "there" / "adapters").mkdir(parents=True)
    with running(tmp_path / "there", None, tcp="127.0.0.1:0", tokens=tokens) as run:
        run.url = f"http://127.0.0.1:{run.sockets[1].getsockname()[1]}"
        yield run


@pytest.fixture
def deployed(tmp_path, elsewhere, monkeypatch):
    """The daemon's side: its adapters, and the documented program."""
    for name in ("a-1", "a-2"):
        adapter_folder(tmp_path / "here", name)
    (script,) = re.findall(
        r"```sh\n(# needs a second machine\n# deploy.*?)```", HOW_TO.read_text(), re.S
    )
    program = tmp_path / "deploy.sh"
    program.write_text(script.replace("/var/lib/flywheel", str(tmp_path / "there")))
    (tmp_path / "bin").mkdir()
    for name, text in SHIMS.items():
        (tmp_path / "bin" / name).write_text("#!/bin/sh -e\n" + text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")

    def serving(token=PROVE):
        adapters = tmp_path / "here" / "adapters"
        return CommandServing(adapters, ["sh", str(program)], elsewhere.url, token)

    return serving


def test_a_server_on_another_machine_is_asked_for_an_adapter_and_then_switched(
    deployed, elsewhere, tmp_path
):
    serving, link = deployed(), tmp_path / "there" / "adapters" / "champion"
    for name in ("a-1", "a-2", "a-1"):
        serving.prepare(name)
        before = elsewhere.there(lambda: elsewhere.service.adapters.current)
        assert before is None or before.id != name
        assert serving.ask(name, ["wake me at 7"]) == [
            ServedAnswer(adapter=name, intent="set_alarm", arguments={"time": "7"}, confidence=0.75)
        ]
        serving.promote(name)
        assert elsewhere.service.adapters.current.id == name
        assert elsewhere.service.adapters.ids() == [name]  # memory is not used up by what was
        assert (link.readlink().name, serving.serving()) == (name, name)
    serving.prepare("a-2")
    serving.drop("a-2")
    assert elsewhere.service.adapters.ids() == ["a-1"]
    assert elsewhere.log.lines == []  # proofs are no traffic
    serving.retire()
    assert (elsewhere.service.adapters.current, link.exists()) == (None, False)


def test_a_token_that_asks_the_champion_proves_no_adapter(deployed):
    serving = deployed(ASK)
    serving.prepare("a-2")
    with pytest.raises(ServingAway, match="takes the role prove; token shop has ask"):
        serving.ask("a-2", ["wake me at 7"])


def test_what_the_server_refuses_cannot_be_loaded_and_what_it_lost_is_tried_again(
    deployed, elsewhere
):
    serving = deployed()
    with pytest.raises(NotLoaded, match="ended with 1"):
        serving.promote("a-2")  # it was never prepared
    with pytest.raises(ServingAway, match="a-2 is not loaded"):
        serving.ask("a-2", ["wake me at 7"])


def test_a_machine_that_is_away_is_tried_again(deployed, tmp_path):
    (tmp_path / "there" / "serve.sock").unlink()
    with pytest.raises(ServingAway, match="ended with 75"):
        deployed().prepare("a-1")
