"""What doctor says of the ways in: which tokens may what, and who would not count as a person."""

import pytest

from flywheel.cli.doctor import doors
from flywheel.config import ApiTable, Config, PromotionTable, TokenTable

TCP = "127.0.0.1:8765"
ONE, BOTH = PromotionTable(), PromotionTable(approvals=2)


def said(promotion=ONE, **api):
    config = Config(api=ApiTable(**api), promotion=promotion)
    return [(one.level, one.check, one.text) for one in doors.doors(config)]


@pytest.fixture(autouse=True)
def accounts(monkeypatch):
    monkeypatch.setattr(doors, "_has_account", lambda name: name == "ada")


def test_with_the_socket_alone_there_is_nothing_to_say():
    assert said() == []


def test_the_token_that_may_everything_is_warned_of(monkeypatch):
    monkeypatch.setenv("OLD", "s3cret")
    text = "who holds the token of [api] token_env may everything, and is nobody in particular"
    assert said(tcp=TCP, token_env="OLD") == [
        ("warn", "token", text),
        (
            "warn",
            "token",
            "the token of [api] token_env has fewer than 32 characters: it can be guessed",
        ),
    ]
    monkeypatch.setenv("OLD", "x" * 32)
    both = f"{text}; of the two approvals it is never one"
    assert said(BOTH, tcp=TCP, token_env="OLD") == [("warn", "token", both)]


def test_each_token_is_told_with_what_it_may_and_who_holds_it():
    tokens = {
        "ops": TokenTable(env="OPS", role="decide", person="ada"),
        "shop": TokenTable(env="SHOP", roles=("ingest", "look")),
    }
    told = ("ok", "tokens", "ops: decide (held by ada); shop: ingest, look (held by a program)")
    assert said(BOTH, tcp=TCP, tokens=tokens) == [told]
    off = "tokens are named, but [api] tcp is off: nobody can use them"
    assert said(tokens=tokens) == [("warn", "tokens", off)]


def test_holders_who_would_not_count_are_warned_of():
    tokens = {
        "ops": TokenTable(env="OPS", role="decide"),
        "bob": TokenTable(env="BOB", roles=("decide",), person="bob"),
    }
    assert [text for level, _, text in said(BOTH, tcp=TCP, tokens=tokens) if level == "warn"] == [
        "[api.tokens.ops] may decide and names no person: of the two approvals it is never one",
        "[api.tokens.bob] person: there is no user bob here, so a person with another login name "
        "would count twice",
    ]


def test_the_ingest_socket_is_told_with_its_group():
    assert said(ingest_socket="/run/flywheel/ingest.sock", ingest_group="producers") == [
        ("ok", "ingest", "/run/flywheel/ingest.sock only takes events, for the group producers")
    ]
