"""`POST /v1/restore`: proven and staged before anything is disturbed."""

import dataclasses

import pytest
from socket_caller import through_socket
from starlette.testclient import TestClient

from flywheel.api import create_app
from flywheel.store import open_store, restoring


@pytest.fixture
def restarts():
    return []


@pytest.fixture
def restartable(runtime, process_status, restarts):
    process_status = dataclasses.replace(process_status, restart=lambda: restarts.append(1))
    return TestClient(through_socket(create_app(runtime, process_status=process_status)))


@pytest.fixture
def backup(tmp_path):
    open_store(tmp_path / "backup").close()
    return (tmp_path / "backup").read_bytes()


def test_a_backup_is_staged_and_the_daemon_asked_to_start_anew(
    runtime, restartable, restarts, backup
):
    said = restartable.post("/v1/restore", content=backup)
    assert said.status_code == 202
    database = runtime.store.path
    assert said.json()["kept"] == [f"{database}.before-20261122T120000"]
    assert said.json()["problems"] == []
    assert restoring.staged(database) == database.with_name(
        f"{database.name}.restoring-20261122T120000"
    )
    assert restarts == [1]
    again = restartable.post("/v1/restore", content=backup)
    assert (again.status_code, restarts) == (409, [1])


def test_a_file_that_is_no_backup_is_refused_and_leaves_nothing(runtime, restartable, restarts):
    said = restartable.post("/v1/restore", content=b"nonsense" * 1000)
    assert said.status_code == 409
    names = {path.name for path in runtime.store.path.parent.iterdir()}
    assert not {name for name in names if "arriving" in name or "restoring" in name}
    assert restarts == []


def test_a_backup_larger_than_the_disk_is_refused_before_it_is_sent(restartable, runtime):
    size = {"Content-Length": str(1 << 60)}
    said = restartable.post("/v1/restore", content=b"the beginning", headers=size)
    assert said.status_code == 507
    assert not restoring.arriving(runtime.store.path).exists()


def test_an_application_that_cannot_start_anew_refuses(client, runtime, backup):
    assert client.post("/v1/restore", content=backup).status_code == 409
    assert restoring.staged(runtime.store.path) is None
