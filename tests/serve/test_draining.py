"""A server that ends: what it took is answered, and kept connections are told, not cut."""

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from word_service import running

from flywheel.unix_socket import UnixConnection
from flywheel.web.peer import DRAINING
from flywheel.web.sockets import listening
from tests.waiting import CEILING_S, until


def ask(connection, text="play it"):
    connection.request("POST", "/v1/predict", f'{{"text": "{text}"}}')
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.getheader("connection")


def ends(run):
    run.http.should_exit = True
    until(lambda: getattr(run.http.server_state, DRAINING, False))


@pytest.fixture
def lingering(state):
    with running(state, linger_s=CEILING_S) as run:
        yield run


def test_the_last_answer_of_a_kept_connection_says_so(lingering, state):
    with contextlib.closing(UnixConnection(state / "serve.sock", CEILING_S)) as kept:
        assert ask(kept) == (200, None)
        ends(lingering)
        assert ask(kept) == (200, "close")
    until(lambda: lingering.serving.done())  # it waits for nobody who has gone


def test_what_is_under_way_is_answered_and_says_that_it_is_the_last(lingering, state):
    router = lingering.routers["a-1"]
    with (
        contextlib.closing(UnixConnection(state / "serve.sock", CEILING_S)) as kept,
        ThreadPoolExecutor(1) as pool,
    ):
        ask(kept)
        assert router.asked.acquire(timeout=CEILING_S)
        router.gate.clear()
        under_way = pool.submit(ask, kept)
        assert router.asked.acquire(timeout=CEILING_S)
        ends(lingering)
        router.gate.set()
        assert under_way.result() == (200, "close")


def test_who_comes_meanwhile_is_answered(lingering, state):
    with contextlib.closing(UnixConnection(state / "serve.sock", CEILING_S)) as idle:
        ask(idle)
        ends(lingering)
        with contextlib.closing(UnixConnection(state / "serve.sock", CEILING_S)) as new:
            assert ask(new) == (200, "close")


def test_what_has_been_idle_for_long_is_closed(state):
    with running(state, linger_s=0.01) as run:
        with contextlib.closing(UnixConnection(state / "serve.sock", CEILING_S)) as idle:
            assert ask(idle) == (200, None)
            ends(run)
            assert idle.sock.recv(1) == b""  # an end, and no reset
        until(lambda: run.serving.done())


def test_who_comes_when_the_sockets_go_to_the_next_process_waits_for_it(state):
    with running(state, linger_s=CEILING_S) as run:
        run.http.handed_on = True
        waiting = socket.socket(socket.AF_UNIX)
        with (
            waiting,
            run.sockets[0].dup() as kept,
            contextlib.closing(UnixConnection(state / "serve.sock", CEILING_S)) as idle,
        ):
            ask(idle)
            ends(run)
            until(lambda: not any(each.is_serving() for each in run.http.servers))
            waiting.connect(str(state / "serve.sock"))
            idle.close()
            until(lambda: run.serving.done())
            accepted, _ = kept.accept()
            accepted.close()


def test_a_process_listens_on_what_it_was_handed_and_on_nothing_that_is_not_its_own(tmp_path):
    path, other = tmp_path / "s.sock", tmp_path / "other.sock"
    with contextlib.ExitStack() as opened:
        bound = opened.enter_context(listening(path, "127.0.0.1:0", leave=True))
        tcp = ":".join(map(str, bound[1].getsockname()))
        old = opened.enter_context(listening(other, "", leave=True))
        handed = [each.dup() for each in (*bound, *old)]
    assert path.is_socket()
    before = path.stat().st_ino
    with listening(path, tcp, handed=handed) as sockets:
        assert [each.getsockname() for each in sockets] == [str(path), bound_name(tcp)]
        assert path.stat().st_ino == before
        assert handed[2].fileno() == -1
    assert not path.exists()


def bound_name(tcp):
    host, _, port = tcp.rpartition(":")
    return host, int(port)


def test_a_handed_socket_whose_file_is_gone_is_made_anew(tmp_path):
    path = tmp_path / "s.sock"
    with listening(path, "") as bound:
        handed = [bound[0].dup()]
    with listening(path, "", handed=handed) as sockets, socket.socket(socket.AF_UNIX) as caller:
        assert sockets[0] is not handed[0]
        caller.connect(str(path))
