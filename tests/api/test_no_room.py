"""What an API without room answers: later, and nothing half-taken."""

import os
import re
import shutil

import pytest
from full_disk import fill, make_room, small_disk
from socket_caller import through_socket
from starlette.testclient import TestClient
from wire_events import ndjson, prediction

from flywheel.api import create_app
from flywheel.loader import Loader
from flywheel.spool import Spool
from flywheel.store import events

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root"
)


def served(runtime, spool):
    """A caller of an API whose events wait in this spool until they are loaded by hand."""
    loader = Loader(runtime.store, spool)
    app = create_app(runtime, loader=loader)
    return TestClient(through_socket(app), raise_server_exceptions=False), loader


def send(client, number):
    return client.post("/v1/predictions", content=ndjson(prediction(number)))


def stored(runtime):
    with runtime.store.read() as con:
        return events.counts(con).predictions


def test_above_the_spools_limit_a_caller_is_told_when_to_come_again(runtime, tmp_path):
    spool = Spool(tmp_path / "spool", 1000)
    client, loader = served(runtime, spool)
    taken = 0
    while (said := send(client, taken)).status_code == 200:
        taken += 1
    assert taken > 1
    assert said.status_code == 429
    assert int(said.headers["Retry-After"]) >= 1
    assert "spool_mb" in said.text
    gauge = re.search(r"^flywheel_spool_used_ratio (\S+)$", client.get("/metrics").text, re.M)
    assert float(gauge[1]) == spool.backlog_bytes / 1000 > 0.5
    assert loader.empty()
    assert stored(runtime) == taken
    assert send(client, taken).status_code == 200
    loader.drain()
    assert stored(runtime) == taken + 1
    spool.close()


@needs_root
def test_on_a_full_disk_nothing_is_acknowledged_and_it_goes_on_once_there_is_room(
    runtime, tmp_path
):
    with small_disk(tmp_path / "disk", 4) as disk:
        spool = Spool(disk / "spool", 1 << 20)
        client, loader = served(runtime, spool)
        assert send(client, 0).status_code == 200
        fill(disk)
        refused = [send(client, number).status_code for number in range(1, 100)]
        assert set(refused) <= {200, 507}  # the file's last page may have had room
        assert refused[-1] == 507
        make_room(disk)
        assert send(client, 100).status_code == 200
        loader.drain()
        assert stored(runtime) == 2 + refused.count(200)
        spool.close()
