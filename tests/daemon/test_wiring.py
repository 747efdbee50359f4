"""What the daemon is built of is what the configuration names."""

import pytest
from state_folder import write_config

from flywheel.config import load
from flywheel.daemon.wiring import built, refuse
from flywheel.errors import ConfigError
from flywheel.executors import EXECUTORS, LocalExecutor
from flywheel.serving import SERVING, ChampionLink
from tests.fakes.job_queue import JobQueue, QueueExecutor


def test_processes_of_this_machine_and_a_link_are_what_is_built_by_default(tmp_path):
    with built(load(write_config(tmp_path))) as runtime:
        assert type(runtime.executor) is LocalExecutor
        assert type(runtime.serving) is ChampionLink


def test_a_new_kind_is_a_row_of_its_registry(tmp_path, monkeypatch):
    class Shelf(ChampionLink):
        """A target of its own."""

    folders = []

    def queue(jobs_dir):
        folders.append(jobs_dir)
        return QueueExecutor(JobQueue())

    monkeypatch.setitem(EXECUTORS, "queue", queue)
    monkeypatch.setitem(SERVING, "shelf", lambda config: Shelf(config.state_dir / "adapters"))
    config = load(write_config(tmp_path, '[executor]\nkind = "queue"\n[serving]\nkind = "shelf"\n'))
    refuse(config)
    with built(config) as runtime:
        assert type(runtime.executor) is QueueExecutor
        assert type(runtime.serving) is Shelf
    assert folders == [tmp_path / "var" / "jobs"]


@pytest.mark.parametrize(
    ("table", "known"), [("executor", sorted(EXECUTORS)), ("serving", sorted(SERVING))]
)
def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are(tmp_path, table, known):
    config = load(write_config(tmp_path, f'[{table}]\nkind = "nothing"\n'))
    for refusing in (lambda: refuse(config), lambda: built(config).__enter__()):
        with pytest.raises(ConfigError) as refused:
            refusing()
        assert refused.value.message == f"[{table}] kind: there is no 'nothing'"
        assert refused.value.hint == f"known are {', '.join(known)}"
    assert not (tmp_path / "var").exists()
