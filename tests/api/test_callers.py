import pytest
from starlette.testclient import TestClient
from wire_events import prediction

from flywheel.api import create_app
from flywheel.api.peer import Caller

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
