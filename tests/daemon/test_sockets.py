import os
import socket
import stat

import pytest

from flywheel.errors import ConfigError, DatabaseHeld, FlywheelError
from flywheel.web.sockets import bind_tcp, bind_unix, listening
from tests.waiting import CEILING_S


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_socket_has_mode_0660_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with bind_unix(tmp_path / "s.sock"):
            assert stat.S_IMODE((tmp_path / "s.sock").stat().st_mode) == 0o660
    finally:
        os.umask(before)


def test_a_socket_that_nobody_answers_is_replaced(tmp_path):
    path = tmp_path / "s.sock"
    bind_unix(path).close()
    assert path.is_socket()
    with bind_unix(path), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))


def test_a_socket_that_somebody_answers_is_left_alone(tmp_path):
    path = tmp_path / "s.sock"
    with bind_unix(path):
        inode = path.stat().st_ino
        with pytest.raises(DatabaseHeld, match="somebody answers"):
            bind_unix(path)
        assert path.stat().st_ino == inode


def test_a_file_in_the_way_is_not_removed(tmp_path):
    path = tmp_path / "s.sock"
    path.write_text("precious")
    with pytest.raises(FlywheelError, match="not a socket"):
        bind_unix(path)
    assert path.read_text() == "precious"


def test_a_path_longer_than_a_socket_address_works(tmp_path):
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    with bind_unix(folder / "s.sock"):
        assert (folder / "s.sock").is_socket()
        with pytest.raises(DatabaseHeld):
            bind_unix(folder / "s.sock")
    bind_unix(folder / "s.sock").close()


def test_the_socket_file_is_gone_after_listening(tmp_path):
    path = tmp_path / "s.sock"
    with listening(path, "") as sockets:
        assert path.is_socket()
        assert len(sockets) == 1
    assert not path.exists()


def test_a_successors_socket_file_is_left_in_place(tmp_path):
    path = tmp_path / "s.sock"
    with listening(path, ""):
        path.unlink()
        successor = bind_unix(path)
    assert path.is_socket()
    successor.close()


def test_tcp_listens_where_it_is_told(tmp_path):
    with listening(tmp_path / "s.sock", "127.0.0.1:0") as (_, tcp):
        with socket.create_connection(tcp.getsockname(), timeout=CEILING_S):
            pass
        assert tcp.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("address", ["8765", "localhost:", ":1", "127.0.0.1:http"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ConfigError, match="not host:port"):
        bind_tcp(address)


def test_a_port_in_use_is_named():
    with bind_tcp("127.0.0.1:0") as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*in use"):
            bind_tcp(f"127.0.0.1:{port}")
