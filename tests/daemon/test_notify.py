import os
import socket

import pytest

from flywheel import systemd
from flywheel.systemd import Notifier, handed_over, watchdog_seconds
from tests.waiting import CEILING_S


@pytest.fixture
def manager(tmp_path, monkeypatch):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(CEILING_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield receiver


def test_the_service_manager_hears_ready_alive_stopping(manager):
    notifier = Notifier()
    notifier.ready("flywheel 1")
    notifier.alive()
    notifier.stopping()
    heard = [manager.recv(100).decode() for _ in range(3)]
    assert heard == ["READY=1\nSTATUS=flywheel 1", "WATCHDOG=1", "STOPPING=1\nSTATUS=stopping"]


def test_an_abstract_socket_is_reached(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0flywheel-test-notify")
        receiver.settimeout(CEILING_S)
        monkeypatch.setenv("NOTIFY_SOCKET", "@flywheel-test-notify")
        Notifier().alive()
        assert receiver.recv(100) == b"WATCHDOG=1"


def test_without_a_service_manager_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready("flywheel 1")


def test_the_next_process_gets_the_sockets_that_were_left_with_the_service_manager(
    manager, monkeypatch
):
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        Notifier().keep([listener])
        for wanted in (
            "FDSTOREREMOVE=1\nFDNAME=listening",
            "FDSTORE=1\nFDNAME=listening\nFDPOLL=0",
        ):
            message, descriptors, _, _ = socket.recv_fds(manager, 100, 1)
            assert message.decode() == wanted
            kept += descriptors
    monkeypatch.setattr(systemd, "_FIRST", kept[0])
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")  # of another process
    assert handed_over() == []
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    (taken,) = handed_over()
    with taken, socket.create_connection(address):
        assert (taken.getsockname(), taken.get_inheritable()) == (address, False)
    assert handed_over() == []  # once


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_counts_only_for_the_process_it_was_set_for(monkeypatch, variables, seconds):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert watchdog_seconds() == seconds
