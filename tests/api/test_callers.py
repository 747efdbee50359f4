import errno
import os
import subprocess

import pytest
from starlette.testclient import TestClient
from wire_events import prediction

from flywheel.api import create_app
from flywheel.config import PromotionTable
from flywheel.store import decisions
from flywheel.web import peer
from flywheel.web.guard import bearer
from flywheel.web.peer import (
    EVERY_ROLE,
    HIDDEN,
    NO_LOGIN,
    Caller,
    hidden_logins,
    login_of,
    of_token,
    on_socket,
)
from flywheel.web.refusals import MOST_KEPT, WINDOW_S, WRONG_TOKENS, Refusals
from flywheel.web.request_metrics import RequestMetrics

TOKEN = {"authorization": "Bearer s3cret"}


def test_a_caller_is_named_with_the_uid_the_kernel_gave():
    assert str(Caller(name="ana", uid=1000)) == "ana (uid 1000)"
    assert str(Caller(name="token")) == "token"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer "},
        {"authorization": "Basic s3cret"},
        {"authorization": "Bearer s3cretand more"},
        {"authorization": "Bearer 密码".encode()},
    ],
)
def test_over_tcp_nobody_is_let_in_without_the_token(over_tcp, headers):
    reply = over_tcp.get("/v1/status", headers=headers)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert over_tcp.post("/v1/predictions", json=prediction(1), headers=headers).status_code == 401
    assert over_tcp.get("/metrics", headers=headers).status_code == 401


def test_over_tcp_the_token_lets_in(over_tcp):
    assert over_tcp.get("/v1/status", headers=TOKEN).status_code == 200


def test_without_a_configured_token_tcp_admits_nobody(runtime):
    over_tcp = TestClient(create_app(runtime, token=None), base_url="http://127.0.0.1")
    for headers in ({}, TOKEN, {"authorization": "Bearer "}, {"authorization": "Bearer None"}):
        assert over_tcp.get("/v1/status", headers=headers).status_code == 401


def test_health_checks_need_no_token(over_tcp):
    assert over_tcp.get("/healthz").text == "ok\n"
    assert over_tcp.get("/readyz").text == "ready\n"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8765", "[::1]:8765", "10.0.0.7", "localhost", "runtime.example.org:8765"]
)
def test_a_host_that_is_ours_is_served(over_tcp, host):
    assert over_tcp.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.evil.com:80", "1.2.3", "a.b:1"])
def test_a_name_of_somebody_else_that_points_here_is_refused(over_tcp, client, host):
    for one in (over_tcp, client):
        reply = one.get("/v1/status", headers=TOKEN | {"host": host})
        assert reply.status_code == 400
        assert "Host" in reply.json()["error"]


def test_a_web_page_cannot_change_anything(client, over_tcp):
    page = {"origin": "http://evil.example.com"}
    assert client.post("/v1/turns", headers=page).status_code == 403
    assert over_tcp.post("/v1/turns", headers=TOKEN | page).status_code == 403
    assert client.get("/v1/turns").json() == []


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_web_page_cannot_fetch_what_its_reader_may(client, runtime, site):
    fetched = client.get("/v1/backup", headers={"sec-fetch-site": site})
    assert fetched.status_code == 403
    with runtime.store.read() as con:
        assert decisions.acts(con) == []  # no backup was made in the reader's name
    assert client.get("/", headers={"sec-fetch-site": site}).status_code == 200
    assert client.get("/v1/status", headers={"sec-fetch-site": "none"}).status_code == 200


def test_a_directory_that_does_not_answer_is_asked_again(monkeypatch):
    monkeypatch.setattr(peer, "_account", {}.__getitem__)
    assert peer.user_name(4242) == "unknown"
    monkeypatch.setattr(peer, "_account", {4242: "ada"}.__getitem__)
    assert peer.user_name(4242) == "ada"


# Who stands behind a peer: the kernel's login uid, where it can be known.


@pytest.mark.parametrize(
    ("uid", "login", "name", "person"),
    [
        (0, NO_LOGIN, "root", ""),  # a service of root, or nobody knows who
        (0, 0, "root", ""),  # the shared account
        (1001, 0, "root", ""),  # root that became somebody
        (1001, NO_LOGIN, "bob", "bob"),
        (1000, 1000, "ada", "ada"),
        (1001, 1000, "ada", "ada"),  # ada by `sudo -u bob`
        (0, 1000, "ada", "ada"),  # ada by `sudo`
        (1001, HIDDEN, "unknown", ""),
        (1001, 4242, "unknown", ""),
        (4242, NO_LOGIN, "unknown", ""),
    ],
)
def test_the_person_is_who_logged_in_and_root_is_nobody(monkeypatch, uid, login, name, person):
    names = {0: "root", 1000: "ada", 1001: "bob"}
    monkeypatch.setattr(peer, "user_name", lambda uid: names.get(uid, "unknown"))
    caller = on_socket(uid, login, EVERY_ROLE)
    assert (caller.person, str(caller)) == (person, f"{name} (uid {uid})")


def test_root_is_nobody_under_any_name_of_its_account(monkeypatch):
    monkeypatch.setattr(peer, "user_name", lambda uid: "toor")
    caller = peer.on_socket(0, NO_LOGIN, frozenset())
    assert (str(caller), caller.person) == ("root (uid 0)", "")


def test_a_token_stands_for_the_person_whom_the_configuration_names():
    assert str(of_token("ops", "ada", EVERY_ROLE)) == "ada (token ops)"
    assert str(of_token("shop", "", EVERY_ROLE)) == "token shop"
    assert str(of_token("", "", EVERY_ROLE)) == "token"
    assert of_token("ops", "ada", EVERY_ROLE).person == "ada"


@pytest.fixture
def proc(tmp_path):
    """A /proc that knows of this process, of number 7, and of one that has ended since, 8."""
    for pid, login in (("self", "1000"), ("7", "1000"), ("8", "1001")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "loginuid").write_text(login)
    return tmp_path


def test_a_login_is_read_while_the_process_lives(proc):
    assert login_of(7, lambda: os.pidfd_open(os.getpid()), proc) == 1000


def test_the_login_of_a_process_that_ended_is_hidden_for_its_number_may_be_anothers(proc):
    ended = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(ended.pid)
    ended.wait()
    assert login_of(8, lambda: pidfd, proc) == HIDDEN


def test_a_login_that_the_kernel_does_not_show_is_hidden_and_not_none(proc):
    def gone():
        raise ProcessLookupError

    assert login_of(9, lambda: os.pidfd_open(os.getpid()), proc) == HIDDEN
    assert login_of(7, gone, proc) == HIDDEN


class Connection:
    """A connection whose kernel answers SO_PEERPIDFD with an error."""

    def __init__(self, code):
        self.code = code

    def getsockopt(self, *_):
        raise OSError(self.code, "")


def test_the_number_of_a_process_is_looked_up_only_where_the_kernel_cannot_pin_it(proc):
    me = os.getpid()
    os.close(peer._pinned(Connection(errno.ENOPROTOOPT), me))
    for code in (errno.ESRCH, errno.EINVAL):
        assert login_of(7, lambda code=code: peer._pinned(Connection(code), me), proc) == HIDDEN


def test_a_kernel_without_audit_knows_of_no_logins(tmp_path):
    assert login_of(7, lambda: os.pidfd_open(os.getpid()), tmp_path) == NO_LOGIN


def test_where_logins_are_hidden_and_two_people_approve_it_is_a_problem(proc):
    both = PromotionTable(approvals=2)
    (problem,) = hidden_logins(both, proc)  # there is no process 1 to be seen
    assert "ProtectProc=default" in problem
    assert hidden_logins(PromotionTable(), proc) == ()
    (proc / "1").mkdir()
    (proc / "1" / "loginuid").touch()
    assert hidden_logins(both, proc) == ()
    (proc / "self" / "loginuid").unlink()  # no audit: uids are all that there is
    (proc / "1" / "loginuid").unlink()
    assert hidden_logins(both, proc) == ()


# Tokens: several, and guessed at.

LONG = "x" * 32


def test_each_token_is_its_own_caller_and_none_says_what_it_is(runtime):
    tokens = [bearer(LONG + "1", "a"), bearer(LONG + "2", "b", "ada", frozenset({"decide"}))]
    app = create_app(runtime, tokens=tokens)
    client = TestClient(app, base_url="http://127.0.0.1")
    told = [
        client.post("/v1/turns", headers={"authorization": f"bearer {LONG}{n}"}).json()["error"]
        for n in (1, 2)
    ]
    assert len(set(told)) == 1  # there is nothing to learn from, whoever asks
    reply = client.post("/v1/reload", headers={"authorization": f"Bearer {LONG}2"})
    assert reply.json()["error"] == "this takes the role admin; ada (token b) has decide"
    assert LONG not in repr(tokens)


def wrong(client, n=1):
    headers = {"authorization": "Bearer wrong"}
    return [client.get("/v1/status", headers=headers) for _ in range(n)]


def test_guessing_is_told_to_wait_and_the_right_token_is_not(over_tcp, caplog):
    codes = [reply.status_code for reply in wrong(over_tcp, WRONG_TOKENS + 2)]
    assert codes == [401] * WRONG_TOKENS + [429] * 2
    assert 1 <= int(wrong(over_tcp)[0].headers["retry-after"]) <= WINDOW_S
    assert over_tcp.get("/v1/status", headers=TOKEN).status_code == 200
    assert over_tcp.get("/v1/status").status_code == 401  # nothing was guessed
    assert over_tcp.get("/healthz", headers={"authorization": "Bearer wrong"}).status_code == 200
    metrics = over_tcp.get("/metrics", headers=TOKEN).text
    assert 'flywheel_refused_requests_total{reason="wrong_token"} 13.0' in metrics
    assert 'flywheel_refused_requests_total{reason="no_token"} 1.0' in metrics
    assert [
        record.getMessage() for record in caplog.records if "refused" in record.getMessage()
    ] == [
        "refused a request with a wrong token, the last of testclient",
        "refused a request without a token, the last of testclient",
    ]


def test_one_address_does_not_keep_another_waiting(runtime):
    app = create_app(runtime, token="s3cret")
    one, same, other = (
        TestClient(app, base_url="http://127.0.0.1", client=(host, 1))
        for host in ("2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1")
    )
    wrong(one, WRONG_TOKENS)
    assert wrong(same)[0].status_code == 429  # of the network that one host has
    assert wrong(other)[0].status_code == 401


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_refusals_are_told_once_a_minute_with_how_many_there_were(caplog):
    clock = Clock()
    refusals = Refusals(RequestMetrics(), clock)
    for clock.now in (0, 1, 59.9, 60, 61, 300):
        refusals.count("role", "token shop")
    assert [record.getMessage() for record in caplog.records] == [
        "refused a request without the role, the last of token shop",
        "refused 3 requests without the role, the last of token shop",
        "refused 2 requests without the role, the last of token shop",
    ]


def test_an_address_waits_for_the_end_of_its_minute():
    clock = Clock()
    refusals = Refusals(RequestMetrics(), clock)
    assert [refusals.wrong_token("10.0.0.7") for _ in range(WRONG_TOKENS + 1)][-2:] == [0, 60]
    clock.now = 59.5
    assert refusals.wrong_token("10.0.0.7") == 1
    clock.now = 60
    assert refusals.wrong_token("10.0.0.7") == 0


def test_what_is_kept_of_strangers_is_bounded():
    refusals = Refusals(RequestMetrics(), Clock())
    for n in range(MOST_KEPT + 100):
        refusals.wrong_token(f"10.0.{n >> 8}.{n & 255}")
    assert len(refusals._wrong._by_key) == MOST_KEPT
