"""What doctor says of the server that answers with the champion."""

import pytest

from flywheel.cli.doctor import environment
from flywheel.cli.doctor.environment import Running
from flywheel.config import Config, FlywheelTable, ServingTable
from tests.fakes.inference_server import InferenceServer


@pytest.fixture
def said(tmp_path):
    """Level and text of each finding, by what the daemon's status has."""

    def findings(kind="local", **status):
        config = Config(
            path=tmp_path / "config.toml",
            flywheel=FlywheelTable(state_dir="."),
            serving=ServingTable(kind=kind, directory="shelf"),
        )
        found = environment.server(config, Running(None, status, ""))
        return [(one.level, one.text, one.todo) for one in found]

    return findings


@pytest.fixture
def server(tmp_path):
    adapters = tmp_path / "adapters"
    (adapters / "a-1").mkdir(parents=True)
    (adapters / "champion").symlink_to("a-1")
    with InferenceServer(tmp_path) as running:
        yield running


def test_a_server_that_answers_with_the_champion_is_ok(server, said):
    assert said(champion="a-1") == [("ok", "answers with a-1 by words", "")]
    assert said() == [("ok", "answers with a-1 by words", "")]  # no daemon says otherwise


def test_a_server_that_answers_with_another_one_is_warned_of(server, said):
    text = "answers with a-1 by words; the champion is a-2"
    assert said(champion="a-2", serving={"waiting": "d-2 waits"}) == [("warn", text, "d-2 waits")]


def test_a_server_that_is_away_fails_where_there_is_a_champion(said, tmp_path):
    text = f"no server answers: the server on {tmp_path}/serve.sock is not there"
    todo = "start it with `flywheel serve` (or `systemctl start flywheel-serve`)"
    assert said(champion="a-1") == [("FAIL", text, todo)]
    assert said() == [("warn", text, todo)]


def test_without_a_champion_a_server_that_is_away_is_nothing_to_mend(said):
    nothing = "not needed yet: there is nothing that it could answer with"
    assert said(version="0.1.0", champion=None) == [("skip", nothing, "")]


def test_a_server_that_answers_although_nothing_is_champion_is_warned_of(server, said):
    text = "answers with a-1 by words; there is no champion"
    todo = "see `flywheel status`"
    assert said(version="0.1.0", champion=None) == [("warn", text, todo)]


def test_of_a_link_there_is_nothing_to_say_and_a_directory_is_not_asked(said):
    assert said("link") == []
    assert said("directory") == [
        ("skip", "servers of kind directory are not asked: look at their answers", "")
    ]
