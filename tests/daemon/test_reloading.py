"""A changed configuration in a running daemon."""

import logging

import pytest
from state_folder import INTENTS, write_config

from flywheel import logs, turn
from flywheel.daemon.schedule import Schedule
from flywheel.daemon.wiring import Reload
from flywheel.errors import ConfigError
from flywheel.store import decisions, turns

NIGHTLY = '[schedule]\ncron = "0 3 * * *"\n'


@pytest.fixture
def running(make_runtime):
    """A runtime with its schedule and its reload, as a daemon has them."""
    runtime = make_runtime(NIGHTLY)
    schedule = Schedule(runtime)
    schedule.start()
    level = logging.getLogger().level
    yield runtime, schedule, Reload(runtime, schedule.reread)
    schedule.stop()
    logs.stop()
    logging.getLogger().setLevel(level)


def test_what_can_change_changes_at_once_and_is_named(running, tmp_path):
    runtime, schedule, reload = running
    write_config(tmp_path, '[schedule]\ncron = "0 5 * * *"\n[promotion]\nmode = "auto"\n')
    assert reload.ask() == {
        "changed": ["schedule.cron", "promotion.mode"],
        "waits_for": None,
        "at_once": ["promotion.mode"],
        "restart": [],
    }
    assert runtime.config.promotion.mode == "auto"
    assert f"{schedule.next_turn():%H:%M}" == "05:00"


def test_the_same_file_changes_nothing(running):
    _, _, reload = running
    assert reload.ask() == {
        "changed": [],
        "waits_for": None,
        "at_once": [],
        "restart": [],
    }


def test_what_is_read_at_the_start_only_is_named_and_stays(running, tmp_path):
    runtime, _, reload = running
    write_config(
        tmp_path,
        NIGHTLY
        + '[flywheel]\nstate_dir = "elsewhere"\nlog_level = "debug"\n'
        + '[api]\ntcp = "127.0.0.1:1"\n[sources.tail]\nplugin = "jsonl"\n',
    )
    answer = reload.ask()
    assert answer["restart"] == [
        "flywheel.state_dir",
        "api.tcp",
        "sources.tail.plugin",
        "sources.tail.samples",
        "sources.tail.options",
    ]
    assert answer["changed"] == ["flywheel.log_level"]
    assert logging.getLogger().level == logging.DEBUG
    assert runtime.config.state_dir == tmp_path / "var"
    assert (runtime.config.api.tcp, runtime.config.sources) == ("", {})


def test_a_mistake_changes_nothing(running, tmp_path):
    runtime, schedule, reload = running
    before = runtime.config
    write_config(tmp_path, '[schedule]\ncron = "0 5 * * 1"\n[promotion]\nmode = "auto"\n')
    with pytest.raises(ConfigError, match="is a number"):
        reload.ask()
    reload.signalled()  # the same, told in the log
    assert runtime.config is before
    assert f"{schedule.next_turn():%H:%M}" == "03:00"


def test_an_open_turn_ends_by_the_configuration_it_began_with(running, tmp_path, clock):
    runtime, _, reload = running
    turn.request(runtime, "manual")
    write_config(
        tmp_path, NIGHTLY + '[training]\nrecipe = "thorough"\n[promotion]\napprovals = 2\n'
    )
    answer = reload.ask()
    assert answer["changed"] == ["training.recipe", "promotion.approvals"]
    assert (answer["waits_for"], answer["at_once"]) == ("t-1", ["promotion.approvals"])
    assert runtime.config.training.recipe != "thorough"
    assert runtime.config.promotion.approvals == 2  # who is asked is never a matter of waiting
    with runtime.store.write() as con:
        turns.close(con, "t-1", clock.now, state="done")
    reload.settle()
    assert runtime.config.training.recipe == "thorough"


def test_a_change_that_a_signal_brought_is_in_the_chain_and_no_change_is_not(running, tmp_path):
    runtime, _, reload = running
    reload.signalled()
    write_config(tmp_path, NIGHTLY + "[promotion]\napprovals = 2\n")
    reload.signalled()
    reload.signalled()
    with runtime.store.read() as con:
        told = [one for one in decisions.acts(con) if one["what"] == "config.reloaded"]
    assert [(one["by"], one["because"]) for one in told] == [
        ("SIGHUP", "changed: promotion.approvals")
    ]


def test_a_new_intent_is_known_after_a_reload(running, tmp_path):
    runtime, _, reload = running
    path = tmp_path / "intents.toml"
    path.write_text(INTENTS + '[[intent]]\nname = "stop"\ndescription = "Stop"\n', encoding="utf-8")
    assert reload.ask()["changed"] == ["intents.toml"]
    assert "stop" in runtime.known_intents


def test_an_emptied_cron_line_starts_nothing_any_more(running, tmp_path):
    _, schedule, reload = running
    write_config(tmp_path, '[schedule]\ncron = ""\n')
    reload.ask()
    assert schedule.next_turn() is None
