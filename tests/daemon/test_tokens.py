"""Tokens and the ingest socket as the configuration names them, and as a daemon meets them."""

import contextlib
import http.client
import os
import stat

import pytest
from real_daemon import QUIET, ask

from flywheel.config import ApiTable, Config, FlywheelTable, TokenTable, load
from flywheel.daemon.http_server import can_listen
from flywheel.errors import ConfigError, FlywheelError
from flywheel.unix_socket import UnixConnection
from flywheel.web import sockets
from flywheel.web.peer import EVERY_ROLE
from flywheel.web.sockets import listening
from flywheel.web.tokens import tokens_of
from tests.waiting import CEILING_S

LONG = {name: f"{name}-{'x' * 32}" for name in ("OPS", "SHOP", "OLD")}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in LONG.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SHORT", "x" * 31)
    monkeypatch.setenv("SAME", LONG["OPS"])


def table(token_env="", tcp="127.0.0.1:0", **tokens):
    return ApiTable(tcp=tcp, token_env=token_env, tokens=tokens)


OPS = TokenTable(env="OPS", role="decide", person="ada")


def test_tokens_have_the_roles_and_the_person_of_their_tables():
    shop = TokenTable(env="SHOP", roles=("ingest", "look"))
    read = {str(each.caller): each.caller for each in tokens_of(table("OLD", ops=OPS, shop=shop))}
    assert {by: caller.roles for by, caller in read.items()} == {
        "token": EVERY_ROLE,
        "ada (token ops)": {"decide"},
        "token shop": {"ingest", "look"},
    }


def test_without_tcp_no_token_admits():
    assert tokens_of(table("OLD", tcp="", ops=OPS)) == ()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ({}, '[api] tcp = "127.0.0.1:0" needs a token, and token_env is empty'),
        ({"token_env": "GONE"}, '[api] tcp = "127.0.0.1:0" needs a token, and GONE is not set'),
        (
            {"ops": TokenTable(env="GONE", role="look")},
            "[api.tokens.ops] needs a token, and GONE is not set",
        ),
        (
            {"ops": TokenTable(env="SHORT", role="look")},
            "[api.tokens.ops] is shorter than 32 characters",
        ),
        (
            {"tcp": "", "ops": TokenTable(env="SHORT", role="look")},
            "[api.tokens.ops] is shorter than 32 characters",
        ),
        (
            {"ops": OPS, "again": TokenTable(env="SAME", role="look")},
            "[api.tokens.ops] and [api.tokens.again] are the same token",
        ),
        (
            {"token_env": "OPS", "ops": OPS},
            "[api] token_env and [api.tokens.ops] are the same token",
        ),
    ],
)
def test_a_token_that_cannot_be_used_is_refused_by_its_name_and_not_its_value(tokens, message):
    with pytest.raises(ConfigError) as caught:
        tokens_of(table(**tokens))
    assert caught.value.message == message
    assert "xxxx" not in message + caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[api.tokens.ops]\nrole = "look"\n', "api.tokens.ops.env: field required"),
        ('[api.tokens.ops]\nenv = "OPS"\n', "say `role"),
        ('[api.tokens.ops]\nenv = "OPS"\nrole = "look"\nroles = ["look"]\n', "and not both"),
        ('[api.tokens.ops]\nenv = "OPS"\nrole = "boss"\n', "api.tokens.ops.role: input should be"),
        ('[api.tokens.ops]\nenv = "OPS"\nroles = ["boss"]\n', "api.tokens.ops.roles.0"),
        ('[api.tokens.ops]\nenv = "OPS"\nrol = "look"\n', "unknown key api.tokens.ops.rol"),
        ('[api.tokens.ops]\nenv = "OPS"\nrole = "look"\nperson = "root"\n', "nobody in particular"),
        ('[api.tokens.ops]\nenv = "OPS"\nrole = "look"\nperson = "bob (uid 7)"\n', "no login name"),
        ('[api.tokens."a b"]\nenv = "OPS"\nrole = "look"\n', "cannot be called 'a b'"),
        ("[api]\ntokens = 3\n", "api.tokens must be a table"),
        ("[api.tokens]\nops = 3\n", "api.tokens.ops must be a table"),
        ('[api]\ningest_group = "users"\n', "`ingest_socket` is not"),
    ],
)
def test_a_table_that_says_too_little_or_too_much_is_refused(tmp_path, text, message):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config.toml", {})
    assert message in caught.value.message


# The ingest socket.


def configured(tmp_path, name, group=""):
    return Config(
        flywheel=FlywheelTable(state_dir="var"),
        api=ApiTable(ingest_socket=name, ingest_group=group),
        path=tmp_path / "config.toml",
    )


@pytest.mark.parametrize(
    ("name", "group", "message"),
    [
        ("var/flywheel.sock", "", "is the socket that may everything"),
        ("var/../var/flywheel.sock", "", "is the socket that may everything"),
        ("x" * 200 + "/ingest.sock", "", "is longer than 107 bytes"),
        ("ingest.sock", "no-such-group", "there is no such group"),
        ("config.toml", "", "is in the way: not a socket"),
    ],
)
def test_an_ingest_socket_that_cannot_be_is_refused_before_the_start(
    tmp_path, name, group, message
):
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(FlywheelError, match=message):
        can_listen(configured(tmp_path, name, group))


def test_the_ingest_socket_belongs_to_its_group_and_is_gone_afterwards(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(sockets, "group_id", lambda name: 4242 if name else None)
    monkeypatch.setattr(os, "chown", lambda *owner: given.append(owner))
    path = tmp_path / "ingest.sock"
    with listening(tmp_path / "s.sock", "", path, "producers") as opened:
        assert len(opened) == 2
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert given == [(path, -1, 4242)]
    assert not path.exists()


def over(connection, method, path, **headers):
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_daemon_gives_each_door_its_roles(start, tmp_path):
    with contextlib.closing(sockets.bind_tcp("127.0.0.1:0")) as free:
        port = free.getsockname()[1]
    start(
        f'{QUIET}[api]\ntcp = "127.0.0.1:{port}"\ningest_socket = "in.sock"\n'
        '[api.tokens.shop]\nenv = "SHOP"\nrole = "ingest"\n',
        SHOP=LONG["SHOP"],
    )

    def tcp(method, path, token=LONG["SHOP"]):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING_S)
        return over(connection, method, path, Authorization=f"Bearer {token}")

    def producer(method, path):
        return over(UnixConnection(tmp_path / "in.sock", CEILING_S), method, path)

    assert ask(tmp_path, "POST", "/v1/reload")[0] == 200
    for door in (tcp, producer):
        assert door("POST", "/v1/reload")[0] == 403
        assert door("GET", "/v1/backup")[0] == 403
        assert door("POST", "/v1/predictions")[0] == 400  # an empty body
    assert tcp("POST", "/v1/predictions", "wrong")[0] == 401
    assert tcp("GET", "/metrics")[0] == 403
