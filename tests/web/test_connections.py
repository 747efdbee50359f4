"""What a stranger's connections may take: their own places, seconds for a head, no more."""

import asyncio
import contextlib
import json
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from flywheel.errors import FlywheelError
from flywheel.unix_socket import UnixConnection
from flywheel.web import http
from flywheel.web.connections import HEAD_BYTES, per_listener
from flywheel.web.http import of_flywheel_error, of_os_error, read_body
from flywheel.web.sockets import listening, server
from tests.waiting import CEILING_S, until


async def echo(request):
    return PlainTextResponse(await read_body(request, 1 << 20))


async def ignore(request):
    return PlainTextResponse("no")


async def full(request):
    raise OSError(28, "No space left on device", "/var/lib/flywheel/backups/x")


@contextlib.contextmanager
def serving(folder, *, most=100, head_s=CEILING_S):
    """A real server on a Unix socket and on TCP; yields the path and the TCP address."""
    app = Starlette(
        routes=[Route("/", echo, methods=["GET", "POST"]), Route("/no", ignore, methods=["POST"]),
                Route("/full", full)],
        exception_handlers={FlywheelError: of_flywheel_error, OSError: of_os_error},
    )  # fmt: skip
    path = folder / "s.sock"
    with listening(path, "127.0.0.1:0") as sockets:
        running = server(app, keep_alive_s=int(CEILING_S))
        running.config.most_connections, running.config.head_s = most, head_s
        running.config.timeout_keep_alive = CEILING_S if head_s == CEILING_S else 0.01
        thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets)))
        thread.start()
        until(lambda: running.started)
        try:
            yield path, sockets[1].getsockname()
        finally:
            running.force_exit = running.should_exit = True
            thread.join()


def tcp(address):
    return contextlib.closing(socket.create_connection(address, timeout=CEILING_S))


def said_until_closed(connection):
    answered = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            answered += piece
    return answered


def get(path):
    with contextlib.closing(UnixConnection(path, CEILING_S)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().status


def test_who_fills_tcp_is_turned_away_there_and_shuts_nobody_out_of_the_socket(tmp_path):
    with serving(tmp_path, most=3) as (path, address), contextlib.ExitStack() as idle:
        for _ in range(3):
            idle.enter_context(tcp(address)).sendall(b"GET /")
        with tcp(address) as one_more:
            said = said_until_closed(one_more)
        assert said.startswith(b"HTTP/1.1 503 ")
        told = json.loads(said.partition(b"\r\n\r\n")[2])
        assert told == {"error": "too many connections", "hint": "try again in a moment"}
        assert get(path) == 200
        idle.close()

        def is_free():
            with tcp(address) as again:
                again.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                return said_until_closed(again).startswith(b"HTTP/1.1 200")

        until(is_free)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "])
def test_a_connection_that_never_sends_a_head_is_closed(tmp_path, sent):
    with serving(tmp_path, head_s=0.1) as (_, address), tcp(address) as connection:
        connection.sendall(sent)
        assert said_until_closed(connection) == b""


def is_cut_off(connection, drip):
    try:
        connection.sendall(drip)
        return connection.recv(65_536, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize(
    ("then", "drip"),
    [(b"", b"x"), (b"123456789", b"\r\n"), (b"123456789GET / HTTP/1.1\r\n", b"x-more: y\r\n")],
    ids=["rest of a body", "empty lines", "head without an end"],
)
def test_after_an_answer_the_next_head_has_its_time_and_no_more(tmp_path, then, drip):
    with serving(tmp_path, head_s=0.1) as (_, address), tcp(address) as connection:
        head = b"POST /no HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
        connection.sendall(head + then)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        until(lambda: is_cut_off(connection, drip), "it is cut off")


def test_who_is_answered_before_the_body_was_sent_may_send_it_and_go_on(tmp_path):
    body = b"x" * (64 * HEAD_BYTES)
    with (
        serving(tmp_path) as (path, _),
        contextlib.closing(UnixConnection(path, CEILING_S)) as connection,
    ):
        for _ in range(3):
            connection.request("POST", "/no", body)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"no")


def test_a_head_without_an_end_is_refused(tmp_path):
    with serving(tmp_path) as (_, address), tcp(address) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"GET / HTTP/1.1\r\n")
            for _ in range(8 * HEAD_BYTES // 1024):
                connection.sendall(b"x-more: " + b"y" * 1014 + b"\r\n")
        assert said_until_closed(connection).startswith(b"HTTP/1.1 431 ")


def test_kept_connections_and_pipelined_requests_are_answered(tmp_path):
    with serving(tmp_path, most=1) as (_, address), tcp(address) as connection:
        one = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nab"
        last = one.replace(b"host: x", b"host: x\r\nconnection: close")
        connection.sendall(one * 4 + last)
        assert said_until_closed(connection).count(b"\r\n\r\nab") == 5


def test_a_body_that_stalls_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(http, "STALLED_S", 0.05)
    with serving(tmp_path) as (_, address), tcp(address) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
        said = said_until_closed(connection)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"the body stalled after 3 bytes" in said


def test_a_full_disk_is_507_wherever_it_is_met(tmp_path):
    with (
        serving(tmp_path) as (path, _),
        contextlib.closing(UnixConnection(path, CEILING_S)) as connection,
    ):
        connection.request("GET", "/full")
        answer = connection.getresponse()
        said = json.loads(answer.read())["error"]
    assert answer.status == 507
    assert said == "no room to write /var/lib/flywheel/backups/x: nothing was written"


@given(st.integers(1, 1 << 20))
def test_all_listeners_together_leave_files_for_the_rest(files):
    most = per_listener(files)
    assert 1 <= most <= 1024
    if files >= 16:
        assert 3 * most <= files - min(256, files // 2)
